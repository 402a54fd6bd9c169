"""Figures of results that have targets: known differences give known values."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from gantool import data
from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics.evaluation import Evaluation, evaluate
from gantool.metrics.pairs import Pairs, Translated
from gantool.plugin.architecture import Input

COUNT = 250
SHAPE = (1, 28, 28)
A, B = (Input(name, SHAPE, "data", label=label) for label, name in enumerate("ab"))
SOURCE, TARGET = Input("source", SHAPE, "data", array="sources"), Input("target", SHAPE, "data")


@pytest.fixture(scope="module")
def paired() -> Dataset:
    """Digits, and as their sources the same digits blurred."""
    digits = data.load("digits").images[:1000]
    blurred = [Image.fromarray(digit[0]).filter(ImageFilter.GaussianBlur(2)) for digit in digits]
    return Dataset("pairs", "pairs", {"images": digits, "sources": np.stack([np.asarray(b)[None] for b in blurred])})


def judge(made: np.ndarray, paired: Dataset) -> Evaluation:
    """Results `made` of the first sources."""
    targets, sources = paired.images, paired.arrays["sources"]
    pairs = Pairs(lambda start, n: targets[start : start + n], lambda start, n: sources[start : start + n])
    draw = lambda start, n: made[start : start + n]  # noqa: E731
    return evaluate(draw, paired, samples=COUNT, extractor="digits", pairs=pairs, batch=100)


def values(found: Evaluation) -> dict[str, float | None]:
    return {figure.key: figure.value for figure in found.figures}


def test_results_ten_levels_from_their_targets(paired: Dataset) -> None:
    moved = np.where(paired.images < 128, paired.images + 10, paired.images - 10).astype(np.uint8)
    found = values(judge(moved, paired))
    assert found["difference"] == pytest.approx(10, abs=1e-3)
    assert found["psnr"] == pytest.approx(20 * math.log10(255 / 10), abs=1e-3)


def test_results_that_are_their_targets(paired: Dataset) -> None:
    found = judge(paired.images, paired)
    assert values(found)["difference"] == 0
    assert values(found)["ssim"] == pytest.approx(1)
    assert values(found)["features"] == pytest.approx(0, abs=1e-6)
    assert found.verdict.startswith("The results are nearer to their targets than the sources are (0.0 levels against ")


def test_the_identity_is_no_better_than_the_sources(paired: Dataset) -> None:
    found = judge(paired.arrays["sources"], paired)
    assert found.sources is not None
    assert values(found)["difference"] == pytest.approx(found.sources.difference)
    assert values(found)["ssim"] == found.sources.ssim
    assert values(found)["nearer"] == 0
    assert found.verdict.startswith("The results are no nearer to their targets")


@pytest.mark.parametrize(
    ("better", "words"),
    [(1.0, "a little nearer to their targets"), (0.7, "a little nearer"), (0.6, "no nearer"), (0.2, "no nearer")],
)
def test_a_little_nearer_needs_most_of_the_results(paired: Dataset, better: float, words: str) -> None:
    """A share of the results goes a twentieth of the way to the targets, and the others stay."""
    targets, sources = (array.astype(np.float64) for array in (paired.images, paired.arrays["sources"]))
    order = np.random.default_rng(0).permutation(COUNT)
    way = np.zeros(len(targets))
    way[order[: round(better * COUNT)]] = 0.05
    found = judge(np.rint(sources + way[:, None, None, None] * (targets - sources)).astype(np.uint8), paired)
    assert values(found)["nearer"] == pytest.approx(better, abs=0.02)
    assert found.verdict.startswith(f"The results are {words}")


@pytest.mark.parametrize("factor", [1, 2])
def test_sources_of_less_colour_or_size_are_compared_as_they_look(paired: Dataset, factor: int) -> None:
    """Grey beside colour, and small beside large: here the target is just that, so nothing differs."""
    small = paired.images[:, :, ::factor, ::factor]
    colour = small.repeat(3, 1).repeat(factor, 2).repeat(factor, 3)
    data = Dataset("colour", "colour", {"images": colour, "sources": small})
    found = judge(colour, data)
    assert found.sources is not None
    assert found.sources.difference == 0


def test_results_of_other_sources_are_far_from_the_targets(paired: Dataset) -> None:
    """Good digits, but each beside another's target: the distribution is right, the pairs are wrong."""
    right, wrong = (values(judge(made, paired)) for made in (paired.images, np.roll(paired.images, 1, 0)))
    difference, ssim = wrong["difference"], wrong["ssim"]
    assert difference is not None
    assert ssim is not None
    assert difference > 20
    assert ssim < 0.5
    assert right["coverage"] == pytest.approx(wrong["coverage"], abs=0.02)


def test_pairs_are_judged_in_one_order_that_mixes_the_data(paired: Dataset) -> None:
    found = Translated.of(SOURCE, TARGET, paired, Path("run"), seed=1)
    rows = found.order[5:9]
    assert found.pairs
    np.testing.assert_array_equal(found.source(5, 4), paired.arrays["sources"][rows])
    np.testing.assert_array_equal(found.pairs.targets(5, 4), paired.images[rows])
    assert sorted(found.order) == list(range(len(paired)))
    assert list(found.order) != sorted(found.order)
    assert found.reals.fingerprint == paired.fingerprint


@pytest.mark.parametrize(("takes", "reals", "swapped"), [(A, B, False), (B, A, True)])
def test_a_generator_that_learned_without_pairs_is_judged_by_hidden_ones(
    paired: Dataset, takes: Input, reals: Input, swapped: bool
) -> None:
    found = Translated.of(takes, reals, paired, Path("run"), seed=0)
    sources, targets = paired.arrays["sources"], paired.images
    if swapped:
        sources, targets = targets, sources
    assert found.pairs
    np.testing.assert_array_equal(found.source(0, 3), sources[found.order[:3]])
    np.testing.assert_array_equal(found.pairs.targets(0, 3), targets[found.order[:3]])
    np.testing.assert_array_equal(found.reals.images, targets)


def test_two_classes_are_compared_with_the_right_domain(paired: Dataset) -> None:
    labels = (np.arange(len(paired)) % 3 == 0).astype(np.int64)
    unpaired = Dataset("two", "two", {"images": paired.images, "labels": labels})
    found = Translated.of(A, B, unpaired, Path("run"), seed=0)
    assert found.pairs is None
    assert set(labels[found.order]) == {0}
    assert found.against is not None
    assert set(labels[found.against]) == {1}


@pytest.mark.parametrize(("takes", "missing"), [(SOURCE, "sources"), (A, "classes")])
def test_data_without_what_the_generator_takes_are_refused(paired: Dataset, takes: Input, missing: str) -> None:
    plain = Dataset("plain", "plain", {"images": paired.images})
    with pytest.raises(GantoolError, match=f"the data 'plain' has no {missing}"):
        Translated.of(takes, TARGET, plain, Path("run"), seed=0)
