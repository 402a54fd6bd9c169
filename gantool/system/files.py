"""Atomic writes, which leave the old file or folder or the new one, and bounded reads.

with replacing(path) as temporary:  # a file
    temporary.write_bytes(data)
with replacing_folder(folder) as new:  # a folder
    (new / "a.txt").write_text("a")
"""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gantool.errors import GantoolError

MAX_JSON_BYTES = 16 * 2**20  # far above any file of ours: a larger one is not ours
MAX_DIGITS = 20  # of a whole number: 2**64 has as many
MAX_MODEL_BYTES = 2 * 2**30  # protobuf's own limit for an ONNX file
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # the `errno` of an OSError
_AT_FDCWD, _EXCHANGE = -100, 2  # of renameat2(2)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on a clean exit fsync it and rename it over `path`, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # named before it is made: a signal's exception may come in between
    temporary = path.with_name(f".{path.name}.{secrets.token_urlsafe(6)}.tmp")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        _fsync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder`; on a clean exit fsync it and put it in the place of `folder`.

    After any other exit `folder` is as it was. An OSError becomes a GantoolError that names it.
    """
    final = folder.resolve()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(final.parent, f".{final.name}.") as temporary:
            new, old = temporary / "new", temporary / "old"
            new.mkdir()
            old.mkdir()
            yield new
            for path in filter(Path.is_file, new.rglob("*")):
                _fsync(path)
            replace_together({new: final}, old)
    except OSError as error:
        raise GantoolError(f"{folder} can't be written: {error}.", "Free space, or name another folder.") from error


@contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Give a new folder in `parent`, which is removed at the end, whatever ends it but a kill."""
    folder = parent / f"{prefix}{secrets.token_urlsafe(6)}"  # named before it is made, as in `replacing`
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_together(moves: Mapping[Path, Path], old: Path) -> None:
    """Move every key (a file or folder) to its value, or none if one fails; what was there goes to the folder `old`.

    A kill leaves each value old or new, and never missing, on Linux and macOS; elsewhere it may be in `old`.
    """
    begun: list[tuple[Path, Path, int, Path]] = []
    try:
        for number, (source, target) in enumerate(moves.items()):
            backup = old / str(number)
            begun.append((source, target, source.stat().st_ino, backup))
            if not target.exists():
                source.rename(target)
            elif _exchange(source, target):
                source.rename(backup)
            else:
                target.rename(backup)
                source.rename(target)
    except BaseException:  # an interrupt, too, which may come between two of these lines
        for source, target, inode, backup in reversed(begun):
            if target.exists() and target.stat().st_ino == inode:
                if source.exists():
                    source.rename(backup)
                target.rename(source)
            if backup.exists():
                backup.rename(target)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step; False where the system or the file system can't, or an error forbids it."""
    call = _exchange_call()
    return call is not None and call(os.fsencode(one), os.fsencode(other)) == 0


@functools.cache
def _exchange_call() -> Callable[[bytes, bytes], int] | None:
    try:
        library = ctypes.CDLL(None)
        if hasattr(library, "renameat2"):  # Linux
            return lambda one, other: int(library.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE))
        renamex = library.renamex_np  # macOS, where the same flag is called RENAME_SWAP
        return lambda one, other: int(renamex(one, other, _EXCHANGE))
    except (OSError, AttributeError, TypeError):  # Windows, or an old C library
        return None


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def require_place(folder: Path, option: str) -> None:
    """GantoolError when `folder` can't be replaced: a file, or the current folder or one above it.

    `option`: what named it, as `--app`. Replacing the folder that a shell is in leaves the shell in a deleted one.
    """
    if Path.cwd().is_relative_to(folder.resolve()):
        what = "is" if folder.resolve() == Path.cwd() else "holds"
        raise GantoolError(
            f"{folder} {what} the folder you are in: it can't be replaced.",
            f"Name a new one, or change to another folder first: {option} DIR",
        )
    with reading(folder):
        if folder.exists() and not folder.is_dir():
            raise GantoolError(f"{folder} is a file.", f"Name a folder: {option} DIR")


def listing(folder: Path) -> list[Path]:
    """Files and links below `folder`, relative to it, sorted; [] where there is none. Links are not followed."""
    with reading(folder):
        return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())


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
    size = regular_size(path)
    with reading(path), path.open("rb") as file:
        data = file.read(min(size, limit) + 1)  # as much is allocated
    if len(data) > limit:
        raise GantoolError(f"{path} is larger than {limit / 2**20:g} MB: not a file of gantool.")
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


@contextmanager
def writing(path: Path, hint: str) -> Iterator[None]:
    """An OSError inside becomes a GantoolError that says that `path` can't be written. `hint`: what to type next."""
    try:
        yield
    except OSError as error:
        raise GantoolError(f"{path} can't be written: {error.strerror or error}.", hint) from error


def parse_json(data: bytes | str, origin: object) -> Any:
    """Parse JSON that came from `origin` (named in the error)."""
    try:
        return json.loads(data, parse_constant=_refuse, parse_float=_finite, parse_int=bounded_int)
    except (ValueError, RecursionError) as error:
        raise GantoolError(f"{origin} does not hold valid JSON: {error}.") from error


def bounded_int(text: str) -> int:
    """The whole number of JSON `text`; ValueError for one that has far more than 64 bits."""
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)
