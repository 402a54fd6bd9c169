"""Atomic writes, which leave the old file or folder or the new one, and bounded reads.

with replacing(path) as temporary:  # a file
    temporary.write_bytes(data)
with replacing_files(folder) as new:  # several files of a folder
    (new / "a.txt").write_text("a")
with replacing_folder(folder) as new:  # a folder
    (new / "a.txt").write_text("a")

All work in a hidden folder `.gantool-….tmp` beside the result. What a killed process leaves there is finished or
removed by the next one that writes to the same folder.
"""

from __future__ import annotations

import contextlib
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantool.errors import GantoolError
from gantool.system import locking

if TYPE_CHECKING:
    from filelock import BaseFileLock

MAX_JSON_BYTES = 16 * 2**20  # far above any file of ours: a larger one is not ours
MAX_DIGITS = 20  # of a whole number: 2**64 has as many
MAX_MODEL_BYTES = 2 * 2**30  # protobuf's own limit for an ONNX file
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # the `errno` of an OSError
_PREFIX, _SUFFIX, _LOCK = ".gantool-", ".tmp", "lock"  # the folder in which a result is prepared
_NEW, _READY, _OLD, _DONE = "new", "ready", "old", "done"  # folders in it; see `_place`
_OTHER_FOLDER = "Free space, or name another folder."
_AT_FDCWD, _EXCHANGE = -100, 2  # of renameat2(2)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path on the same disk; on a clean exit fsync it and rename it over `path`, else remove it."""
    _recover_once(path.parent.absolute())
    with _working(path.parent) as work:
        temporary = work / _NEW / path.name
        temporary.touch()
        yield temporary
        _fsync(temporary)
        temporary.replace(path)


@contextmanager
def replacing_files(folder: Path) -> Iterator[Path]:
    """Give an empty folder; on a clean exit fsync the files in it and put them into `folder`, all of them or none.

    A kill meanwhile may leave some old and some new, each of them whole (one may be missing on a disk without hard
    links); `recover` then puts the rest into place. An OSError becomes a GantoolError that names `folder`.
    """
    recover(folder)
    with writing(folder, _OTHER_FOLDER), _working(folder) as work:
        yield work / _NEW
        _fsync_files(work / _NEW)
        _place(work)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder; on a clean exit fsync its files and put it in the place of `folder`.

    After any other exit, and after a kill, `folder` is the old one or the new one. Where the system can't swap two
    folders (other than Linux and macOS), it may be missing after a kill, until `recover` puts the new one there. An
    OSError becomes a GantoolError that names `folder`.
    """
    final = folder.resolve()
    recover(final.parent)
    with writing(folder, _OTHER_FOLDER), _working(final.parent) as work:
        new = work / _NEW / final.name
        new.mkdir()
        yield new
        _fsync_files(new)
        if not (final.exists() and _exchange(new, final)):
            _place(work)


def remove_folder(folder: Path) -> None:
    """Remove `folder`, which after a kill is whole or gone. OSError when it can't be moved or emptied.

    What can't be removed lies in a hidden folder beside it, which `recover` tries to remove again.
    """
    recover(folder.parent)
    with _working(folder.parent) as work:
        gone = work / _NEW / folder.name
        folder.rename(gone)
        shutil.rmtree(gone)


def recover(folder: Path) -> None:
    """Finish or remove what killed processes left in `folder`: files that were complete are put into place."""
    for work in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError, locking.Busy):  # Busy: its process lives
            lock = locking.acquire(work / _LOCK)
            try:
                _finish(work)
            finally:
                _remove(work, lock)


@functools.cache
def _recover_once(folder: Path) -> None:
    """`recover`, once in a process: to list a large folder before each of its files is written would take too long."""
    recover(folder)


@contextmanager
def _working(parent: Path) -> Iterator[Path]:
    """Give a new hidden folder in `parent` that holds an empty folder _NEW; removed at the end.

    Its lock is held until then: `recover` sees by the lock that a process lives.
    """
    parent.mkdir(parents=True, exist_ok=True)
    # named before it is made: a signal's exception may come in between
    work, lock = parent / f"{_PREFIX}{secrets.token_urlsafe(6)}{_SUFFIX}", None
    try:
        while lock is None:
            try:
                work.mkdir(exist_ok=True)  # an error of its own: where nothing can be made, as in /proc
            except FileExistsError:
                continue  # it went while pathlib looked whether it is a folder
            try:
                lock = locking.acquire(work / _LOCK)
            except (locking.Busy, FileNotFoundError, FileExistsError):
                continue  # another process, in `recover`, took the folder for a dead one
            except OSError:
                break  # a disk without locks, where `recover` gets none, either
        (work / _NEW).mkdir()
        yield work
    finally:
        _remove(work, lock)


def _place(work: Path) -> None:
    """Move all that is in _NEW to the folder that `work` is in, or nothing if an error or an interrupt comes.

    It is renamed to _READY first. From then on `recover` goes on with it after a kill.
    """
    ready, old = work / _READY, work / _OLD
    old.mkdir()
    names = sorted(path.name for path in (work / _NEW).iterdir())
    try:
        (work / _NEW).rename(ready)
        for name in names:
            if os.path.lexists(work.parent / name):
                _keep(work.parent / name, old / name)
            (ready / name).replace(work.parent / name)
    except BaseException:
        for name in names if ready.exists() else ():
            _put_back(ready / name, work.parent / name, old / name)
        _done(work)
        raise
    _done(work)


def _put_back(source: Path, target: Path, backup: Path) -> None:
    """Undo a move from `source` to `target`, begun or not; a kill at any time leaves what `recover` can go on with."""
    moved = not os.path.lexists(source)
    if moved:
        _keep(target, source)
    if os.path.lexists(backup):
        backup.replace(target)
    elif moved:
        target.unlink(missing_ok=True)


def _keep(target: Path, backup: Path) -> None:
    """Give `target` a second name, or move it there if it can have none (a folder; a disk without hard links)."""
    try:
        os.link(target, backup, follow_symlinks=False)
    except (OSError, NotImplementedError):
        target.rename(backup)


def _finish(work: Path) -> None:
    """Do what a killed `_place` left to do."""
    ready = work / _READY
    if not ready.exists():
        return
    for source in ready.iterdir():
        target = work.parent / source.name
        if not (source.is_dir() and target.exists()):  # a folder that is there is the old one, whole
            source.replace(target)
    _done(work)


def _done(work: Path) -> None:
    """Nothing in `work` is needed any more."""
    if (work / _READY).exists():
        (work / _READY).rename(work / _DONE)


def _remove(work: Path, lock: BaseFileLock | None) -> None:
    """Remove `work`, unless `recover` could still save something."""
    if not (work / _READY).exists():
        shutil.rmtree(work, ignore_errors=True)  # with the lock held: nobody else can take `work` for dead
    if lock is not None:
        lock.release()
    if os.name == "nt" and not (work / _READY).exists():
        shutil.rmtree(work, ignore_errors=True)  # Windows removes no open file


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


def _fsync_files(folder: Path) -> None:
    for path in filter(Path.is_file, folder.rglob("*")):
        _fsync(path)


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


def parse_json(data: bytes | str, origin: object, hint: str = "") -> Any:
    """Parse JSON that came from `origin` (named in the error)."""
    try:
        return json.loads(data, parse_constant=_refuse, parse_float=_finite, parse_int=bounded_int)
    except (ValueError, RecursionError) as error:
        raise GantoolError(f"{origin} does not hold valid JSON: {error}.", hint) from error


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
