"""`gantool bench` on a GPU: every option of the CUDA provider, in a process of its own, proven right."""

from __future__ import annotations

from pathlib import Path

import pytest

from gantool.benching import matrix
from gantool.benching.matrix import COMBINATIONS, Cell, Request
from gantool.benching.report import measure_cell
from gantool.benching.rivals import compare
from gantool.run.rundir import RunDir
from gantool.system import nvml

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def plain(exported_run: RunDir) -> Path:
    return exported_run.export / "generator.onnx"


@pytest.mark.parametrize("options", COMBINATIONS["cuda"], ids=lambda options: "+".join(options) or "defaults")
def test_options_of_cuda(plain: Path, options: tuple[str, ...]) -> None:
    cell = Cell(str(plain), "cuda", None, options)
    report = measure_cell(Request(cell, (1, 8), 0.0, str(matrix.reference_of(cell))), 300)
    assert set(report["placement"]) <= {"CUDAExecutionProvider"}
    assert report["settings"].items() >= cell.settings.items()
    assert report["arithmetic"] == (None if "no-tf32" in options else "TF32")
    assert report["proof"]["reference"]["worst_level"] <= (1 if "no-tf32" in options else 8)
    assert report["proof"]["repeated"] == 0
    assert not report["torch_loaded"]
    for row in report["batches"]:
        assert (row["copies"] is not None) is cell.bound


def test_memory_and_energy(plain: Path) -> None:
    device = nvml.open_device()
    if device is None or device.joules() is None:
        pytest.skip("NVML tells no energy here")
    report = measure_cell(Request(Cell(str(plain), "cuda"), (64,), 1.0), 300)
    (row,) = report["batches"]
    assert row["device_memory_mb"] > 0
    assert row["joules_per_1000"] > 0


def test_through_torch_on_the_gpu(plain: Path) -> None:
    ours, eager = compare(plain, ["torch"], [8], 0.01, 300, device="cuda")["contenders"]
    assert ours["proof"] == "the golden ones"
    assert eager["proof"].startswith(("the ", "within 1 on"))
