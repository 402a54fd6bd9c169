"""Tables on narrow screens: no figure is cut off; and names, which may be anybody's, that mean only themselves."""

from __future__ import annotations

import pytest

from gantool.cli.show import console, print_error, print_table
from gantool.errors import GantoolError


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_every_cell_is_whole_at_any_width(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    cells = ["12,345", "0.123", "99.5 ms", "[brackets]", "last"]
    print_table(["images/s", "p50 ms", "in all", "markup", "memory"], [cells], right=(0, 1))
    shown = capsys.readouterr().out
    assert all(cell in shown for cell in [*cells, "images/s", "memory"])


def test_running_text_wraps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table(["name", "help"], [["--steps", "iterations; each steps every player of the game"]])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40


def test_names_are_no_markup_and_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("[/x] [bold]y :smile:")
    assert capsys.readouterr().out == "[/x] [bold]y :smile:\n"


def test_nothing_that_is_printed_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(GantoolError("a\x1b[2Jb:\n  \x9b31mé\u202f\u202e", "type \x07"))
    print_table(["name"], [["\x1b]0;title"]])
    shown = capsys.readouterr()
    assert shown.err == "Error: a\\x1b[2Jb:\n  \\x9b31mé\u202f\\u202e\ntype \\x07\n"
    assert "\\x1b]0;title" in shown.out
