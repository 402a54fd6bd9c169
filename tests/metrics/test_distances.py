"""Distances between distributions: closed forms, symmetry, torchmetrics, and equal figures for equal seeds."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trainings import dataset
from torch import Tensor

from gantool import data
from gantool.errors import GantoolError
from gantool.metrics import load_extractor
from gantool.metrics.distances import (
    SUBSETS,
    FrechetReference,
    Moments,
    between,
    classifier_score,
    frechet_distance,
    kernel_distance,
)
from gantool.metrics.evaluation import evaluate
from gantool.metrics.samples import as_samples, gather, halves, uniform

CPU = torch.device("cpu")
SEEDS = st.integers(0, 2**32 - 1)


def features(seed: int, rows: int = 60, width: int = 5) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=stream, dtype=torch.float64)
    return torch.randn(rows, width, generator=stream, dtype=torch.float64) @ mixing + torch.rand(1, generator=stream)


@given(SEEDS, SEEDS)
@settings(max_examples=30)
def test_symmetric_positive_and_nothing_to_itself(one: int, two: int) -> None:
    a, b = features(one), features(two, rows=45)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9, abs=1e-9)
    assert frechet_distance(a, b) >= 0


@given(SEEDS, st.floats(-5, 5), st.floats(0.2, 5))
@settings(max_examples=30)
def test_moved_and_scaled_gaussians_have_a_closed_form(seed: int, shift: float, scale: float) -> None:
    """N(μ, Σ) to N(sμ + d, s²Σ): ‖(s - 1)μ + d‖² + (s - 1)² Tr Σ."""
    a = features(seed)
    moments = Moments.of(a)
    moved = ((scale - 1) * moments.mean + shift).square().sum() + (scale - 1) ** 2 * moments.covariance.trace()
    assert frechet_distance(a, a * scale + shift) == pytest.approx(float(moved), rel=1e-6, abs=1e-9)


@given(SEEDS, SEEDS)
@settings(max_examples=20)
def test_rotations_and_orders_change_nothing(one: int, two: int) -> None:
    a, b = features(one), features(two)
    rotation = torch.linalg.qr(features(one, 5)).Q
    expected = frechet_distance(a, b)
    assert frechet_distance(a @ rotation + 3, b @ rotation + 3) == pytest.approx(expected, rel=1e-7, abs=1e-8)
    assert frechet_distance(a.flip(0), b) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(SEEDS, SEEDS, st.sampled_from([2, 4, 60]))
@settings(max_examples=20)
def test_it_is_what_torchmetrics_computes(one: int, two: int, rows: int) -> None:
    """With fewer rows than features, too, where the covariances are singular."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Features(torch.nn.Module):
        num_features = 5

        def forward(self, features: Tensor) -> Tensor:
            return features

    a, b = features(one), features(two, rows)
    metric = FrechetInceptionDistance(Features())
    metric.update(a, real=True)
    metric.update(b, real=False)
    # torchmetrics takes the root of the eigenvalues of a product: half of the digits where one is 0
    assert frechet_distance(a, b) == pytest.approx(float(metric.compute()), rel=1e-5, abs=1e-5)


def test_one_sample_has_no_covariance() -> None:
    with pytest.raises(GantoolError, match="1 samples have no covariance"):
        frechet_distance(features(0), features(0)[:1])


@pytest.mark.parametrize("name", ["digits", "pixels"])
def test_worse_images_are_further_away(name: str) -> None:
    """Floor, slightly and badly noised, ceiling: in that order."""
    digits = data.load("digits")
    extractor = load_extractor(name, digits.spec, CPU)
    fakes, reals = (rows[:600] for rows in halves(len(digits), 0))
    reference = Moments.of(gather(extractor, digits.images[reals]).features)
    clean = as_samples(digits.images[fakes])
    noise = torch.from_numpy(uniform(digits.spec.shape, 0)(0, 600))
    distances = [
        between(reference, Moments.of(gather(extractor, images).features))
        for images in (clean, clean.lerp(noise, 0.2), clean.lerp(noise, 0.5), noise)
    ]
    assert distances == sorted(distances)
    assert distances[1] > 1.3 * distances[0]
    assert distances[3] > 100 * distances[0]


def test_a_blur_is_seen() -> None:
    digits = data.load("digits")
    reference = FrechetReference(load_extractor("digits", digits.spec, CPU), digits, 600)
    images = as_samples(digits.images[halves(len(digits), 1)[0][:600]])
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    assert reference.distance(blurred) > 5 * reference.distance(images)


def test_a_reference_is_the_distance_to_its_reals() -> None:
    reals = dataset(80, (1, 16, 16))
    extractor = load_extractor("pixels", reals.spec, CPU)
    reference = FrechetReference(extractor, reals)
    fakes = torch.rand(70, 1, 16, 16) * 2 - 1
    expected = frechet_distance(gather(extractor, reals.images).features, gather(extractor, fakes).features)
    assert reference.distance(fakes) == pytest.approx(expected, rel=1e-9)
    assert reference.distance(as_samples(reals.images)) == pytest.approx(0, abs=1e-9)
    assert reference.count == 80
    assert reference.label == "Fréchet distance (pixels)"
    assert FrechetReference(extractor, reals, 30).count == 30
    assert FrechetReference(extractor, reals, 300).count == 80


def test_samples_that_are_not_finite() -> None:
    reals = dataset(40)
    reference = FrechetReference(load_extractor("pixels", reals.spec, CPU), reals)
    with pytest.raises(GantoolError, match="NaN or infinity"):
        reference.distance(torch.full((20, 1, 16, 16), np.nan))


def test_kernel_distance_is_the_unbiased_estimate() -> None:
    """MMD² with the kernel (x·y / D + 1)³ (Gretton et al. 2012, JMLR 13); subsets of half the samples vary about it."""
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=stream, dtype=torch.float64)
    y = torch.randn(40, 6, generator=stream, dtype=torch.float64) + 1

    def k(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / 6 + 1) ** 3

    def off(square: torch.Tensor) -> float:
        return float((square.sum() - square.trace()) / (40 * 39))

    mean, deviation = kernel_distance(x, y, 0)
    wanted = off(k(x, x)) + off(k(y, y)) - 2 * float(k(x, y).mean())
    assert 0 < deviation < wanted
    assert mean == pytest.approx(wanted, abs=3 * deviation / SUBSETS**0.5)


def test_score_of_one_class_and_of_all() -> None:
    same = torch.eye(4)[:1].repeat(100, 1)
    assert classifier_score(same, 0)[0] == pytest.approx(1)
    unsure = torch.full((100, 4), 0.25)
    assert classifier_score(unsure, 0)[0] == pytest.approx(1)
    each = torch.eye(4).repeat(250, 1)
    mean, deviation = classifier_score(each, 0)
    assert mean == pytest.approx(4, rel=0.05)
    assert deviation < 0.1


def test_a_seed_decides_and_the_default_stream_is_left_alone() -> None:
    a, b = torch.rand(1500, 3), torch.rand(1500, 3)
    p = torch.rand(200, 5).softmax(1)
    before = torch.get_rng_state()
    assert kernel_distance(a, b, 1) == kernel_distance(a, b, 1) != kernel_distance(a, b, 2)
    assert classifier_score(p, 1) == classifier_score(p, 1) != classifier_score(p, 2)
    assert torch.equal(before, torch.get_rng_state())


def test_without_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    reals = dataset(20)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(GantoolError, match=r"needs torchmetrics.*pip install 'gantool\[train\]'"):
        evaluate(lambda start, n: reals.images[start : start + n], reals)
