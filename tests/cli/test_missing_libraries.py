"""Libraries that an extra brings and that are not installed: a line that says what to install, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.inprocess import Run

from gantool.run.rundir import RunDir


@pytest.mark.parametrize(
    ("missing", "extra", "words"),
    [
        ("torch", "train", ["train", "mlp"]),
        ("torch", "train", ["export"]),
        ("torch", "train", ["evaluate"]),
        ("torch", "train", ["bench", "--quality"]),
        ("onnx", "train", ["export"]),
        ("matplotlib", "train", ["data", "info", "digits", "-o", "sheet.png"]),
        ("matplotlib", "train", ["bench", "--html", "report.html"]),
        ("matplotlib", "train", ["runs", "compare", "1", "1", "-o", "both.png"]),
        ("uvicorn", "watch", ["watch"]),
        ("starlette", "watch", ["watch"]),
        ("huggingface_hub", "hub", ["pull", "me/digits"]),
        ("av", "film", ["film", "-o", "film.mp4"]),
        ("soundfile", "audio", ["film", "-o", "film.gif", "--audio", "runs/0001-tiny/run.json"]),
        ("onnxruntime", "cpu", ["generate", "-n", "4", "-o", "images.png"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_missing_library_is_one_line(exported_run: RunDir, missing: str, extra: str, words: list[str]) -> None:
    done = without(missing, "from gantool.cli import main; main()", *words, cwd=exported_run.path.parent.parent)
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()[-2:]
    assert error == f"Error: This needs {missing}, which is not installed."
    assert hint.startswith(f"Type: pip install 'gantool[{extra}]'")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("missing", "extra", "name"), [("soundfile", "audio", "a.wav"), ("trimesh", "volume", "a.obj")]
)
def test_a_missing_reader_is_one_line(missing: str, extra: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"v 0 0 0\n")
    for command in (["data", "info", "in"], ["data", "pack", "in", "-o", "out", "--size", "16"]):
        done = without(missing, "from gantool.cli import main; main()", *command, cwd=tmp_path)
        error, hint = done.stderr.splitlines()[-2:]
        assert error == f"Error: This needs {missing}, which is not installed."
        assert hint == f"Type: pip install 'gantool[{extra}]'"


def without(missing: str, code: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code as if `missing` were not installed."""
    hide = f"""
import sys

class Hidden:
    def find_spec(self, name, *_):
        if name == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""
    return subprocess.run([sys.executable, "-c", hide + code, *words], cwd=cwd, capture_output=True, text=True)


def test_another_missing_module_is_a_bug(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gantool.data.catalog", None)
    with pytest.raises(ModuleNotFoundError, match=r"gantool\.data\.catalog"):
        cli("data", "list")


def test_inspect_without_onnx(cli: Run, exported_run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    file = exported_run.export / "generator.onnx"
    code, out, _ = cli("inspect", file)
    assert code == 0
    assert "part of the graph only: onnx is not installed" in out
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1  # a weight
    (tmp_path / "spoilt.onnx").write_bytes(data)
    code, out, _ = cli("inspect", tmp_path / "spoilt.onnx")
    assert code == 1
    assert "Changed since the export: graph" in out


def test_bench_without_onnx(cli: Run, exported_run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its report has no share of the machine's peak."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, out, _ = cli("bench", exported_run.export / "generator.onnx", "--batches", 1, "--seconds", 0)
    assert code == 0
    assert "images/s" in out
    assert "GFLOP" not in out
