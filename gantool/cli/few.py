"""The part of `gantool generate` that writes a grid, a folder of PNGs or an .npz."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantool.errors import GantoolError
from gantool.system.terminal import console

if TYPE_CHECKING:
    import numpy as np

    from gantool.artifact.manifest import Manifest
    from gantool.artifact.provenance import Provenance
    from gantool.runtime import Generator

PART = 1024  # images between two moves of the progress bar
MAX_GRID = 10_000
MAX_ARRAY = 8 * 10**9  # bytes


@dataclass(frozen=True)
class Asked:
    """Images `first … first+n-1` of `seed`. `labels`: image i has the class labels[i mod how many]; (): it has none.

    `rows` of a grid, a row each of `labels`; 1: as square as it goes.
    """

    n: int
    seed: int
    first: int
    labels: Sequence[int]
    rows: int = 1

    def classes(self, first: int, count: int) -> list[int] | None:
        """Of images `first … first+count-1`."""
        return [self.labels[i % len(self.labels)] for i in range(first, first + count)] if self.labels else None


def generate(
    path: Path, n: int | None, seed: int, first: int, label: str | None, output: Path, provider: str, provenance: bool
) -> None:
    """Make the images of the file `path`, write them to `output`, and say so. `label`: what --label said."""
    from gantool.artifact import pictures
    from gantool.artifact.provenance import of
    from gantool.runtime import Generator

    suffix = output.suffix.lower()
    if suffix not in ("", ".png", ".npz"):
        raise GantoolError(f"Images can't be written as {output.name!r}.", "Name a .png, a .npz or a folder.")
    generator = Generator(path, provider)
    manifest = generator.manifest
    asked = _asked(n, seed, first, label, manifest, path, grid=suffix == ".png")
    if suffix == ".png" and asked.n > MAX_GRID:
        raise GantoolError(
            f"A grid of {asked.n} images is too large to look at.", "Write a folder or a .npz: -o images.npz"
        )
    if manifest.output.layout not in ("CHW", "HWC"):
        raise GantoolError(f"{path} makes no images but samples of {manifest.output.shape}.", "Use gantool.runtime.")
    if suffix != ".npz" and generator.shape[2] not in (1, 3):
        raise GantoolError(
            f"{path} makes images of {generator.shape[2]} channels.", "Write them to a .npz: -o images.npz"
        )
    where = _of_all(of(manifest, seed, first, asked.n), asked, manifest) if provenance else None
    try:
        if suffix == "":
            _write_folder(generator, asked, output, where)
        else:
            images = _all(generator, asked)
            if suffix == ".png":
                pictures.save_png(pictures.grid(*pictures.in_rows(images, asked.rows, first)), output, where)
            else:
                _write_npz(images, asked, output, where)
    except OSError as error:
        raise GantoolError(f"{output} can't be written: {error.strerror}.", "Name another with -o.") from error
    which = f"{asked.n} images ({first} … {first + asked.n - 1}" if asked.n > 1 else f"1 image ({first}"
    rows = f"; rows: {_rows(asked, manifest)}" if asked.rows > 1 else ""
    console().print(f"{which} of seed {seed}) of {path} → {output}{rows}")


def _asked(
    n: int | None, seed: int, first: int, label: str | None, manifest: Manifest, path: Path, grid: bool
) -> Asked:
    """By default the classes come in turn, as in the runtime; a grid has a row for each, of many for the first ones."""
    from gantool.artifact import pictures

    classes = manifest.classes
    labels: Sequence[int] = range(min(classes, pictures.MAX_ROWS) if grid else classes)
    if label is not None:
        labels = manifest.parse_classes(label, path)
    if not grid or len(labels) < 2:
        return Asked(n or pictures.SAMPLES, seed, first, labels)
    n = n or len(labels) * pictures.class_rows(len(labels))[1]
    return Asked(n, seed, first, labels, len(labels) if n > len(labels) else 1)


def _rows(asked: Asked, manifest: Manifest) -> str:
    """What the rows of a grid show."""
    names, classes = manifest.class_names, manifest.classes
    shown = ", ".join(names[label] if names else str(label) for label in asked.labels)
    left = classes - len(asked.labels)
    return shown + (f" (--label shows others of the {classes} classes)" if left > 0 else "")


def _of_all(where: Provenance, asked: Asked, manifest: Manifest) -> Provenance:
    """With the classes, where they are not those that an image has by itself."""
    if len(asked.labels) == 1:
        return replace(where, label=asked.labels[0])
    default = asked.labels == range(manifest.classes)
    return where if default else replace(where, labels=tuple(asked.labels))


def _parts(generator: Generator, asked: Asked) -> Iterator[np.ndarray]:
    from rich.progress import track

    starts = range(0, asked.n, PART)
    shown = track(starts, "generating", console=console(stderr=True), transient=True, disable=len(starts) < 4)
    for start in shown:
        first, count = asked.first + start, min(PART, asked.n - start)
        yield generator.sample(count, asked.seed, first, asked.classes(first, count))


def _all(generator: Generator, asked: Asked) -> np.ndarray:
    """All images in one array, whose size is known before the first is made."""
    import numpy as np

    size = asked.n * math.prod(generator.shape)
    if size > MAX_ARRAY:
        raise GantoolError(
            f"{asked.n} images are {size / 1e9:,.1f} GB: more than one array should hold.",
            "Write a folder, or several files with --first.",
        )
    images = np.empty((asked.n, *generator.shape), np.uint8)
    start = 0
    for part in _parts(generator, asked):
        images[start : start + len(part)] = part
        start += len(part)
    return images


def _write_npz(images: np.ndarray, asked: Asked, output: Path, where: Provenance | None) -> None:
    """Arrays images, seed, first, and labels where there are any: what `gantool train --data` takes again."""
    import numpy as np

    from gantool.system.files import replacing

    with replacing(output) as temporary, temporary.open("wb") as file:
        arrays: dict[str, Any] = {"images": images, "seed": np.int64(asked.seed), "first": np.int64(asked.first)}
        if (classes := asked.classes(asked.first, asked.n)) is not None:
            arrays["labels"] = np.array(classes, np.int64)
        if where is not None:
            arrays["provenance"] = np.array(where.to_json())  # a text of NumPy's own, which loads without pickle
        np.savez_compressed(file, **arrays)


def _write_folder(generator: Generator, asked: Asked, output: Path, where: Provenance | None) -> None:
    from PIL import Image

    from gantool.artifact import pictures

    if output.exists() and not output.is_dir():
        raise GantoolError(f"{output} exists and is no folder.", "Name a folder, a .png or a .npz.")
    number = asked.first
    for images in _parts(generator, asked):
        for image in images:
            picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
            own = None
            if where is not None:
                classes = asked.classes(number, 1)
                own = replace(where, first=number, count=1, label=classes[0] if classes else None, labels=())
            pictures.save_png(picture, output / f"seed{asked.seed}-{number:08d}.png", own)
            number += 1
