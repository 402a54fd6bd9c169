"""Discovery: what is installed under the entry-point group `gantool`, and what is wrong with it.

One path for everybody: first-party plugins are entry points like any other. A plugin that fails is reported with its
cause and breaks nothing else.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

import pluggy

from gantool.errors import GantoolError
from gantool.plugin import hookspecs
from gantool.plugin.architecture import Architecture
from gantool.plugin.hookspecs import DataSource
from gantool.plugin.options import options_of

GROUP = "gantool"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DATA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # no dot: it is never taken for a file's name


@dataclass(frozen=True)
class Plugin:
    """One architecture or data set, or one entry point that could not provide any (`error` says why)."""

    name: str
    distribution: str
    version: str
    architecture: Architecture | None = None
    error: str = ""
    dataset: DataSource | None = None


@cache
def discover() -> tuple[Plugin, ...]:
    """Load every entry point of the group, each in its own `try`; sorted by name."""
    found: list[Plugin] = []
    for entry in sorted(set(entry_points(group=GROUP)), key=lambda e: (e.name, e.value)):
        found += _load(entry)
    return tuple(sorted(found, key=lambda plugin: plugin.name))


def architecture_names() -> list[str]:
    """Names that `gantool train` offers: sound and unclaimed by a second distribution."""
    names = [plugin.name for plugin in discover() if plugin.architecture]
    return sorted(name for name in set(names) if names.count(name) == 1)


def find(name: str) -> Plugin:
    """The plugin that provides architecture `name`; GantoolError when none, a broken one, or two do."""
    claims = [plugin for plugin in discover() if plugin.name == name and not plugin.dataset]
    if claims:
        return _only(claims, [plugin for plugin in claims if plugin.architecture], "architecture")
    names = architecture_names()
    close = difflib.get_close_matches(name, names, n=1)
    raise GantoolError(
        f"There is no architecture {name!r}.",
        f"Did you mean {close[0]!r}?" if close else f"Installed: {', '.join(names)}.",
    )


def find_dataset(name: str) -> Plugin | None:
    """The plugin that provides data set `name`, None when there is none; GantoolError when it is broken, or two do."""
    claims = [plugin for plugin in discover() if plugin.name == name and not plugin.architecture]
    return _only(claims, [plugin for plugin in claims if plugin.dataset], "data set") if claims else None


def _only(claims: list[Plugin], sound: list[Plugin], kind: str) -> Plugin:
    """The one of `sound`; GantoolError when there are more, or none but broken ones among `claims`."""
    name = claims[0].name
    if len(sound) > 1:
        owners = " and ".join(f"{plugin.distribution} {plugin.version}" for plugin in sound)
        own = __name__.partition(".")[0]  # its own distribution is not what a user should take away
        other = next((p.distribution for p in reversed(sound) if p.distribution != own), own)
        raise GantoolError(
            f"Two plugins claim the {kind} {name!r}: {owners}.", f"Uninstall one of them: pip uninstall {other}"
        )
    if sound:
        return sound[0]
    raise GantoolError(
        f"The plugin {name!r} of {claims[0].distribution} {claims[0].version} is broken: {claims[0].error}",
        "Mend or uninstall it; `gantool plugins` lists every plugin with its state.",
    )


def _load(entry: EntryPoint) -> list[Plugin]:
    distribution = entry.dist.name if entry.dist else "unknown"
    version = entry.dist.version if entry.dist else "?"

    def broken(name: str, why: str) -> Plugin:
        return Plugin(name, distribution, version, error=why)

    try:
        # a manager each: provenance is kept, and one plugin's misspelt hook can't be blamed on another
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(hookspecs)
        manager.register(entry.load(), entry.name)
        manager.check_pending()
    except Exception as error:  # noqa: BLE001 - whatever a third party's import raises must not break the others
        return [broken(entry.name, f"{type(error).__name__}: {error}")]
    except SystemExit as error:
        return [broken(entry.name, f"it tried to exit with {error.code!r} when imported")]
    loaded: list[Plugin] = []
    for hook, check in ((manager.hook.gantool_architectures, _architecture), (manager.hook.gantool_datasets, _dataset)):
        try:
            items = [item for result in hook() for item in result]
        except Exception as error:  # noqa: BLE001 - one hook that raises leaves what the other one gives
            loaded.append(broken(entry.name, f"{type(error).__name__}: {error}"))
            continue
        except SystemExit as error:
            loaded.append(broken(entry.name, f"{hook.name}() tried to exit with {error.code!r}"))
            continue
        for item in items:
            try:
                loaded.append(check(item, distribution, version))
            except _NotDeclaredError as error:
                loaded.append(broken(entry.name, str(error)))
            except GantoolError as error:
                loaded.append(broken(item.name, str(error)))
            except Exception as error:  # noqa: BLE001 - a config's validators and recipe are third-party code too
                loaded.append(broken(item.name, f"{type(error).__name__}: {error}"))
    if not loaded:
        why = f"{entry.value} implements no hook gantool_architectures() or gantool_datasets() that returns something"
        return [broken(entry.name, why)]
    return loaded


class _NotDeclaredError(GantoolError):
    """What a hook returned has not even a name to list it under."""


def _architecture(item: object, distribution: str, version: str) -> Plugin:
    if not isinstance(item, Architecture):
        raise _NotDeclaredError(f"gantool_architectures() returned {item!r}, not an Architecture")
    if not isinstance(item.summary, str) or not _NAME.fullmatch(str(item.name)):
        why = "a name has letters, digits, '.', '_' and '-', and a summary is a text"
        raise _NotDeclaredError(f"its architecture is {item.name!r}, {item.summary!r}: {why}")
    options_of(item)
    return Plugin(item.name, distribution, version, item)


def _dataset(item: object, distribution: str, version: str) -> Plugin:
    if not isinstance(item, DataSource):
        raise _NotDeclaredError(f"gantool_datasets() returned {item!r}, not a DataSource")
    texts = (item.name, item.summary, item.licence)
    if not all(isinstance(text, str) for text in texts) or not _DATA_NAME.fullmatch(item.name):
        why = "a name has letters, digits, '_' and '-'; a summary and a licence are texts"
        raise _NotDeclaredError(f"its data set is {item.name!r}, {item.summary!r}, {item.licence!r}: {why}")
    load: object = item.load
    if not callable(load):
        raise GantoolError(f"the `load` of its data set is {load!r}: no function of a size")
    return Plugin(item.name, distribution, version, dataset=item)
