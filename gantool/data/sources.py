"""Every data set that has a name: built in, fetched or to fetch, and those of plugins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gantool.data.builtin import BUILT_IN, DIGITS
from gantool.data.cache import cache_folder, is_fetched, load_fetched, pack_folder
from gantool.data.dataset import Dataset
from gantool.data.known import KNOWN
from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.registry import Plugin

OWN = (*BUILT_IN, *KNOWN)  # names that no plugin can have


@dataclass(frozen=True)
class Entry:
    """One line of `gantool data list`. What is not known before loading is None; `detail` explains the state."""

    name: str
    summary: str
    count: int | None
    shape: tuple[int, ...] | None
    classes: int | None
    licence: str
    state: Literal["built in", "in the cache", "to fetch", "plugin", "broken"]
    detail: str = ""
    path: Path | None = None
    bytes: int | None = None


def load_named(name: str, size: int | None, shadows: Path | None) -> Dataset | None:
    """The data set called `name`; None when there is none.

    `shadows`: what lies on disk under that name. A named set goes before it, a broken plugin does not. GantoolError
    when the set is not fetched yet, its plugin is broken, or two plugins claim it.
    """
    if name in BUILT_IN:
        from gantool.data.builtin import load_digits

        return load_digits(size, shadows=shadows)
    if name in KNOWN:
        return load_fetched(name, size, shadows)
    if shadows and name not in names():
        return None
    plugin = registry.find_dataset(name)
    if plugin is None:
        return None
    from gantool.data.third_party import load_of_plugin

    return load_of_plugin(plugin, size, shadows)


def names() -> list[str]:
    """Every name that `load_named` knows, sorted, whether or not its set is at hand."""
    return sorted({*OWN, *(plugin.name for plugin in registry.discover() if plugin.dataset)})


def state_of(plugin: Plugin) -> str:
    """Why the data set of `plugin` can't be used; "" when it can, as far as is known before loading it."""
    if plugin.error:
        return plugin.error
    if plugin.name in OWN:
        return f"gantool itself has a data set {plugin.name!r}, which is taken instead"
    try:
        registry.find_dataset(plugin.name)
    except GantoolError as error:
        return error.message
    return ""


def listing(cache: Path | None = None) -> list[Entry]:
    """All of them, and plugins that are broken: one may have meant to bring a data set."""
    cache = cache or cache_folder()
    entries = [Entry(state="built in", **DIGITS)]
    for known in KNOWN.values():
        folder = pack_folder(known.name, cache)
        here = is_fetched(known.name, cache)
        entries.append(
            Entry(
                known.name,
                known.summary,
                known.count,
                known.shape,
                len(known.class_names),
                known.licence,
                "in the cache" if here else "to fetch",
                str(folder) if here else f"{known.size / 1e6:.0f} MB",
                folder if here else None,
                known.size,
            )
        )
    for plugin in registry.discover():
        if plugin.architecture:
            continue
        problem, whose = state_of(plugin), f"{plugin.distribution} {plugin.version}"
        source = plugin.dataset
        entries.append(
            Entry(
                plugin.name,
                source.summary if source else "",
                None,
                None,
                None,
                source.licence if source else "",
                "broken" if problem else "plugin",
                f"{whose}: {problem}" if problem else whose,
            )
        )
    return entries
