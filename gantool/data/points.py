"""Toy data: points of the plane, as GAN Lab shows them (Kahng et al. 2018, arXiv:1809.01587)."""

from __future__ import annotations

import numpy as np

from gantool.data.dataset import Dataset
from gantool.errors import GantoolError

COUNT = 10_000
SUMMARIES = {
    "ring": "points of eight Gaussians on a circle",
    "grid": "points of 25 Gaussians, five by five",
    "spiral": "points along two turns of a spiral",
}


def load_points(name: str, size: int | None) -> Dataset:
    """One of SUMMARIES: float32 (10000, 2) in [-1, 1], the same on every machine. GantoolError with a size."""
    if size is not None:
        raise GantoolError(f"The points of {name!r} have no size.", "Leave --size out.")
    random = np.random.RandomState(0)  # numpy promises that its numbers stay
    noise = random.normal(size=(COUNT, 2))
    if name == "ring":
        angle = random.randint(8, size=COUNT) * np.pi / 4
        points = 0.75 * _direction(angle) + 0.04 * noise
    elif name == "grid":
        points = 0.4 * (random.randint(5, size=(COUNT, 2)) - 2) + 0.03 * noise
    else:
        along = np.sqrt(random.uniform(0.02, 1, size=COUNT))[:, np.newaxis]  # as dense inside as outside
        points = 0.85 * along * _direction(4 * np.pi * along[:, 0]) + 0.02 * noise
    # rounded: libraries of mathematics differ in the last digits
    return Dataset(name, name, {"images": np.clip(points.round(4), -1, 1).astype(np.float32)})


def _direction(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
