"""The core knows no architecture: no text in gantool/ is one's name, and no plugin's package is imported there.

`tests/test_imports.py` looks at comparisons; here every text counts, wherever it stands, for a name can be decided by
in many ways: a comparison, a `match`, a key, an argument of `startswith`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from gantool.plugin.registry import GROUP, architecture_names

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "gantool").rglob("*.py"))
HELP = {"help"}  # keyword arguments whose text is an example for a person


def packages() -> set[str]:
    return {entry.value.partition(":")[0].partition(".")[0] for entry in entry_points(group=GROUP)}


def violations(source: str, names: set[str], plugins: set[str]) -> list[str]:
    """`line: what` for each text that is one of `names`, or a module of one of the packages `plugins`; and each import.

    Docstrings and help texts may speak of them in a sentence; a text that is a name, and nothing else, is told even
    there.
    """
    tree = ast.parse(source)
    found = []
    spoken = {id(node) for node in _spoken(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            if text in names or (id(node) not in spoken and text.partition(".")[0] in plugins):
                found.append(f"{node.lineno}: the text {text!r}")
        elif isinstance(node, ast.Import):
            found += [f"{node.lineno}: import {a.name}" for a in node.names if a.name.partition(".")[0] in plugins]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in plugins:
            found.append(f"{node.lineno}: import from {node.module}")
        elif isinstance(node, ast.keyword) and node.arg in names:  # dict(mlp=…)
            found.append(f"{node.value.lineno}: the keyword {node.arg}")
    return found


def _spoken(tree: ast.AST) -> Iterator[ast.AST]:
    """Docstrings, and what stands in a help text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
        elif isinstance(node, ast.keyword) and node.arg in HELP:
            yield from ast.walk(node.value)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_of_the_core_names_an_architecture(path: Path) -> None:
    assert not violations(path.read_text(encoding="utf-8"), set(architecture_names()), packages())


def test_there_is_something_to_look_for() -> None:
    assert {"dcgan", "mlp", "wgan"} <= set(architecture_names())
    assert {"gantool_dcgan", "gantool_mlp", "gantool_wgan"} <= packages()
    assert len(MODULES) > 80


PLANTED = {
    "a comparison": "if architecture.name == 'wgan': steps = 5",
    "a comparison the other way round": "if 'wgan' == name: pass",
    "one of several": "fast = name in ('mlp', 'other')",
    "a match": "match name:\n    case 'mlp' | 'x': pass",
    "a key": "LIMITS = {'dcgan': 256}",
    "a keyword": "LIMITS = dict(dcgan=256)",
    "a subscript": "limit = LIMITS['dcgan']",
    "a method": "if name.startswith('wgan'): pass",
    "a default": "def train(name='mlp'): pass",
    "a call": "plugin = find('mlp')",
    "bytes": "if name.encode() == b'mlp': pass",
    "a part of a text": "if f'{name}-{\"wgan\"}' in known: pass",
    "an import": "import gantool_mlp",
    "an import of a part": "from gantool_dcgan.networks import Generator",
    "an import by text": "importlib.import_module('gantool_dcgan.networks')",
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_name_is_found(what: str) -> None:
    found = violations(PLANTED[what], {"mlp", "dcgan", "wgan"}, {"gantool_mlp", "gantool_dcgan", "gantool_wgan"})
    assert found
    assert found[0].startswith(("1: ", "2: "))


@pytest.mark.parametrize(
    "source",
    [
        '"""`mlp`, `dcgan` and gantool_mlp, in a docstring."""',
        "def f():\n    '''An architecture, say mlp.'''",
        "option(help='An architecture, e.g. dcgan.')",
        "from gantool.plugin.registry import find",
        "# mlp is fast\nname = 'nonsaturating'",
        "mlp = 3",
    ],
)
def test_speaking_of_them_is_allowed(source: str) -> None:
    assert not violations(source, {"mlp", "dcgan", "wgan"}, {"gantool_mlp", "gantool_dcgan"})
