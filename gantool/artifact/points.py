"""Points (N, 2) in [-1, 1] as pictures."""

from __future__ import annotations

import numpy as np

EXTENT = 1.1  # what is shown of both axes, to either side of 0
SIDE, TILE = 480, 48  # pixels of a picture of many points, and of one point
REAL, FAKE = (150, 154, 160), (168, 50, 126)
_RADIUS = 3


def pictures(points: np.ndarray) -> np.ndarray:
    """uint8 (N, 48, 48, 1): a picture of each point, white on black."""
    made = np.zeros((len(points), TILE, TILE, 1), np.uint8)
    _dots(made, np.arange(len(points)), points, (255,))
    return made


def scatter(reals: np.ndarray, fakes: np.ndarray) -> np.ndarray:
    """uint8 (1, 480, 480, 3), one picture of all: reals grey, fakes in colour above them."""
    made = np.full((1, SIDE, SIDE, 3), 255, np.uint8)
    _dots(made, 0, reals, REAL)
    _dots(made, 0, fakes, FAKE)
    return made


def _dots(pictures: np.ndarray, number: np.ndarray | int, points: np.ndarray, colour: tuple[int, ...]) -> None:
    """Draw each point into the picture of its number; y points up."""
    side = pictures.shape[1]
    places = (np.nan_to_num(points) * (1, -1) / EXTENT + 1) / 2 * (side - 1)
    columns, rows = np.clip(places.round(), _RADIUS, side - 1 - _RADIUS).astype(int).T
    for down in range(-_RADIUS, _RADIUS + 1):
        for right in range(-_RADIUS, _RADIUS + 1):
            if down**2 + right**2 <= _RADIUS**2 + 1:
                pictures[number, rows + down, columns + right] = colour
