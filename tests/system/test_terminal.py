"""Tables on narrow screens: no figure is cut off; and names, which may be anybody's, that mean only themselves."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from rich.panel import Panel
from rich.text import Text

from gantool.errors import GantoolError
from gantool.system.terminal import console, doing, megabytes, print_error, print_json, print_table, progress, status


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


def test_rich_s_own_objects_are_escaped_too(capsys: pytest.CaptureFixture[str]) -> None:
    out = console()
    out.print("a\x1b[2J", Text("b\x1b[2J"), style="none")
    out.print(Panel(Text("c\x1b[2J"), title="[d]\x07"), width=20)
    shown = capsys.readouterr().out
    assert shown.startswith("a\\x1b[2J b\\x1b[2J\n")
    assert "c\\x1b[2J" in shown
    assert "\x1b" not in shown


def test_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"é": [1, None]})
    assert json.loads(capsys.readouterr().out) == {"é": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json(float("nan"))


def test_progress_elsewhere_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress("images", every=30) as bar:
        bar.start("packing [x]", 10_000, done=1000)
        for seconds, done in ((10, 1500), (30, 2500), (40, 3000), (3000, 9000)):
            now[0] = 100.0 + seconds
            bar.update(done, "3 broken" if done == 2500 else "")
        bar.note("a\x07")
    with progress("B", every=0) as bar:
        bar.start("", 2 * 10**8)
        now[0] += 10
        bar.update(10**8)
    assert capsys.readouterr().err.splitlines() == [
        "packing [x]: 2,500 of 10,000, 50 images/s, 3 broken, 2 min left",
        "packing [x]: 9,000 of 10,000, 3 images/s, 6 min left",
        "a\\x07",
        "100.0 MB of 200.0 MB, 10.0 MB/s, 10 s left",
    ]


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("images") as bar:
        bar.start("[bold]packing\x1b]0;title", 10)
        bar.update(5, "[3 broken]")
        bar.bars.refresh()
        bar.note("a note")
    with status() as show:
        show("[red]measuring\x1b]0;title")
    shown = capsys.readouterr().err
    for text in ("[bold]packing\\x1b]0;title", "5 of 10", "[3 broken]", "a note"):
        assert text in shown
    assert "\x1b]0" not in shown


def test_status_elsewhere_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with status() as show:
        for seconds, text in ((1, "reading"), (10, "writing"), (19, "checking"), (25, "packing\x07")):
            now[0] = 100.0 + seconds
            show(text)
    assert capsys.readouterr() == ("", "writing …\npacking\\x07 …\n")


def test_a_notebook_shows_a_bar_below_its_cell_and_takes_it_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import IPython

    shown: list[str] = []

    def display(bundle: dict[str, str], **options: object) -> SimpleNamespace:
        shown.append(bundle["text/html"])
        return SimpleNamespace(update=display)

    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr("IPython.display.display", display)
    with progress("images") as bar:
        bar.start("<packing>", 10)
        for done in (4, 5, 6):
            now[0] += 0.2  # every second one comes too soon
            bar.update(done)
    assert [text.count('value="4" max="10"') for text in shown] == [1, 0, 0]
    assert "&lt;packing&gt;: 6 of 10, 10 images/s" in shown[1]
    assert shown.pop() == ""
    with status() as show:
        show("measuring")
    assert shown[2:] == ["<div>measuring …</div>", ""]
    assert capsys.readouterr() == ("", "")


def test_a_library_call_says_what_it_does_only_where_a_status_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    doing("nobody asked")
    with status(every=0):
        doing("asked")
    doing("nobody asks any more")
    assert capsys.readouterr() == ("", "asked …\n")


def test_sizes() -> None:
    assert [megabytes(size) for size in (200, 99_999, 1.5e6, 2e9)] == ["0.2 kB", "100.0 kB", "1.5 MB", "2,000.0 MB"]
