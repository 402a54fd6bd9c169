from __future__ import annotations

import pytest

from gantool.errors import cause, named


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a bad value."), "a bad value"),
        (RuntimeError("\n first\nsecond"), "first"),
        (MemoryError(), "MemoryError"),
        (EOFError("  "), "EOFError"),
        (KeyError("images"), "KeyError: 'images'"),
        (ValueError("\x1b[2J"), r"\x1b[2J"),
        (ValueError("x" * 999), "x" * 299 + "…"),
    ],
)
def test_the_cause_of_an_error_is_never_empty(error: Exception, said: str) -> None:
    assert cause(error) == said


def test_an_exception_by_its_type() -> None:
    assert [named(ValueError("no")), named(MemoryError())] == ["ValueError: no", "MemoryError"]
