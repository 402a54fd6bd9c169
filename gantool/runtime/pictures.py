"""Pictures that a generator takes: into bytes of its size and colours, and in tiles where they are large."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gantool.artifact.manifest import InputInfo
from gantool.errors import ArgumentError, cause, excerpt

OVERLAP = 4  # a tile's side is so many times the overlap of two neighbours

Translate = Callable[[np.ndarray], np.ndarray]  # pictures uint8 (n, H, W, C) → results uint8 (n, H', W', C')


def parse_pictures(given: Any, item: InputInfo) -> list[np.ndarray]:
    """Pictures as uint8 (H, W, C) each, in the channels of `item`; ArgumentError for what is none.

    `given`: uint8 (n, H, W, C), (H, W, C) or (H, W), a picture of Pillow, or a list of the last three.
    """
    if isinstance(given, np.ndarray) and given.ndim == 4:
        given = list(given)
    pictures = [_parsed(each, item) for each in (given if isinstance(given, list | tuple) else [given])]
    for picture in pictures:
        height, width = picture.shape[:2]
        if not item.multiple and (height, width) != item.sides:
            raise ArgumentError(
                f"A picture has {width}×{height} pixels; this generator takes {item.sides[1]}×{item.sides[0]} only.",
                "Crop or resize it first.",
            )
    return pictures


def _parsed(given: Any, item: InputInfo) -> np.ndarray:
    try:
        picture = _pixels(given, item.channels) if hasattr(given, "getexif") else np.asarray(given)
    except (OSError, ValueError) as error:  # cut short, closed, without pixels; lists of unequal lengths
        raise ArgumentError(f"A picture can't be used: {cause(error)}.", "Open it anew, or mend it.") from error
    if picture.dtype.kind in "USO":
        raise ArgumentError(
            f"A picture is {excerpt(repr(given), 60)}; wanted: uint8 (H, W, {item.channels}), or a picture of Pillow.",
            "Open the file first: PIL.Image.open(path).",
        )
    picture = picture[:, :, None] if picture.ndim == 2 else picture
    if picture.dtype != np.uint8 or picture.ndim != 3 or not picture.size:
        raise ArgumentError(
            f"A picture is {picture.dtype} {picture.shape}; wanted: uint8 (H, W, {item.channels}).",
            "Give bytes from 0 to 255, channels last: ((x + 1) * 127.5).round().astype('uint8') of floats in [-1, 1].",
        )
    if picture.shape[2] == item.channels:
        return picture
    if picture.shape[2] > 4 or item.channels not in (1, 3):
        raise ArgumentError(f"A picture has {picture.shape[2]} channels; wanted: {item.channels}.")
    return _pixels(picture, item.channels)


def _pixels(picture: Any, channels: int) -> np.ndarray:
    from gantool.artifact.upright import as_pixels  # loads Pillow

    return as_pixels(picture, channels)


def padded(picture: np.ndarray, multiple: int) -> np.ndarray:
    """A picture (H, W, C) whose last row and column are repeated until both sides are multiples of `multiple`."""
    below, right = (-side % (multiple or side) for side in picture.shape[:2])
    return np.pad(picture, ((0, below), (0, right), (0, 0)), "edge") if below or right else picture


def tiled(picture: np.ndarray, tile: int, multiple: int, shape: tuple[int, ...], translate: Translate) -> np.ndarray:
    """The result of a padded picture (H, W, C), uint8 of `shape`, made of tiles that overlap.

    `tile`: their side, a multiple of `multiple`, twice that at least. Along an overlap the results of two tiles fade
    into each other by a linear ramp; a quarter of it at each end is left out, for there a network sees the tile's own
    border. Beside the result only one row of tiles is in memory.
    """
    rows, columns = (_tiles(side, tile, multiple) for side in picture.shape[:2])
    ratios = [new / old for new, old in zip(shape[:2], picture.shape[:2], strict=True)]
    made = np.empty(shape, np.uint8)
    open_rows = np.zeros((0, *shape[1:]), np.float32)  # those from `done` on that have a part already
    done = 0
    ends = [start for start, _ in rows[1:]] + [picture.shape[0]]
    for (top, height), ramp, end in zip(rows, _ramps(rows, ratios[0]), ends, strict=True):
        parts = np.stack([picture[top : top + height, left : left + width] for left, width in columns])
        strip = np.zeros((len(ramp), *shape[1:]), np.float32)
        for (left, _), part, across in zip(columns, translate(parts), _ramps(columns, ratios[1]), strict=True):
            first = round(left * ratios[1])
            strip[:, first : first + len(across)] += part * across[:, None]
        strip *= ramp[:, None, None]
        strip[: len(open_rows)] += open_rows
        count = round(end * ratios[0]) - done
        made[done : done + count] = strip[:count] + np.float32(0.5)
        open_rows, done = strip[count:], done + count
    return made


def _tiles(side: int, tile: int, multiple: int) -> list[tuple[int, int]]:
    """Start and length of the tiles along a side: equally long, at multiples of `multiple`."""
    if side <= tile:
        return [(0, side)]
    count = 1 + math.ceil((side - tile) / (tile - max(multiple, tile // OVERLAP)))
    last = (side - tile) // multiple
    return [(i * last // (count - 1) * multiple, tile) for i in range(count)]


def _ramps(tiles: Sequence[tuple[int, int]], ratio: float) -> list[np.ndarray]:
    """The weights of the results of tiles along a side, float32; those of all tiles add up to 1 everywhere."""
    spans = [(round(start * ratio), round((start + length) * ratio)) for start, length in tiles]
    ramps = [np.ones(stop - start, np.float32) for start, stop in spans]
    total = np.zeros(spans[-1][1], np.float32)
    for one, two in pairwise(range(len(spans))):
        overlap = spans[one][1] - spans[two][0]
        rising = np.clip(((np.arange(overlap) + 0.5) / overlap - 0.25) * 2, 0, 1)
        ramps[one][-overlap:] *= 1 - rising
        ramps[two][:overlap] *= rising
    for (start, stop), ramp in zip(spans, ramps, strict=True):
        total[start:stop] += ramp
    return [ramp / total[start:stop] for (start, stop), ramp in zip(spans, ramps, strict=True)]
