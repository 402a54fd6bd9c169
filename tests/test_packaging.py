"""The wheel: what is in it, and that an exported file runs where there is numpy, onnxruntime and nothing else."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import venv
import zipfile
from email.message import Message
from pathlib import Path

import numpy as np
import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from support.hosts import bare_python

from gantool.run.rundir import RunDir
from gantool.runtime import Generator

ROOT = Path(__file__).parent.parent
SOURCES = ["gantool", "plugins", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("packaging")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / "source" / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, folder / "source"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_everything(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = (archive.read(n).decode() for n in names if n.endswith("entry_points.txt"))
    written = {p.relative_to(ROOT).as_posix() for p in (ROOT / "gantool").rglob("*.py")}
    written |= {p.relative_to(ROOT / "plugins").as_posix() for p in (ROOT / "plugins").rglob("*.py")}
    data = {"gantool/py.typed", "gantool/data/digits/mnist10k.npz", "gantool/data/digits/LICENSE.md"}
    # app kits: what they are made of, and onnxruntime-web where it was fetched
    kit = ROOT / "gantool" / "exporting" / "app"
    data |= {
        p.relative_to(ROOT).as_posix() for p in [*kit.glob("assets/*"), *kit.glob("templates/**/*")] if p.is_file()
    }
    package = ROOT / "gantool"
    for folder in (package / "doctor" / "graphs", package / "watching" / "page", package / "exporting/c/templates"):
        data |= {p.relative_to(ROOT).as_posix() for p in folder.iterdir()}
    assert written | data <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "gantool",
        "gantool_cgan",
        "gantool_cyclegan",
        "gantool_dcgan",
        "gantool_gan3d",
        "gantool_icgan",
        "gantool_mlp",
        "gantool_pix2pix",
        "gantool_projected",
        "gantool_r3gan",
        "gantool_sngan",
        "gantool_stylegan2",
        "gantool_wavegan",
        "gantool_wgan",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "[console_scripts]\ngantool = gantool.cli:main" in points
    plugins = {name.partition("/")[0] for name in names if name.startswith("gantool_")}
    for name in (plugin.removeprefix("gantool_") for plugin in plugins):
        assert f"{name} = gantool_{name}" in points


@pytest.mark.parametrize(
    ("platform", "machine", "wanted"),
    [
        ("linux", "x86_64", "onnxruntime-gpu"),
        ("win32", "AMD64", "onnxruntime-gpu"),
        ("linux", "aarch64", "onnxruntime"),
        ("darwin", "arm64", "onnxruntime"),
        ("darwin", "x86_64", "onnxruntime"),
        ("win32", "ARM64", "onnxruntime"),
    ],
)
def test_every_platform_gets_one_onnxruntime(metadata: Message, platform: str, machine: str, wanted: str) -> None:
    """Two would overwrite each other's files: so the base has none, and each extra one."""

    def runtimes(extra: str) -> list[str]:
        names = required(metadata, extra, sys_platform=platform, platform_machine=machine)
        return [name for name in names if name.startswith("onnxruntime")]

    assert runtimes("") == runtimes("train") == []
    assert runtimes("cpu") == ["onnxruntime"]
    assert runtimes("cuda") == [wanted]


def required(metadata: Message, extra: str, **environment: str) -> list[str]:
    """The distributions that the wheel requires with one extra, or with none: ""."""
    marked = {**default_environment(), **environment, "extra": extra}
    needed = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    return [r.name for r in needed if not r.marker or r.marker.evaluate(marked)]


def test_the_range_of_pythons(metadata: Message) -> None:
    """torch.jit is not supported on Python 3.14."""
    allowed = SpecifierSet(metadata["Requires-Python"])
    assert [minor for minor in range(9, 16) if f"3.{minor}.1" in allowed] == [11, 12, 13]
    assert metadata["License-Expression"] == "MIT"


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, numpy, onnxruntime and what onnxruntime needs."""
    python = bare_python(tmp_path_factory.mktemp("bare"))
    install(python, wheel, "--no-deps", "--no-index")
    return python


@pytest.fixture(scope="module")
def light(wheel: Path, metadata: Message, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment as `pip install 'gantool[cpu]'` makes it, from the packages that are here."""
    folder = tmp_path_factory.mktemp("light")
    here = [name for name in required(metadata, "cpu") if name != "onnxruntime"]  # that, or the GPU build, comes anyhow
    python = bare_python(folder, *here)
    install(python, wheel, "--no-deps", "--no-index")
    return python.parent


def install(python: Path, *words: object) -> None:
    pip = [sys.executable, "-m", "pip", "--python", python, "install", *words]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def check_light(scripts: Path, export: Path, folder: Path) -> None:
    """Files are shown, run and timed without torch; what needs it says what to install."""

    def gantool(*words: object) -> subprocess.CompletedProcess[str]:
        command = [scripts / "gantool", *map(str, words)]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)

    file = export / "generator.seeded.onnx"
    for words in (
        ["generate", file, "-n", 4, "-o", "images.png"],
        ["inspect", file],
        ["inspect", export / "generator.torchscript.pt"],
        ["bench", file, "--batches", 1, "--seconds", 0],
        ["plugins"],
        ["data", "info", "digits"],
        ["train", "mlp", "--help"],
    ):
        done = gantool(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
    assert (folder / "images.png").is_file()
    for words in (["train", "mlp"], ["export", export.parent], ["evaluate", file]):
        done = gantool(*words)
        assert done.returncode == 1
        assert done.stderr == "Error: This needs torch, which is not installed.\nType: pip install 'gantool[train]'\n"


def test_the_light_install(light: Path, exported_run: RunDir, tmp_path: Path) -> None:
    check_light(light, exported_run.export, tmp_path)


@pytest.mark.slow
def test_the_light_install_from_the_registry(wheel: Path, exported_run: RunDir, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    install(python, "--quiet", "-c", ROOT / "constraints.txt", f"{wheel}[cpu]")
    check_light(python.parent, exported_run.export, tmp_path)
    listed = subprocess.run([sys.executable, "-m", "pip", "--python", python, "list"], capture_output=True, text=True)
    assert "onnxruntime " in listed.stdout
    assert "torch" not in listed.stdout
    assert "nvidia" not in listed.stdout


def test_an_exported_file_runs_without_torch(bare: Path, exported_run: RunDir, tmp_path: Path) -> None:
    code = """
import sys
import numpy as np
from gantool.runtime import Generator
for name in sys.argv[1:]:
    generator = Generator(name)
    assert generator.self_test().exact
    np.save("images.npy", generator.sample(70, seed=5))
for name in ("torch", "typer", "pydantic", "pluggy", "onnx", "rich"):
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} is there")
"""
    files = [exported_run.export / name for name in ("generator.onnx", "generator.seeded.onnx")]
    done = subprocess.run([bare, "-I", "-c", code, *files], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    images = np.load(tmp_path / "images.npy")
    np.testing.assert_array_equal(images, Generator(files[0]).sample(70, seed=5))
