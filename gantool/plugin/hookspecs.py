"""The hooks that a plugin implements. Each returns values; discovery keeps where they came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from gantool.plugin.architecture import Architecture
    from gantool.plugin.datasource import DataSource

hookspec = pluggy.HookspecMarker("gantool")
hookimpl = pluggy.HookimplMarker("gantool")


@hookspec
def gantool_architectures() -> list[Architecture]:
    """Return the architectures that this plugin provides."""
    raise NotImplementedError  # a specification: pluggy never calls it


@hookspec
def gantool_datasets() -> list[DataSource]:
    """Return the named data sets that this plugin provides; loading them is left to their `load`."""
    raise NotImplementedError
