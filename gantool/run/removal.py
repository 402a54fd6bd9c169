"""Deleting runs: never one that is being trained, never what a link points to, never half of one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gantool.errors import GantoolError
from gantool.run import lock
from gantool.run.rundir import RunDir
from gantool.system.files import reading


def check(run: RunDir) -> None:
    """GantoolError when `run` must not be deleted: it is a link, or being trained."""
    if run.path.is_symlink():
        raise GantoolError(
            f"The run {run.path} is a link to {run.path.resolve()}: it is not followed.",
            "Remove the link yourself, or name the folder that it points to.",
        )
    if who := lock.holder(run):
        raise GantoolError(
            f"The run {run.path} is being trained ({who}): it is not deleted.",
            "Stop the training with Ctrl-C where it runs, then delete again.",
        )


def size(run: RunDir) -> int:
    """Bytes that deleting `run` frees; a file with two names in it counts once."""
    seen: dict[tuple[int, int], int] = {}
    with reading(run.path):
        for folder, _, names in os.walk(run.path):
            for name in names:
                status = Path(folder, name).lstat()
                seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def delete(run: RunDir) -> int:
    """Delete `run`; the bytes freed.

    It is renamed first, to a name that no run has: one that is killed here, or half of whose files can't be removed,
    leaves no half run behind that a command would find. Raises GantoolError as `check` does, and when a file can't be
    removed.
    """
    check(run)
    held = lock.take(run)
    freed, path = size(run), run.path.resolve()
    away = path.with_name(f".deleted-{path.name}-{os.getpid()}")
    try:
        if os.name == "nt":
            held.release()  # Windows renames no folder with an open file in it
        path.rename(away)
        held.release(force=True)
        shutil.rmtree(away)  # links inside are removed, not followed
    except OSError as error:
        held.release(force=True)
        left = f" What is left of it is in {away}." if away.exists() else ""
        raise GantoolError(
            f"The run {run.path} can't be deleted: {error}.{left}", "Mend the folder's rights, then delete again."
        ) from error
    return freed
