"""Samples on their way into an extractor."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.trainings import dataset

from gantool.artifact import latents
from gantool.metrics import load_extractor
from gantool.metrics.samples import as_samples, gather, halves, pick, uniform
from gantool.plugin.architecture import SampleSpec


@given(st.integers(2, 300), st.integers(0, 400), st.integers(0, 2**63))
def test_picks_are_rows_without_repetition(rows: int, count: int, seed: int) -> None:
    found = pick(rows, count, seed)
    assert len(set(found.tolist())) == len(found) == min(rows, count)
    assert set(found.tolist()) <= set(range(rows))
    assert np.array_equal(found, pick(rows, count, seed))
    one, two = halves(rows, seed)
    assert len(one) == len(two) == rows // 2
    assert not set(one.tolist()) & set(two.tolist())


def test_floats_become_what_the_runtime_makes_of_them() -> None:
    images = torch.linspace(-1.2, 1.2, 3 * 40 * 40).view(1, 3, 40, 40)
    pixels = latents.pixels(images.numpy()).transpose(0, 3, 1, 2)
    assert torch.equal(as_samples(images), as_samples(pixels))
    bytes_ = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(as_samples(as_samples(bytes_)), as_samples(bytes_))
    assert (as_samples(bytes_).min(), as_samples(bytes_).max()) == (-1, 1)


def test_what_is_no_image_is_not_rounded() -> None:
    audio = torch.rand(2, 1, 50)
    assert torch.equal(as_samples(audio), audio)


def test_batches_change_nothing() -> None:
    extractor = load_extractor("digits", SampleSpec((1, 16, 16)), torch.device("cpu"))
    images = dataset(23).images
    whole, parts = gather(extractor, images), gather(extractor, images, batch=5)
    torch.testing.assert_close(whole.features, parts.features)
    assert whole.probabilities is not None
    assert whole.probabilities.shape == (23, 10)
    seen: list[int] = []
    gather(extractor, images, 5, seen.append)
    assert seen == [5, 5, 5, 5, 3]


def test_noise_is_the_same_in_any_batches() -> None:
    draw = uniform((1, 4, 4), 7)
    assert np.array_equal(draw(0, 10)[6:], draw(6, 4))
    assert not np.array_equal(draw(0, 1), uniform((1, 4, 4), 8)(0, 1))
    many = draw(0, 2000)
    assert abs(many.mean()) < 0.02
    assert -1 <= many.min() < -0.99 < 0.99 < many.max() <= 1
