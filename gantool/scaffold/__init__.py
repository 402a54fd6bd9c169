"""Write a new plugin: a whole package that trains, exports and passes its own tests."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gantool import __version__
from gantool.errors import GantoolError, excerpt
from gantool.plugin.registry import discover
from gantool.system.files import recover, replacing_folder

MAX_NAME = 32  # keeps the lines of the templates within their length
# from `gantool train`: recognisable digits in about two minutes of one CPU core
STEPS = 3_000
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_TEMPLATES = files("gantool.scaffold") / "template"
_PLACEHOLDER = re.compile(r"%%\{(\w+)\}")


@dataclass(frozen=True)
class Names:
    """The names of a plugin's parts, from `name`, which `gantool train` takes."""

    name: str

    @property
    def distribution(self) -> str:
        """What pip installs: gantool-my-gan."""
        return f"gantool-{self.name}"

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    @property
    def package(self) -> str:
        """What Python imports: gantool_my_gan."""
        return f"gantool_{self.module}"

    @property
    def prefix(self) -> str:
        """What its class names begin with: MyGan."""
        return "".join(part.capitalize() for part in self.name.split("-"))

    def files(self) -> dict[str, tuple[str, str]]:
        """Path in the new folder → (template, "" for an empty file; what the file is for)."""
        return {
            "pyproject.toml": ("pyproject.toml.in", "the entry point by which gantool finds it"),
            f"src/{self.package}/__init__.py": ("init.py.in", "options, recipe, the game"),
            f"src/{self.package}/networks.py": ("networks.py.in", "generator and discriminator"),
            f"src/{self.package}/py.typed": ("", "says that it has types"),
            f"tests/test_{self.module}.py": ("test.py.in", "check_architecture, and the commands"),
            "README.md": ("README.md.in", "the commands; the licence is yours to choose"),
            ".gitignore": ("gitignore.in", "runs, builds and caches"),
        }


def create(name: str, parent: Path) -> Path:
    """Write the package of a new architecture `name` to `parent`/gantool-`name`, atomically; returns its folder.

    GantoolError for an invalid or taken name, and for a folder that exists.
    """
    names = checked(name)
    folder = parent / names.distribution
    there = os.path.lexists(folder)
    recover(parent)
    if there:
        raise GantoolError(f"{folder} is there already.", "Take another name, or --dir for another place.")
    if folder.exists():  # a call that was killed had made it
        return folder
    values = {
        "name": names.name,
        "package": names.package,
        "module": names.module,
        "prefix": names.prefix,
        "gantool": __version__,
        "steps": f"{STEPS:_}",
    }
    with replacing_folder(folder) as new:
        for path, (template, _) in names.files().items():
            text = (_TEMPLATES / template).read_text(encoding="utf-8") if template else ""
            made = new / path
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_text(_PLACEHOLDER.sub(lambda found: values[found[1]], text), encoding="utf-8", newline="\n")
    return folder


def checked(name: str) -> Names:
    """The names of a new plugin; GantoolError for an invalid or taken name, which suggests a valid one."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME or name.startswith("gantool-"):
        raise GantoolError(
            f"'{excerpt(name)}' can't name an architecture, a package and a module.",
            f"Use at most {MAX_NAME} lower-case letters, digits and single hyphens, a letter first, without the prefix "
            f"gantool-: {_near(name)}.",
        )
    names = Names(name)
    taken = _taken_by(names)
    if taken:
        raise GantoolError(
            f"{name!r} is taken: {taken}.", "Take another name; `gantool plugins` lists what is installed."
        )
    return names


def _taken_by(names: Names) -> str:
    """What has taken one of the names; "" when they are free."""
    for plugin in discover():
        if plugin.name == names.name and not plugin.dataset:
            return f"the plugin {plugin.name} of {plugin.distribution} {plugin.version} is installed"
    if importlib.util.find_spec(names.package):
        return f"there is a module {names.package}"
    return ""


def _near(name: str) -> str:
    """The valid name that is most like `name`."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "-", name).lower())
    near = "-".join(word for word in words if word != "gantool").lstrip("0123456789-")[:MAX_NAME].rstrip("-")
    return near or "my-gan"
