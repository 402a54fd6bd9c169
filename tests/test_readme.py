"""The README is run: its commands in order, its Python blocks, the plugin that it names. Only training is cut short."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.distributions import make_distribution
from support.inprocess import typed

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[str]:
    return [line.split("#")[0].strip() for line in block.splitlines() if line.split("#")[0].strip()]


def type_in(command: str, folder: Path) -> str:
    """What a command prints, run in this process where that is faster, which it is when it needs torch."""
    if not command.startswith("gantool ") or command.startswith("gantool generate"):
        return shell(command, folder)
    with contextlib.chdir(folder):
        code, out, err = typed(command)
    assert code == 0, f"{command}\n{out}\n{err}"
    return out + err


def shell(command: str, folder: Path, pythonpath: str = "") -> str:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": pythonpath}
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tour was taken."""
    folder = tmp_path_factory.mktemp("tour")
    for command in commands(blocks("sh")[1]):
        short = {
            "gantool train": " --steps 20 --tick 20 --widths 32",
            "gantool evaluate": " -n 500",
            "gantool bench": " --seconds 0.05",
        }
        extra = next((words for start, words in short.items() if command.startswith(start)), "")
        type_in(command + extra, folder)
    return folder


def test_the_two_commands_are_targets() -> None:
    for command in commands(blocks("sh")[0]):
        assert command.startswith("make ")
        shell(f"{command} --dry-run", ROOT)


def test_the_tour(tour: Path) -> None:
    export = tour / "runs" / "0001-mlp-digits" / "export"
    assert {p.name for p in export.iterdir()} == {
        f"{name}{beside}"
        for name in ("generator.onnx", "generator.seeded.onnx", "generator.torchscript.pt")
        for beside in ("", ".json")
    }
    with Image.open(tour / "digits.png") as picture:
        assert picture.width > 400


def test_own_data_resume_and_inspect(tour: Path) -> None:
    pictures = tour / "my-pictures"
    pictures.mkdir()
    random = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(random.integers(0, 256, (70, 80, 3), np.uint8)).save(pictures / f"{number}.png")
    info, train, resume, pack, train_packed, inspect = commands(blocks("sh")[2])
    assert "80×70" in type_in(info, tour)
    assert (tour / "sheet.png").is_file()
    assert "--size 64" in train
    type_in(f"{train} --steps 1 --batch-size 4 --width 4", tour)
    assert "resumed at step 1 of 2" in type_in(resume.replace("20000", "2"), tour)
    type_in(pack, tour)
    line = type_in(f"{train_packed} --steps 1 --batch-size 4 --width 4", tour)
    assert "8 samples 3×64×64 of pets (flipped" in line
    assert "mlp" in type_in(inspect, tour)


@pytest.mark.slow
def test_labels(tmp_path: Path) -> None:
    train, export, generate = commands(blocks("sh")[3])
    for command in (f"{train} --steps 20 --tick 20", export, generate):
        type_in(command, tmp_path)
    assert (tmp_path / "sevens.png").is_file()


@pytest.mark.usefixtures("browser_runtime")
def test_the_app_kit(tour: Path) -> None:
    (command,) = commands(blocks("sh")[4])
    type_in(command, tour)
    assert "trained on" in (tour / "kit" / "README.md").read_text()
    assert (tour / "kit" / "playground.html").stat().st_size > 4e6
    shell("python generator.py --self-test", tour / "kit" / "python")


def test_the_python_api(tmp_path: Path) -> None:
    code = blocks("python")[0].replace("steps=2000", "steps=20, tick=20, widths=(32,)")
    code = code.replace("run.evaluate()", "assert callable(run.evaluate)")  # tests/api runs it, on fewer images
    names: dict[str, Any] = {}
    with contextlib.chdir(tmp_path):
        exec(compile(code, "README.md", "exec"), names)
    assert names["images"].shape == (16, 28, 28, 1)


@pytest.mark.parametrize("number", [1, 2])
def test_the_python_blocks(tour: Path, number: int) -> None:
    code = blocks("python")[number]
    script = tour / "runs" / "0001-mlp-digits" / "export" / f"block{number}.py"
    script.write_text(code + "\nimport sys\nassert 'torch' not in sys.modules\n")
    shell(f"python {script.name}", script.parent)


def test_embedding_takes_twelve_lines() -> None:
    lines = [line for line in blocks("python")[1].splitlines() if line.strip()]
    assert len(lines) <= 12


@pytest.mark.slow
def test_the_plugin(tmp_path: Path) -> None:
    source = (ROOT / "examples/gantool-tiny/gantool_tiny.py").read_text()
    project = tomllib.loads((ROOT / "examples/gantool-tiny/pyproject.toml").read_text())["project"]
    entry_points = project["entry-points"]["gantool"]
    make_distribution(tmp_path, project["name"], project["version"], source, entry_points)
    shell("gantool train tiny --steps 30", tmp_path, str(tmp_path))
    shell("gantool export", tmp_path, str(tmp_path))
    check = (
        "import gantool_tiny as t; from gantool.testing import check_architecture as c; c(t.gantool_architectures()[0])"
    )
    shell(f'python -c "{check}"', tmp_path, str(tmp_path))


def test_it_is_read_in_two_minutes() -> None:
    assert len(README.splitlines()) <= 150


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", README):
        assert (ROOT / target).exists(), target
