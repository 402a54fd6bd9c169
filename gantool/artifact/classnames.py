"""The classes of a conditional generator: their names, and which of them a person means. Standard library only."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from gantool.artifact.manifest import Manifest
from gantool.errors import GantoolError, excerpt

MOST = 20  # classes that a message lists
MOST_CHARACTERS = 400


def count(described: Manifest) -> int:
    """How many classes the file can be asked for; 0: it takes no label."""
    item = described.input("label")
    return 0 if item is None else item.classes


def names(described: Manifest) -> tuple[str, ...]:
    """The name of each class, by its number; () where the manifest hasn't one for each."""
    given = described.data.get("class_names")
    known = isinstance(given, list) and len(given) == count(described) and all(isinstance(n, str) for n in given)
    return tuple(given) if known and isinstance(given, list) else ()


def listed(described: Manifest) -> str:
    """For people: `0 to 9`, or `0 cat, 1 dog, …` where classes have names other than their numbers."""
    known, last = names(described), count(described) - 1
    if all(name == str(number) for number, name in enumerate(known)):
        return f"0 to {last}" if last else "0"
    shown = [f"{number} {excerpt(name, 40)}" for number, name in enumerate(known[:MOST])]
    if len(known) > MOST:
        shown.append(f"… {last} {excerpt(known[-1], 40)}")
    return excerpt(", ".join(shown), MOST_CHARACTERS)


def number(asked: str, described: Manifest) -> int:
    """The class that a text names: by its name, or by its number where no class has that name.

    GantoolError lists the classes, and names a close one.
    """
    known = names(described)
    text = asked.strip()
    for name in (asked, text):
        if name in known:
            return known.index(name)
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) < count(described):
        return int(text)
    near = [] if text.isdigit() else _near(text, known)
    meant = f"Did you mean {excerpt(near[0])!r}? " if near else ""
    raise GantoolError(
        f"There is no class {excerpt(asked)!r}: the classes are {listed(described)}.",
        f"{meant}Give a class's number" + (" or its name." if known else "."),
    )


def parse(asked: str, described: Manifest, origin: object) -> list[int]:
    """The classes that `7`, `cat` or `3,5` name, in that order; `origin`: the file, for the error.

    GantoolError for a generator that takes no label, and for what is no class.
    """
    if not count(described):
        raise unlabelled(described, origin)
    if asked in names(described):  # a name may hold a comma
        return [number(asked, described)]
    return [number(part, described) for part in asked.split(",")]


def unlabelled(described: Manifest, origin: object) -> GantoolError:
    """That a class was asked of a generator that takes no label."""
    inputs = excerpt(", ".join(item.name for item in described.inputs), 300)
    return GantoolError(
        f"{origin} takes no labels: its inputs are {inputs}.",
        "Train a generator that does, on data with labels, and export it: gantool train cgan --data FOLDER "
        "(a sub-folder a class).",
    )


def _near(text: str, known: Sequence[str]) -> list[str]:
    """The closest name, whatever its capitals."""
    by_lower = {name.casefold(): name for name in known}
    return [by_lower[name] for name in difflib.get_close_matches(text.casefold(), by_lower, n=1)]
