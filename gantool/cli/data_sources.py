"""`gantool data list` and `gantool data fetch`: the data sets that have a name."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gantool.system.terminal import console, megabytes, print_json, print_table

if TYPE_CHECKING:
    from gantool.data.catalog import Entry

Cache = Annotated[
    Path | None,
    typer.Option("--cache", help="Cache folder. Default: $GANTOOL_CACHE, or the user's cache folder.", metavar="DIR"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_EVERY = 5.0  # seconds between two lines where there is no terminal


def list_sets(cache: Cache = None, as_json: Json = False) -> None:
    """List the data sets that have a name: built in, fetched or to fetch, and those of plugins."""
    from gantool.data.catalog import listing

    entries = listing(cache)
    if as_json:
        print_json([_described(entry) for entry in entries])
        return
    rows = [
        [
            entry.name,
            "" if entry.count is None else f"{entry.count:,}",
            _pixels(entry.shape),
            "" if entry.classes is None else str(entry.classes),
            entry.licence,
            f"{entry.state}: {entry.detail}" if entry.detail else entry.state,
        ]
        for entry in entries
    ]
    print_table(["name", "images", "size", "classes", "licence", "state"], rows, right=(1, 2, 3), wrap=(4, 5))
    if any(entry.state == "to fetch" for entry in entries):
        console().print("Fetch one: gantool data fetch NAME. Train on one: gantool train ARCHITECTURE --data NAME")


def fetch(
    name: Annotated[str, typer.Argument(help="mnist, fashion-mnist or cifar10.")],
    mirror: Annotated[
        list[str] | None,
        typer.Option(help="Base address to load from instead of the known ones; may be repeated.", metavar="URL"),
    ] = None,
    cache: Cache = None,
    force: Annotated[bool, typer.Option("--force", help="Load and make it anew.")] = False,
    as_json: Json = False,
) -> None:
    """Download a well-known data set, verify it, and keep it in the cache as a pack. Interrupted, it goes on."""
    from gantool.data import catalog
    from gantool.data import fetch as fetching

    known = fetching.find(name)
    try:
        with _Shown() as progress:
            folder, made = fetching.fetch(name, progress, mirrors=mirror or (), cache=cache, force=force)
    except KeyboardInterrupt:
        console(stderr=True).print("interrupted; the same command goes on from there")
        raise typer.Exit(130) from None
    usual = folder == catalog.pack_folder(name)
    data = name if usual else str(folder)
    if as_json:
        print_json(
            {
                "name": name,
                "path": str(folder),
                "fetched": made,
                "data": data,
                "images": known.count,
                "classes": list(known.class_names),
                "licence": known.licence,
            }
        )
        return
    out = console()
    out.print(
        f"{name}: {known.count:,} images of {_pixels(known.shape)} pixels, {len(known.class_names)} classes, "
        f"{'in' if made else 'already in'} {folder}",
    )
    out.print(f"Licence: {known.licence}")
    out.print(f"Next: gantool train dcgan --data {shlex.quote(data)} --size 32")


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "summary": entry.summary,
        "images": entry.count,
        "shape": list(entry.shape) if entry.shape else None,
        "classes": entry.classes,
        "licence": entry.licence,
        "state": entry.state,
        "detail": entry.detail,
        "path": str(entry.path) if entry.path else None,
        "download_bytes": entry.bytes,
    }


def _pixels(shape: tuple[int, ...] | None) -> str:
    """(C, H, W) as `width×height×channels`."""
    return f"{shape[2]}×{shape[1]}×{shape[0]}" if shape else ""


class _Shown:
    """A download's progress on stderr: a bar a file, or a line now and then where that is no terminal."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as SpeedColumn

        self.console = console(stderr=True)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            DownloadColumn(),
            SpeedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.live,
        )
        self.name, self.total, self.told, self.task = "", 0, 0.0, self.bars.add_task("", visible=False)

    def __enter__(self) -> _Shown:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.bars.stop()

    def began(self, name: str, total: int) -> None:
        self.name, self.total, self.told = name, total, time.monotonic()
        self.task = self.bars.add_task(name, total=total)
        if not self.live:
            self.noted(f"{name}: {megabytes(total)}")

    def reached(self, count: int) -> None:
        self.bars.update(self.task, completed=count)
        if not self.live and time.monotonic() - self.told >= _EVERY:
            self.told = time.monotonic()
            self.noted(f"{self.name}: {megabytes(count)} of {megabytes(self.total)}")

    def noted(self, text: str) -> None:
        self.console.print(text)
