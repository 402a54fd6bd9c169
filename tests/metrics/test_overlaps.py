"""Figures of volumes by the IoU of what is filled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gantool.data import Dataset
from gantool.metrics import overlaps
from gantool.metrics.evaluation import evaluate


def boxes(count: int, seed: int = 0) -> np.ndarray:
    """Volumes uint8 (N, 1, 8, 8, 8), each with a box."""
    draw = np.random.default_rng(seed)
    made = np.zeros((count, 1, 8, 8, 8), np.uint8)
    for volume in made:
        low, size = draw.integers(0, 4, 3), draw.integers(2, 5, 3)
        volume[(0, *(slice(a, a + b) for a, b in zip(low, size, strict=True)))] = 255
    return made


def test_distances_are_those_of_sets() -> None:
    one, other = boxes(6), boxes(5, seed=1)
    found = overlaps.distances(*(torch.from_numpy(each).float().flatten(1) / 127.5 - 1 for each in (one, other)))
    for i, a in enumerate(one > 0):
        for j, b in enumerate(other > 0):
            assert found[i, j] == pytest.approx(1 - (a & b).sum() / (a | b).sum())


def test_empty_volumes_are_alike() -> None:
    empty, full = torch.full((1, 8), -1.0), torch.ones(1, 8)
    assert overlaps.distances(empty, empty).item() == 0
    assert overlaps.distances(empty, full).item() == 1


def test_an_evaluation_of_volumes() -> None:
    data = Dataset("boxes", "boxes", {"images": boxes(64)})
    same = evaluate(lambda start, n: data.images[start : start + n], data)
    figures = {figure.key: figure.value for figure in same.figures}
    assert figures["overlap"] == 1
    assert figures["overlap_coverage"] == len(np.unique(data.images, axis=0)) / 64
    assert same.memorisation.pixels.fake_median == 0
    one = evaluate(lambda start, n: np.repeat(data.images[:1], n, 0), data)
    found = {figure.key: figure.value for figure in one.figures}
    assert found["overlap_coverage"] == pytest.approx(1 / 64)
    all_, first = (torch.from_numpy(each).float().flatten(1) - 1 for each in (data.images, data.images[:1]))
    nearest = 1 - overlaps.distances(all_, first)
    assert found["overlap"] == pytest.approx(float(nearest.mean()))
    assert 0 < same.floor["overlap"] < 1
