"""Arrays of volumes: checked, made to cubes; uint8 (N, C, D, H, W), 0 empty and 255 filled.

D goes from front to back, H from top to bottom, W from left to right: a slice along D is an upright picture.
"""

from __future__ import annotations

import numpy as np

from gantool.data.dataset import check_bytes
from gantool.data.images import as_bytes, as_images
from gantool.errors import ArgumentError, GantoolError

SIDE = 32  # voxels, where none are given
SHORTEST = 4
MAX_VOXELS = 2**27  # of one volume: 512 × 512 × 512
FILLED = 64  # of 255: a voxel is filled when a quarter of what becomes it is, so that thin parts stay


def as_volume(array: np.ndarray) -> np.ndarray:
    """uint8 (C, D, H, W) of one volume (D, H, W) or (C, D, H, W): booleans, uint8, or floats in [0, 1] or [-1, 1].

    Integers that are 0 and 1 alone are booleans. ValueError for others.
    """
    if array.ndim == 3:
        array = array[np.newaxis]
    if array.ndim != 4 or 0 in array.shape or array.size > MAX_VOXELS:
        raise ValueError(f"its shape is {array.shape}: a volume is (D, H, W), of at most {MAX_VOXELS:,} voxels")
    if array.dtype.kind in "biu" and (array.dtype == bool or (array.min() >= 0 and array.max() <= 1)):
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind != "f":
        raise ValueError(f"its dtype is {array.dtype}; a volume is of booleans, uint8 or floats")
    try:
        floats, _ = as_images(array.reshape(1, 1, array.shape[0] * array.shape[1], -1).copy(), "it")
    except GantoolError as error:
        raise ValueError(error.message) from error
    return as_bytes(floats).reshape(array.shape)


def as_volumes(array: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """(N, C, D, H, W), uint8 or float32 in [-1, 1], from (N, D, H, W) or (N, C, D, H, W); and a note on scaling.

    Booleans become 0 and 255. GantoolError for other arrays and values.
    """
    if array.ndim not in (4, 5) or 0 in array.shape:
        raise GantoolError(
            f"{where} has shape {array.shape}; volumes are (N, D, H, W) or (N, C, D, H, W).", "Reshape it."
        )
    array = array[:, np.newaxis] if array.ndim == 4 else array
    check_sides(array.shape[2:], where)
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255), ""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), ""
    if array.dtype.kind != "f":
        raise GantoolError(
            f"{where} has dtype {array.dtype}; volumes are booleans, uint8, or floats in [0, 1] or [-1, 1].",
            "Convert it: (volumes > 0).",
        )
    shape = array.shape
    floats, note = as_images(np.ascontiguousarray(array).reshape(shape[0], 1, -1, shape[4]), where)
    return floats.reshape(shape), note


def check_sides(sides: tuple[int, ...], where: str) -> None:
    if min(sides) < SHORTEST:
        raise GantoolError(
            f"{where} is {'×'.join(map(str, sides))} voxels; each side needs at least {SHORTEST}.",
            "Use larger volumes.",
        )


def check_cube(size: int | None) -> None:
    """ArgumentError for the side of a cube of more than MAX_VOXELS."""
    if size is not None and size**3 > MAX_VOXELS:
        raise ArgumentError(
            f"A volume of size {size} would have {size**3:,} voxels.",
            f"Give --size {round(MAX_VOXELS ** (1 / 3))} or less.",
        )


def cube(volume: np.ndarray, size: int) -> np.ndarray:
    """uint8 (C, size, size, size) of (C, D, H, W): centred in a cube and averaged; of binary ones binary."""
    sides = volume.shape[1:]
    if sides == (size, size, size):
        return volume
    side = max(sides)
    binary = not ((volume != 0) & (volume != 255)).any()
    made: np.ndarray = volume
    for axis, own in enumerate(sides, 1):
        slices = []  # one by one: floats of the whole would take four times its bytes
        for row in _shares(own, side, size):
            cells = np.flatnonzero(row)
            slices.append(np.tensordot(row[cells], made.take(cells, axis).astype(np.float32), (0, axis)))
        made = np.stack(slices, axis)
    if binary:
        made = np.where(made >= FILLED - 0.5, np.float32(255), np.float32(0))
    levels: np.ndarray = np.rint(made).clip(0, 255)
    return levels.astype(np.uint8)


def _shares(own: int, side: int, size: int) -> np.ndarray:
    """(size, own): the share that each of `own` cells, centred among `side`, has in each of `size` cells."""
    before = (side - own) // 2
    edges = np.arange(size + 1) * (side / size)
    low, high = edges[:-1, None], edges[1:, None]
    cells = np.arange(before, before + own)[None]
    overlap: np.ndarray = np.clip(np.minimum(high, cells + 1) - np.maximum(low, cells), 0, None)
    return (overlap / (side / size)).astype(np.float32)


def refitted(volumes: np.ndarray, size: int | None, where: str) -> np.ndarray:
    """uint8 (N, C, size, size, size) from volumes (N, C, D, H, W), uint8 or floats in [-1, 1]."""
    check_cube(size)
    volumes = as_bytes(volumes)
    if size is None or volumes.shape[2:] == (size, size, size):
        return volumes
    check_bytes(len(volumes) * volumes.shape[1] * size**3, f"{where} at size {size}")
    return np.stack([cube(volume, size) for volume in volumes])


def filled(volume: np.ndarray) -> float:
    """The share of uint8 `volume` that is filled."""
    return float((volume > 127).mean())
