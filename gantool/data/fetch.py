"""Download a well-known set into the cache, as a pack. Nothing else in gantool uses the network."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gantool.data.catalog import FETCHABLE, FetchableSet, cache_folder, is_fetched, pack_folder, packed_shape
from gantool.data.dataset import check_size
from gantool.data.download import OTHER_CACHE, check_mirror, download
from gantool.errors import GantoolError
from gantool.system import locking
from gantool.system.files import writing

if TYPE_CHECKING:
    from gantool.data.dataset import Dataset
    from gantool.system.terminal import Progress


def find(name: str) -> FetchableSet:
    """The set `name`; GantoolError when it is none that can be fetched."""
    if name in FETCHABLE:
        return FETCHABLE[name]
    raise GantoolError(f"There is no data set {name!r} to fetch.", f"These can be fetched: {', '.join(FETCHABLE)}.")


def fetch(
    name: str,
    progress: Progress,
    *,
    size: int | None = None,
    mirrors: Sequence[str] = (),
    cache: Path | None = None,
    force: bool = False,
) -> tuple[Path, bool]:
    """The folder of the pack of `name` in `cache`, and whether it was made now.

    A pack that is there already is kept, unless `force` makes it anew; the old one stays until then. `size`: the side
    in pixels of a set of drawings; a pack of another size is made anew. `mirrors`: base addresses that are tried, in
    this order, instead of the set's own. When several processes fetch the same set, one does it and the others wait.
    GantoolError when no mirror has a file, the cache can't be written, or `size` is given for a set of photographs.
    """
    from gantool.data.pack.build import save

    wanted = find(name)
    for mirror in mirrors:
        check_mirror(mirror)
    if size is not None and not wanted.drawn:
        raise GantoolError(
            f"The images of {name} have one size, {wanted.shape[2]}×{wanted.shape[1]} pixels.",
            f"Leave out --size; the training resizes them: gantool train dcgan --data {name} --size {size}",
        )
    if size is not None:
        check_size(size)
    cache = cache or cache_folder()
    folder, downloads = pack_folder(name, cache), cache / "downloads" / name

    def is_there() -> bool:
        return not force and is_fetched(name, cache) and size in (None, packed_shape(folder)[-1])

    if is_there() and not downloads.exists():
        return folder, False
    with _locked(folder, progress):
        there = is_there()  # here, or by another process in the meantime
        if there or force:
            shutil.rmtree(downloads, ignore_errors=True)
        if there:
            return folder, False
        for file in wanted.files:
            download(file, mirrors or wanted.mirrors, downloads, progress)
        progress.note(f"packing {wanted.count:,} images")
        save(_read(wanted, downloads, size or wanted.shape[-1]), folder, replace=True)
        shutil.rmtree(downloads, ignore_errors=True)
    return folder, True


def _read(wanted: FetchableSet, downloads: Path, side: int) -> Dataset:
    return replace(
        wanted.read(downloads, side),
        name=wanted.name,
        source=wanted.name,
        class_names=wanted.class_names,
        licence=wanted.licence,
        notes=(),
    )


@contextlib.contextmanager
def _locked(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of this set."""
    path = folder.parent / f".{folder.name}.lock"
    with writing(folder.parent, OTHER_CACHE):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = locking.acquire(path)
        except locking.Busy as busy:
            progress.note(f"another gantool ({busy.holder}) is fetching {folder.name}; waiting for it")
            lock = locking.acquire(path, wait=None)
    try:
        yield
    finally:
        lock.release()
