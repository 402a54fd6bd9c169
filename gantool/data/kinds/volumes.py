"""Volumes: uint8 (C, D, H, W)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gantool.data import volumes
from gantool.data.image_files import Preparation
from gantool.data.images import as_bytes, resize
from gantool.data.kinds.base import MAX_SIZES, Kind, Look, Spread, Survey, Table, Tally, digest, version
from gantool.data.kinds.formats import volume_of
from gantool.data.source_files import as_broken_file
from gantool.system.terminal import megabytes

_USUAL = (16, 32, 64)  # voxels of a side that networks of volumes make


@dataclass(frozen=True, kw_only=True)
class VolumeSurvey(Survey):
    """Of volumes. `sides`: (D, H, W) and how many have them, the commonest first. `filled`: % of the voxels."""

    sides: list[tuple[int, ...]]
    filled: Spread | None
    empty: int
    bytes_uint8: int

    def facts(self) -> list[list[str]]:
        return [
            ["filled", f"{self.filled} % of the voxels" if self.filled else "–"],
            ["empty", f"{self.empty:,}" if self.empty else "none"],
        ]

    def packing(self) -> str:
        cubes = len(self.sides) == 1 and len(set(self.sides[0][:3])) == 1 and self.sides[0][0] in _USUAL
        return "" if cubes and self.size is None else f" --size {self.size or volumes.SIDE}"

    def stored(self) -> str:
        return f"{megabytes(self.bytes_uint8)} as uint8, {super().stored()}"

    def tables(self) -> list[Table]:
        rows = [[f"{d}×{h}×{w}", f"{n:,}", f"{100 * n / self.count:.1f} %"] for d, h, w, n in self.sides]
        return [(["size", "volumes", ""], rows)]


class Volumes(Kind):
    name, plural, dtype, width, channels = "volume", "volumes", "|u1", 5, (1,)
    unit, usual, resizing = "voxels", 32, "resize them all to N×N×N"
    examples = ".binvox, .npy, OBJ, STL, PLY, glTF or GLB files"

    def needs_peek(self, asked: Preparation) -> bool:
        return False

    def peek(self, path: Path, asked: Preparation) -> None:
        return None

    def settle(self, peeked: Iterable[Any], asked: Preparation) -> Preparation:
        volumes.check_cube(asked.size)
        return asked

    def row(self, how: Preparation) -> tuple[int, ...] | None:
        return super().row(how) if how.channels else None  # of a file: .npy files may have several channels

    def decode(self, path: Path, how: Preparation, content: bytes | None = None) -> np.ndarray:
        volumes.check_cube(how.size)
        found = volume_of(path, how, content)
        with as_broken_file(path):
            volume = volumes.as_volume(found)
            if how.channels not in (None, len(volume)):
                raise ValueError(f"it has {len(volume)} channels, where {how.channels} is asked for")
            return volume if how.size is None else volumes.cube(volume, how.size)

    def shape(self, channels: int, size: int) -> tuple[int, ...]:
        return channels, size, size, size

    def check_row(self, shape: tuple[int, ...], where: str) -> None:
        volumes.check_sides(shape[1:], where)

    def refit(self, rows: np.ndarray, how: Preparation, rate: int, where: str) -> np.ndarray:
        return volumes.refitted(rows, how.size, where)

    def notes(self, samples: np.ndarray) -> tuple[str, ...]:
        empty = sum(not sample.any() for sample in samples)
        return (f"{empty:,} of {len(samples):,} volumes are empty",) if empty else ()

    def versions(self) -> dict[str, str]:
        return {"trimesh": version("trimesh")}

    def examine(self, path: Path, asked: Preparation) -> Look:
        volume = self.decode(path, Preparation())
        return _look(volume, path.suffix[1:].upper(), f"{len(volume)} channels" if len(volume) > 1 else "one channel")

    def examine_row(self, sample: np.ndarray, rate: int) -> Look:
        return _look(as_bytes(sample), "", str(sample.dtype))

    def survey(self, tally: Tally, size: int | None, **facts: Any) -> VolumeSurvey:
        volumes.check_cube(size)
        shapes = tally.numbers[:, :4].astype(np.int64)
        distinct, counts = np.unique(shapes[:, 1:], axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:MAX_SIZES]
        filled = tally.numbers[:, 4]
        channels = int(shapes[:, 0].max(initial=1))
        voxels = tally.count * channels * size**3 if size else int(shapes.prod(axis=1).sum())
        return VolumeSurvey(
            **self.common(tally, voxels, channels, size),
            sides=[(*map(int, distinct[i]), int(counts[i])) for i in order],
            filled=Spread.of(100 * filled, 1),
            empty=int((filled == 0).sum()),
            **facts,
        )

    def tile(self, sample: np.ndarray, side: int, rate: int) -> np.ndarray:
        return np.concatenate([_view(view, side) for view in projections(as_bytes(sample)[0])], axis=2)

    def tile_width(self, side: int) -> int:
        return 3 * side

    def shown(self, path: Path, side: int, size: int | None) -> np.ndarray:
        return self.tile(self.decode(path, Preparation(size)), side, 0)


def projections(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint8 pictures of a volume uint8 (D, H, W) from the front, the right and the top: what is nearer is brighter."""
    right, top = volume.transpose(2, 1, 0)[::-1], volume.transpose(1, 0, 2)[:, ::-1]
    return _depths(volume), _depths(right), _depths(top)


def _depths(volume: np.ndarray) -> np.ndarray:
    solid = volume > 127
    light = np.linspace(255, 80, len(volume))[solid.argmax(axis=0)]
    return np.asarray(np.where(solid.any(axis=0), light, 0).astype(np.uint8))


def _view(picture: np.ndarray, side: int) -> np.ndarray:
    times = max(1, side // max(picture.shape))
    pixels = picture.repeat(times, 0).repeat(times, 1)[np.newaxis, np.newaxis].repeat(3, 1)
    return np.asarray(resize(pixels, side, "it", "pad", (0, 0, 0))[0])


def _look(volume: np.ndarray, form: str, mode: str) -> Look:
    return Look(form, mode, (*volume.shape, volumes.filled(volume)), digest(volume))
