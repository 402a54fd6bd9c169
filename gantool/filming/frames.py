"""The frames of a film: values that move, the generator's pictures, and their size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from gantool.artifact.manifest import Manifest
from gantool.artifact.pictures import to_pictures
from gantool.errors import ArgumentError, excerpt
from gantool.filming.files import picture_of
from gantool.filming.keys import main_latent
from gantool.filming.music import BANDS
from gantool.filming.way import Way, swing
from gantool.plugin.options import closest
from gantool.runtime import Generator
from gantool.runtime.inputs import check_bounds

SIZE = 512
SCALINGS = ("lanczos", "pixels")
BATCH, BATCH_BYTES = 32, 2**26  # images at a time, and bytes of them with their latents


def values_of(
    manifest: Manifest,
    given: Mapping[str, float | tuple[float, float]],
    drive: Mapping[str, str],
    levels: Mapping[str, np.ndarray],
    count: int,
    loop: bool,
) -> dict[str, float | np.ndarray]:
    """The values by name: a number, or one for each frame, float64 (count,).

    ArgumentError for a range that leaves the bounds, an unknown band, and a value that is both driven and fixed.
    """
    items = {item.name: item for item in manifest.values}
    values: dict[str, float | np.ndarray] = {
        name: value for name, value in given.items() if not isinstance(value, tuple)
    }
    ranges = {name: value for name, value in given.items() if isinstance(value, tuple)}
    for name, band in drive.items():
        if band not in BANDS:
            raise ArgumentError(f"There is no band {excerpt(band)!r}.", closest(band, list(BANDS)))
        if name in values:
            raise ArgumentError(f"{excerpt(name)} is both fixed and driven.", f"Give a range: --value {name}=FROM..TO")
        item = items.get(name)
        ranges.setdefault(name, (item.low, item.high) if item else (0.0, 1.0))
    for name, (low, high) in ranges.items():
        if name in items:
            check_bounds(np.array([low, high]), items[name])
        values[name] = low + (high - low) * (levels[drive[name]] if name in drive else swing(count, loop))
    return values


def pictures(generator: Generator, way: Way, values: Mapping[str, float | np.ndarray]) -> Iterator[np.ndarray]:
    """The generator's pictures, uint8 (H, W, 1 or 3), some at a time in memory."""
    manifest, noise = generator.manifest, way.keys.noise
    label, latent = manifest.input("label"), main_latent(manifest)
    size = 4 * (math.prod(manifest.output.shape) + sum(array.size for array in noise.values()))
    batch = max(1, min(BATCH, BATCH_BYTES // size))
    classes = way.keys.labels[way.nearer]
    for start in range(0, len(classes), batch):
        part = slice(start, start + batch)
        inputs = {latent.name: way.latents(part)}
        n = len(inputs[latent.name])
        inputs |= {name: np.broadcast_to(array, (n, *array.shape[1:])) for name, array in noise.items()}
        for name, value in values.items():
            inputs[name] = value[part] if isinstance(value, np.ndarray) else np.full(n, value, np.float32)
        if label is not None:
            inputs[label.name] = classes[part]
        yield from to_pictures(generator.run(inputs))


def scaler(
    height: int, width: int, size: int | None, scaling: str, even: bool
) -> tuple[tuple[int, int], Callable[[np.ndarray], np.ndarray]]:
    """Height and width of the frames, and the function that makes a picture one of them."""
    from PIL import Image

    side = max(height, width)
    longer = size or max(SIZE, side)
    times = longer // side
    if scaling == "pixels" and not times:
        raise ArgumentError(f"Pixels can't be repeated to shrink {side} pixels to {longer}.", "Leave --scaling out.")
    whole = [times * each if scaling == "pixels" else max(1, round(each * longer / side)) for each in (height, width)]
    rows, columns = (each + each % 2 if even else each for each in whole)

    def scaled(picture: np.ndarray) -> np.ndarray:
        if scaling == "pixels":
            large = picture.repeat(times, 0).repeat(times, 1)
            return np.pad(large, ((0, rows - whole[0]), (0, columns - whole[1]), (0, 0)), "edge")
        if picture.shape[:2] == (rows, columns):
            return np.ascontiguousarray(picture)
        resized = picture_of(picture).resize((columns, rows), Image.Resampling.LANCZOS)
        return np.asarray(resized).reshape(rows, columns, picture.shape[2])

    return (rows, columns), scaled
