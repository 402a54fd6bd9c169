"""Figures of distances between all pairs: answers known by hand, the formulas taken literally, and any block size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gantool.errors import GantoolError
from gantool.metrics.neighbours import DENSITY_K, PRECISION_K, manifolds, nearest

SEEDS = st.integers(0, 2**32 - 1)


def cloud(seed: int, rows: int, width: int = 3) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def radius(points: Tensor, i: int, k: int) -> float:
    """Distance of point i to its k-th nearest other point."""
    distances = sorted(float((points[i] - other).norm()) for j, other in enumerate(points) if j != i)
    return distances[k - 1]


def inside(point: Tensor, centres: Tensor, k: int) -> list[bool]:
    return [float((point - centre).norm()) <= radius(centres, i, k) for i, centre in enumerate(centres)]


def mean_distance(points: Tensor) -> float:
    pairs = [(a - b).norm() for i, a in enumerate(points) for j, b in enumerate(points) if i != j]
    return float(torch.stack(pairs).mean())


@given(SEEDS, st.integers(7, 14), st.integers(7, 14), st.floats(0, 2), st.integers(1, 200))
@settings(max_examples=25)
def test_the_papers_formulas_in_any_blocks(seed: int, reals: int, fakes: int, shift: float, elements: int) -> None:
    real, fake = cloud(seed, reals), cloud(seed + 1, fakes) * 0.7 + shift
    found = manifolds(real, fake, elements)
    precise = [any(inside(f, real, PRECISION_K)) for f in fake]
    recalled = [any(inside(r, fake, PRECISION_K)) for r in real]
    dense = [inside(f, real, DENSITY_K) for f in fake]
    assert found.precision == pytest.approx(sum(precise) / fakes)
    assert found.recall == pytest.approx(sum(recalled) / reals)
    assert found.density == pytest.approx(sum(map(sum, dense)) / (DENSITY_K * fakes))
    assert found.coverage == pytest.approx(sum(any(column) for column in zip(*dense, strict=True)) / reals)
    assert found.real_spread == pytest.approx(mean_distance(real))
    assert found.fake_spread == pytest.approx(mean_distance(fake))


def test_equal_sets() -> None:
    points = cloud(0, 50)
    found = manifolds(points, points)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density >= 1
    assert found.fake_spread == found.real_spread


def test_far_apart() -> None:
    found = manifolds(cloud(0, 50), cloud(1, 40) + 1000)
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_a_collapse_is_precise_and_covers_nothing() -> None:
    real = torch.cat([cloud(0, 50), cloud(1, 50) + 100])  # two modes
    fake = cloud(2, 100) * 0.01  # all near the middle of the first
    found = manifolds(real, fake)
    assert found.precision == 1
    assert found.recall < 0.1
    assert found.coverage < 0.5
    assert found.fake_spread < 0.01 * found.real_spread


def test_progress_is_told() -> None:
    told: list[int] = []
    manifolds(cloud(0, 20), cloud(1, 30), 100, told.append)
    assert sum(told) == 20 + 2 * 30


def test_too_few() -> None:
    with pytest.raises(GantoolError, match="5 samples have no 5 neighbours each"):
        manifolds(cloud(0, 5), cloud(1, 50))


@given(SEEDS, st.integers(1, 30), st.integers(2, 60), st.integers(1, 4), st.integers(1, 300), st.booleans())
@settings(max_examples=40)
def test_the_nearest_of_a_sort(seed: int, queries: int, rows: int, k: int, elements: int, among: bool) -> None:
    """`among`: the queries are rows themselves, which do not count."""
    points = cloud(seed, rows)
    own = torch.arange(min(queries, rows)) if among else None
    asked = points[: min(queries, rows)] if among else cloud(seed + 1, queries)
    distances, found = nearest(asked, lambda start, stop: points[start:stop], rows, k, own, elements)
    for i, query in enumerate(asked):
        order = sorted(((query - p).norm().item(), j) for j, p in enumerate(points) if not (among and j == i))[:k]
        assert found[i].tolist() == [j for _, j in order]
        assert distances[i].tolist() == pytest.approx([d for d, _ in order])


def test_a_copy_is_at_distance_0() -> None:
    """Far from the origin, where a matrix product in float32 would leave some way between."""
    points = (cloud(0, 500, 50) + 1000).float()
    distances, found = nearest(points[:40], lambda start, stop: points[start:stop], 500, 2)
    assert distances[:, 0].eq(0).all()
    assert torch.equal(found[:, 0], torch.arange(40))
