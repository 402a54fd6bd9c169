from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gantool.data.images import resize

RNG = np.random.default_rng(0)


def test_resize_is_pillows_lanczos_per_image() -> None:
    images = RNG.integers(0, 256, (3, 3, 12, 16), np.uint8)
    result = resize(images, 6, "x")
    for before, after in zip(images, result, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(before.transpose(1, 2, 0)))
        expected = picture.crop((2, 0, 14, 12)).resize((6, 6), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(after.transpose(1, 2, 0), np.asarray(expected))


@pytest.mark.parametrize("channels", [1, 3])
def test_resize_of_floats_agrees_with_that_of_bytes(channels: int) -> None:
    images = RNG.integers(100, 156, (2, channels, 8, 8), np.uint8)  # no overshoot: bytes clip after each axis
    floats = (images / np.float32(127.5) - 1).astype(np.float32)
    result = resize(floats, 16, "x")
    assert result.dtype == np.float32
    np.testing.assert_allclose((result + 1) * 127.5, resize(images, 16, "x"), atol=1.5)


def test_overshoot_of_floats_is_clipped() -> None:
    result = resize(RNG.choice(np.array([-1, 1], np.float32), (2, 1, 8, 8)), 16, "x")
    assert (result.min(), result.max()) == (-1, 1)


def test_nothing_to_resize() -> None:
    images = np.zeros((2, 1, 8, 8), np.uint8)
    assert resize(images, 8, "x") is images
    assert resize(images, None, "x") is images
