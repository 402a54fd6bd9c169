"""Checkpoints: tensors and plain values, written whole or not at all, with a digest that detects damage."""

from __future__ import annotations

import hashlib
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantool.errors import GantoolError, cause
from gantool.run import claims
from gantool.run.rundir import RunDir
from gantool.system.archives import open_zip
from gantool.system.files import replacing

SCHEMA = 3

# schema → how to turn its state into one of the next schema; applied in turn, so that files of any age load
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda state: {**state, "rollbacks": 0},  # they have no digest either: see `_read`
    2: lambda state: {**state, "rate_scale": 0.5 ** state["rollbacks"]},
}

MAX_SHARED = 256  # how often the values of a file may be counted in its state: tied weights have several names
# raised by zipfile, pickle and torch for files that are cut off or overwritten
_UNREADABLE = (
    OSError, RuntimeError, ValueError, EOFError, LookupError, AttributeError, TypeError, AssertionError, OverflowError,
    MemoryError, struct.error, zlib.error, pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip


class Damaged(GantoolError):
    """A checkpoint's content is not what was written."""


class _TooMuchError(ValueError):
    """A few bytes stand for too many."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path` whole or not at all; GantoolError when the disk is full or refuses."""
    content = {"schema": SCHEMA, **state}
    try:
        with replacing(path) as temporary:
            with temporary.open("wb") as stream:  # given a path, torch reports a full disk as "unexpected pos"
                torch.save({**content, "digest": digest(content)}, stream)
            _check_amount(content, temporary.stat().st_size)
    except _TooMuchError as error:
        raise GantoolError(
            f"The checkpoint {path} can't be written: {cause(error)}.",
            "A buffer of the architecture repeats its values: register it with .contiguous(), or persistent=False.",
        ) from error
    except (OSError, RuntimeError) as error:
        raise GantoolError(
            f"The checkpoint {path} can't be written: {cause(error)}.",
            "Older checkpoints are untouched: free space or mend the folder, then --resume the run.",
        ) from error


def load(path: Path) -> dict[str, Any]:
    """The state saved in `path`, on the CPU, in today's schema. Never unpickles code (`weights_only`).

    Raises Damaged when the content is not what was written, GantoolError when the file is missing, unreadable, or of a
    newer gantool.
    """
    try:
        return _load(path)
    except FileNotFoundError as error:
        raise GantoolError(f"There is no checkpoint {path}.") from error


def load_newest(run: RunDir) -> tuple[Path, dict[str, Any], list[str]]:
    """The newest undamaged checkpoint of `run`: its path, its state, and a note for each damaged one passed over.

    Raises GantoolError when there is no checkpoint, Damaged when all are damaged.
    """
    damaged: dict[Path, Damaged] = {}
    # listed anew each time: a training that goes on meanwhile removes the oldest
    while left := [path for path in run.checkpoints() if path not in damaged]:
        try:
            state = _load(left[-1])
        except FileNotFoundError:
            continue
        except Damaged as error:
            damaged[left[-1]] = error
            continue
        return left[-1], state, [f"{error.message} {left[-1].name} is used instead." for error in damaged.values()]
    if not damaged:
        run.latest_checkpoint()  # raises: there is none
    newest = next(iter(damaged.values()))
    raise Damaged(newest.message, "No checkpoint before it is sound: start a new run.") from newest


def prune(run: RunDir, keep: int = 2, keep_every: int = 0, best: int | None = None) -> None:
    """Remove old checkpoints.

    Stay: the newest `keep`, the first at or after every multiple of `keep_every` steps, and that of step `best`.
    """
    checkpoints = run.checkpoints()
    kept = set(checkpoints[-keep:])
    if keep_every:
        first: dict[int, Path] = {}
        for path in checkpoints:
            first.setdefault(run.step_of(path) // keep_every, path)
        first.pop(0, None)
        kept.update(first.values())
    if best is not None:
        kept.add(run.checkpoint(best))
    for path in checkpoints:
        if path not in kept:
            path.unlink(missing_ok=True)


def set_aside(run: RunDir, used: Path) -> None:
    """Rename the checkpoints newer than `used`, which are damaged, so that none is tried again."""
    for path in run.checkpoints():
        if path > used:
            path.replace(path.with_suffix(".damaged"))


def digest(state: Mapping[str, Any]) -> str:
    """SHA-256 over the names, types, shapes and bytes of everything in `state`, in any order of its keys."""
    sha = hashlib.sha256()
    for name, value in sorted(_leaves(state, ""), key=lambda leaf: leaf[0]):
        if isinstance(value, Tensor):
            sha.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            sha.update(f"{name} {type(value).__name__} {value!r}\n".encode())
    return sha.hexdigest()


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield name, len(value)  # an empty one counts, too
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}/{key!r}")
        if hasattr(value, "_metadata"):  # of nn.Module.state_dict(): version numbers, which torch saves, too
            yield from _leaves(value._metadata, f"{name}/_metadata")
    elif isinstance(value, list | tuple):
        yield name, f"{type(value).__name__} of {len(value)}"
        for key, inner in enumerate(value):
            yield from _leaves(inner, f"{name}/{key}")
    else:
        yield name, value


def _load(path: Path) -> dict[str, Any]:
    """As `load`, but raises FileNotFoundError as it is."""
    try:
        state = _read(path)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise GantoolError(f"The checkpoint {path} can't be read: {error.strerror}.") from error
    except _UNREADABLE as error:
        raise Damaged(
            f"The checkpoint {path} is damaged: {cause(error)}.", "The one before it may be sound."
        ) from error
    for schema in range(state.pop("schema"), SCHEMA):
        state = MIGRATIONS[schema](state)
    return state


def _read(path: Path) -> dict[str, Any]:
    """The content of the file, checked, in its own schema."""
    size = path.stat().st_size
    with open_zip(path, stored=True) as archive:
        _check_archive(archive, size)
    state = torch.load(path, map_location="cpu", weights_only=True)
    _check_amount(state, size)
    schema = state.get("schema") if isinstance(state, dict) else None
    known = f"The checkpoint {path} has schema {schema!r:.100}; this gantool reads up to {SCHEMA}."
    if isinstance(schema, int) and schema > SCHEMA:
        raise GantoolError(known, "Upgrade: pip install -U gantool")
    if not isinstance(state, dict) or not isinstance(schema, int) or schema < 1:
        raise Damaged(known)
    if schema == 1:
        with zipfile.ZipFile(path) as archive:
            if wrong := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {wrong} is wrong")
    elif state.pop("digest", None) != digest(state):
        raise ValueError("its content does not have the digest that was written with it")
    return state


def _check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Check the checksums of all but the tensors, which the digest covers, and what the pickle claims."""
    folders, records = set(), {}
    for entry in archive.infolist():
        folder, _, name = entry.filename.partition("/")
        folders.add(folder)
        if name.startswith("data/"):
            records[name.removeprefix("data/")] = entry.file_size
        else:
            archive.read(entry)  # torch.load checks no checksum
    if len(folders) != 1:
        raise zipfile.BadZipFile(f"it holds {len(folders)} folders")
    claims.check(archive.read(f"{folders.pop()}/data.pkl"), records, size)


def _check_amount(state: Any, size: int) -> None:
    """_TooMuchError when `state`, of a file of `size` bytes, has a tensor larger than that, or far more values in all.

    Few bytes may stand for many: a tensor may repeat its values, and a list its elements.
    """
    left = MAX_SHARED * max(size, claims.SMALL)
    for name, value in _leaves(state, ""):
        own = value.numel() * value.element_size() if isinstance(value, Tensor) else len(str(value))
        if isinstance(value, Tensor) and own > max(size, claims.SMALL):
            raise _TooMuchError(f"{name[:200]} has {own:,} bytes, more than the whole file")
        left -= own + len(name) + 100
        if left < 0:
            raise _TooMuchError(f"its {size:,} bytes stand for more than {MAX_SHARED} times as many")
