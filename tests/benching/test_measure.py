"""The measured process, its report, and where the graph runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime as ort
import pytest

from gantool import __version__
from gantool.benching.matrix import Cell, Request
from gantool.benching.measure import measure
from gantool.benching.report import CellError, measure_cell
from gantool.errors import GantoolError
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

KINDS = ("generator.onnx", "generator.seeded.onnx")
CELL = {
    "file", "provider", "threads", "options", "status", "placement", "settings", "cold", "batches", "proof",
    "versions", "torch_loaded", "arithmetic",
}  # fmt: skip
ROW = {
    "batch", "plan", "first_ms", "settled", "warm_runs", "runs", "seconds", "images_per_second", "p50_ms", "p90_ms",
    "p99_ms", "max_ms", "variation", "windows", "copies", "peak_memory_mb", "device_memory_mb", "cpu_seconds_per_1000",
    "joules_per_1000", "repeated",
}  # fmt: skip
COLD = {"interpreter_ms", "import_ms", "session_ms", "first_image_ms", "total_ms"}


@pytest.fixture
def exported(exported_run: RunDir) -> Path:
    return exported_run.export


def request(path: Path, *batches: int, reference: Path | None = None, **cell: Any) -> Request:
    """Without a second of timing: the least number of runs."""
    cell.setdefault("threads", 1)
    return Request(Cell(str(path), **cell), batches or (1,), 0.0, None if reference is None else str(reference))


@pytest.mark.parametrize("kind", KINDS)
def test_report(exported: Path, kind: str) -> None:
    stages: list[str] = []
    report = measure_cell(request(exported / kind, 1, 8, 70, reference=exported / KINDS[0]), 120.0, stages.append)
    assert set(report) == CELL
    assert set(report["cold"]) == COLD
    assert report["cold"]["total_ms"] == pytest.approx(sum(report["cold"].values()) - report["cold"]["total_ms"])
    assert min(report["cold"].values()) > 0
    assert [row["batch"] for row in report["batches"]] == [1, 8, 70]
    for row in report["batches"]:
        assert set(row) == ROW
        assert row["runs"] == 10
        assert row["warm_runs"] >= 10
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["max_ms"]
        assert row["images_per_second"] == pytest.approx(row["batch"] * row["runs"] / row["seconds"])
        assert len(row["windows"]) == 10
        assert row["cpu_seconds_per_1000"] > 0
        assert row["copies"] is row["device_memory_mb"] is row["joules_per_1000"] is None
    assert report["file"]["kind"] == Generator(exported / kind).manifest.kind
    assert (report["file"]["architecture"], report["file"]["precision"]) == ("mlp", "float32")
    assert (report["provider"], report["threads"], report["options"]) == ("cpu", 1, [])
    assert set(report["placement"]) <= {"CPUExecutionProvider"}
    assert report["versions"]["gantool"] == __version__
    assert report["versions"]["onnxruntime"] == ort.__version__
    proof = report["proof"]
    assert proof["golden"] == {"images": 12, "exact": True, "worst_level": 0}
    assert proof["reference"]["file"] == KINDS[0]
    assert (proof["reference"]["images"], proof["reference"]["worst_level"]) == (70, 0)
    assert proof["one_at_a_time"]["batches"] == [1, 7, 8, 70]
    assert (proof["fresh_images"], proof["repeated"]) == (70, 0)
    assert stages == ["first sample", "batch 1", "batch 8", "batch 70", "proof"]
    json.dumps(report, allow_nan=False)


def test_measured_process_has_no_torch(exported: Path) -> None:
    import torch  # here it is loaded, and large

    report = measure_cell(request(exported / KINDS[1], threads=None), 120.0)
    assert torch.__version__
    assert report["torch_loaded"] is False
    peak = report["batches"][0]["peak_memory_mb"]
    assert peak is None or 10 < peak < 250, "the memory is that of the process, not of the one that started it"


def test_missing_provider_is_the_same_error_as_in_process(exported: Path) -> None:
    if "OpenVINOExecutionProvider" in ort.get_available_providers():
        pytest.skip("this build of onnxruntime has OpenVINO")
    with pytest.raises(GantoolError) as inside:
        Generator(exported / KINDS[0], "openvino")
    with pytest.raises(CellError) as outside:
        measure_cell(request(exported / KINDS[0], provider="openvino"), 120.0)
    assert (outside.value.message, outside.value.hint) == (inside.value.message, inside.value.hint)
    assert outside.value.status == "refused"


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_gpu_provider_without_a_gpu_never_falls_back(exported: Path, provider: str) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(GantoolError, match=provider):
        measure_cell(request(exported / KINDS[0], provider=provider), 120.0)


# where the graph runs


class PartlyOnCpu:
    """A session of a provider that leaves two nodes of its three to the CPU, as onnxruntime reports it."""

    def get_provider_graph_assignment_info(self) -> list[Any]:
        def part(provider: str, *nodes: str) -> Any:
            return SimpleNamespace(
                ep_name=provider,
                get_nodes=lambda: [SimpleNamespace(op_type=node, name=f"node_{node}") for node in nodes],
            )

        return [part("CUDAExecutionProvider", "Conv"), part("CPUExecutionProvider", "Gather", "Shape")]

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider"]


def test_a_fallback_to_the_cpu_is_refused_and_names_the_nodes(exported: Path) -> None:
    generator = Generator(exported / KINDS[0])
    generator.provider, generator.session = "cuda", PartlyOnCpu()
    with pytest.raises(GantoolError, match="elsewhere run Gather node_Gather, Shape node_Shape"):
        measure(request(exported / KINDS[0], provider="cuda"), open_generator=lambda: generator)


@pytest.mark.parametrize(
    ("tells", "message"),
    [
        (False, "assigned to the default CPU EP"),
        # a second session, which may fall back, names what onnxruntime's refusal does not
        (True, "elsewhere run Gather node_Gather, Shape node_Shape"),
    ],
)
def test_providers_may_not_fall_back(
    exported: Path, monkeypatch: pytest.MonkeyPatch, tells: bool, message: str
) -> None:
    def session(data: bytes, options: Any, **rest: Any) -> Any:
        try:
            assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        except RuntimeError:  # not set
            if tells:
                return PartlyOnCpu()
            raise
        assert rest["provider_options"] == [{"use_tf32": "0"}]
        raise RuntimeError(
            "This session contains graph nodes that are assigned to the default CPU EP, but fallback is disabled"
        )

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    with pytest.raises(GantoolError, match=message):
        measure(request(exported / KINDS[0], provider="cuda", options=("no-tf32",)))
