"""Pictures of volumes show the filled part from the front, the right and above."""

from __future__ import annotations

import numpy as np
import pytest

from gantool.artifact import volumes


def filled(*places: tuple[slice, slice, slice], side: int = 16) -> np.ndarray:
    volume = np.full((1, 1, side, side, side), -1, np.float32)
    for place in places:
        volume[0, 0][place] = 1
    return volume


ALL = slice(None)
MIDDLE = slice(5, 11)


def seen(volume: np.ndarray) -> np.ndarray:
    return volumes.pictures(volume)[0, :, :, 0] > volumes.BACKGROUND


def centre(volume: np.ndarray) -> np.ndarray:
    """Row and column of the middle of what is seen."""
    return np.argwhere(seen(volume)).mean(0)


@pytest.mark.parametrize(("side", "size"), [(8, 64), (16, 64), (32, 96), (48, 96)])
def test_a_picture_is_square(side: int, size: int) -> None:
    made = volumes.pictures(np.random.default_rng(0).uniform(-1, 1, (2, 3, side, side, side)))
    assert made.shape == (2, size, size, 1)
    assert made.dtype == np.uint8


def test_up_is_up_and_right_is_right() -> None:
    top, bottom = (filled((MIDDLE, half, MIDDLE)) for half in (slice(0, 6), slice(10, 16)))
    left, right = (filled((MIDDLE, MIDDLE, half)) for half in (slice(0, 6), slice(10, 16)))
    assert centre(top)[0] < centre(bottom)[0] - 10
    assert centre(left)[1] < centre(right)[1] - 10


def test_the_front_hides_the_back() -> None:
    wall, ball = (slice(0, 2), ALL, ALL), (slice(10, 12), slice(8, 10), slice(4, 6))
    assert np.array_equal(volumes.pictures(filled(wall, ball)), volumes.pictures(filled(wall)))
    back = (slice(14, 16), ALL, ALL)
    assert not np.array_equal(volumes.pictures(filled(back, ball)), volumes.pictures(filled(back)))


def test_what_faces_the_light_is_brighter() -> None:
    box = volumes.pictures(filled((slice(3, 13),) * 3, side=16))[0, :, :, 0].astype(int)
    rows, columns = np.nonzero(box > volumes.BACKGROUND)
    middle = int(columns.mean())
    top = box[rows[columns == middle].min() + 4, middle]
    low = (rows.min() * 2 + rows.max() * 5) // 7
    front, side = box[low, middle - 8], box[low, middle + 10]
    assert top > front + 20 > side + 20


def test_all_is_in_the_picture_and_nothing_is_dark() -> None:
    full = seen(filled((ALL, ALL, ALL)))
    assert not full[0].any()
    assert full[1:3].any()
    assert full.sum() > 0.5 * full.size
    assert not seen(filled()).any()
    assert not seen(np.full((1, 1, 8, 8, 8), np.nan)).any()


def test_a_volume_need_not_be_a_cube() -> None:
    flat = np.full((1, 1, 4, 16, 8), 1, np.float32)
    rows, columns = np.nonzero(seen(flat))
    assert np.ptp(rows) > 1.5 * np.ptp(columns)
