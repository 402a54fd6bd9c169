"""gantool.filming.way: arcs, loops, easings and speeds."""

from __future__ import annotations

import numpy as np
import pytest

from gantool.errors import ArgumentError
from gantool.filming.keys import Keys
from gantool.filming.way import between, lay, swing

ALL = slice(None)


def keys(*rows: list[float]) -> Keys:
    z = np.array(rows, np.float32)
    return Keys(z, np.arange(len(z)), tuple(f"k{row}" for row in range(len(z))), {})


def lengths(z: np.ndarray) -> np.ndarray:
    return np.linalg.norm(z, axis=1)


def test_an_arc_has_equal_angles_and_keeps_the_length() -> None:
    share = np.linspace(0, 1, 7)[:, None]
    z = between(np.array([[3.0, 0]] * 7), np.array([[0, 3.0]] * 7), share)
    np.testing.assert_allclose(np.degrees(np.arctan2(z[:, 1], z[:, 0])), np.linspace(0, 90, 7), atol=1e-9)
    np.testing.assert_allclose(lengths(z), 3)
    np.testing.assert_allclose(between(z, z, share), z)  # no angle


def test_a_loop_ends_before_its_first_frame_and_an_open_film_at_the_last_key() -> None:
    given = keys([2, 0, 0], [0, 2, 0], [0, 0, 2])
    loop = lay(given, 30).latents(ALL)
    np.testing.assert_allclose(loop[::10], given.z, atol=1e-6)
    steps = lengths(loop - np.roll(loop, 1, axis=0))  # the first from the last, too
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)
    opened = lay(given, 31, loop=False)
    np.testing.assert_allclose(opened.latents(ALL)[::15], given.z, atol=1e-6)
    np.testing.assert_array_equal(opened.latents(slice(7, 9)), opened.latents(ALL)[7:9])
    assert lay(given, 1, loop=False).latents(ALL).tolist() == [[2, 0, 0]]


def test_the_class_changes_midway() -> None:
    assert lay(keys([2, 0], [0, 2]), 8).nearer.tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


def test_on_a_great_circle_all_lengths_are_the_mean() -> None:
    given = keys([1, 0, 0], [0, 3, 0], [0, 1, 2])
    assert np.ptp(lengths(lay(given, 50).latents(ALL))) > 1
    z = lay(given, 50, interpolation="great-circle").latents(ALL)
    np.testing.assert_allclose(lengths(z), lengths(given.z).mean(), rtol=1e-5)
    with pytest.raises(ArgumentError, match="all zeros"):
        lay(keys([0, 0], [1, 0]), 9, interpolation="great-circle")


def test_opposite_keys_are_named_where_the_film_joins_them() -> None:
    given = keys([1, 0], [0, 1], [-2, 0])
    with pytest.raises(ArgumentError, match="k2 and k0 are opposite"):
        lay(given, 9)
    assert np.isfinite(lay(given, 9, loop=False).latents(ALL)).all()


def test_smooth_rests_at_the_keys() -> None:
    z = lay(keys([1, 0], [0, 1]), 41, loop=False, easing="smooth").latents(ALL)
    steps = lengths(np.diff(z, axis=0))
    assert steps[0] < steps[20] / 10
    assert steps[-1] < steps[20] / 10


def test_speed_is_how_far_each_frame_goes() -> None:
    given = keys([1, 0], [0, 1])
    speed = np.ones(40)
    speed[10:20] = 5
    z = lay(given, 40, speed=speed).latents(ALL)
    steps = lengths(np.roll(z, -1, axis=0) - z)
    np.testing.assert_allclose(steps[12] / steps[3], 5, rtol=0.01)
    np.testing.assert_allclose(lay(given, 40, speed=np.full(40, 3.0)).latents(ALL), lay(given, 40).latents(ALL))


def test_a_value_swings_there_and_back() -> None:
    assert swing(4, loop=True).tolist() == pytest.approx([0, 0.5, 1, 0.5])
    assert swing(5, loop=False).tolist() == pytest.approx([0, 0.5, 1, 0.5, 0])
