"""How things are shown: tables, errors, sizes. Rich is imported only when something is."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from gantool.errors import GantoolError, printable

if TYPE_CHECKING:
    from rich.console import Console

MIN_WRAPPED = 16  # characters that a column of running text gets at least


def console(stderr: bool = False) -> Console:
    from rich.console import Console

    # what is printed holds names of files and classes: "[/x]" and ":smile:" mean themselves
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    made.soft_wrap = not made.is_terminal  # a person's screen breaks lines between words; a file keeps them whole
    return made


def print_error(error: GantoolError) -> None:
    """The message, then the hint on a line of its own, on stderr; plain text, so that it can be searched for."""
    from rich.text import Text

    err = console(stderr=True)
    err.print(Text("Error: ", style="bold red") + Text(printable(error.message), style="none"))
    if error.hint:
        err.print(Text(printable(error.hint), style="yellow"))


def print_json(value: Any) -> None:
    """JSON on stdout, and nothing else there."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def print_table(
    columns: list[str],
    rows: list[list[str]],
    *,
    title: str = "",
    right: tuple[int, ...] = (),
    wrap: tuple[int, ...] | None = None,
) -> None:
    """A table on stdout. `right`: columns aligned so; `wrap`: columns that may break lines (default: the last)."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    wrap = (len(columns) - 1,) if wrap is None else wrap
    table = Table(
        title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, show_header=any(columns)
    )
    for i, column in enumerate(columns):
        width = max((len(row[i]) for row in [columns, *rows]), default=0)
        table.add_column(
            column,
            justify="right" if i in right else "left",
            overflow="fold",
            no_wrap=i not in wrap,
            min_width=min(width, MIN_WRAPPED) if i in wrap else width,
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))  # Text: brackets in a cell are no markup
    out = console()
    out.soft_wrap = False
    # on a narrower screen the terminal breaks the lines: better than numbers cut off
    needed = out.measure(table, options=out.options.update(max_width=1000)).minimum
    out.width = max(out.width, needed)
    out.print(table, crop=False)


def megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
