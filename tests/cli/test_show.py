"""Tables on narrow screens: no figure is cut off."""

from __future__ import annotations

import pytest

from gantool.cli.show import print_table


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
