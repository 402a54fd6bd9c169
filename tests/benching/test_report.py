"""All cells measured: what becomes of each, whose model it is of, and its share of the machine."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.benched import measured, report_of, row
from support.changed import described_as

from gantool.artifact.manifest import MAX_BATCH, file_name
from gantool.benching import html, report
from gantool.benching.matrix import Cell, Request, manifest_of
from gantool.benching.report import CellError, Settings, bench, require_measured, shortest_ends
from gantool.benching.tables import Names
from gantool.errors import GantoolError
from gantool.run.rundir import RunDir
from gantool.system.files import sha256_of

ONE_ROW = [row(1, [1.0] * 10)]


class Machine:
    """Measures cells as told, in so many seconds each, on a clock of its own."""

    def __init__(self, fates: Callable[[Cell], Any], seconds: float = 10.0) -> None:
        self.fates, self.seconds, self.now = fates, seconds, 0.0
        self.asked: list[Request] = []

    def measure(self, request: Request, timeout: float, listener: Any, limit: float | None) -> dict[str, Any]:
        self.asked.append(request)
        self.now += self.seconds
        fate = self.fates(request.cell)
        if isinstance(fate, CellError):
            raise fate
        made: dict[str, Any] = fate
        return made

    def bench(self, cells: list[Cell], settings: Settings, **more: Any) -> dict[str, Any]:
        more.setdefault("absent", lambda provider: None)
        return bench(cells, settings, measure=self.measure, clock=lambda: self.now, **more)


def of(name: str, provider: str = "cpu") -> Cell:
    return Cell(f"/export/{name}", provider)


def test_failures_are_rows_with_their_cause() -> None:
    fates = {
        "cpu": measured(of("generator.onnx"), [row(1, [100.0] * 10)]),
        "cuda": CellError("crashed", "It was killed by SIGSEGV.", "Try --provider cpu."),
        "tensorrt": CellError("hung", "It was silent for 600 s."),
    }
    machine = Machine(lambda cell: fates[cell.provider])
    cells = [of("generator.onnx", provider) for provider in ("cuda", "openvino", "tensorrt", "cpu")]
    found = machine.bench(
        cells, Settings((1,)), absent=lambda provider: "no such build" if provider == "openvino" else None
    )
    assert [(cell["provider"], cell["status"], cell.get("cause")) for cell in found["cells"]] == [
        ("cuda", "crashed", "It was killed by SIGSEGV."),
        ("openvino", "not here", "no such build"),
        ("tensorrt", "hung", "It was silent for 600 s."),
        ("cpu", "measured", None),
    ]
    assert [request.cell.provider for request in machine.asked] == ["cuda", "tensorrt", "cpu"]
    assert found["answer"]["models"][0]["best_throughput"]["provider"] == "cpu"
    require_measured(found)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("import sys; sys.exit('the reason, last')", "crashed", "exit code 1 before its report.*the reason, last"),
        ('import os; os.write(1, b\'{"stage": "batch\'); os.abort()', "crashed", "killed by SIGABRT"),
        ("1 / 0", "crashed", "exit code 1.*ZeroDivisionError"),
        (
            "import sys, time; print('waiting for a lock', file=sys.stderr, flush=True); time.sleep(60)",
            "hung",
            r"silent for 0\.5 s.*waiting for a lock",
        ),
    ],
    ids=["exit", "abort", "traceback", "hang"],
)
def test_a_process_that_crashes_or_hangs_is_a_row(
    exported_run: RunDir, monkeypatch: pytest.MonkeyPatch, code: str, status: str, message: str
) -> None:
    monkeypatch.setattr(report, "WORKER", (sys.executable, "-S", "-c", code))
    timeout = 0.5 if status == "hung" else 60
    found = bench([Cell(str(exported_run.export / "generator.onnx"))], Settings((1,), 0, timeout))
    assert found["cells"][0]["status"] == status
    assert found["answer"]["models"][0]["best_throughput"] is None
    with pytest.raises(GantoolError, match=f"(?s){message}"):
        require_measured(found)


def test_a_cell_that_still_works_is_stopped_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    code = 'import time\nfor i in range(600): print(\'{"stage": "batch 1"}\', flush=True); time.sleep(0.05)'
    monkeypatch.setattr(report, "WORKER", (sys.executable, "-S", "-c", code))
    found = bench([of("g.onnx")], Settings((1,), minutes=0.5 / 60))
    assert (found["cells"][0]["status"], "no time was left" in found["cells"][0]["cause"]) == ("dropped", True)


def test_minutes_drop_the_last_cells_and_name_them() -> None:
    machine = Machine(lambda cell: measured(cell, ONE_ROW), seconds=20.0)
    found = machine.bench([of(f"{i}.onnx") for i in range(10)], Settings((1,), minutes=1.5))
    assert [cell["status"] for cell in found["cells"]] == ["measured"] * 4 + ["dropped"] * 6
    assert found["cells"][-1]["file"]["name"] == "9.onnx"
    assert found["cells"][-1]["cause"] == "no time left of 1.5 minutes"


@pytest.mark.parametrize(
    ("fates", "message"),
    [
        # an absent provider is no reason where more time would have been enough
        ({"cpu": CellError("dropped", "It was stopped after 6 s: no time was left.")}, "no time was left"),
        ({"cpu": CellError("refused", "Wrong output.")}, "Wrong output"),
        ({}, "'cuda' is not here: no driver"),
    ],
)
def test_why_nothing_was_measured(fates: dict[str, CellError], message: str) -> None:
    machine = Machine(lambda cell: fates[cell.provider])
    found = machine.bench(
        [of("g.onnx", provider) for provider in ("cuda", *fates)],
        Settings((1,), minutes=0.1),
        absent=lambda provider: "no driver" if provider == "cuda" else None,
    )
    with pytest.raises(GantoolError, match=message):
        require_measured(found)


def test_cells_for_when_none_would_run() -> None:
    refused = CellError("refused", "No driver.")
    machine = Machine(lambda cell: refused if cell.provider == "cuda" else measured(cell, ONE_ROW))
    found = machine.bench([of("g.onnx", "cuda")], Settings((1,)), otherwise=[of("g.onnx")])
    assert [cell["status"] for cell in found["cells"]] == ["refused", "measured"]
    found = machine.bench([of("g.onnx")], Settings((1,)), otherwise=[of("g.onnx", "openvino")])
    assert [cell["provider"] for cell in found["cells"]] == ["cpu"]


@pytest.mark.parametrize("batches", [(), (0,), (1, -3), (MAX_BATCH + 1,)])
def test_batches_are_checked(batches: tuple[int, ...]) -> None:
    with pytest.raises(GantoolError, match="batch"):
        bench([of("g.onnx")], Settings(batches))


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/g.onnx"], ["g.onnx"]),
        (["/a/g.onnx", "/a/h.onnx"], ["g.onnx", "h.onnx"]),
        (["/r/1/export/g.onnx", "/r/2/export/g.onnx"], ["1/export/g.onnx", "2/export/g.onnx"]),
        (["g.onnx", "a/g.onnx"], ["g.onnx", "a/g.onnx"]),
    ],
)
def test_files_are_named_by_their_shortest_ends(paths: list[str], names: list[str]) -> None:
    assert list(shortest_ends(paths).values()) == names


# several models


@pytest.fixture
def of_two(exported_run: RunDir, tmp_path: Path) -> dict[str, Any]:
    """Both files of a run, and one of another run, which is faster."""
    first = [exported_run.export / file_name(kind) for kind in ("onnx", "onnx-seeded")]
    other = tmp_path / "0002-mlp" / "generator.onnx"
    other.parent.mkdir()
    described_as(first[0], other, lambda m: dataclasses.replace(m, training=m.training | {"run": "0002-mlp"}))
    rates = {str(first[0]): 100.0, str(first[1]): 200.0, str(other): 900.0}
    return report_of(
        [Cell(path) for path in rates],
        lambda cell: measured(cell, [row(batch, [rates[cell.path] * batch] * 10) for batch in (1, 8)]),
        (1, 8),
        peak=lambda provider, threads, settings: 10.0,
    )


def test_every_file_has_its_digests(of_two: dict[str, Any]) -> None:
    for cell in of_two["cells"]:
        file = cell["file"]
        manifest = manifest_of(Path(file["path"]))
        assert manifest is not None
        assert file["sha256"] == sha256_of(Path(file["path"]))
        assert (file["weights_sha256"], file["graph_sha256"]) == (manifest.weights_sha256, manifest.graph_sha256)
    one, two, three = (cell["file"]["model"] for cell in of_two["cells"])
    assert one == two != three
    json.dumps(of_two, allow_nan=False)


def test_each_model_has_an_answer(of_two: dict[str, Any]) -> None:
    first, second = of_two["answer"]["models"]
    assert [len(model["files"]) for model in of_two["models"]] == [2, 1]
    assert first["best_throughput"]["name"].endswith("generator.seeded.onnx")
    assert first["best_throughput"]["images_per_second"] == pytest.approx(1600)
    assert second["best_throughput"]["images_per_second"] == pytest.approx(7200)
    assert "0002-mlp" in second["name"]


def test_the_page_says_which_model_a_row_is_of(of_two: dict[str, Any]) -> None:
    page = html.page(of_two)
    first, second = (model["name"] for model in of_two["models"])
    assert f"{first}: generator.seeded.onnx on cpu" in page
    assert f"Warm: one call of Generator.sample, {second}" in page
    # one model has two files, and a plot of its own; the other has nothing to be compared with
    assert page.count("<figcaption>Size, quality and speed") == 1
    assert page.count('id="dot-') == 2


def test_models_of_one_name_are_told_apart_by_digests() -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        made = measured(cell, ONE_ROW)
        made["file"]["model"] = cell.path[1] * 64
        return made

    found = report_of([Cell("/1/g.onnx"), Cell("/2/g.onnx")], measure)
    assert [model["name"] for model in found["models"]] == ["g.onnx (11111111)", "g.onnx (22222222)"]
    assert Names(found["models"]).cell(found["cells"][1]) == "g.onnx (22222222): g.onnx on cpu"


# the share of the machine's rate


def test_shares_of_the_rate_of_a_matrix_product(of_two: dict[str, Any]) -> None:
    for cell in of_two["cells"]:
        assert cell["gemm_gflops"] == 10
        for batch in cell["batches"]:
            assert batch["gflops"] == pytest.approx(cell["work"]["flops"] * batch["images_per_second"] / 1e9)
            assert batch["of_gemm"] == pytest.approx(batch["gflops"] / 10)


@pytest.mark.parametrize(
    ("precision", "peak", "share"),
    [
        ("float32", 2.0, 0.5),
        ("half-weights", 2.0, 0.5),
        ("float32", 0.65, None),  # that was no peak
        ("int8", 2.0, None),  # it multiplies no floats
    ],
)
def test_a_share_above_the_whole_is_never_given(
    of_two: dict[str, Any], precision: str, peak: float, share: float | None
) -> None:
    """`peak`: times the rate that was measured."""
    path, flops = of_two["cells"][0]["file"]["path"], of_two["cells"][0]["work"]["flops"]

    def measure(cell: Cell) -> dict[str, Any]:
        made = measured(cell, [row(1, [1000.0] * 10)])
        made["file"]["precision"] = precision
        return made

    found = report_of([Cell(path)], measure, peak=lambda provider, threads, settings: peak * flops * 1000 / 1e9)
    assert found["cells"][0]["batches"][0]["of_gemm"] == pytest.approx(share)
    words = " ".join(found["answer"]["models"][0]["words"])
    assert ("50% of" in words) is ("%" in words) is (share is not None)
