"""Find the plugins installed under the entry-point group `gantool`.

First-party plugins are entry points like any other. A plugin that fails is listed with its cause and breaks nothing
else.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

import pluggy

from gantool.errors import GantoolError, named
from gantool.plugin import hookspecs
from gantool.plugin.architecture import Architecture, Kind
from gantool.plugin.hookspecs import DataSource, Reader
from gantool.plugin.options import options_of

GROUP = "gantool"
_SUFFIX = re.compile(r"\.[a-z0-9_+-]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DATA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # without a dot, so that it is never taken for a file name


@dataclass(frozen=True)
class Plugin:
    """One architecture, data set or reader, or one entry point that provides none (`error` says why)."""

    name: str
    distribution: str
    version: str
    architecture: Architecture | None = None
    error: str = ""
    dataset: DataSource | None = None
    reader: Reader | None = None


@cache
def discover() -> tuple[Plugin, ...]:
    """Load every entry point of the group, each in its own `try`; sorted by name."""
    found: list[Plugin] = []
    for entry in sorted(set(entry_points(group=GROUP)), key=lambda e: (e.name, e.value)):
        found += _load(entry)
    return tuple(sorted(found, key=lambda plugin: plugin.name))


def architecture_names(kind: Kind | None = None) -> list[str]:
    """Names that `gantool train` offers: those of working plugins that no other distribution claims.

    `kind`: only those that have an example of it.
    """
    made = {plugin.name: plugin.architecture for plugin in discover() if plugin.architecture}
    names = [plugin.name for plugin in discover() if plugin.architecture]
    fits = {name for name, found in made.items() if kind in (None, *(spec.kind for spec in found.examples))}
    return sorted(name for name in fits if names.count(name) == 1)


def find(name: str) -> Plugin:
    """The plugin that provides architecture `name`; GantoolError when there is none, it is broken, or two claim it."""
    claims = [plugin for plugin in discover() if plugin.name == name and not plugin.dataset and not plugin.reader]
    if claims:
        return _only(claims, "architecture")
    names = architecture_names()
    close = difflib.get_close_matches(name, names, n=1)
    raise GantoolError(
        f"There is no architecture {name!r}.",
        f"Did you mean {close[0]!r}?" if close else f"Installed: {', '.join(names)}.",
    )


def find_dataset(name: str) -> Plugin | None:
    """The plugin that provides data set `name`, or None; GantoolError when it is broken, or two claim it."""
    claims = [p for p in discover() if p.name == name and not p.architecture and not p.reader]
    return _only(claims, "data set") if claims else None


def _only(claims: list[Plugin], kind: str) -> Plugin:
    """The only working plugin of `claims`; GantoolError when there are several, or all are broken."""
    name, working = claims[0].name, [plugin for plugin in claims if not plugin.error]
    if len(working) > 1:
        owners = " and ".join(f"{plugin.distribution} {plugin.version}" for plugin in working)
        own = __name__.partition(".")[0]  # gantool itself is not what a user should uninstall
        other = next((p.distribution for p in reversed(working) if p.distribution != own), own)
        raise GantoolError(
            f"Two plugins claim the {kind} {name!r}: {owners}.", f"Uninstall one of them: pip uninstall {other}"
        )
    if working:
        return working[0]
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
        # one manager for each plugin tells whose hook is misspelt, and where each result came from
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(hookspecs)
        manager.register(entry.load(), entry.name)
        manager.check_pending()
    except Exception as error:  # noqa: BLE001 - whatever an import raises must not break other plugins
        return [broken(entry.name, named(error))]
    except SystemExit as error:
        return [broken(entry.name, f"it tried to exit with {error.code!r} when imported")]
    loaded: list[Plugin] = []
    hooks = manager.hook
    for hook, check in (
        (hooks.gantool_architectures, _architecture),
        (hooks.gantool_datasets, _dataset),
        (hooks.gantool_readers, _reader),
    ):
        try:
            items = [item for result in hook() for item in result]
        except Exception as error:  # noqa: BLE001 - a hook that raises must not hide what the other hook returns
            loaded.append(broken(entry.name, named(error)))
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
            except Exception as error:  # noqa: BLE001 - a config's validators and recipe are third-party code
                loaded.append(broken(item.name, named(error)))
    if not loaded:
        names = "gantool_architectures(), gantool_datasets() or gantool_readers()"
        why = f"{entry.value} implements no hook {names} that returns something"
        return [broken(entry.name, why)]
    return loaded


class _NotDeclaredError(GantoolError):
    """A hook returned something without a valid name."""


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


def _reader(item: object, distribution: str, version: str) -> Plugin:
    if not isinstance(item, Reader):
        raise _NotDeclaredError(f"gantool_readers() returned {item!r}, not a Reader")
    if not _NAME.fullmatch(str(item.name)):
        raise _NotDeclaredError(f"its reader is {item.name!r}: a name has letters, digits, '.', '_' and '-'")
    suffixes: object = item.suffixes
    if not isinstance(suffixes, tuple) or not suffixes or not all(_SUFFIX.fullmatch(str(each)) for each in suffixes):
        raise GantoolError(f"its reader has the suffixes {suffixes!r}; they are like ('.binvox',), in lower case")
    if item.kind not in ("audio", "volume") or not callable(item.read):
        raise GantoolError(f"its reader has the kind {item.kind!r} and reads by {item.read!r}")
    return Plugin(item.name, distribution, version, reader=item)
