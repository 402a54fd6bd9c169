"""Shared fixtures. Torch runs on one thread: the suite runs on two processes, and results must not depend on load."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.distributions import Install
    from support.inprocess import Run

    from gantool.run.rundir import RunDir

settings.register_profile("gantool", deadline=None)  # a loaded machine is no fault of an example
settings.load_profile("gantool")
gc.set_threshold(50_000)  # a look through the million objects of torch and its exporters takes half a second
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for every subprocess
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each subprocess compiles gantool anew
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job; commands would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped, with the reason, where torch sees no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="torch sees no CUDA device"))


def pytest_collection_finish() -> None:
    """What the imports made is never garbage: no collection looks through it."""
    gc.freeze()


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """runs/0001-tiny: an mlp of a few weights after two steps, exported to every format. Tests only read it."""
    from support.trainings import run_until

    from gantool import exporting
    from gantool.plugin import registry
    from gantool.plugin.train_options import TrainOptions
    from gantool.training import session

    runs = tmp_path_factory.mktemp("exported") / "runs"
    small = {"widths": (8,), "latent_dim": 4, "batch_size": 4, "steps": 2}
    opened = session.start(registry.find("mlp"), small, TrainOptions(size=8, device="cpu", runs=runs, name="tiny"))
    run_until(opened)
    exporting.export_run(opened.run)
    return opened.run


@pytest.fixture(scope="session")
def conditional_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with generator.onnx and generator.seeded.onnx of a generator with 3 classes. Tests only read it."""
    from support.exports import Conditional, Z, source

    from gantool import exporting
    from gantool.plugin.architecture import Input

    folder = tmp_path_factory.mktemp("conditional")
    exporting.write(source(Conditional(), Z, Input("label", (), "label", 3)), ["onnx", "onnx-seeded"], folder)
    return folder


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_export(*shape)` → a folder with both ONNX files of a generator of such samples. Tests only read it."""
    from support.exports import Tiny, source

    from gantool import exporting

    @functools.cache
    def export(*shape: int) -> Path:
        folder = tmp_path_factory.mktemp("tiny")
        exporting.write(source(Tiny(shape), shape=shape), ["onnx", "onnx-seeded"], folder)
        return folder

    return export


@pytest.fixture(scope="session")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`translator("unet")` → a folder with all files of that generator of `support.translators`. Tests only read it."""
    from support import translators

    from gantool import exporting

    @functools.cache
    def export(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        made = getattr(translators, name)()
        exporting.write(made, made.kinds if name in translators.WITH_ALL_FILES else ["onnx", "onnx-seeded"], folder)
        return folder

    return export


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`cli("export", path)` → (exit code, stdout, stderr) of the command line in this process."""
    from support.inprocess import runner

    return runner(monkeypatch, capsys)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(distribution, source, entry="name", version="1")`, for this process and this test."""
    from support.distributions import make_distribution

    from gantool.plugin import registry

    modules = set(sys.modules)

    def made(distribution: str, source: str, entry: str = "", version: str = "1.0") -> None:
        module = distribution.replace("-", "_")
        folder = tmp_path / f"site-{distribution}"
        make_distribution(folder, distribution, version, source, {entry or module: module})
        monkeypatch.syspath_prepend(folder)
        registry.discover.cache_clear()

    registry.discover.cache_clear()
    yield made
    registry.discover.cache_clear()
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which the test is in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(exported_run: RunDir, here: Path) -> RunDir:
    """A copy of `exported_run` in runs/ of the current folder, to spoil; it is not exported yet."""
    from gantool.run.rundir import RunDir

    copy = RunDir(here / "runs" / exported_run.name)
    shutil.copytree(exported_run.path, copy.path, ignore=shutil.ignore_patterns("export"))
    return copy


@pytest.fixture(scope="session")
def browser_runtime() -> None:
    """Skips where the files of onnxruntime-web are not installed."""
    from gantool.errors import GantoolError
    from gantool.exporting.app import playground

    try:
        playground.ort_web()
    except GantoolError as error:
        pytest.skip(str(error))
