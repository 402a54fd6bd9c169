"""One process trains a run at a time."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from gantool.errors import GantoolError
from gantool.run.rundir import RunDir


def take(run: RunDir, patience: float = 0.0) -> BaseFileLock:
    """Lock `run` for this process, and write who holds it into the lock file. Waits for it `patience` seconds.

    The kernel holds the lock: it is free when the process is gone, however it ended, or when nothing refers to the
    returned object any more. Taking it again in the same process gives the same object.

    Raises GantoolError, which names the holder, when another process trains the run, and when the folder can't be
    written.
    """
    path = run.lock.resolve()  # the one object of this process is found by its path
    holder = ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        holder = path.read_text().strip()
    lock = FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=patience, blocking=patience > 0)
    except Timeout:
        if holder:  # filelock before version 4 empties the file even when the lock is not to be had
            _write(path, holder)
        raise GantoolError(
            f"The run {run.path} is being trained by another process ({holder or 'unknown'}).",
            "Wait until it ends, or stop it with Ctrl-C where it runs; then resume again.",
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise GantoolError(
            f"The run {run.path} can't be written: its lock can't be taken: {error}.",
            "Make the folder writable, or copy it to a disk that is and resume it there.",
        ) from error
    _write(path, f"pid {os.getpid()} on {socket.gethostname()}")
    return lock


def holder(run: RunDir) -> str:
    """Who trains `run` now, as `take` names them; "" when nobody does, or no one can tell."""
    path = run.lock
    try:
        named = path.read_text().strip()
        lock = FileLock(path)  # one of its own: it finds out whether this process holds the run, too
        lock.acquire(blocking=False)
    except Timeout:
        _write(path, named)  # as in `take`
        return named or "unknown"
    except (OSError, UnicodeDecodeError, NotImplementedError):
        return ""
    lock.release()
    return ""


def _write(path: Path, holder: str) -> None:
    with contextlib.suppress(OSError):  # a full disk keeps no one from holding the lock
        path.write_text(f"{holder}\n")
