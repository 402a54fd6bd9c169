"""The figures that torchmetrics computes: known values, and the same again for the same seed."""

from __future__ import annotations

import sys

import pytest
import torch

from gantool.errors import GantoolError
from gantool.metrics import library


def test_kernel_distance_is_the_unbiased_estimate() -> None:
    """MMD² with the kernel (x·y / D + 1)³ (Gretton et al. 2012, JMLR 13); subsets of half the samples vary about it."""
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=stream, dtype=torch.float64)
    y = torch.randn(40, 6, generator=stream, dtype=torch.float64) + 1

    def k(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / 6 + 1) ** 3

    def off(square: torch.Tensor) -> float:
        return float((square.sum() - square.trace()) / (40 * 39))

    mean, deviation = library.kernel(x, y, 0)
    wanted = off(k(x, x)) + off(k(y, y)) - 2 * float(k(x, y).mean())
    assert 0 < deviation < wanted
    assert mean == pytest.approx(wanted, abs=3 * deviation / library.SUBSETS**0.5)


def test_score_of_one_class_and_of_all() -> None:
    same = torch.eye(4).repeat(1, 1)[:1].repeat(100, 1)
    assert library.score(same, 0)[0] == pytest.approx(1)
    unsure = torch.full((100, 4), 0.25)
    assert library.score(unsure, 0)[0] == pytest.approx(1)
    each = torch.eye(4).repeat(250, 1)
    mean, deviation = library.score(each, 0)
    assert mean == pytest.approx(4, rel=0.05)
    assert deviation < 0.1


def test_a_seed_decides_and_the_default_stream_is_left_alone() -> None:
    a, b = torch.rand(1500, 3), torch.rand(1500, 3)
    p = torch.rand(200, 5).softmax(1)
    before = torch.get_rng_state()
    assert library.kernel(a, b, 1) == library.kernel(a, b, 1) != library.kernel(a, b, 2)
    assert library.score(p, 1) == library.score(p, 1) != library.score(p, 2)
    assert torch.equal(before, torch.get_rng_state())


def test_without_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(GantoolError, match=r"needs torchmetrics.*pip install 'gantool\[evaluate\]'"):
        library.require()
