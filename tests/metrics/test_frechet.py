"""The Fréchet distance: closed forms, symmetry, invariances, and the same as torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trainings import dataset
from torch import Tensor

from gantool import data
from gantool.errors import GantoolError
from gantool.metrics import library
from gantool.metrics.extractors import load_extractor
from gantool.metrics.frechet import FrechetReference, Moments, between, frechet_distance
from gantool.metrics.samples import as_samples, gather, halves, uniform
from gantool.plugin.architecture import SampleSpec

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
    a, b = features(one), features(two, rows)
    # torchmetrics takes the root of the eigenvalues of a product: half of the digits where one is 0
    assert frechet_distance(a, b) == pytest.approx(library.frechet(a, b), rel=1e-5, abs=1e-5)


def test_one_sample_has_no_covariance() -> None:
    with pytest.raises(GantoolError, match="1 samples have no covariance"):
        frechet_distance(features(0), features(0)[:1])


def test_one_feature() -> None:
    a = torch.tensor([[0.0], [2.0]])
    assert frechet_distance(a, a + 3) == pytest.approx(9)


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


def test_a_reference_of_samples_that_are_no_images() -> None:
    reals = dataset(40, (1, 512))
    reference = FrechetReference(load_extractor("pixels", SampleSpec((1, 512)), CPU), reals)
    assert reference.distance(torch.zeros(20, 1, 512)) > 0


def test_samples_that_are_not_finite() -> None:
    reals = dataset(40)
    reference = FrechetReference(load_extractor("pixels", reals.spec, CPU), reals)
    with pytest.raises(GantoolError, match="NaN or infinity"):
        reference.distance(torch.full((20, 1, 16, 16), np.nan))
