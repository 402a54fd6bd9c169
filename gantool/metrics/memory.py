"""Memorisation: are the fakes copies of training samples? The nearest of them, in features and in pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from gantool.artifact import pictures
from gantool.metrics.neighbours import nearest
from gantool.metrics.samples import as_samples

SHOWN = 4  # nearest training samples of each fake
ROWS = 12  # fakes in the picture


@dataclass(frozen=True)
class Space:
    """Nearest training samples in one space. The medians are distances; `among`: how many were looked through.

    `distances` and `rows` (fakes, SHOWN): of each fake, nearest first; `rows` are row numbers of the data.
    """

    among: int
    fake_median: float
    real_median: float
    distances: Tensor
    rows: np.ndarray

    @property
    def ratio(self) -> float | None:
        """About 1: as far from the training samples as these are from one another; well below 1: copies.

        None where the data are mostly duplicates, so that there is nothing to compare with.
        """
        return self.fake_median / self.real_median if self.real_median > 0 else None


@dataclass(frozen=True)
class Memorisation:
    """Of the first fakes (uint8, or floats in [-1, 1]): their nearest training samples by features and by pixels."""

    fakes: np.ndarray
    features: Space
    pixels: Space

    @property
    def suspicious(self) -> Tensor:
        """Numbers of the fakes, first those that are much nearer by features to one training sample than to others.

        By the nearest distance over the last that is known: by the distance alone, the simplest samples come first.
        """
        distances = self.features.distances
        return (distances[:, 0] / distances[:, -1].clamp(min=1e-12)).argsort(stable=True)


def memorisation(
    fakes: np.ndarray,
    fake_features: Tensor,
    real_features: Tensor,
    samples: np.ndarray,
    real_rows: np.ndarray,
    trained_rows: np.ndarray,
    watch: Callable[[str, int], Callable[[int], None]] = lambda what, total: lambda done: None,
) -> Memorisation:
    """Compare fakes (N, *shape) and their features (N, D) with the training samples.

    `samples`: all of the data; `real_rows`: those with `real_features` (M, D), where the features' neighbours are
    looked for; `trained_rows`: where the pixels' are; two or more of each. The yardstick is the distance of a real to
    the nearest other one.
    """
    advance = watch("nearest training samples", 4)

    def by_features(start: int, stop: int) -> Tensor:
        return real_features[start:stop].double()

    def by_pixels(start: int, stop: int) -> Tensor:
        return as_samples(samples[trained_rows[start:stop]]).flatten(1)

    features = _space(fake_features.double(), by_features, real_rows, advance)
    pixels = _space(as_samples(fakes).flatten(1), by_pixels, trained_rows, advance)
    return Memorisation(fakes, features, pixels)


def neighbours_picture(found: Memorisation, samples: np.ndarray) -> Image:
    """A row for each of the most suspicious fakes: it, its nearest training samples by features, and by pixels."""
    order = found.suspicious[:ROWS].tolist()
    tiles: list[np.ndarray] = []
    for i in order:
        chosen = [
            as_samples(found.fakes[i : i + 1]),
            as_samples(samples[found.features.rows[i]]),
            as_samples(samples[found.pixels.rows[i]]),
        ]
        shown = [pictures.to_pictures(part.numpy()) for part in chosen]
        gap = np.full_like(shown[0], 64)  # the colour between the tiles
        tiles += [shown[0], gap, shown[1], gap, shown[2]]
    images = np.concatenate(tiles)
    return pictures.grid(images, columns=len(images) // len(order))


def _space(
    queries: Tensor, candidates: Callable[[int, int], Tensor], rows: np.ndarray, advance: Callable[[int], None]
) -> Space:
    distances, found = nearest(queries, candidates, len(rows), SHOWN)
    advance(1)
    # spread over the data, not the first: sources are often sorted by class
    own = torch.linspace(0, len(rows) - 1, min(len(queries), len(rows)), dtype=torch.float64).long()
    reals = torch.cat([candidates(row, row + 1) for row in own.tolist()])
    others, _ = nearest(reals, candidates, len(rows), own=own)
    advance(1)
    return Space(len(rows), float(distances[:, 0].median()), float(others.median()), distances, rows[found.numpy()])
