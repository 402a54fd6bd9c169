"""Nearest neighbours of features: precision, recall, density, coverage, and memorisation.

Distances between all pairs are computed a block at a time, so memory does not grow with the square of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from gantool.artifact import pictures
from gantool.errors import GantoolError
from gantool.metrics import overlaps
from gantool.metrics.samples import as_samples

ELEMENTS = 2**23  # distances held at once: 64 MB
PRECISION_K = 3  # as in arXiv:1904.06991
DENSITY_K = 5  # as in arXiv:2002.09797
SHOWN = 4  # nearest training samples of each fake
ROWS = 12  # fakes in the picture


@dataclass(frozen=True)
class Manifolds:
    """Precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), density and coverage (Naeem et al. 2020,
    arXiv:2002.09797), and the mean distance between two different fakes, and between two different reals."""

    precision: float
    recall: float
    density: float
    coverage: float
    fake_spread: float
    real_spread: float


def manifolds(
    reals: Tensor, fakes: Tensor, elements: int = ELEMENTS, advance: Callable[[int], None] = lambda rows: None
) -> Manifolds:
    """From features of reals (N, D) and fakes (M, D), each more than DENSITY_K rows; balls are closed.

    `elements`: distances held at once. `advance` is told of the rows done, N + 2 M in all.
    """
    reals, fakes = reals.double(), fakes.double()
    (narrow, wide), real_spread = _radii(reals, (PRECISION_K, DENSITY_K), elements, advance)
    (fake_narrow,), fake_spread = _radii(fakes, (PRECISION_K,), elements, advance)
    precise = inside = 0
    recalled = torch.zeros(len(reals), dtype=torch.bool)
    covered = torch.zeros(len(reals), dtype=torch.bool)
    for start, block in _blocks(fakes, len(reals), elements):
        distance = torch.cdist(block, reals)
        near = distance <= wide
        precise += int((distance <= narrow).any(1).sum())
        inside += int(near.sum())
        covered |= near.any(0)
        recalled |= (distance <= fake_narrow[start : start + len(block), None]).any(0)
        advance(len(block))
    return Manifolds(
        precision=precise / len(fakes),
        recall=float(recalled.double().mean()),
        density=inside / (DENSITY_K * len(fakes)),
        coverage=float(covered.double().mean()),
        fake_spread=fake_spread,
        real_spread=real_spread,
    )


def nearest(
    queries: Tensor,
    candidates: Callable[[int, int], Tensor],
    rows: int,
    k: int = 1,
    own: Tensor | None = None,
    elements: int = ELEMENTS,
    overlap: bool = False,
) -> tuple[Tensor, Tensor]:
    """The `k` nearest of `rows` candidates to each query (N, D), nearest first: distances and rows, both (N, k).

    `candidates(start, stop)` gives those rows (n, D), a part at a time. `own`: each query's own row (N,) among them,
    which does not count. `overlap`: distances are 1 - IoU.
    """
    k = min(k, rows - (own is not None))
    best = queries.new_full((len(queries), 0), torch.inf)
    found = torch.empty(len(queries), 0, dtype=torch.int64)
    step = max(k, elements // max(len(queries), queries.shape[1]))
    for start in range(0, rows, step):
        part = candidates(start, min(start + step, rows)).to(queries.dtype)
        distance = overlaps.distances(queries, part) if overlap else torch.cdist(queries, part)
        if own is not None:
            mine = ((own >= start) & (own < start + len(part))).nonzero().flatten()
            distance[mine, own[mine] - start] = torch.inf
        numbers = torch.arange(start, start + len(part)).expand(len(queries), -1)
        best, order = torch.cat([best, distance], 1).topk(min(k, best.shape[1] + len(part)), largest=False)
        found = torch.cat([found, numbers], 1).gather(1, order)
    return (best.double(), found) if overlap else _exact(queries, candidates, found)


def _exact(queries: Tensor, candidates: Callable[[int, int], Tensor], found: Tensor) -> tuple[Tensor, Tensor]:
    """The distances of the rows `found`, by differences: a matrix product leaves a copy some way from its original."""
    columns = []
    for column in found.T:
        chosen = torch.cat([candidates(row, row + 1) for row in column.tolist()]).to(queries.dtype)
        columns.append((queries - chosen).double().norm(dim=1))
    distance, order = torch.stack(columns, 1).sort(dim=1)
    return distance, found.gather(1, order)


def _radii(
    features: Tensor, ks: Sequence[int], elements: int, advance: Callable[[int], None]
) -> tuple[list[Tensor], float]:
    """Distance of each row to its k-th other row, for every k; and the mean distance between two rows."""
    count = len(features)
    if count <= max(ks):
        raise GantoolError(f"{count} samples have no {max(ks)} neighbours each.", "Take more samples.")
    radii: list[list[Tensor]] = [[] for _ in ks]
    total = 0.0
    for start, block in _blocks(features, count, elements):
        distance = torch.cdist(block, features)
        itself = torch.arange(len(block))
        distance[itself, start + itself] = 0  # rounding leaves it a little above
        total += float(distance.sum())
        distance[itself, start + itself] = torch.inf
        smallest = distance.topk(max(ks), largest=False).values
        for k, found in zip(ks, radii, strict=True):
            found.append(smallest[:, k - 1])
        advance(len(block))
    return [torch.cat(found) for found in radii], total / (count * (count - 1))


def _blocks(features: Tensor, columns: int, elements: int) -> Iterator[tuple[int, Tensor]]:
    step = max(1, elements // columns)
    for start in range(0, len(features), step):
        yield start, features[start : start + step]


@dataclass(frozen=True)
class Space:
    """Nearest training samples in one space. The medians are distances; `among`: how many samples were searched.

    By features and by pixels a distance is Euclidean; of volumes, by 1 - IoU in place of pixels.

    `distances` and `rows` (fakes, SHOWN): for each fake, nearest first; `rows` are row numbers of the data.
    """

    among: int
    fake_median: float
    real_median: float
    distances: Tensor
    rows: np.ndarray

    @property
    def ratio(self) -> float | None:
        """About 1: fakes are as far from the training samples as these from one another; well below 1: copies.

        None where most of the data are duplicates, so that there is nothing to compare with.
        """
        return self.fake_median / self.real_median if self.real_median > 0 else None


@dataclass(frozen=True)
class Memorisation:
    """The first fakes (uint8, or floats in [-1, 1]) and their nearest training samples by features and by pixels."""

    fakes: np.ndarray
    features: Space
    pixels: Space

    @property
    def suspicious(self) -> Tensor:
        """Numbers of the fakes, those first that are much nearer by features to one training sample than to others.

        Sorted by the nearest distance over the SHOWN-th: by the nearest alone, the simplest samples would come first.
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

    `samples`: all of the data. Neighbours by features are searched among `real_rows`, which have `real_features`
    (M, D), neighbours by pixels among `trained_rows`; two or more of each. The distances are compared with that of a
    real to the nearest other real.
    """
    advance = watch("nearest training samples", 4)

    def by_features(start: int, stop: int) -> Tensor:
        return real_features[start:stop].double()

    def by_pixels(start: int, stop: int) -> Tensor:
        return as_samples(samples[trained_rows[start:stop]]).flatten(1)

    features = _nearest_reals(fake_features.double(), by_features, real_rows, advance)
    pixels = _nearest_reals(as_samples(fakes).flatten(1), by_pixels, trained_rows, advance, overlap=fakes.ndim == 5)
    return Memorisation(fakes, features, pixels)


def neighbours_picture(found: Memorisation, samples: np.ndarray, rate: int = 0) -> Image:
    """A row for each of the most suspicious fakes: the fake, its nearest reals by features, and by pixels.

    `rate`: of audio, in samples a second.
    """
    order = found.suspicious[:ROWS].tolist()
    tiles: list[np.ndarray] = []
    for i in order:
        chosen = [
            as_samples(found.fakes[i : i + 1]),
            as_samples(samples[found.features.rows[i]]),
            as_samples(samples[found.pixels.rows[i]]),
        ]
        shown = [pictures.to_pictures(part.numpy(), rate) for part in chosen]
        gap = np.full_like(shown[0], pictures.SPACE)  # the grey between tiles
        tiles += [shown[0], gap, shown[1], gap, shown[2]]
    images = np.concatenate(tiles)
    return pictures.grid(images, columns=len(images) // len(order))


def _nearest_reals(
    queries: Tensor,
    candidates: Callable[[int, int], Tensor],
    rows: np.ndarray,
    advance: Callable[[int], None],
    overlap: bool = False,
) -> Space:
    distances, found = nearest(queries, candidates, len(rows), SHOWN, overlap=overlap)
    advance(1)
    # spread over the data, because sources are often sorted by class
    own = torch.linspace(0, len(rows) - 1, min(len(queries), len(rows)), dtype=torch.float64).long()
    reals = torch.cat([candidates(row, row + 1) for row in own.tolist()])
    others, _ = nearest(reals, candidates, len(rows), own=own, overlap=overlap)
    advance(1)
    return Space(len(rows), float(np.median(distances[:, 0])), float(np.median(others)), distances, rows[found.numpy()])
