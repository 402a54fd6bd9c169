"""`pack`: decode a source once, into a folder. Interrupted, the same call goes on."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gantool.data.dataset import Dataset
from gantool.data.kinds import kind_of_shape
from gantool.data.pack.format import FIRST_BROKEN, Description, describe
from gantool.data.pack.sources import ArraySource, Options, open_source
from gantool.data.pack.writer import BROKEN, HEADER, Mark, Writer
from gantool.data.readers.folder import SizesDiffer
from gantool.data.readers.npy import open_npy
from gantool.errors import GantoolError
from gantool.system import locking
from gantool.system.files import DISK_FULL, read_json, recover, replacing_folder, write_json
from gantool.system.terminal import megabytes

__all__ = ["BrokenFiles", "Options", "Progress", "Summary", "broken_files", "pack", "save"]

_MARK = TypeAdapter(Mark)


@dataclass(frozen=True)
class Progress:
    """`done` of `total` files or rows, of which `found` were done by earlier calls; `broken` of them are broken."""

    done: int
    total: int
    found: int
    broken: int


@dataclass(frozen=True)
class Summary:
    """The finished pack: its `pack.json`, its bytes, and the seconds and the number of items that this call took."""

    description: Description
    bytes: int
    seconds: float
    done: int


class BrokenFiles(GantoolError):
    """Files can't be decoded. `listed`: a file of JSON lines with `file` and `reason` of each."""

    def __init__(self, listed: Path, count: int, of: int) -> None:
        self.listed, self.count = listed, count
        named = "".join(f"\n  {each['file']} {each['reason']}" for each in broken_files(listed, FIRST_BROKEN))
        more = f"\n  … and {count - FIRST_BROKEN:,} more" if count > FIRST_BROKEN else ""
        skip = "" if count == of else ", or add --skip-broken: it goes on at the end"
        super().__init__(
            f"{count:,} of {of:,} files can't be used:{named}{more}",
            f"All of them are listed in {listed}. Mend or remove them{skip}.",
        )


def pack(
    source: str,
    out: Path,
    options: Options | None = None,
    *,
    workers: int | None = None,
    on_progress: Callable[[Progress], object] = lambda progress: None,
    on_note: Callable[[str], object] = lambda note: None,
) -> Summary:
    """Pack `source` into the folder `out`, which must not exist.

    Resident memory does not grow with the images; the names of a million files take about 300 MB. However a call ends,
    the same call goes on, and the result is the same bytes. GantoolError for what can't be packed; BrokenFiles after
    all files were tried.
    """
    options = options or Options()
    partial = Partial(out)
    start = time.monotonic()
    with partial.locked():
        origin = open_source(source, options)
        mark, found = partial.begin(origin.plan, on_note)
        found = origin.prepare(found, workers)
        write_json(partial.plan, {"plan": origin.plan, "found": found})
        row_bytes = sum(layout.bytes for layout in origin.layouts.values())
        headers = HEADER * len(origin.layouts)
        partial.check_space((origin.count - mark.rows) * row_bytes + headers + origin.list_bytes)
        with Writer(partial.rows, origin.layouts, origin.count, mark, partial.write_mark) as writer:
            began = writer.mark
            if began.done:
                on_note(f"Going on after number {began.done:,}: {partial.folder} holds what is done.")
            on_progress(Progress(began.done, origin.count, began.done, began.broken))
            try:
                for batch in origin.batches(began.done):
                    writer.append(batch)
                    on_progress(Progress(batch.done, origin.count, began.done, writer.mark.broken))
            except SizesDiffer:
                partial.clear()
                raise
            except (KeyboardInterrupt, GantoolError):
                writer.commit()
                raise
            writer.commit()
            if writer.mark.broken and (not options.skip_broken or not writer.mark.rows):
                raise BrokenFiles(partial.rows / BROKEN, writer.mark.broken, origin.count)
            writer.finish()
        facts = origin.description
        if writer.mark.broken:
            facts["broken_first"] = broken_files(partial.rows / BROKEN, FIRST_BROKEN)
        samples = open_npy(partial.rows / "images.npy")
        facts["notes"] += kind_of_shape(samples.shape).notes(samples)
        description = describe(writer, **facts)
        size = sum(path.stat().st_size for path in partial.rows.iterdir())
        partial.finish()
    return Summary(description, size, time.monotonic() - start, writer.mark.done - began.done)


def save(data: Dataset, folder: Path, *, replace: bool = False) -> None:
    """Write `data` as the pack `folder`; images in floats are rounded to 8 bits, sounds to 16.

    GantoolError when `folder` exists, unless it is to be replaced.
    """
    if not replace:
        check_new(folder)
    source = ArraySource(data, Options(), data.source)
    with replacing_folder(folder) as new:
        with Writer(new, source.layouts, len(data)) as writer:
            for batch in source.batches(0):
                writer.append(batch)
            writer.finish()
        describe(writer, **source.description)


def check_new(folder: Path) -> None:
    """GantoolError when `folder` exists."""
    if folder.exists():
        raise GantoolError(f"{folder} exists.", "Name another folder, or remove it.")


def broken_files(listed: Path, most: int | None = None) -> list[dict[str, str]]:
    """`file` and `reason` of the lines of a broken.jsonl, of the first `most`."""
    with listed.open("rb") as file:
        return [json.loads(line) for line in itertools.islice(file, most)]


class Partial:
    """An unfinished pack, the folder OUT.partial: `plan.json` (the inputs), `progress.json` (the mark), `pack/` (rows).

    `progress.json` is replaced only after the rows that it counts have reached the disk, so a kill never leaves it
    ahead of them.
    """

    def __init__(self, out: Path) -> None:
        if not out.name or out.name == "..":
            raise GantoolError(f"{str(out)!r} names no new folder.", "Give one that is to be made: -o pack")
        self.out = out
        self.folder = out.with_name(f"{out.name}.partial")
        self.plan, self.mark, self.rows = (self.folder / name for name in ("plan.json", "progress.json", "pack"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other processes. GantoolError when one is packing, or the folder can't be made."""
        recover(self.folder)
        if self._finished():
            shutil.rmtree(self.folder, ignore_errors=True)  # a kill came after the first line of `finish`
        self._check_out()
        if self.folder.exists() and not (self.folder.is_dir() and self._is_ours()):
            raise GantoolError(
                f"{self.folder} exists, and is no unfinished pack.",
                f"Move it away, or give another -o than {self.out}.",
            )
        with self._disk_errors():
            self.rows.mkdir(parents=True, exist_ok=True)
            try:
                lock = locking.acquire(self.folder / "lock")
            except locking.Busy as busy:
                raise GantoolError(
                    f"{self.out} is being packed by another process ({busy.holder}).", "Wait until it ends."
                ) from None
        try:
            self._check_out()  # again: the process that held the lock may have finished just now
            with self._disk_errors():
                yield
        finally:
            lock.release()
            if not self.plan.exists() or self._finished():  # nothing is worth keeping
                shutil.rmtree(self.folder, ignore_errors=True)

    def begin(self, plan: Mapping[str, Any], on_note: Callable[[str], object]) -> tuple[Mark, dict[str, Any]]:
        """How far an earlier call with the same `plan` came, and what it found out. Else what is there is removed."""
        earlier = self._read_plan()
        if earlier.get("plan") == plan:
            with contextlib.suppress(GantoolError, ValidationError):
                mark = _MARK.validate_python(read_json(self.mark))
                recover(self.rows)
                return mark, dict(earlier.get("found", {}))
        elif earlier:
            on_note(f"{self.folder} is of other data or options: starting anew.")
        self.clear()
        return Mark(), {}

    def write_mark(self, mark: Mark) -> None:
        write_json(self.mark, asdict(mark))

    def check_space(self, needed: int) -> None:
        """GantoolError when `needed` bytes do not fit on the disk."""
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise GantoolError(
                f"{self.out} needs {megabytes(needed)} more, and {megabytes(free)} are free there.",
                "Free space, give -o on another disk, or pack smaller samples (--size).",
            )

    def finish(self) -> None:
        """Rename the rows to OUT, and remove the rest."""
        os.replace(self.rows, self.out)  # noqa: PTH105 — an empty folder may be there
        shutil.rmtree(self.folder, ignore_errors=True)

    def clear(self) -> None:
        """Remove what is there, the mark first."""
        self.mark.unlink(missing_ok=True)
        self.plan.unlink(missing_ok=True)
        shutil.rmtree(self.rows, ignore_errors=True)
        self.rows.mkdir(exist_ok=True)

    def _check_out(self) -> None:
        """GantoolError unless OUT is free: a folder replaces an empty one, but not a link to one."""
        if self.out.is_symlink():
            raise GantoolError(f"{self.out} is a link.", "Give -o the folder itself, or another name.")
        if self.out.exists() and not (self.out.is_dir() and not any(self.out.iterdir())):
            raise GantoolError(f"{self.out} exists.", "Name another folder with -o, or remove it.")

    def _finished(self) -> bool:
        moved = self.folder.is_dir() and not self.rows.exists() and self.out.is_dir() and any(self.out.iterdir())
        return moved and self._is_ours()

    def _is_ours(self) -> bool:
        names = {path.name for path in self.folder.iterdir()}
        return names <= {"plan.json", "progress.json", "lock", "pack"} or bool(self._read_plan())

    def _read_plan(self) -> dict[str, Any]:
        with contextlib.suppress(GantoolError):
            value = read_json(self.plan)
            return value if isinstance(value, dict) else {}
        return {}

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Turn the OSError of a disk that is full or can't be written into a GantoolError."""
        try:
            yield
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise GantoolError(
                    f"{error.filename or self.folder} can't be written: {error.strerror or error}.",
                    "Check the path and its permissions, or give another -o.",
                ) from error
            free = 0
            with contextlib.suppress(OSError):
                free = shutil.disk_usage(self.folder).free
            raise GantoolError(
                f"The disk is full: {megabytes(free)} are free at {self.folder} ({error.strerror}).",
                "Free space and type the same again: it goes on with what is there. Or give -o on another disk.",
            ) from error
