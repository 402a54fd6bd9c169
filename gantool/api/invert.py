"""`gantool.invert`: the latents whose images come closest to given pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from gantool.api import Named
from gantool.api.directions import judge_of, opened
from gantool.artifact import latents, pictures
from gantool.control import invert as search
from gantool.control.space import Space
from gantool.data.image_files import Preparation, decode, strict_decoding
from gantool.data.images import as_bytes, resize, with_channels
from gantool.data.kinds.images import Images
from gantool.data.readers.archive import is_archive
from gantool.data.readers.folder import find_files
from gantool.data.readers.npz import load_npz
from gantool.errors import ArgumentError, GantoolError, excerpt
from gantool.filming.keys import PAIR
from gantool.plugin.architecture import SampleSpec
from gantool.run import directions as stored
from gantool.run.directions import Direction
from gantool.system import terminal
from gantool.system.files import replacing, writing

if TYPE_CHECKING:
    from PIL.Image import Image

Picture = str | os.PathLike[str] | tuple[int, int] | np.ndarray
MAX_PICTURES = 1000
SHEET_ROWS, SHEET_DIRECTIONS = 24, 4
SIDE = 96  # pixels of a picture on the sheet, at least


@dataclass(frozen=True)
class Inverted:
    """Of n pictures: the latents `z` float32 (n, …) whose images are nearest, and how near they are.

    `labels` int64 (n,): the classes; None for a generator without. `w` float32 (n, size): what is to stand in place of
    the mapping network's output; None unless asked for. `levels` (n,): mean absolute difference in grey levels, 0 to
    255; `features` (n,): distance of an extractor's features, 1 where it is that of random samples; `far` (n,): whether
    either is more than half of what random samples have. `images` uint8 (n, H, W, C). `names`: of the pictures.
    `sheet`: picture, image, and the image moved along each named direction of the run.
    """

    names: tuple[str, ...]
    z: np.ndarray
    labels: np.ndarray | None
    w: np.ndarray | None
    levels: np.ndarray
    features: np.ndarray
    far: np.ndarray
    images: np.ndarray
    sheet: Image

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the arrays `z`, `labels` and `w` to an .npz, which `gantool film --through` takes."""
        arrays: dict[str, Any] = {"z": self.z, "labels": self.labels, "w": self.w}
        where = npz(Path(path))
        with writing(where, "Name another with -o."), replacing(where) as temporary, temporary.open("wb") as file:
            np.savez(file, **{name: array for name, array in arrays.items() if array is not None})


def invert(
    given: Picture | Sequence[Picture],
    run: Named | None = None,
    *,
    label: str | None = None,
    space: str = "z",
    extractor: str | None = None,
    starts: int = 16,
    steps: int = 600,
    step: int | str | None = None,
    which: str = "",
    seed: int = 0,
    runs: str | os.PathLike[str] = "runs",
    progress: bool = True,
) -> Inverted:
    """The latents of a run's generator whose images come closest to pictures.

        found = gantool.invert("face.png", run)
        found.save("face.npz")

    `given`: files, folders or zip archives of pictures, .npz files of `images`; "seed:index" or (seed, index), a sample
    of the run itself; or arrays uint8 (n, H, W, C). They are made upright, opaque, and as large as the samples, as data
    of a training are. `label`: the class, by number or name; None: all are tried. `space`: `z`, or `w`: after z, also
    the output of a mapping network, which gets nearer to pictures that are none of the generator's.

    Of random samples of `seed` the best `starts` take `steps` steps of Adam, by pixels and by the features of
    `extractor` (default: that of `gantool.evaluate`); the worse ones are dropped on the way. `step`, `which`, `runs`:
    as in `gantool.export`.

    GantoolError for a picture that can't be read, a generator without a latent or of no images, and an extractor that
    passes no gradients; ArgumentError for what can't be.
    """
    if space not in ("z", "w"):
        raise ArgumentError(f"There is no space {excerpt(space)!r}.", "Use z or w.")
    if not 1 <= starts <= search.DRAWS or not 1 <= steps <= 100_000:
        raise ArgumentError(f"{starts} starts and {steps} steps can't be.", f"1 to {search.DRAWS}, 1 to 100,000.")
    folder, found_space = opened(run, step, which, runs)
    source = found_space.source
    if not source.output.is_image or source.output.channels not in (1, 3):
        raise GantoolError(f"This generator makes {source.output}, no pictures.", "Name a run of images.")
    if space == "w" and not found_space.place:
        raise ArgumentError("This generator has no mapping network, so it has no w.", "Leave --space out.")
    chosen = None
    if label is not None:
        chosen, *more = source.about.parse_classes(label, f"The generator of {folder.name}")
        if more:
            raise ArgumentError(f"{excerpt(label)!r} are several classes.", "Give one, or none: then all are tried.")
    rows = list(_read(given, found_space))
    if not rows:
        raise ArgumentError("There is no picture.", "Name a file, a folder, an .npz, or seed:index.")
    names, images = tuple(name for name, _ in rows), np.stack([image for _, image in rows])
    judge, _ = judge_of(folder, extractor)
    with terminal.bars(progress) as bars:
        found = search.invert(
            found_space if space == "w" else replace(found_space, place=""),
            torch.from_numpy(latents.floats(images)),
            judge,
            label=chosen,
            starts=starts,
            steps=steps,
            seed=seed,
            advance=bars(f"steps for {len(images)} pictures", len(images) * steps * (2 if space == "w" else 1)),
        )
    labels = next((found.inputs[i.name].numpy() for i in source.inputs if i.distribution == "label"), None)
    return Inverted(
        names,
        found.inputs[found_space.input.name].numpy(),
        labels,
        found.points.numpy() if space == "w" else None,
        found.levels.numpy(),
        found.features.numpy(),
        found.far.numpy(),
        latents.pixels(found.samples.numpy()),
        _sheet(found_space, found, names, images, stored.named(folder, which), space == "w"),
    )


def npz(path: Path) -> Path:
    if path.suffix != ".npz":
        raise ArgumentError(f"{path} is no .npz.", "Name one: -o z.npz")
    return path


def _read(given: Picture | Sequence[Picture], space: Space) -> Iterator[tuple[str, np.ndarray]]:
    """The name of each picture, and its pixels as the generator makes them, uint8 (H, W, C)."""
    pair = isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, int) for part in given)
    each = [given] if pair or isinstance(given, (str, os.PathLike, np.ndarray)) else given
    count = 0
    for one in cast("Sequence[Picture]", each):
        for name, picture in _pictures(one, space):
            count += 1
            if count > MAX_PICTURES:
                raise ArgumentError(f"There are more than {MAX_PICTURES:,} pictures.", "Give fewer.")
            yield name, picture


def _pictures(given: Picture, space: Space) -> Iterator[tuple[str, np.ndarray]]:
    spec = space.source.output
    if isinstance(given, str) and (pair := PAIR.fullmatch(given)) and not Path(given).exists():
        given = int(pair[1]), int(pair[2])
    if isinstance(given, tuple):
        seed, index = given
        made = next(space.batches(space.inputs(seed, np.array([index], np.int64))))
        yield f"{seed}:{index}", latents.pixels(made.numpy())[0]
        return
    if isinstance(given, np.ndarray):
        if given.dtype != np.uint8 or given.ndim != 4 or given.shape[3] not in (1, 3):
            raise ArgumentError(f"The array is {given.dtype} {given.shape}; wanted: uint8 (n, H, W, 1 or 3).")
        images, name = given.transpose(0, 3, 1, 2), "array"
    else:
        path = Path(given)
        if not path.exists():
            raise ArgumentError(
                f"There is no picture {excerpt(str(path))}.", "Name a file, a folder, an .npz, or seed:index."
            )
        name = path.name
        if path.suffix.lower() != ".npz":
            yield from _files(path, spec)
            return
        images = load_npz(path).images
        Images().check_samples(images.shape, str(path))
    if len(images) > MAX_PICTURES:
        raise ArgumentError(f"{excerpt(name)} has more than {MAX_PICTURES:,} pictures.", "Give fewer.")
    images = with_channels(as_bytes(images), spec.channels)
    if images.shape[1:] != spec.shape:
        images = resize(images, _side(spec), name)
    for row, image in enumerate(images):
        yield f"{name}[{row}]", image.transpose(1, 2, 0)


def _files(path: Path, spec: SampleSpec) -> Iterator[tuple[str, np.ndarray]]:
    """A picture file, or those of a folder or zip archive, read as data are."""
    names = [""]
    if path.is_dir() or is_archive(path):
        kind, names, _ = find_files(path)
        if kind.name != "image":
            raise ArgumentError(f"{path} holds {kind.plural}.", "Name pictures.")
    for name in names[: MAX_PICTURES + 1]:
        with strict_decoding():
            image = decode(path / name if name else path, Preparation(_side(spec), channels=spec.channels))
        yield name or path.name, image.transpose(1, 2, 0)


def _side(spec: SampleSpec) -> int:
    height, width = spec.sides
    if height != width:
        raise GantoolError(
            f"The samples are {width}×{height} pixels; pictures are made square only.",
            "Give an .npz of images of that size.",
        )
    return height


@torch.no_grad()
def _sheet(
    space: Space,
    found: search.Found,
    names: Sequence[str],
    images: np.ndarray,
    named: Sequence[Direction],
    moved: bool,
) -> Image:
    """A row for each of the first pictures; `moved`: whether the points are those of the mapping network."""
    count = min(SHEET_ROWS, len(images))
    inputs = {name: tensor[:count] for name, tensor in found.inputs.items()}
    columns = [images[:count], latents.pixels(found.samples[:count].numpy())]
    heads = ["picture", "found"]
    for direction in named[:SHEET_DIRECTIONS]:
        there = replace(space, place=direction.place)
        points = found.points[:count] if moved and direction.place else there.points(inputs)
        for strength in (direction.low, direction.high):
            made: Tensor = there.samples(inputs, points + strength * torch.tensor(direction.vector))
            columns.append(latents.pixels(made.numpy()))
            heads.append(f"{excerpt(direction.name, 9)} {strength:+.2g}")
    shown = np.stack(columns, 1).reshape(-1, *images.shape[1:])
    scale = max(1, round(SIDE / images.shape[2]))
    return pictures.with_titles(pictures.grid(shown, len(columns), scale=scale), names[:count], heads)
