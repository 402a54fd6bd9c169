"""Points (N, 2) in [-1, 1] as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENT = 1.1  # what is shown of both axes, to either side of 0
SIDE, TILE = 480, 48  # pixels of a picture of many points, and of one point
REAL, FAKE = (150, 154, 160), (168, 50, 126)


def pictures(points: np.ndarray) -> np.ndarray:
    """uint8 (N, 48, 48, 1): a picture of each point, white on black."""
    made = np.zeros((len(points), TILE, TILE, 1), np.uint8)
    columns, rows = np.clip(_pixels(points, TILE), 2, TILE - 3).astype(int).T
    for down in range(-2, 3):
        for right in range(-2, 3):
            made[np.arange(len(points)), rows + down, columns + right] = 255
    return made


def scatter(reals: np.ndarray, fakes: np.ndarray) -> Image:
    """One picture of all: reals grey, fakes in colour above them."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (2 * SIDE, 2 * SIDE), "white")
    draw = ImageDraw.Draw(picture)
    for points, colour in ((reals, REAL), (fakes, FAKE)):
        for x, y in _pixels(points, 2 * SIDE):
            draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)


def _pixels(points: np.ndarray, side: int) -> np.ndarray:
    """Column and row of each point; y points up."""
    inside = np.clip(np.nan_to_num(points), -EXTENT, EXTENT)
    places: np.ndarray = (inside * (1, -1) / EXTENT + 1) / 2 * (side - 1)
    return places
