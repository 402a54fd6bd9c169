"""gantool.exporting.onnx_files.drift: how far images are off, and which limits decide about them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.graphs import normal

from gantool.artifact import latents
from gantool.exporting.onnx_files import drift
from gantool.exporting.onnx_files.drift import Drift


def test_drift_of_pixels() -> None:
    reference = np.array([[[[0], [100], [254], [255]]]], np.uint8)
    same = drift.drift(reference, reference.copy())
    assert same == Drift(worst=0, mean=0, finite=1, newly_saturated=0)
    other = drift.drift(reference, np.array([[[[1], [96], [255], [0]]]], np.uint8))
    assert other.worst == 255
    assert other.mean == (1 + 4 + 1 + 255) / 4
    assert other.newly_saturated == 0.25  # 255 → 0; 254 → 255 is a rounding


def test_drift_of_floats_is_that_of_their_pixels() -> None:
    reference, images = np.tanh(normal(3, 2, 4, 5)), np.tanh(normal(3, 2, 4, 5) * 1.1)
    pixels = latents.pixels
    assert drift.drift(reference, images) == drift.drift(pixels(reference), pixels(images))
    sound = np.tanh(normal(2, 1, 16))  # audio: no image
    assert drift.drift(sound, sound).worst == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_value_that_is_not_finite_fails_every_check(value: float) -> None:
    reference = np.zeros((1, 1, 2, 2), np.float32)
    images = reference.copy()
    images[0, 0, 0, 0] = value
    measured = drift.drift(reference, images)
    assert measured.finite == 0.75
    for kind in drift.LIMITS:
        assert not any(check.passed for check in drift.checks("x", kind, measured))


def test_what_can_not_be_compared() -> None:
    image = np.zeros((1, 2, 2, 1), np.uint8)
    for other in (np.zeros((2, 2, 2, 1), np.uint8), np.zeros((1, 2, 2, 1), np.int64)):
        with pytest.raises(ValueError, match="samples of"):
            drift.drift(image, other)
    with pytest.raises(ValueError, match="samples of"):
        drift.drift(image[:0], image[:0])


@pytest.mark.parametrize("kind", drift.LIMITS)
def test_limits(kind: str) -> None:
    limits = drift.LIMITS[kind]
    good = Drift(limits.worst, limits.mean, 1, 0)
    assert all(check.passed for check in drift.checks("x", kind, good))
    for bad in (
        Drift(limits.worst + 1, 0, 1, 0),
        Drift(0, limits.mean + 0.01, 1, 0),
        Drift(0, 0, 0.99, 0),
        Drift(0, 0, 1, 0.02),
    ):
        assert sum(not check.passed for check in drift.checks("x", kind, bad)) == 1
