"""The house rule of the design: imports point one way, and the core knows no architecture by name."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "gantool").rglob("*.py"))
}
# lowest first; a package stands for everything in it, the longest name decides
LAYERS = {
    "gantool": 0,
    "gantool.errors": 0,
    "gantool.files": 0,
    "gantool.latents": 0,
    "gantool.nvml": 0,
    "gantool.processes": 0,
    "gantool.manifest": 1,
    "gantool.classnames": 1,
    "gantool.onnxfile": 1,
    "gantool.provenance": 2,
    "gantool.runtime": 2,
    "gantool.architecture": 2,
    "gantool.datasource": 2,
    "gantool.hookspecs": 2,
    "gantool.options": 3,
    "gantool.plugins": 3,
    "gantool.scaffold": 4,
    "gantool.doctor": 3,
    "gantool.artifact": 3,
    "gantool.pictures": 3,
    "gantool.rundir": 3,
    "gantool.objectives": 3,
    "gantool.games": 3,
    "gantool.data": 4,
    "gantool.metrics": 4,
    "gantool.shards": 4,
    "gantool.training": 5,
    "gantool.export": 6,
    "gantool.bench": 6,
    "gantool.testing": 7,
    "gantool.cli": 8,
    "gantool.__main__": 9,
}
ONLY = {  # what these may import besides the standard library
    "gantool.errors": set(),
    "gantool.files": {"gantool.errors"},
    "gantool.manifest": {"gantool.errors", "gantool.files"},
    "gantool.classnames": {"gantool.errors", "gantool.manifest"},
    "gantool.onnxfile": {"gantool.errors", "gantool.files", "gantool.manifest"},
    "gantool.provenance": {"PIL", "gantool", "gantool.errors", "gantool.manifest"},
    "gantool.latents": {"numpy", "gantool.errors"},
    "gantool.nvml": set(),
    "gantool.processes": set(),
    "gantool.doctor": {  # torch in a process of its own, where it is installed
        "numpy",
        "onnxruntime",
        "torch",
        "gantool",
        "gantool.doctor",
        "gantool.errors",
        "gantool.latents",
        "gantool.nvml",
        "gantool.runtime",
    },
    "gantool.runtime": {
        "numpy",
        "onnxruntime",
        "gantool.classnames",
        "gantool.errors",
        "gantool.files",
        "gantool.latents",
        "gantool.manifest",
        "gantool.nvml",
        "gantool.onnxfile",
        "gantool.runtime",
    },
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


def home(module: str) -> str:
    """The entry of LAYERS that a module of ours belongs to."""
    return max((name for name in LAYERS if f"{module}.".startswith(f"{name}.")), key=len)


def outside(name: str) -> bool:
    return name.partition(".")[0] not in sys.stdlib_module_names


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    for name in filter(lambda n: f"{n}.".startswith("gantool."), imports_of(MODULES[module])):
        same = home(name) == home(module)
        assert same or LAYERS[home(name)] <= LAYERS[home(module)], f"{module} imports {name}"


@pytest.mark.parametrize("package", ONLY)
def test_the_light_modules_stay_light(package: str) -> None:
    for module, path in MODULES.items():
        if home(module) == package:
            for name in filter(outside, imports_of(path)):
                known = home(name) if name.startswith("gantool.") else name.partition(".")[0]
                assert known in ONLY[package], f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_the_core_imports_no_plugin(module: str) -> None:
    assert not {name for name in imports_of(MODULES[module]) if name.startswith("gantool_")}


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith(("gantool.cli", "gantool.__main__"))])
def test_nobody_imports_the_command_line(module: str) -> None:
    assert "gantool.cli" not in {home(name) for name in imports_of(MODULES[module]) if name.startswith("gantool")}


def names_in_decisions(path: Path) -> set[str]:
    """Texts that a comparison, a match or a dictionary's key holds: where a program decides by name."""
    decisions = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare | ast.match_case):
            decisions += [node] if isinstance(node, ast.Compare) else [node.pattern]
        elif isinstance(node, ast.Dict):
            decisions += [key for key in node.keys if key is not None]
    return {n.value for d in decisions for n in ast.walk(d) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_decided_by_the_name_of_an_architecture(module: str) -> None:
    from gantool.plugins import architecture_names

    assert not names_in_decisions(MODULES[module]) & set(architecture_names())


HEAVY = {"torch", "onnx", "onnxruntime", "numpy", "pluggy", "matplotlib", "PIL", "gantool_mlp"}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["export", "--help"], set()),
        (["evaluate", "--help"], set()),
        (["generate", "--help"], set()),
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
