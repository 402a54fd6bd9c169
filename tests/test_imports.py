"""The house rule of the design: imports point one way, and the core knows no architecture by name."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "gantool").rglob("*.py"))
}
# lowest first: a module imports its own room and the rooms below it
FLOORS = (
    ("errors",),
    ("system",),
    ("artifact",),
    ("runtime",),
    ("plugin",),
    ("data", "metrics", "run"),
    ("training",),
    ("exporting", "benching", "shards", "filming", "doctor", "scaffold", "watching", "control", "sharing"),
    ("testing",),
    ("api",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
LIGHT = {  # what a room and all below it may import besides gantool and the standard library
    "errors": set(),
    "system": {"filelock", "rich"},  # inside functions of locking and terminal
    "artifact": {"numpy"},
    "runtime": {"numpy", "onnxruntime"},
    "doctor": {"numpy", "onnxruntime", "torch"},  # torch in a process of its own, where it is installed
}
ALSO = {  # what single modules may import besides that of their room, inside functions
    "gantool.system.terminal": {"IPython"},  # in a notebook, which has it
    "gantool.artifact.pictures": {"PIL", "matplotlib"},  # matplotlib: its font, for titles
    "gantool.artifact.volumes": {"skimage"},
    "gantool.artifact.upright": {"PIL"},  # at its top: it is imported for a picture
    "gantool.artifact.hosts": {"onnx"},
    "gantool.artifact.inspection": {"onnx", "google"},  # google: protobuf's errors
}


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside, but for type checkers alone."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: write imports in full"
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update(name if name in MODULES else node.module for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def outside(name: str) -> bool:
    return name.partition(".")[0] not in sys.stdlib_module_names


def room(module: str) -> str:
    """`training` of gantool.training.loop; `` of gantool itself."""
    return f"{module}.".split(".")[1]


def ours(module: str) -> set[str]:
    """The rooms that a module imports."""
    return {room(name) for name in imports_of(MODULES[module]) if f"{name}.".startswith("gantool.")} - {""}


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in MODULES} - {""} == set(FLOOR_OF)


@pytest.mark.parametrize("module", [module for module in MODULES if room(module)])
def test_imports_point_one_way(module: str) -> None:
    own = room(module)
    wrong = {name for name in ours(module) if name != own and FLOOR_OF[name] > FLOOR_OF[own]}
    assert not wrong, f"{module} imports {wrong}"


def test_no_two_rooms_import_each_other() -> None:
    arrows = {(room(module), name) for module in MODULES if room(module) for name in ours(module)}
    assert not {(a, b) for a, b in arrows if a != b and (b, a) in arrows}


def test_no_modules_import_one_another_in_a_circle() -> None:
    """Imports inside functions count: they only hide a circle."""
    graph = {module: imports_of(path) & MODULES.keys() - {module} for module, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("package", LIGHT)
def test_the_light_rooms_stay_light(package: str) -> None:
    for module, path in MODULES.items():
        if room(module) == package:
            for name in filter(outside, imports_of(path)):
                known = name.partition(".")[0]
                assert known == "gantool" or known in LIGHT[package] | ALSO.get(module, set()), (
                    f"{module} imports {name}"
                )


@pytest.mark.parametrize("module", MODULES)
def test_the_core_imports_no_plugin(module: str) -> None:
    assert not {name for name in imports_of(MODULES[module]) if name.startswith("gantool_")}


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith(("gantool.cli", "gantool.__main__"))])
def test_nobody_imports_the_command_line(module: str) -> None:
    assert "cli" not in ours(module)


HEAVY = {"torch", "onnx", "onnxruntime", "numpy", "pluggy", "matplotlib", "PIL", "gantool_mlp"}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["export", "--help"], set()),
        (["evaluate", "--help"], set()),
        (["generate", "--help"], set()),
        (["film", "--help"], set()),
        (["doctor", "--help"], set()),
        (["plugins"], {"pluggy", "gantool_mlp"}),
        (["train", "mlp", "--help"], {"pluggy", "gantool_mlp"}),
    ],
    ids=lambda value: " ".join(sorted(value)) if isinstance(value, set) else " ".join(value),
)
def test_help_is_light(arguments: list[str], allowed: set[str]) -> None:
    code = (
        f"import sys; sys.argv = ['gantool', *{arguments}]\n"
        "from gantool.cli import main\n"
        "try: main()\n"
        f"finally: print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(ast.literal_eval(done.stderr.splitlines()[-1]))
    assert done.returncode == 0
    assert loaded <= allowed
