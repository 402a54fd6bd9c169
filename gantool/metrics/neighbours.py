"""Figures made of distances between all pairs, a block at a time: memory does not grow with the square of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gantool.errors import GantoolError

ELEMENTS = 2**23  # distances held at once: 64 MB
PRECISION_K = 3  # as in arXiv:1904.06991
DENSITY_K = 5  # as in arXiv:2002.09797


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
) -> tuple[Tensor, Tensor]:
    """The `k` nearest of `rows` candidates to each query (N, D), nearest first: distances and rows, both (N, k).

    `candidates(start, stop)` gives those rows (n, D), a part at a time. `own`: each query's own row (N,) among them,
    which does not count.
    """
    k = min(k, rows - (own is not None))
    best = queries.new_full((len(queries), 0), torch.inf)
    found = torch.empty(len(queries), 0, dtype=torch.int64)
    step = max(k, elements // max(len(queries), queries.shape[1]))
    for start in range(0, rows, step):
        part = candidates(start, min(start + step, rows)).to(queries.dtype)
        distance = torch.cdist(queries, part)
        if own is not None:
            mine = ((own >= start) & (own < start + len(part))).nonzero().flatten()
            distance[mine, own[mine] - start] = torch.inf
        numbers = torch.arange(start, start + len(part)).expand(len(queries), -1)
        best, order = torch.cat([best, distance], 1).topk(min(k, best.shape[1] + len(part)), largest=False)
        found = torch.cat([found, numbers], 1).gather(1, order)
    return _exact(queries, candidates, found)


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
