"""What plugin authors import: `from gantool.plugin import Architecture, Recipe, two_player, hookimpl, …`.

Importing this loads no torch. The parts of a game do: import those (`two_player`, `Game`, `Loss`, …) inside `build`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gantool.errors import GantoolError
from gantool.plugin.architecture import Architecture, Input, ObjectiveOptions, Optimizer, Recipe, Role, SampleSpec
from gantool.plugin.hookspecs import DataSource, Reader, SourceFile, Wanted, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import objectives
    from gantool.plugin.game import Batch, Export, Game, Loss, Player, Rows, two_player

__all__ = [
    "Architecture",
    "Batch",
    "DataSource",
    "Export",
    "Game",
    "GantoolError",
    "Input",
    "Loss",
    "ObjectiveOptions",
    "Optimizer",
    "Player",
    "Reader",
    "Recipe",
    "Role",
    "Rows",
    "SampleSpec",
    "SourceFile",
    "Wanted",
    "hookimpl",
    "objectives",
    "two_player",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for."""
    if name == "objectives":
        return import_module("gantool.plugin.objectives")
    if name in ("Batch", "Export", "Game", "Loss", "Player", "Rows", "two_player"):
        return getattr(import_module("gantool.plugin.game"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
