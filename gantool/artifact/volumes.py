"""Show volumes as pictures: a shaded view of their filled part, from a fixed camera."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

TURN, TILT = 35.0, 25.0  # degrees: the camera stands to the right of the front, and above
LIGHT = (-0.5, 0.75, 0.6)  # towards it, seen from the camera: right, up, to the viewer
AMBIENT = 0.25  # of the brightness in the shade
BACKGROUND = 16
STEP = 0.6  # of a ray, in voxels


def pictures(samples: np.ndarray) -> np.ndarray:
    """Volumes (N, C, D, H, W) in [-1, 1] → uint8 (N, S, S, 1), where S is 64 to 96; of several channels the first.

    What is above 0 is filled. D runs from the front to the back, H from the top to the bottom, W from left to right:
    slice 0 is what stands in front, upright like an image.
    """
    density = np.nan_to_num(samples[:, 0].astype(np.float32), posinf=1, neginf=-1)
    shape = density.shape[1:]
    side = min(96, max(64, 3 * max(shape)))
    outside = int(np.prod(shape))  # an empty voxel after the last: where rays are outside
    rays = _rays(shape, side)
    shown = np.full((len(density), side * side), BACKGROUND, np.uint8)
    for picture, volume in zip(shown, density, strict=True):
        filled = np.append(volume.ravel() > 0, False)
        along = filled.take(rays)  # (steps, pixels)
        first = along.argmax(0)
        voxels = rays[first, np.arange(side * side)]
        hit = filled[voxels] & (voxels < outside)
        steepness = _normals(volume).reshape(3, -1)[:, voxels[hit]]
        lit = np.clip(_light() @ steepness, 0, 1)
        nearness = 1 - first[hit] / len(rays)
        picture[hit] = np.round(255 * (AMBIENT + (1 - AMBIENT) * lit) * (0.7 + 0.3 * nearness))
    return shown.reshape(-1, side, side, 1)


def _normals(volume: np.ndarray) -> np.ndarray:
    """Unit normals (3, D, H, W) out of the filled part: downhill in a smoothed volume, whose surroundings are empty."""
    smooth = np.pad((volume > 0).astype(np.float32), 2)
    for axis in range(3):
        smooth = smooth + 0.5 * (np.roll(smooth, 1, axis) + np.roll(smooth, -1, axis))
    slopes = np.stack(list(np.gradient(-smooth)))[:, 2:-2, 2:-2, 2:-2]
    normals: np.ndarray = slopes / np.maximum(np.sqrt((slopes**2).sum(0)), 1e-6)
    return normals


@lru_cache(maxsize=1)
def _camera() -> np.ndarray:
    """Rows: right, up and towards the viewer, as vectors along the axes D, H and W."""
    turn, tilt = np.deg2rad((TURN, TILT))
    right = np.array([np.sin(turn), 0, np.cos(turn)])
    level = np.array([-np.cos(turn), 0, np.sin(turn)])  # to the viewer, on the floor
    down = np.array([0, 1, 0])
    return np.stack([right, -np.cos(tilt) * down - np.sin(tilt) * level, np.cos(tilt) * level - np.sin(tilt) * down])


@lru_cache(maxsize=1)
def _light() -> np.ndarray:
    light = np.array(LIGHT) @ _camera()
    unit: np.ndarray = light / np.linalg.norm(light)
    return unit


@lru_cache(maxsize=4)
def _rays(shape: tuple[int, ...], side: int) -> np.ndarray:
    """The voxels that the ray of each pixel meets, from the viewer on: flat numbers, (steps, side²).

    Rays are parallel, and the picture a little wider than the view of the whole box. Outside of it the number is one
    after the last.
    """
    box = np.array(shape, float)
    corners = np.stack(np.meshgrid(*([-0.5, 0.5] for _ in shape), indexing="ij"), -1).reshape(-1, 3) * box
    right, up, near = _camera()
    extent = 1.04 * np.abs(corners @ np.stack([right, up], 1)).max()
    depth = (corners @ near).max()
    across = ((np.arange(side) + 0.5) / side * 2 - 1) * extent
    steps = np.arange(depth, -depth, -STEP)
    numbers = np.full((len(steps), side, side), int(np.prod(shape)), np.intp)
    for number, step in zip(numbers, steps, strict=True):  # a step at a time: little memory
        points = across[None, :, None] * right - across[:, None, None] * up + step * near + box / 2
        cells = np.floor(points).astype(np.int32)
        inside = ((cells >= 0) & (cells < shape)).all(2)
        number[inside] = np.ravel_multi_index(tuple(cells[inside].T), shape)
    return numbers.reshape(len(steps), -1)
