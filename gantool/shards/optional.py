"""Libraries that only some shards need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from gantool.errors import GantoolError


def library(name: str, extra: str, purpose: str) -> Any:
    """The module `name`; GantoolError with the line that installs it when it is missing, or broken."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        why = "is not installed" if missing else f"can't be loaded: {error}"
        raise GantoolError(f"{purpose} needs {package}, which {why}.", f"pip install 'gantool[{extra}]'") from error
