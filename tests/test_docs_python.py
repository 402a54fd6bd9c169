"""docs/python.md: its code does what it says, and it names every public call."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gantool

PAGE = (Path(__file__).parent.parent / "docs/python.md").read_text(encoding="utf-8")


@pytest.mark.slow  # tests/test_readme.py and the notebook go most of this way
def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), names)
        for promised in re.findall(r"print\(.*\)\s+# (.*)", block):
            assert capsys.readouterr().out.endswith(f"{promised}\n")
    assert names["images"].shape == (16, 28, 28, 1)
    assert names["file"].path.is_file()
    assert gantool.runs()[-1].status in ("finished", "interrupted")


def test_every_public_call_is_described() -> None:
    for name in set(gantool.__all__) - {"__version__"}:
        assert f"gantool.{name}" in PAGE


def test_the_code_for_sounds_runs(
    tiny_export: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parent.parent / "docs/sounds.md").read_text(encoding="utf-8")
    (tmp_path / "generator.seeded.onnx").symlink_to(tiny_export(2, 16) / "generator.seeded.onnx")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(compile(block, "docs/sounds.md", "exec"), names)
    assert (names["sounds"].shape, names["sounds"].dtype, names["rate"]) == ((4, 16, 2), "int16", 0)
