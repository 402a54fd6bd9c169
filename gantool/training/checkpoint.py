"""Checkpoints: tensors and plain values only, written aside and renamed, so that none is ever half-written."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from gantool.errors import GantoolError
from gantool.files import replacing
from gantool.rundir import RunDir

SCHEMA = 1
KEEP = 2  # the newest, and the one before it in case the newest is damaged


def save(path: Path, state: dict[str, Any]) -> None:
    try:
        with replacing(path) as temporary:
            torch.save({"schema": SCHEMA, **state}, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise GantoolError(
            f"The checkpoint {path} can't be written: {error}.",
            "The checkpoint before it is untouched: free space or mend the folder, then --resume the run.",
        ) from error


def load(path: Path) -> dict[str, Any]:
    """The state in `path`, on the CPU. Never unpickles code (`weights_only`)."""
    try:
        _check_sums(path)  # torch.load does not: it would return flipped bits as weights
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise GantoolError(f"There is no checkpoint {path}.") from error
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        first = str(error).strip().partition("\n")[0]
        raise GantoolError(
            f"The checkpoint {path} is damaged: {first[:200]}", "Delete it to go on from the one before it."
        ) from error
    schema = state.get("schema") if isinstance(state, dict) else None
    if schema != SCHEMA:
        raise GantoolError(
            f"The checkpoint {path} has schema {schema!r}; this gantool reads {SCHEMA}.",
            "Upgrade: pip install -U gantool" if isinstance(schema, int) and schema > SCHEMA else "",
        )
    assert isinstance(state, dict)
    return state


def _check_sums(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        wrong = archive.testzip()
    if wrong:
        raise zipfile.BadZipFile(f"the checksum of {wrong} is wrong")


def prune(run: RunDir) -> None:
    for path in run.checkpoints()[:-KEEP]:
        path.unlink(missing_ok=True)
