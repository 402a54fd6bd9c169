"""gantool.artifact.cards: the formula that every language repeats."""

from __future__ import annotations

import hashlib

import numpy as np

from gantool.artifact.cards import card, cards


def test_a_card_is_its_formula() -> None:
    made = card(1017, 20, 35, 3)
    assert made.shape == (20, 35, 3)
    for y, x, c in ((0, 0, 0), (19, 34, 2), (7, 8, 1), (8, 7, 0)):
        wanted = ((x * 7 + y * 5 + c * 53 + 1017 * 101) ^ ((x >> 3) * 37 + (y >> 3) * 91)) & 255
        assert made[y, x, c] == wanted


def test_cards_are_the_same_forever() -> None:
    digest = hashlib.sha256(cards(0, 4, 64, 48, 3).tobytes()).hexdigest()
    assert digest == "276d743638143d4c9e16668960b61fc4a453949daca10545a5d61373e9bd316a"


def test_cards_of_several_numbers_and_sizes_agree() -> None:
    both = cards(4, 2, 16, 24, 3)
    np.testing.assert_array_equal(both[1], card(5, 16, 24, 3))
    np.testing.assert_array_equal(both[1, :9, :9, :1], card(5, 9, 9, 1))
    assert len(np.unique(both)) > 200
