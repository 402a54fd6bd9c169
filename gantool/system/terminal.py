"""What is printed: text, tables, JSON, errors and progress.

    console().print(f"{path}: {name}")  # style="bold" where wanted
    print_table(["run", "step"], [["0001-mlp", "2000"]], right=(1,))
    with progress("images") as bar:
        bar.start("packing", total=1000)
        bar.update(250)

Progress goes to stderr: a bar in a terminal, HTML below the cell in a notebook, elsewhere a line in so many seconds.

Texts mean only themselves: brackets are no markup, `:smile:` is no emoji, and control characters, which may come from
names of files and classes, are spelt out. Rich is imported when something is printed.
"""

from __future__ import annotations

import functools
import html
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from gantool.errors import GantoolError, printable
from gantool.system.tables import fit

if TYPE_CHECKING:
    from rich.console import Console

EVERY = 10.0  # seconds between two lines where there is neither a terminal nor a notebook
REFRESH = 0.25  # seconds between two pictures of a bar


def console(stderr: bool = False) -> Console:
    """The console to print to. On a terminal it wraps lines between words; elsewhere it leaves them whole."""
    made = _console_class()(stderr=stderr, highlight=False, markup=False, emoji=False)
    made.soft_wrap = not made.is_terminal
    return made


@functools.cache
def _console_class() -> type[Console]:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.text import Text

    class SafeConsole(Console):
        """Spells control characters out."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)  # before widths are measured

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):  # what is no str, such as Text
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    return SafeConsole


def print_error(error: GantoolError) -> None:
    """The message, then the hint on a line of its own, on stderr."""
    from rich.text import Text

    err = console(stderr=True)
    err.print(Text("Error: ", style="bold red") + Text(error.message, style="none"))
    if error.hint:
        err.print(error.hint, style="yellow")


def print_json(value: Any) -> None:
    """JSON on stdout, and nothing else there."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", right: Sequence[int] = ()
) -> None:
    """A table on stdout. `right`: columns to align right.

    It is as wide as the terminal or $COLUMNS allow: columns that do not fit make a second table. Without either, lines
    are whole.
    """
    from rich.cells import cell_len

    out = console()
    width = out.width if out.is_terminal or "COLUMNS" in os.environ else None
    headings, *cells = [[printable(text) for text in row] for row in (columns, *rows)]
    if title:
        out.print(title, style="italic")
    for headed in fit(headings, cells, width, right, cell_len):
        heading, *lines = headed
        if any(columns):
            rule = ("-" if out.options.ascii_only else "─") * max(map(cell_len, headed))
            out.print(heading, style="bold", soft_wrap=True)
            out.print(rule, style="dim", soft_wrap=True)
        out.print("\n".join(lines), soft_wrap=True)
        out.print()


def megabytes(size: float) -> str:
    """`1.5 MB`, or `20.0 kB` below 0.1 MB."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def moves(out: Console) -> bool:
    """Whether what was printed to `out` can be changed, as a bar needs."""
    return out.is_terminal and not out.is_dumb_terminal


def in_notebook() -> bool:
    """Whether the program is a cell of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class Cell:
    """A bar and lines of text below a notebook's cell, in HTML: it needs no widgets."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = 0.0

    def show(self, lines: Iterable[str], done: int = 0, total: int = 0, now: bool = False) -> None:
        """Show `lines`, below a bar if there is a `total`; at most every REFRESH seconds, or `now`."""
        began = time.monotonic()
        if not now and began - self._shown < REFRESH:
            return
        self._shown, texts = began, [printable(line) for line in lines if line]
        bar = f'<progress value="{done}" max="{total}" style="width: 24em"></progress> ' if total else ""
        text = "<br>".join(map(html.escape, texts))
        self._put({"text/html": f"<div>{bar}{text}</div>", "text/plain": "\n".join(texts)})

    def clear(self) -> None:
        if self._handle is not None:
            self._put({"text/html": "", "text/plain": ""})

    def _put(self, shown: dict[str, str]) -> None:
        if self._handle is None:
            from IPython.display import display

            self._handle = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown, raw=True)


_shown: ContextVar[Callable[[str], None]] = ContextVar("shown", default=lambda text: None)


def doing(text: str) -> None:
    """Say what is being done to the `status` that is open; without one nobody is told."""
    _shown.get()(text)


@contextmanager
def status(every: float = EVERY) -> Iterator[Callable[[str], None]]:
    """Show what is being done: one line that changes; without a terminal or notebook a line in so many seconds.

    Gives the function that shows it; `doing` calls the same one.
    """
    from rich.text import Text

    err = console(stderr=True)
    printed = time.monotonic()

    def print_line(text: str) -> None:
        nonlocal printed
        if time.monotonic() - printed >= every:
            printed = time.monotonic()
            err.print(f"{text} …")

    with ExitStack() as stack:
        show = print_line
        if in_notebook():
            cell = Cell()
            stack.callback(cell.clear)

            def show(text: str) -> None:
                cell.show([f"{text} …"], now=True)

        elif moves(err):
            line = stack.enter_context(err.status("starting"))

            def show(text: str) -> None:
                line.update(Text(printable(text)))

        before = _shown.set(show)
        stack.callback(_shown.reset, before)
        yield show


@contextmanager
def progress(unit: str = "", every: float = EVERY) -> Iterator[Progress]:
    """Show how far something is: a bar; without a terminal or notebook a line in so many seconds.

    `unit`: what is counted, as `images`; `B` for bytes.
    """
    shown = Progress(unit, every)
    with shown.bars:
        yield shown
    shown.cell.clear()


@contextmanager
def bars(shown: bool = True) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """A bar for each thing that is done: (what, total) → a function that is told of the parts done. Hidden: silent."""
    if not shown:
        yield lambda what, total: lambda more: None
        return
    with progress() as bar:

        def start(what: str, total: int) -> Callable[[int], None]:
            bar.start(what, total)
            done = 0

            def advance(more: int) -> None:
                nonlocal done
                done += more
                bar.update(done)

            return advance

        yield start


class Progress:
    """See `progress`."""

    def __init__(self, unit: str, every: float) -> None:
        from rich import progress as bars

        self.console, self.cell = console(stderr=True), Cell()
        self.notebook = in_notebook()
        self.live = moves(self.console) and not self.notebook
        columns = [bars.TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[text]")]
        self.bars = bars.Progress(
            columns[0],
            bars.BarColumn(bar_width=24),
            columns[1],
            bars.TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            transient=True,
            disable=not self.live,
            redirect_stdout=sys.stdout.isatty(),  # what a program prints to a pipe stays there
        )
        self._unit, self._every = unit, every
        self._label, self._total, self._first, self._began, self._printed = "", 0, 0, 0.0, 0.0

    def start(self, label: str, total: int | None = None, done: int = 0) -> None:
        """Begin a task of `total` (None: not known yet). What is `done` already does not count in the rate."""
        self._label, self._total, self._first = label, total or 0, done
        self._began = self._printed = time.monotonic()
        self._task = self.bars.add_task(printable(label), total=total, completed=done, text="")

    def update(self, done: int, extra: str = "", total: int | None = None) -> None:
        """So much of the task is `done`. `extra` is shown behind the rate; `total`: when it was not known before."""
        self._total = total or self._total
        now = time.monotonic()
        speed = (self.bars.tasks[-1].speed or 0.0) if self.live else (done - self._first) / max(now - self._began, 1e-9)
        rate = f"{self._amount(speed)}/s" if self._unit == "B" else f"{speed:,.0f} {self._unit}/s".replace(" /s", "/s")
        parts = [f"{self._amount(done)} of {self._amount(self._total)}", rate, *([extra] if extra else [])]
        if self.live:
            self.bars.update(self._task, completed=done, total=self._total or None, text=printable(", ".join(parts)))
        elif self.notebook:
            self.cell.show([f"{self._label}: {', '.join(parts)}"], done, self._total)
        elif now - self._printed >= self._every:
            self._printed = now
            if speed:
                parts.append(f"{_duration((self._total - done) / speed)} left")
            self.note((f"{self._label}: " if self._label else "") + ", ".join(parts))

    def note(self, text: str) -> None:
        """A line of its own, above the bar."""
        self.console.print(text)

    def _amount(self, count: float) -> str:
        return megabytes(count) if self._unit == "B" else f"{count:,.0f}"


def _duration(seconds: float) -> str:
    """`40 s`, `12 min`, `5.0 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
