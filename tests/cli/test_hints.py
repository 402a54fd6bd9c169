"""What messages, help and pages tell a person to type exists: each `gantool …` command, and each option.

Texts are taken from the source: every string but docstrings, with a placeholder where a value is filled in.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import gantool
from gantool.cli import app

ROOT = Path(gantool.__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("gantool", "plugins")
    for path in (ROOT / folder).rglob("*.py")
    if "templates" not in path.parts  # programs of a kit, with options of their own
)
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
VALUE = "VALUE"  # takes the place of what is filled in
COMMAND = re.compile(r"(?:^|`|: |; |Or )gantool (?!itself)([a-z][a-z-]*[^`;\n]*)", re.MULTILINE)
OPTION = re.compile(r"(?<![\w./({-])--[a-z][a-z0-9-]*+(?![:])")
# options of other programs, which texts of ours name
FOREIGN = {
    "--head",  # ray start
    "--logdir",  # tensorboard
    "--force-reinstall", "--no-deps", "--reinstall",  # pip, apt-get
    "--max-restarts",  # torchrun
    "--c", "--quiet", "--line",  # variables of report.css
    "--gpus", "--rm", "--model-repository",  # docker, tritonserver
}  # fmt: skip


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string in a module that is no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    alone = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
    inside = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone | inside:
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            filled = [part.value if isinstance(part, ast.Constant) else VALUE for part in node.values]
            yield node.lineno, "".join(map(str, filled))


@cache
def command_of(words: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """The command that the first words name, and those that are left."""
    found: Any = typer.main.get_command(app)
    context = typer.Context(found)
    rest = words
    while rest and hasattr(found, "list_commands"):
        name = rest[0]
        if found is not typer.main.get_command(app) and not re.fullmatch("[a-z][a-z0-9-]*", name):
            name = "mlp"  # NAME and the like
        if name not in found.list_commands(context):
            break
        found, rest = found.get_command(context, name), rest[1:]
    return found, rest


def options_of(command: Any) -> set[str]:
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own | {"--help", "-h"}


@cache
def all_options() -> set[str]:
    found = set(FOREIGN)
    root = typer.main.get_command(app)

    def collect(command: Any) -> None:
        found.update(options_of(command))
        if hasattr(command, "list_commands"):
            context = typer.Context(command)
            for name in command.list_commands(context):
                collect(command.get_command(context, name))

    collect(root)
    return found


def wrong_in(text: str) -> Iterator[str]:
    """What a person could not type."""
    for match in COMMAND.finditer(text):
        words = tuple(re.split(r"\s+", re.split(r" [(>|#]|\. |: |, or| or |\)", match[1])[0].strip(" .,:")))
        command, rest = command_of(words)
        if rest != words and hasattr(command, "default") and hasattr(command, "commands"):
            command = command.commands[command.default]
        if rest == words or (hasattr(command, "list_commands") and rest and rest[0] != "NAME"):
            yield f"there is no command: gantool {' '.join(words)}"
            continue
        known = options_of(command)
        for word in rest:
            option = re.match(r"--?[a-z][a-z0-9-]*", word)
            if option and option[0] not in known:
                yield f"gantool {' '.join(words)} has no option {option[0]}"
    for option in OPTION.findall(text):
        if option not in all_options() and VALUE not in option:
            yield f"no command has the option {option}"


def test_there_is_something_to_check() -> None:
    found = [text for path in SOURCES for _, text in texts(path)]
    assert sum(bool(COMMAND.search(text)) for text in found) > 50
    assert sum(bool(OPTION.search(text)) for text in found) > 100
    for text in ("Type: gantool trian mlp", "gantool export --onx", "`gantool data fetsh mnist`", "Use --enginee auto"):
        assert list(wrong_in(text)), text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    commands = [line.split(" #")[0].split(" |")[0] for line in lines if line.startswith("gantool ")]
    ours = [command for command in commands if not command.startswith("gantool train tiny")]  # README's plugin
    assert [wrong for command in ours for wrong in wrong_in(command.replace("[", " ").replace("]", " "))] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_module_tells_to_type_exists(path: Path) -> None:
    assert [f"line {line}: {wrong}" for line, text in texts(path) for wrong in wrong_in(text)] == []
