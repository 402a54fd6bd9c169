"""Sources made from pictures: what `--pairs edges`, `grey`, `lines`, `mask` and `small:4` take each picture for.

All arithmetic is on whole numbers, so that equal pictures make equal sources on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from gantool.data.images import as_bytes, with_channels

Rule = Callable[[np.ndarray, int], np.ndarray]  # uint8 (N, C, H, W), and the number of the first one → the sources
SMALL = "small"
GREY = 128
_ROWS = 2**17  # values that are worked on together: they fit into a cache
_WEAK, _STRONG = 40, 96  # of an edge: an eighth of Sobel's sum, so the step in levels of a sharp edge
_INK, _GAIN = 3, 12  # of a line: how many levels darker than around it, and how fast it blackens


def apply(name: str, factor: int, images: np.ndarray) -> np.ndarray:
    """The sources of `images` (N, C, H, W) by the rule `name`, uint8 (N, C', H', W'). `factor`: that of `small`."""
    rule = RULES.get(name) or (lambda part, first: small(part, factor))
    step = max(1, _ROWS // max(1, images[0].size))
    parts = [rule(as_bytes(np.asarray(images[i : i + step])), i) for i in range(0, len(images), step)]
    return np.concatenate(parts)


def grey(images: np.ndarray, first: int = 0) -> np.ndarray:
    """Luma, uint8 (N, 1, H, W)."""
    return with_channels(images, 1)


def small(images: np.ndarray, factor: int) -> np.ndarray:
    """Means of factor×factor pixels: uint8 (N, C, H / factor, W / factor)."""
    rows, channels, height, width = images.shape
    cells = images.reshape(rows, channels, height // factor, factor, width // factor, factor)
    sums: np.ndarray = cells.sum(axis=(3, 5), dtype=np.int64)
    return ((2 * sums + factor**2) // (2 * factor**2)).astype(np.uint8)


def mask(images: np.ndarray, first: int = 0) -> np.ndarray:
    """A rectangle of a quarter to a half of each side is grey; where it is depends on the picture's number."""
    made = images.copy()
    height, width = images.shape[2:]
    for row, picture in enumerate(made):
        digest = hashlib.sha256(f"mask {first + row}".encode()).digest()
        tall, wide, top, left = (int.from_bytes(digest[i : i + 8], "little") for i in (0, 8, 16, 24))
        tall, wide = height // 4 + tall % (height // 4 + 1), width // 4 + wide % (width // 4 + 1)
        top, left = top % (height - tall + 1), left % (width - wide + 1)
        picture[:, top : top + tall, left : left + wide] = GREY
    return made


def lines(images: np.ndarray, first: int = 0) -> np.ndarray:
    """A drawing, uint8 (N, 1, H, W): dark where a channel is darker than around it (the difference of two blurs)."""
    most = np.zeros(images[:, 0].shape, np.int32)
    for plane in np.moveaxis(images, 1, 0).astype(np.int32):
        coarse = plane
        for _ in range(1 + max(2, plane.shape[2] // 24)):  # so that a line is as thick at every size
            coarse = _blurred(coarse) // 16
        most = np.maximum(most, 16 * coarse - _blurred(plane))
    ink = np.clip((most - 16 * _INK) * _GAIN // 16, 0, 255)
    return (255 - ink).astype(np.uint8)[:, np.newaxis]


def edges(images: np.ndarray, first: int = 0) -> np.ndarray:
    """Dark edges on white, uint8 (N, 1, H, W), by the detector of Canny (1986): thin, and whole lines.

    Sobel's gradient of the channel that changes most, of slightly blurred pictures; the highest along it; weak edges
    only where they are joined to strong ones.
    """
    planes = np.moveaxis(images, 1, 0).astype(np.int32)
    along_x, along_y, height = (np.zeros(planes.shape[1:], np.int32) for _ in range(3))
    for plane in planes:
        x, y = _sobel(_blurred(plane))
        larger = np.abs(x) + np.abs(y) > height
        along_x, along_y = np.where(larger, x, along_x), np.where(larger, y, along_y)
        height = np.abs(along_x) + np.abs(along_y)
    thin = _highest(height, along_x, along_y)
    unit = 16 * 8  # of the blur, and of Sobel's sums of a sharp edge, less what the blur takes
    weak, strong = thin & (height >= _WEAK * unit // 4), thin & (height >= _STRONG * unit // 4)
    while True:  # strong edges grow along weak ones
        grown = weak & _any_neighbour(strong)
        if np.array_equal(grown, strong):
            break
        strong = grown
    return np.where(strong, 0, 255).astype(np.uint8)[:, np.newaxis]


def _shifted(planes: np.ndarray, down: int, right: int) -> np.ndarray:
    """The values `down` and `right` of each pixel; beyond the border those at the border."""
    padded: np.ndarray = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = planes.shape[1:]
    return padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]


def _blurred(planes: np.ndarray) -> np.ndarray:
    """16 times the filter [1, 2, 1]² of the planes (N, H, W)."""
    for down, right in ((0, 1), (1, 0)):
        planes = _shifted(planes, -down, -right) + 2 * planes + _shifted(planes, down, right)
    return planes


def _sobel(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tall = _shifted(planes, -1, 0) + 2 * planes + _shifted(planes, 1, 0)
    wide = _shifted(planes, 0, -1) + 2 * planes + _shifted(planes, 0, 1)
    return _shifted(tall, 0, 1) - _shifted(tall, 0, -1), _shifted(wide, 1, 0) - _shifted(wide, -1, 0)


def _highest(height: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where `height` is highest along the gradient, to one of eight neighbours (directions by tan 22.5° ≈ 5 / 12)."""
    across, upright = 12 * np.abs(y) <= 5 * np.abs(x), 12 * np.abs(x) <= 5 * np.abs(y)
    falling = (x > 0) == (y > 0)
    highest = np.zeros(height.shape, bool)
    directions = (
        (across, (0, 1)),
        (upright & ~across, (1, 0)),
        (~across & ~upright & falling, (1, 1)),
        (~across & ~upright & ~falling, (1, -1)),
    )
    for where, (down, right) in directions:
        ahead, behind = _shifted(height, down, right), _shifted(height, -down, -right)
        highest |= where & (height > ahead) & (height >= behind)
    return highest


def _any_neighbour(planes: np.ndarray) -> np.ndarray:
    for down, right in ((0, 1), (1, 0)):
        planes = planes | _shifted(planes, down, right) | _shifted(planes, -down, -right)
    return planes


RULES: dict[str, Rule] = {"edges": edges, "grey": grey, "lines": lines, "mask": mask}
