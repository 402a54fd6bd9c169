"""Images: as `gantool.data.image_files` decodes them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from gantool.artifact.upright import GREY
from gantool.data import image_files
from gantool.data.dataset import check_sides
from gantool.data.image_files import MAX_FILE_BYTES, SUFFIXES, Preparation, strict_decoding
from gantool.data.images import (
    DARK,
    as_bytes,
    check_pictures,
    darkness,
    darkness_note,
    is_paired,
    resize,
    with_channels,
)
from gantool.data.kinds.base import MAX_SIZES, Kind, Look, Spread, Survey, Table, Tally, digest
from gantool.data.source_files import read
from gantool.system.terminal import megabytes

CUT = 0.02  # share of the pixels that a crop cuts: worth a line


@dataclass(frozen=True, kw_only=True)
class ImageSurvey(Survey):
    """Of images.

    `sizes`: (width, height, count), the commonest first, of `distinct_sizes`. `crop_cuts`: the share of all pixels
    outside the centre squares.
    """

    sizes: list[tuple[int, int, int]]
    distinct_sizes: int
    width: Spread | None
    height: Spread | None
    crop_cuts: float
    bytes_uint8: int

    def facts(self) -> list[list[str]]:
        sides = [(name, side) for name, side in (("width", self.width), ("height", self.height)) if side]
        pair = ["×".join(map(str, shape)) for shape in self.pair or ()]
        return [
            *([["pairs", f"sources {pair[0]} → targets {pair[1]}"]] if pair else []),
            ["sides", "   ".join(f"{name} {side}" for name, side in sides) or "–"],
        ]

    def hints(self) -> list[str]:
        cuts = f"A crop to squares cuts {self.crop_cuts:.0%} of the pixels; --fit pad keeps them all."
        return [cuts] if self.crop_cuts > CUT else []

    def packing(self) -> str:
        if self.distinct_sizes == 1 and self.sizes[0][0] == self.sizes[0][1]:
            return ""
        short = min(self.width.median, self.height.median) if self.width and self.height else 64
        side = self.size or (64 if short >= 48 else 32)
        return f" --size {side}" + (" --fit pad" if self.crop_cuts > CUT else "")

    def stored(self) -> str:
        return f"{megabytes(self.bytes_uint8)} as uint8, {super().stored()}"

    def tables(self) -> list[Table]:
        sizes = [[f"{w}×{h}", f"{n:,}", f"{100 * n / self.count:.1f} %"] for w, h, n in self.sizes]
        if rest := self.count - sum(n for _, _, n in self.sizes):
            others = f"{self.distinct_sizes - len(self.sizes):,} other sizes"
            sizes.append([others, f"{rest:,}", f"{100 * rest / self.count:.1f} %"])
        return [(["size", "images", ""], sizes)]


class Images(Kind):
    name, plural, dtype, width, channels = "image", "images", "|u1", 3, (1, 3)
    unit, usual, resizing = "pixels", 64, "crop and resize them all to N×N"
    examples = "PNG, JPEG, WebP, BMP, GIF, TIFF … files"

    def decoding(self) -> AbstractContextManager[Any]:
        return strict_decoding()

    def suffixes(self) -> Iterable[str]:
        return SUFFIXES

    def needs_peek(self, asked: Preparation) -> bool:
        return not asked.channels

    def peek(self, path: Path, asked: Preparation) -> bool:
        return image_files.is_grey(path)

    def settle(self, peeked: Iterable[bool | None], asked: Preparation) -> Preparation:
        return replace(asked, channels=asked.channels or (1 if all(grey is not False for grey in peeked) else 3))

    def read(self, path: Path) -> bytes:
        return read(path, MAX_FILE_BYTES)

    def decode(self, path: Path, how: Preparation, content: bytes | None = None) -> np.ndarray:
        return image_files.decode(path, how, None if content is None else io.BytesIO(content))

    def shape(self, channels: int, size: int) -> tuple[int, ...]:
        return channels, size, size

    def check_row(self, shape: tuple[int, ...], where: str) -> None:
        check_sides(shape[1], shape[2], where)

    def check_samples(self, shape: tuple[int, ...], where: str) -> None:
        check_pictures(shape, where)

    def paired(self, name: str, array: np.ndarray, shape: tuple[int, ...]) -> bool:
        return is_paired(array, shape[2:])

    def refit(self, rows: np.ndarray, how: Preparation, rate: int, where: str) -> np.ndarray:
        rows = with_channels(as_bytes(rows), how.channels or rows.shape[1])
        return resize(rows, how.size, where, how.fit, how.background)

    def notes(self, samples: np.ndarray) -> tuple[str, ...]:
        return darkness(samples)

    def versions(self) -> dict[str, str]:
        return {"pillow": PIL.__version__}

    def examine(self, path: Path, asked: Preparation) -> Look:
        form, mode, pixels = image_files.examine(path, io.BytesIO(self.read(path)))
        return Look(form, mode, (pixels.shape[1], pixels.shape[0], int(pixels.max())), digest(pixels))

    def examine_row(self, sample: np.ndarray, rate: int) -> Look:
        mode = f"{'grey' if len(sample) == 1 else 'colour'}, {sample.dtype}"
        return Look("", mode, (sample.shape[2], sample.shape[1], 255), digest(sample))

    def survey(self, tally: Tally, size: int | None, **facts: Any) -> ImageSurvey:
        sides = tally.numbers[:, :2].astype(np.int64)
        distinct, counts = np.unique(sides, axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        squares, whole = int((sides.min(axis=1, initial=2**31) ** 2).sum()), int(sides.prod(axis=1).sum())
        brightest = int(tally.numbers[:, 2].max(initial=0))
        if 0 < brightest < DARK:
            facts["notes"] = [*facts["notes"], darkness_note(brightest)]
        colours = any(mode not in GREY and not mode.startswith("grey,") for mode in tally.modes)
        channels = 3 if colours else 1
        pixels = tally.count * size * size if size else whole
        return ImageSurvey(
            **self.common(tally, pixels * channels, channels, size),
            sizes=[(int(distinct[i, 0]), int(distinct[i, 1]), int(counts[i])) for i in order[:MAX_SIZES]],
            distinct_sizes=len(order),
            width=Spread.of(sides[:, 0]),
            height=Spread.of(sides[:, 1]),
            crop_cuts=1 - squares / whole if tally.count else 0.0,
            **facts,
        )

    def tile_side(self, size: int | None, usual: int) -> int:
        return size or usual

    def tile(self, sample: np.ndarray, side: int, rate: int) -> np.ndarray:
        pixels = with_channels(as_bytes(sample[np.newaxis]), 3)
        times = max(1, side // max(pixels.shape[2:]))  # small images show their pixels
        return np.asarray(resize(pixels.repeat(times, 2).repeat(times, 3), side, "it", "pad")[0])

    def shown(self, path: Path, side: int, size: int | None) -> np.ndarray:
        return self.decode(path, Preparation(size or side, channels=3, fit="crop" if size else "pad"))
