"""Test cards: pictures by a formula of integers, the same in every language.

Golden images of a generator that takes a picture are made of them, so that no picture of the data is in a file.
"""

from __future__ import annotations

import numpy as np


def card(number: int, height: int, width: int, channels: int) -> np.ndarray:
    """Test card `number`: uint8 (height, width, channels)."""
    made: np.ndarray = cards(number, 1, height, width, channels)[0]
    return made


def cards(first: int, count: int, height: int, width: int, channels: int) -> np.ndarray:
    """Test cards `first … first+count-1`: uint8 (count, height, width, channels)."""
    i, y, x, c = np.ogrid[first : first + count, :height, :width, :channels]
    levels = (x * 7 + y * 5 + c * 53 + i * 101) ^ ((x >> 3) * 37 + (y >> 3) * 91)
    made: np.ndarray = (levels & 255).astype(np.uint8)
    return made
