"""Bringing a well-known set into the cache, as a pack. The only place where gantool uses the network."""

from __future__ import annotations

import contextlib
import difflib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from gantool.data.cache import cache_folder, downloads_folder, is_fetched, pack_folder
from gantool.data.download import Progress, check_mirror, download
from gantool.data.known import KNOWN, Known
from gantool.errors import GantoolError
from gantool.system.files import replace_together


def find(name: str) -> Known:
    """The set `name`; GantoolError when it is none that can be fetched."""
    if name in KNOWN:
        return KNOWN[name]
    close = difflib.get_close_matches(name.lower(), KNOWN, n=1)
    raise GantoolError(
        f"There is no data set {name!r} to fetch.",
        f"Did you mean {close[0]!r}?" if close else f"These can be fetched: {', '.join(KNOWN)}.",
    )


def fetch(
    name: str,
    progress: Progress,
    *,
    mirrors: Sequence[str] = (),
    cache: Path | None = None,
    force: bool = False,
) -> tuple[Path, bool]:
    """The folder of the pack of `name` in `cache`, and whether it was made now.

    What is there already is left alone, but for `force`, which loads and makes it anew. `mirrors`: base addresses that
    are tried instead of the known ones, in this order. Several processes may ask at once: one does it, the others wait
    for it. Raises GantoolError when no mirror has a file, or something can't be written; the pack appears when it is
    whole, so an old one stays until then.
    """
    known = find(name)
    for mirror in mirrors:
        check_mirror(mirror)
    cache = cache or cache_folder()
    folder = pack_folder(name, cache)
    if is_fetched(name, cache) and not force:
        return folder, False
    with _locked(folder, progress):
        if is_fetched(name, cache) and not force:  # another process made it in the meantime
            return folder, False
        downloads = downloads_folder(name, cache)
        if force:
            shutil.rmtree(downloads, ignore_errors=True)
        for file in known.files:
            download(file, mirrors or known.mirrors, downloads, progress)
        progress.noted(f"packing {known.count:,} images")
        _pack(known, downloads, folder)
        shutil.rmtree(downloads, ignore_errors=True)
    return folder, True


def _pack(known: Known, downloads: Path, folder: Path) -> None:
    """Make the pack beside `folder`, and put it there when it is whole. Alone: the lock is held."""
    from gantool.data.pack.format import save

    data = replace(
        known.read(downloads),
        name=known.name,
        source=known.name,
        class_names=known.class_names,
        licence=known.licence,
        notes=(),
    )
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for left in (new, old):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        save(data, new)
        old.mkdir()
        replace_together({new: folder}, old)
    except OSError as error:
        raise GantoolError(
            f"{folder} can't be written: {error}.", "Free space, or name another: --cache DIR."
        ) from error
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, progress: Progress) -> Iterator[None]:
    """Alone with this set. The kernel holds the lock: it is free again however its holder ended."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.noted(f"another gantool is fetching {folder.name}; waiting for it")
            lock.acquire()
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise GantoolError(
            f"The cache {folder.parent} can't be written: {error}.",
            "Name another folder: --cache DIR (GANTOOL_CACHE=DIR for every command).",
        ) from error
    try:
        yield
    finally:
        lock.release()
