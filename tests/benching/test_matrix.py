"""Which cells there are, in which order, and the file that each is compared with."""

from __future__ import annotations

import ctypes
import dataclasses
from pathlib import Path

import onnxruntime
import pytest
from support.changed import described_as

from gantool.artifact.manifest import file_name
from gantool.benching import matrix
from gantool.benching.matrix import COMBINATIONS, OPTIONS, Cell
from gantool.errors import GantoolError
from gantool.run.rundir import RunDir
from gantool.runtime.session import PROVIDERS
from gantool.system import nvml

VARIANTS = ("generator.seeded.onnx", "generator.onnx", "generator.int8.onnx", "generator.half.seeded.onnx")


def everywhere(provider: str) -> None:
    """No provider is absent."""


def only_cpu(provider: str) -> str | None:
    return None if provider == "cpu" else "it is not there"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files with names of an export, and nothing in them."""
    for name in VARIANTS:
        (tmp_path / name).write_bytes(b"onnx")
    return tmp_path


def test_full_matrix_has_every_variant_provider_thread_and_option_once(folder: Path) -> None:
    cells = matrix.full([folder / "generator.onnx"], cores=8, absent=everywhere)
    assert len(cells) == len(set(cells))
    assert {(Path(c.path).name, c.provider, c.threads, c.options) for c in cells} == {
        (name, provider, threads, options)
        for name in VARIANTS
        for provider, combinations in COMBINATIONS.items()
        for threads in ((None, 1) if provider in ("cpu", "openvino") else (None,))
        for options in combinations
        if (provider, name) != ("cuda", "generator.int8.onnx")  # it would be refused
    }
    for cell in cells:
        assert set(cell.options) <= set(OPTIONS[cell.provider])


def test_full_matrix_begins_with_the_most_promising_cells(folder: Path) -> None:
    cells = matrix.full([folder / "generator.onnx"], cores=8, absent=everywhere)
    names = [(Path(c.path).name, c.provider, c.options) for c in cells]
    assert names[:2] == [("generator.onnx", "cuda", ()), ("generator.onnx", "tensorrt", ())]
    # all at their defaults before any option, all threads before one
    plain = [i for i, cell in enumerate(cells) if not cell.options and cell.threads is None]
    assert plain == list(range(len(plain)))
    # a GPU is better at half than at int8, a CPU the other way round
    for provider, first in (("cuda", "generator.half.seeded.onnx"), ("cpu", "generator.int8.onnx")):
        reduced = [n for n, p, o in names if p == provider and not o and n not in VARIANTS[:2]]
        assert reduced[0] == first


def test_an_absent_provider_has_one_cell(folder: Path) -> None:
    cells = matrix.full([folder / "generator.onnx"], cores=1, absent=only_cpu)
    assert [c.provider for c in cells].count("cpu") == len(VARIANTS)
    assert [c.provider for c in cells if c.provider != "cpu"] == [p for p in matrix.PROVIDERS if p != "cpu"]


@pytest.mark.parametrize("library", ["there", "missing"])
def test_tensorrt_is_absent_without_its_library(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime lists the provider on any machine."""

    def load(name: str) -> None:
        if library == "missing":
            raise OSError(f"{name}: cannot open shared object file")

    providers = [matrix_name for matrix_name in PROVIDERS.values() if matrix_name != "OpenVINOExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(nvml, "open_device", lambda: object())
    monkeypatch.setattr(ctypes, "CDLL", load)
    found = matrix.absent("tensorrt")
    assert (found is None) == (library == "there")
    assert found is None or "nvinfer" in found
    assert matrix.absent("cuda") is None


def test_a_file_of_another_name_has_no_variants(folder: Path) -> None:
    (folder / "mine.onnx").touch()
    assert matrix.variants(folder / "mine.onnx") == [folder / "mine.onnx"]


@pytest.mark.parametrize(
    ("provider", "options", "message"),
    [("gpu", (), "no provider 'gpu'"), ("cpu", ("nhwc",), "no option 'nhwc'"), ("cuda", ("x",), "no option 'x'")],
)
def test_unknown_provider_or_option(provider: str, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(GantoolError, match=message):
        matrix.short([Path("g.onnx")], provider, None, options)


def test_best_provider_is_the_gpu_only_where_there_is_one() -> None:
    assert matrix.best_provider(everywhere) == "cuda"
    assert matrix.best_provider(only_cpu) == "cpu"


def test_options_become_the_providers_own() -> None:
    cell = Cell("g.onnx", "cuda", None, ("cuda-graph", "nhwc", "no-tf32"))
    assert cell.settings == {"enable_cuda_graph": "1", "prefer_nhwc": "1", "use_tf32": "0"}
    assert cell.bound
    assert not Cell("g.onnx", "cuda", None, ("nhwc",)).bound


@pytest.mark.parametrize(
    ("provider", "settings", "found"),
    [
        ("cpu", {}, None),
        ("cuda", {"use_tf32": "1"}, "TF32"),
        ("cuda", {"use_tf32": "0"}, None),
        ("cuda", {}, "TF32"),
        ("tensorrt", {"trt_fp16_enable": "1"}, "fp16"),
        ("tensorrt", {}, "TF32"),
    ],
)
def test_arithmetic(provider: str, settings: dict[str, str], found: str | None) -> None:
    assert matrix.arithmetic(provider, settings) == found


def test_reference_is_the_float32_file_of_the_same_training(exported_run: RunDir, tmp_path: Path) -> None:
    plain, seeded = (exported_run.export / file_name(kind) for kind in ("onnx", "onnx-seeded"))
    assert matrix.reference_of(Cell(str(seeded))) == plain
    assert matrix.reference_of(Cell(str(plain))) == seeded
    alone = tmp_path / "generator.onnx"
    alone.write_bytes(plain.read_bytes())
    assert matrix.reference_of(Cell(str(alone))) is None
    # elsewhere than on the CPU it is the file itself
    assert matrix.reference_of(Cell(str(alone), "cuda")) == alone
    # a file of another training is none
    here = tmp_path / seeded.name
    here.write_bytes(seeded.read_bytes())
    described_as(plain, alone, lambda m: dataclasses.replace(m, training={"run": "another"}))
    assert matrix.reference_of(Cell(str(here))) is None
