"""Where the numbers of a rearranged value lie: as nested loops, or as a table that repeats itself."""

from __future__ import annotations

import math

import numpy as np


def strides(index: np.ndarray) -> tuple[list[int], list[int], np.ndarray]:
    """The sides and steps, outer first, of the nested loops that make `index`, and what is left of it as a table."""
    sides: list[int] = []
    steps: list[int] = []
    while index.size > 1 and (not sides or index.min() >= 0):
        step = int(index[1] - index[0])
        breaks = np.flatnonzero(np.diff(index) != step)
        side = math.gcd(int(breaks[0]) + 1 if breaks.size else index.size, index.size)
        rows = index.reshape(-1, side)
        zeros = rows[:, 0] < 0  # runs of zeros; no other has one
        wanted = np.where(zeros[:, None], -1, rows[:, :1] + np.arange(side) * step)
        if side == 1 or step < 0 or not np.array_equal(rows, wanted):
            break
        sides.insert(0, side)
        steps.insert(0, step)
        index = rows[:, 0]
    return sides, steps, index


def repeats(places: np.ndarray) -> tuple[int, int]:
    """How often the first part of a table repeats itself, each time how much further."""
    for outer in range(places.size, 1, -1):
        if places.size % outer:
            continue
        rows = places.reshape(outer, -1)
        known = rows[0] >= 0
        step = int((rows[1] - rows[0])[known][0]) if known.any() else 0
        wanted = np.where(known, rows[0] + step * np.arange(outer)[:, None], -1)
        if step >= 0 and np.array_equal(rows, wanted):
            return outer, step
    return 1, 0
