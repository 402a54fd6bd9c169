"""Files that are never half-written, and reads that are bounded. Standard library only."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gantool.errors import GantoolError

MAX_JSON_BYTES = 16 * 2**20  # far above any file of ours: a larger one is not ours
MAX_MODEL_BYTES = 2 * 2**30  # protobuf's own limit for an ONNX file


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on a clean exit fsync it and rename it over `path`, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes private files; results are for sharing
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder`; on a clean exit it takes that name, and what had it goes.

    After any other exit `folder` is as it was. An OSError becomes a GantoolError that names it.
    """
    final = folder.resolve()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{final.name}.", dir=final.parent) as name:
            new, old = Path(name) / "new", Path(name) / "old"
            new.mkdir()
            old.mkdir()
            yield new
            for path in filter(Path.is_file, new.rglob("*")):
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            replace_together({new: final}, old)
    except OSError as error:
        raise GantoolError(f"{folder} can't be written: {error}.", "Free space, or name another folder.") from error


def replace_together(moves: Mapping[Path, Path], old: Path) -> None:
    """Rename every key to its value, or none: what stands there goes to the folder `old`, and back when one fails."""
    kept: dict[Path, Path] = {}
    done: list[Path] = []
    try:
        for number, (source, target) in enumerate(moves.items()):
            if target.exists():
                kept[target] = old / str(number)  # noted first: an interrupt may come right after the renaming
                target.rename(kept[target])
            done.append(target)
            source.rename(target)
    except BaseException:
        for target, source in zip(done, moves, strict=False):
            if target.exists() and not source.exists():
                target.rename(source)
        for target, backup in kept.items():
            if backup.exists():
                backup.rename(target)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """The JSON in `path`; GantoolError when it is missing, larger than 16 MB or not JSON."""
    return parse_json(read_bounded(path, MAX_JSON_BYTES), path)


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of the regular file `path`; GantoolError when it is none, can't be read, or has more than `limit`."""
    regular_size(path)
    with reading(path), path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise GantoolError(f"{path} is larger than {limit // 2**20} MB: not a file of gantool.")
    return data


def regular_size(path: Path) -> int:
    """The bytes that the regular file `path` has; GantoolError when it is none.

    Asked before a file is opened: a device may have no end, and a pipe without a writer blocks whoever opens it.
    """
    with reading(path):
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise GantoolError(f"{path} can't be read: it is {kind}.")
    return status.st_size


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """An OSError inside becomes a GantoolError that names the file at fault; `path`, when the error names none."""
    try:
        yield
    except OSError as error:
        raise GantoolError(f"{error.filename or path} can't be read: {error.strerror or error}.") from error


def parse_json(data: bytes | str, origin: object) -> Any:
    """Parse JSON that came from `origin` (named in the error)."""
    try:
        return json.loads(data, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise GantoolError(f"{origin} does not hold valid JSON: {error}.") from error


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
