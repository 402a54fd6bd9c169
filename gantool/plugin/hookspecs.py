"""The hooks that a plugin implements: each returns a list. No torch, no numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pluggy

if TYPE_CHECKING:
    import numpy as np

    from gantool.data.dataset import Dataset
    from gantool.plugin.architecture import Architecture

hookspec = pluggy.HookspecMarker("gantool")
hookimpl = pluggy.HookimplMarker("gantool")


@dataclass(frozen=True)
class DataSource:
    """A named data set: `--data NAME` loads it.

    - `name`: letters, digits, `_` and `-`; no dot or slash, so that it is never taken for a path.
    - `summary`: half a line for `gantool data list`.
    - `load(size)`: returns a `gantool.data.Dataset`. `size` is None for the data's own size; otherwise images come as
      `size`×`size` pixels (`gantool.data.images.resize` does it). The same call gives the same data every time: a
      resumed run loads it again and compares the fingerprints. Raises GantoolError when it can't.
    - `licence`: of the data; used where the Dataset names none.
    """

    name: str
    summary: str
    load: Callable[[int | None], Dataset]
    licence: str = ""


@dataclass(frozen=True)
class Wanted:
    """What is asked for of the samples of files; None: what the file has.

    - `size`: the length of a sound in samples, at `rate`; the sides of a volume in voxels.
    - `rate`: of a sound, in samples a second.
    - `channels`: of a sound.
    """

    size: int | None = None
    rate: int | None = None
    channels: int | None = None


@dataclass(frozen=True)
class SourceFile:
    """A file of a folder or zip archive of data.

    - `name`: with its suffix, relative to the folder.
    - `content`: its bytes, at most 256 MiB.
    - `beside(name)`: the bytes of another file of the same folder, for formats of several files; OSError or ValueError
      when there is none, or its name leads out of the folder.
    """

    name: str
    content: bytes
    beside: Callable[[str], bytes]


@dataclass(frozen=True)
class Reader:
    """A format of sounds or volumes: folders of such files are data.

    - `name`: letters, digits, `.`, `_` and `-`.
    - `kind`: `audio` or `volume`.
    - `suffixes`: of the files, in lower case: (".binvox",).
    - `read(file, how)`: what the file holds. Of a sound (samples, rate): floats in [-1, 1] or int16, (T,) or (C, T),
      and samples a second; gantool trims, resamples, mixes and cuts it to `how`. Of a volume (D, H, W) or (C, D, H, W):
      booleans, uint8, or floats in [0, 1] or [-1, 1]; gantool makes a cube of `how.size` of it. It may read no more
      than `how` needs. It raises ValueError, with the reason, for a broken file. It runs in several processes at once,
      and has to return the same for the same bytes.
    """

    name: str
    kind: Literal["audio", "volume"]
    suffixes: tuple[str, ...]
    read: Callable[[SourceFile, Wanted], tuple[np.ndarray, int] | np.ndarray]


@hookspec
def gantool_architectures() -> list[Architecture]:
    """Return the architectures that this plugin provides."""
    raise NotImplementedError  # a specification: pluggy never calls it


@hookspec
def gantool_datasets() -> list[DataSource]:
    """Return the named data sets that this plugin provides, without loading them."""
    raise NotImplementedError


@hookspec
def gantool_readers() -> list[Reader]:
    """Return the readers of files of sounds or volumes that this plugin provides."""
    raise NotImplementedError
