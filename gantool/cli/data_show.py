"""What `gantool data pack` and `gantool data info` show."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gantool.errors import GantoolError, excerpt, printable
from gantool.system.terminal import console, megabytes, print_json, print_table

if TYPE_CHECKING:
    from gantool.data.pack.build import Progress, Summary
    from gantool.data.survey import Survey

LINE_EVERY = 30.0  # seconds between two lines where there is no terminal to draw a bar on
SHOWN = 20  # broken files, classes and groups of duplicates that a person is shown


def pack(source: str, out: Path, as_json: bool, workers: int | None, options: dict[str, Any]) -> None:
    """Pack, show how far it is on stderr, and at last what there is; exits 130 after Ctrl-C."""
    from gantool.data.pack import build

    err = console(stderr=True)
    last: list[Progress] = []
    try:
        with _shown() as show:

            def heard(progress: Progress) -> None:
                last[:] = [progress]
                show(progress.done, progress.total, progress.found, progress.broken)

            done = build.pack(
                source,
                out,
                build.Options(**options),
                workers=workers,
                on_progress=heard,
                on_note=lambda note: err.print(note),
            )
    except KeyboardInterrupt:
        how_far = f"{last[0].done:,} of {last[0].total:,} are done" if last else "Nothing was decoded yet"
        err.print(f"Stopped. {how_far}; the same command goes on.")
        sys.exit(130)
    except build.BrokenFiles as error:
        if as_json:
            print_json({"out": None, "broken": build.broken_files(error.listed)})
        raise
    if as_json:
        broken = build.broken_files(out / "broken.jsonl") if done.description.broken else []
        described = done.description.model_dump() | {"broken": broken}
        print_json({"out": str(out), "bytes": done.bytes, "seconds": round(done.seconds, 3), **described})
        return
    _tell_packed(out, done)


def _tell_packed(out: Path, done: Summary) -> None:
    packed, text = done.description, console()
    shape = "×".join(map(str, packed.arrays["images"].shape[1:]))
    classes = f", {len(packed.class_names)} classes" if packed.class_names else ""
    rate = f", {done.done / max(done.seconds, 1e-9):,.0f} a second" if done.done else ""
    text.print(f"{packed.count:,} images of {shape}{classes} → {out}: {megabytes(done.bytes)}{rate}")
    if packed.broken:
        text.print(f"{packed.broken:,} broken files were left out; {out}/broken.jsonl lists them:")
        for each in packed.broken_first:
            text.print(f"  {excerpt(each['file'])}: {excerpt(each['reason'], 120)}")
    for note in packed.notes:
        text.print(f"Note: {printable(note)}")
    text.print(f"Next: gantool train dcgan --data {shlex.quote(str(out))}")


def info(source: str, as_json: bool, *, size: int | None, out: Path | None, verify: bool, workers: int | None) -> None:
    """Look at `source` and tell; exits 1 when files are broken, or a pack is not what it was."""
    if verify:
        _verify(Path(source), as_json)
        return
    from gantool.data.survey import survey

    with _shown() as show:
        found = survey(source, size, workers=workers, on_progress=lambda done, total: show(done, total, 0, 0))
    if out is not None:
        from gantool.artifact.pictures import save_png
        from gantool.data.survey import sheet

        try:
            save_png(sheet(source, size), out)
        except OSError as error:
            raise GantoolError(
                f"{out} can't be written: {error.strerror or error}.", "Name another with -o."
            ) from error
    if as_json:
        print_json(asdict(found) | {"contact_sheet": str(out) if out else None, "next": _advice(found)})
    else:
        _tell_found(found)
        if out is not None:
            console().print(f"Contact sheet: {out}")
        console().print(f"Next: {_advice(found)}")
    if found.broken:
        raise typer.Exit(1)


def _verify(path: Path, as_json: bool) -> None:
    from gantool.data.pack.format import is_pack, verify

    if not is_pack(path):
        raise GantoolError(f"{path} is no pack: there is nothing to verify.", "Leave --verify out.")
    wrong = verify(path)
    if as_json:
        print_json({"source": str(path), "whole": not wrong, "changed": wrong})
    elif not wrong:
        console().print(f"{path}: every file is what it was when it was packed.")
    if wrong:
        raise GantoolError(f"{path}: {', '.join(wrong)} changed since it was packed.", "Pack the data again.")


def _tell_found(found: Survey) -> None:
    if found.count:
        assert found.width is not None
        assert found.height is not None
        extents = "   ".join(
            f"{name} {side.min} to {side.max}, median {side.median}"
            for name, side in (("width", found.width), ("height", found.height))
        )
    else:
        extents = "–"
    at = f" at {found.size}×{found.size}" if found.size else ""
    rows = [
        ["source", f"{found.source} ({found.kind})"],
        ["images", f"{found.count:,}"],
        ["sides", extents],
        ["channels", f"{found.channels}   ({_counts(found.modes)})"],
        *([["formats", _counts(found.formats)]] if found.formats else []),
        ["bytes" + at, f"{megabytes(found.bytes_uint8)} as uint8, {megabytes(found.bytes_float32)} as float32"],
        [
            "duplicates",
            f"{found.duplicates:,} with exactly the pixels of another" if found.duplicates else "none",
        ],
        ["broken files", f"{len(found.broken):,}" if found.broken else "none"],
        *([["licence", found.licence]] if found.licence else []),
        *([["fingerprint", found.fingerprint]] if found.fingerprint else []),
        *(["note", note] for note in found.notes),
    ]
    print_table(["", ""], rows)
    sizes = [[f"{w}×{h}", f"{n:,}", _share(n, found.count)] for w, h, n in found.sizes]
    rest = found.count - sum(n for _, _, n in found.sizes)
    if rest:
        sizes.append(
            [f"{found.distinct_sizes - len(found.sizes):,} other sizes", f"{rest:,}", _share(rest, found.count)]
        )
    print_table(["size", "images", ""], sizes, right=(1, 2), wrap=())
    if found.classes:
        classes = [[excerpt(name, 40), f"{n:,}", _share(n, found.count)] for name, n in found.classes[:SHOWN]]
        more = len(found.classes) - SHOWN
        print_table(["class", "images", ""], classes, right=(1, 2), wrap=())
        if more > 0:
            console().print(f"… and {more:,} more classes")
    _tell_list("Equal pixels:", [" = ".join(map(excerpt, group)) for group in found.duplicate_groups])
    _tell_list("Broken:", [f"{excerpt(file)}: {excerpt(reason, 120)}" for file, reason in found.broken])


def _tell_list(title: str, lines: list[str]) -> None:
    if lines:
        text = console()
        text.print(title)
        for line in lines[:SHOWN]:
            text.print(f"  {line}")
        if len(lines) > SHOWN:
            text.print(f"  … and {len(lines) - SHOWN:,} more (--json lists them)")


def _advice(found: Survey) -> str:
    """The line to type next."""
    from gantool.data.readers.folder import MANY_BYTES, MANY_FILES

    source = shlex.quote(found.source)
    many = found.count > MANY_FILES or found.bytes_uint8 > MANY_BYTES
    square = found.distinct_sizes == 1 and found.sizes[0][0] == found.sizes[0][1]
    if found.kind == "folder" and (many or not square or found.broken):
        assert found.width is None or found.height is not None
        short = min(found.width.median, found.height.median) if found.width and found.height else 64
        side = found.size or (64 if short >= 48 else 32)
        skip = " --skip-broken" if found.broken else ""
        return f"gantool data pack {source} -o {shlex.quote(f'{found.name}-{side}')} --size {side}{skip}"
    size = f" --size {found.size}" if found.size else ""
    return f"gantool train dcgan --data {source}{size}"


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counted.items()) or "–"


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.1f} %"


@contextmanager
def _shown() -> Iterator[Callable[[int, int, int, int], None]]:
    """A bar on a terminal, elsewhere a line now and then: called with done, total, those found done, those broken."""
    err = console(stderr=True)
    start = time.monotonic()
    if not err.is_terminal:
        spoken = start

        def line(done: int, total: int, found: int, broken: int) -> None:
            nonlocal spoken
            now = time.monotonic()
            if now - spoken >= LINE_EVERY:
                spoken = now
                rate = (done - found) / (now - start)
                left = f", {(total - done) / rate / 60:,.0f} min left" if rate else ""
                bad = f", {broken:,} broken" if broken else ""
                err.print(f"{done:,} of {total:,}, {rate:,.0f}/s{left}{bad}")

        yield line
        return

    from rich import progress as bars

    columns = (
        bars.MofNCompleteColumn(),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeRemainingColumn(elapsed_when_finished=True),
    )
    with bars.Progress(*columns, console=err, transient=True) as drawn:
        task = drawn.add_task("", total=None, rate="looking")

        def draw(done: int, total: int, found: int, broken: int) -> None:
            if drawn.tasks[0].total is None:
                # what was there took no time: the estimate begins after it
                drawn.reset(task, total=total, completed=found)
            bad = f", {broken:,} broken" if broken else ""
            drawn.update(task, completed=done, rate=f"{drawn.tasks[0].speed or 0:,.0f}/s{bad}")

        yield draw
