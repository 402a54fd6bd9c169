"""The cache folder: where fetched data sets lie, as packs, and the downloads that are not finished."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from gantool.data.dataset import Dataset
from gantool.data.known import KNOWN
from gantool.errors import GantoolError

VARIABLE = "GANTOOL_CACHE"


def cache_folder() -> Path:
    """`$GANTOOL_CACHE`, or the user's cache folder of this system (on Linux ~/.cache/gantool). Need not exist."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("gantool", appauthor=False)


def pack_folder(name: str, cache: Path | None = None) -> Path:
    """Where the pack of the fetched set `name` lies, or would."""
    return (cache or cache_folder()) / "data" / name


def downloads_folder(name: str, cache: Path | None = None) -> Path:
    return (cache or cache_folder()) / "downloads" / name


def is_fetched(name: str, cache: Path | None = None) -> bool:
    from gantool.data.pack.format import is_pack

    try:
        return is_pack(pack_folder(name, cache))
    except OSError:  # a cache that may not be looked into is one without it
        return False


def load_fetched(name: str, size: int | None, shadows: Path | None = None) -> Dataset:
    """The set `name` of KNOWN from the cache. GantoolError, with what to type, when it was not fetched yet.

    `shadows` is something on disk that bears the same name; a note says how to name it instead.
    """
    folder = pack_folder(name)
    if not is_fetched(name):
        other = f" (./{shadows} is what lies there)" if shadows else ""
        raise GantoolError(
            f"The data set {name!r} is not in the cache, {folder.parent}; "
            f"it takes a download of {KNOWN[name].size / 1e6:.0f} MB.",
            f"Type: gantool data fetch {name}{other}",
        )
    from gantool.data.pack.format import load_pack

    try:
        data = load_pack(folder)
    except GantoolError as error:
        raise GantoolError(error.message, f"Fetch it again: gantool data fetch {name} --force") from error
    if size is not None:
        data = load_pack(folder, size)
    notes = (
        (*data.notes, f"this is the fetched {name}; give ./{shadows} for what lies there") if shadows else data.notes
    )
    return replace(data, name=name, source=name, notes=notes)
