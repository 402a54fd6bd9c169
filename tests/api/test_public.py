"""`import gantool`: what it offers, and what it costs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import TIMEOUT, environment

import gantool


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_the_import_loads_no_other_package() -> None:
    loaded = loaded_by("import gantool; dir(gantool)")
    assert loaded & {"torch", "numpy", "pydantic", "typer", "rich", "onnxruntime", "gantool.training"} == set()


def test_a_generator_needs_no_torch() -> None:
    loaded = loaded_by("import gantool; gantool.Generator")
    assert "onnxruntime" in loaded
    assert loaded & {"torch", "pydantic", "typer", "rich"} == set()


def test_a_film_needs_no_torch() -> None:
    loaded = loaded_by("import gantool; gantool.film; import gantool.filming.video")
    assert loaded & {"torch", "onnx", "av", "soundfile", "rich"} == set()


def test_every_public_name_is_there_and_documented() -> None:
    for name in gantool.__all__:
        assert name in dir(gantool)
        if name != "__version__":
            assert getattr(gantool, name).__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gantool' has no attribute 'trian'"):
        gantool.trian  # noqa: B018


def test_type_checkers_see_what_is_loaded_when_used() -> None:
    tree = ast.parse(Path(gantool.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    declared = {a.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names}
    for name, module in declared.items():
        assert module
        assert getattr(gantool, name) is getattr(importlib.import_module(module), name)
    eager = {"ArgumentError", "GantoolError", "__version__"}
    assert set(declared) == set(gantool.__all__) - eager
