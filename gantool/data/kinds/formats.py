"""Which reader reads a file of sounds or volumes: gantool's own, and those of plugins."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np

from gantool.data.image_files import SUFFIXES, Preparation
from gantool.data.readers.meshes import MESHES
from gantool.data.readers.sounds import SOUNDS
from gantool.data.readers.volumes import ARRAYS, BINVOX
from gantool.data.sounds import HIGHEST, LOWEST, as_floats
from gantool.data.source_files import BrokenFile, as_broken_file, read, read_beside
from gantool.errors import EXTRAS, GantoolError, named
from gantool.plugin import registry
from gantool.plugin.hookspecs import Reader, SourceFile, Wanted
from gantool.plugin.registry import Plugin

OWN = (SOUNDS, BINVOX, ARRAYS, MESHES)
_OWN = {suffix: reader for reader in OWN for suffix in reader.suffixes}


def own_suffixes(kind: str) -> list[str]:
    """Of the files of a kind that gantool itself reads."""
    return [suffix for suffix, reader in _OWN.items() if reader.kind == kind]


@cache
def reader_of(suffix: str) -> Reader | None:
    """What reads files of `suffix`, in lower case. GantoolError when two plugins do."""
    if suffix in _OWN or suffix in SUFFIXES:
        return _OWN.get(suffix)
    claims = [plugin for plugin in registry.discover() if plugin.reader and suffix in plugin.reader.suffixes]
    if len(claims) > 1:
        owners = " and ".join(f"{plugin.distribution} {plugin.version}" for plugin in claims)
        raise GantoolError(
            f"Two plugins read {suffix} files: {owners}.",
            f"Uninstall one of them: pip uninstall {claims[-1].distribution}",
        )
    return claims[0].reader if claims else None


def problem_of_reader(plugin: Plugin) -> str:
    """Why a suffix of the plugin's reader is not read by it; "" when all are."""
    assert plugin.reader is not None
    for suffix in plugin.reader.suffixes:
        if suffix in _OWN or suffix in SUFFIXES:
            return f"gantool itself reads {suffix} files"
        try:
            reader_of(suffix)
        except GantoolError as error:
            return error.message
    return ""


def sound_of(path: Path, how: Preparation, content: bytes | None = None) -> tuple[np.ndarray, int]:
    """Floats (C, T) of a sound file, not trimmed at the end, and its rate. BrokenFile."""
    found, reader = _read(path, how, content)
    with as_broken_file(path):
        if not isinstance(found, tuple) or len(found) != 2:
            raise ValueError(f"the reader {reader} returned {type(found).__name__}, not samples and a rate")
        samples, rate = np.atleast_2d(np.asarray(found[0])), int(found[1])
        if not LOWEST <= rate <= HIGHEST:
            raise ValueError(f"its rate is {rate:,} Hz; that of a sound is {LOWEST:,} to {HIGHEST:,}")
        whole = samples.dtype.kind == "i" and samples.dtype.itemsize == 2
        if samples.ndim != 2 or not samples.size or not (whole or samples.dtype.kind == "f"):
            raise ValueError(
                f"the reader {reader} returned {samples.dtype} of shape {samples.shape}, not int16 or floats (C, T)"
            )
        floats: np.ndarray = np.clip(as_floats(samples.astype(np.int16) if whole else samples), -1, 1)
        if not np.isfinite(floats).all():
            raise ValueError("it holds values that are NaN or infinite")
        return floats, rate


def volume_of(path: Path, how: Preparation, content: bytes | None = None) -> np.ndarray:
    """The array of a volume file, as its reader makes it. BrokenFile."""
    found, reader = _read(path, how, content)
    with as_broken_file(path):
        if not isinstance(found, np.ndarray):
            raise ValueError(f"the reader {reader} returned {type(found).__name__}, no array")
        return found


def _read(path: Path, how: Preparation, content: bytes | None) -> tuple[object, str]:
    reader = reader_of(path.suffix.lower())
    assert reader is not None, path
    file = SourceFile(path.name, read(path) if content is None else content, partial(read_beside, path))
    try:
        with as_broken_file(path):
            return reader.read(file, Wanted(how.size, how.rate, how.channels)), reader.name
    except BrokenFile:
        raise
    except Exception as error:  # a third party's code, or a library's, may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
            raise
        raise BrokenFile(path, f"can't be decoded: {named(error)}.") from error
