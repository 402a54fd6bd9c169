"""The hooks that a plugin implements: each returns a list. No torch, no numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
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


@hookspec
def gantool_architectures() -> list[Architecture]:
    """Return the architectures that this plugin provides."""
    raise NotImplementedError  # a specification: pluggy never calls it


@hookspec
def gantool_datasets() -> list[DataSource]:
    """Return the named data sets that this plugin provides, without loading them."""
    raise NotImplementedError
