"""Tables fit any width: words stay whole while they can, and columns without room go below."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from gantool.system.tables import fit

HELP = [["--steps", "7000", "iterations; each steps every player"], ["--updates", "alternating", "relu|leaky_relu"]]


def test_with_room_nothing_breaks() -> None:
    assert fit(["option", "default", "help"], HELP, None, right=(1,)) == [
        [
            "option         default  help",
            "--steps           7000  iterations; each steps every player",
            "--updates  alternating  relu|leaky_relu",
        ]
    ]


def test_the_widest_column_breaks_between_words() -> None:
    (lines,) = fit(["option", "default", "help"], HELP, 50, right=(1,))
    assert lines[1:3] == ["--steps           7000  iterations; each steps", " " * 24 + "every player"]


def test_columns_without_room_make_a_second_table() -> None:
    first, second = fit(["option", "default", "help"], HELP, 30, right=(1,))
    assert first == ["option         default", "--steps           7000", "--updates  alternating"]
    assert second[:3] == ["option     help", "--steps    iterations; each", "           steps every player"]


def test_a_long_path_breaks_at_its_slashes() -> None:
    (lines,) = fit(["", ""], [["file", "runs/0001-mlp-digits/export/generator.onnx"]], 34)
    assert [line.strip() for line in lines[1:]] == ["file  runs/0001-mlp-digits/export/", "generator.onnx"]


@pytest.mark.parametrize("width", range(12, 60, 7))
def test_no_line_is_wider(width: int) -> None:
    rows = [["漢字の名前" * 4, "x" * 50, "a b c"], ["é", "one two three", "a, b"]]
    for lines in fit(["name", "text", "more"], rows, width, cells=cell_len):
        assert max(map(cell_len, lines)) <= max(width, 18)  # two columns of 8 places
    shown = "".join(line for lines in fit(["name", "text", "more"], rows, width, cells=cell_len) for line in lines)
    assert shown.count("x") == 50 + 1  # cut, never lost: those of the text, and of its heading
