"""The part of `gantool generate` that writes shards: its progress bar, its last line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantool.errors import GantoolError
from gantool.system.terminal import console, megabytes, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from gantool.shards import Progress, Summary

LINE_EVERY = 60.0  # seconds between two lines where there is no terminal to draw a bar on


def generate(artifact: Path, out: Path, as_json: bool, options: dict[str, Any]) -> None:
    """Make the shards, show how far it is on stderr, and at last what there is; exits 130 after Ctrl-C."""
    from gantool.shards import count_finished, generate

    last: list[Progress] = []

    def heard(progress: Progress) -> None:
        last[:] = [progress]
        show(progress)

    try:
        # Ray tells on stdout of what it lost; there the summary is alone
        with _shown(options["count"]) as show, redirect_stdout(sys.stderr):
            summary = generate(artifact, out, on_progress=heard, **options)
    except KeyboardInterrupt:
        # the index knows them all: an interrupt may come between a shard and the news of it
        there = count_finished(out)
        done = f"{there} of {last[0].shards_total} shards" if last and there is not None else "What was made"
        console(stderr=True).print(f"Stopped. {done} in {out} stay; the same command goes on.")
        sys.exit(130)
    for name in summary.damaged:
        console(stderr=True).print(f"{name} was gone or changed, and was made again.")
    if as_json:
        print_json(_described(artifact, out, options, summary))
    else:
        console().print(_sentence(artifact, out, options, summary))


def labels(one: str | None, several: str | None, artifact: Path) -> list[int] | None:
    """What --label or --labels says, of the classes of the file; GantoolError for both, and for what is no class."""
    from gantool.artifact import onnxfile

    if one is not None and several is not None:
        raise GantoolError("--label and --labels were both given.", "Give one of them.")
    asked = several if one is None else one
    if asked is None:
        return None
    return onnxfile.read_manifest(artifact).parse_classes(asked, artifact)


def _sentence(artifact: Path, out: Path, options: dict[str, Any], summary: Summary) -> str:
    first = options["first"]
    which = f"{summary.images:,} images ({first} … {first + summary.images - 1} of seed {options['seed']})"
    shards = f"{summary.shards:,} shard{'s' if summary.shards > 1 else ''}"
    size = megabytes(summary.bytes)
    if not summary.made:
        return f"{which} were all there: {shards} in {out}, {size}"
    rate = f"{summary.images_made / max(summary.seconds, 1e-9):,.0f} images/s"
    found = f", {summary.shards - summary.made:,} were there" if summary.made < summary.shards else ""
    return f"{which} of {artifact} → {out}: {shards}{found}, {size}, {rate}"


def _described(artifact: Path, out: Path, options: dict[str, Any], summary: Summary) -> dict[str, Any]:
    asked = {name: options[name] for name in ("seed", "first", "count", "format", "shard_size", "provider", "engine")}
    return {"artifact": str(artifact), "out": str(out), **asked, **asdict(summary)}


@contextmanager
def _shown(total: int) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal; elsewhere a line a minute. Lost workers are told at once."""
    err = console(stderr=True)
    if not err.is_terminal:
        start = time.monotonic()
        spoken = start

        def line(progress: Progress) -> None:
            nonlocal spoken
            _tell_lost(progress, err)
            now = time.monotonic()
            if now - spoken >= LINE_EVERY:
                spoken = now
                err.print(_line(progress, now - start))

        yield line
        return

    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.fields[shards]}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeRemainingColumn(elapsed_when_finished=True),
    )
    with bars.Progress(*columns, console=err, transient=True) as drawn:
        task = drawn.add_task("", total=total, shards="starting", rate="")

        def draw(progress: Progress) -> None:
            _tell_lost(progress, err)
            if not drawn.tasks[0].fields["rate"]:
                # what was there took no time: the estimate begins after it
                drawn.reset(task, total=progress.total, completed=progress.found)
            speed = drawn.tasks[0].speed
            drawn.update(
                task,
                completed=progress.found + progress.images,
                shards=f"{progress.shards_found + progress.shards_made}/{progress.shards_total} shards",
                rate=f"{speed or 0:,.0f} images/s",
            )

        yield draw


def _tell_lost(progress: Progress, err: Any) -> None:
    from gantool.shards import WorkerLost

    if isinstance(progress.event, WorkerLost):
        text = f"The worker of shard {progress.event.number} {progress.event.why}; the shard is made again."
        err.print(text)


def _line(progress: Progress, seconds: float) -> str:
    done, rate = progress.found + progress.images, progress.images / seconds
    left = f", {(progress.total - done) / rate / 3600:.1f} h left" if rate else ""
    shards = f"{progress.shards_found + progress.shards_made} of {progress.shards_total} shards"
    return f"{shards}, {100 * done / progress.total:.1f} %, {rate:,.0f} images/s{left}"
