"""One process trains a run at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gantool.errors import GantoolError
from gantool.run.rundir import RunDir
from gantool.system import locking

if TYPE_CHECKING:
    from filelock import BaseFileLock


def take(run: RunDir, patience: float = 0.0) -> BaseFileLock:
    """Lock `run` for this process; wait up to `patience` seconds for it. Again in this process: the same object.

    The lock is free when its process has ended, or when nothing refers to the returned object any more. GantoolError:
    another process trains the run (the message says which), or the folder can't be written.
    """
    try:
        return locking.acquire(run.lock, patience, reentrant=True)
    except locking.Busy as busy:
        raise GantoolError(
            f"The run {run.path} is being trained by another process ({busy.holder}).",
            "Wait until it ends, or stop it with Ctrl-C where it runs; then resume again.",
        ) from None
    except OSError as error:
        raise GantoolError(
            f"The run {run.path} can't be written: its lock can't be taken: {error}.",
            "Make the folder writable, or copy it to a disk that is and resume it there.",
        ) from error


def holder(run: RunDir) -> str:
    """Which process trains `run` now; "" when none does, or it can't be found out."""
    return locking.holder(run.lock)
