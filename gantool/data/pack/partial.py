"""A pack that is being made: kept beside it, so that the same command goes on where it was stopped."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from gantool.data.pack.writer import BROKEN, FILES, HEADER, Layout, Mark
from gantool.errors import GantoolError
from gantool.system.files import read_json, write_json

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MARK = TypeAdapter(Mark)


class Partial:
    """The folder OUT.partial: `plan.json` (what is made, of what), `progress.json` (how far), `pack/` (the rows).

    `progress.json` is replaced only after the rows that it counts have reached the disk: whatever ends the process, it
    is never ahead of them.
    """

    def __init__(self, out: Path) -> None:
        if not out.name or out.name == "..":
            raise GantoolError(f"{str(out)!r} names no new folder.", "Give one that is to be made: -o pack")
        self.out = out
        self.folder = out.with_name(f"{out.name}.partial")
        self.rows = self.folder / "pack"
        self.note = ""  # on what was found there

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes away. GantoolError when one is at it, or the folder can't be made."""
        self._check_out()
        if self.folder.exists() and not (self.folder.is_dir() and self._ours()):
            raise GantoolError(
                f"{self.folder} exists, and is no unfinished pack.",
                f"Move it away, or give another -o than {self.out}.",
            )
        with self._telling():
            self.rows.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise GantoolError(f"{self.out} is being packed by another process.", "Wait until it ends.") from None
        except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
            raise GantoolError(f"{self.folder} can't be locked: {error}.", "Give -o on another disk.") from error
        try:
            self._check_out()  # again: who held the lock may have finished just now
            with self._telling():
                yield
        finally:
            lock.release()
            if not (self.folder / "plan.json").exists():  # nothing was begun, or nothing of it is worth keeping
                shutil.rmtree(self.folder, ignore_errors=True)

    def begin(self, plan: Mapping[str, Any]) -> Mark | None:
        """How far an earlier call with the same `plan` came. What another left is removed, and `note` says so."""
        found = self._read("plan.json")
        if found is not None and found.get("plan") == plan:
            with contextlib.suppress(GantoolError, ValidationError):
                mark = _MARK.validate_python(read_json(self.folder / "progress.json"))
                if self._holds(found, mark):
                    for half in self.rows.glob(".*.tmp"):  # of a pack.json that was being written
                        half.unlink()
                    self.note = f"Going on after number {mark.done:,}: {self.folder} holds what is done."
                    return mark
        elif found is not None:
            self.note = f"{self.folder} is of other data or options: starting anew."
        self.clear()
        return None

    @property
    def found(self) -> dict[str, Any]:
        """What the plan was completed with; {} when it was not."""
        return dict((self._read("plan.json") or {}).get("found", {}))

    def complete(self, plan: Mapping[str, Any], found: Mapping[str, Any], layouts: Mapping[str, Layout]) -> None:
        """Note `plan`, and what was `found` out about the source."""
        described = {name: asdict(layout) for name, layout in layouts.items()}
        write_json(self.folder / "plan.json", {"plan": plan, "found": found, "layouts": described})

    def note_mark(self, mark: Mark) -> None:
        write_json(self.folder / "progress.json", asdict(mark))

    def check_space(self, layouts: Mapping[str, Layout], count: int, mark: Mark | None, names: int = 0) -> None:
        """GantoolError when what is to come does not fit on the disk. `names`: bytes that the names of files take."""
        rows = count - (mark.rows if mark else 0)
        needed = rows * sum(layout.bytes for layout in layouts.values()) + HEADER * len(layouts) + names
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise GantoolError(
                f"{self.out} needs {_megabytes(needed)} more, and {_megabytes(free)} are free there.",
                "Free space, give -o on another disk, or pack smaller images (--size).",
            )

    def finish(self) -> None:
        """The rows become OUT; nothing else stays."""
        os.replace(self.rows, self.out)  # noqa: PTH105 — an empty folder may be there
        shutil.rmtree(self.folder, ignore_errors=True)

    def clear(self) -> None:
        """Forget what is there, the marks first."""
        for name in ("progress.json", "plan.json"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.rows, ignore_errors=True)
        self.rows.mkdir(exist_ok=True)

    def _check_out(self) -> None:
        """GantoolError unless OUT is free: a folder takes the place of an empty one, but not of a link to one."""
        if self.out.is_symlink():
            raise GantoolError(f"{self.out} is a link.", "Give -o the folder itself, or another name.")
        if self.out.exists() and not (self.out.is_dir() and not any(self.out.iterdir())):
            raise GantoolError(f"{self.out} exists.", "Name another folder with -o, or remove it.")

    def _ours(self) -> bool:
        return {path.name for path in self.folder.iterdir()} <= {"plan.json", "progress.json", "lock", "pack"} or bool(
            self._read("plan.json")
        )

    def _read(self, name: str) -> dict[str, Any] | None:
        with contextlib.suppress(GantoolError):
            value = read_json(self.folder / name)
            return value if isinstance(value, dict) else None
        return None

    def _holds(self, found: Mapping[str, Any], mark: Mark) -> bool:
        """Whether the rows that `mark` counts are there."""
        try:
            sizes = {
                f"{name}.npy": HEADER + mark.rows * Layout(described["dtype"], tuple(described["row"])).bytes
                for name, described in found["layouts"].items()
            }
            lists = {FILES: mark.files_bytes, BROKEN: mark.broken_bytes}
            return all(_size(self.rows / name) >= size for name, size in (sizes | lists).items())
        except (OSError, KeyError, TypeError):
            return False

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """A full disk, or one that can't be written, becomes a GantoolError with figures."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise GantoolError(
                    f"{error.filename or self.folder} can't be written: {error.strerror or error}.",
                    "Check the path and its permissions, or give another -o.",
                ) from error
            free = 0
            with contextlib.suppress(OSError):
                free = shutil.disk_usage(self.folder).free
            raise GantoolError(
                f"The disk is full: {_megabytes(free)} are free at {self.folder} ({error.strerror}).",
                "Free space and type the same again: it goes on with what is there. Or give -o on another disk.",
            ) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"
