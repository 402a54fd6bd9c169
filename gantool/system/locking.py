"""Locks on files: one process at a time works on a folder.

    try:
        with locking.hold(folder / ".lock"):
            ...
    except locking.Busy as busy:
        raise GantoolError(f"{folder} is in use ({busy.holder}).") from None

The kernel keeps the lock, so it is free as soon as its process has ended, however it ended. The lock file stays.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock


class Busy(Exception):
    """Another process holds the lock. `holder` says which: `pid 12 on HOST`, or `unknown`."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"locked by {holder or 'unknown'}")
        self.holder = holder or "unknown"


def acquire(path: Path, wait: float | None = 0.0, *, reentrant: bool = False) -> BaseFileLock:
    """Take the lock, wait up to `wait` seconds for it (None: for ever), and write this process into the lock file.

    Call `release()` on the result, or drop all references to it. `reentrant`: a second call in this process gives the
    same object. Raises Busy, and OSError when the lock file can't be written or the file system has no locks.
    """
    from filelock import FileLock, Timeout

    path = path.resolve()  # `reentrant` goes by the path
    before = _read(path)
    try:
        lock = FileLock(path, is_singleton=reentrant)
        lock.acquire(timeout=-1 if wait is None else wait, blocking=wait is None or wait > 0)
    except Timeout:
        _restore(path, before)
        raise Busy(before) from None
    except NotImplementedError as error:
        raise OSError(str(error)) from error
    _write(path, f"pid {os.getpid()} on {socket.gethostname()}")
    return lock


@contextmanager
def hold(path: Path, wait: float | None = 0.0) -> Iterator[None]:
    """Hold the lock inside `with`; as `acquire`."""
    lock = acquire(path, wait)
    try:
        yield
    finally:
        lock.release()


def holder(path: Path) -> str:
    """Which process holds the lock now, this one included; "" when none does, or it can't be found out."""
    from filelock import FileLock, Timeout

    before = _read(path)
    if not path.exists():
        return ""
    try:
        lock = FileLock(path)
        lock.acquire(blocking=False)
    except Timeout:
        _restore(path, before)
        return before or "unknown"
    except (OSError, NotImplementedError):
        return ""
    lock.release()
    return ""


def _read(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""


def _restore(path: Path, holder: str) -> None:
    """filelock before version 4 empties the file even when another process holds the lock."""
    if holder and not _read(path):
        _write(path, holder)


def _write(path: Path, holder: str) -> None:
    with contextlib.suppress(OSError):  # the lock holds without the text, say on a full disk
        path.write_text(f"{holder}\n")
