"""The matrix of cells, what becomes of each, and what they come to together."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.benched import measured, row

from gantool.artifact.manifest import file_name
from gantool.benching import answer, matrix, runner
from gantool.benching.answer import Limits
from gantool.benching.cell import COMBINATIONS, OPTIONS, Cell, Request
from gantool.benching.models import told_apart
from gantool.benching.report import Settings, bench, demand_one
from gantool.benching.runner import CellError
from gantool.errors import GantoolError
from gantool.exporting.triton import preferred_batches
from gantool.run.rundir import RunDir

VARIANTS = ("generator.seeded.onnx", "generator.onnx", "generator.int8.onnx", "generator.half.seeded.onnx")


def everywhere(provider: str) -> None:
    """Nothing is absent."""


def only_cpu(provider: str) -> str | None:
    return None if provider == "cpu" else "it is not there"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of an export by their names; nothing is in them."""
    for name in VARIANTS:
        (tmp_path / name).write_bytes(b"onnx")
    return tmp_path


# which cells


def test_full_matrix_has_every_variant_provider_thread_and_option_once(folder: Path) -> None:
    cells = matrix.full([folder / "generator.onnx"], cores=8, absent=everywhere)
    assert len(cells) == len(set(cells))
    wanted = {
        (name, provider, threads, options)
        for name in VARIANTS
        for provider, combinations in COMBINATIONS.items()
        for threads in ((None, 1) if provider in ("cpu", "openvino") else (None,))
        for options in combinations
    }
    assert {(Path(c.path).name, c.provider, c.threads, c.options) for c in cells} == wanted
    for cell in cells:
        assert set(cell.options) <= set(OPTIONS[cell.provider])


def test_full_matrix_begins_with_what_promises_most(folder: Path) -> None:
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


def test_a_provider_that_is_not_here_has_one_cell(folder: Path) -> None:
    cells = matrix.full([folder / "generator.onnx"], cores=1, absent=only_cpu)
    assert [c.provider for c in cells].count("cpu") == len(VARIANTS)
    assert [c.provider for c in cells if c.provider != "cpu"] == [p for p in matrix.PROVIDERS if p != "cpu"]


def test_a_file_of_another_name_has_no_variants(folder: Path) -> None:
    (folder / "mine.onnx").touch()
    assert matrix.variants(folder / "mine.onnx") == [folder / "mine.onnx"]


@pytest.mark.parametrize(
    ("provider", "options", "says"),
    [("gpu", (), "no provider 'gpu'"), ("cpu", ("nhwc",), "no option 'nhwc'"), ("cuda", ("x",), "no option 'x'")],
)
def test_what_there_is_not_is_refused(provider: str, options: tuple[str, ...], says: str) -> None:
    with pytest.raises(GantoolError, match=says):
        matrix.short([Path("g.onnx")], provider, None, options)


def test_best_provider_is_the_gpu_only_where_there_is_one() -> None:
    assert matrix.best_provider(everywhere) == "cuda"
    assert matrix.best_provider(only_cpu) == "cpu"


def test_options_become_the_providers_own() -> None:
    cell = Cell("g.onnx", "cuda", None, ("cuda-graph", "nhwc", "no-tf32"))
    assert cell.settings == {"enable_cuda_graph": "1", "prefer_nhwc": "1", "use_tf32": "0"}
    assert cell.bound
    assert not Cell("g.onnx", "cuda", None, ("nhwc",)).bound


def test_reference_is_the_float32_file_of_the_same_training(exported_run: RunDir, tmp_path: Path) -> None:
    plain, seeded = (exported_run.export / file_name(kind) for kind in ("onnx", "onnx-seeded"))
    assert matrix.reference_of(Cell(str(seeded))) == plain
    assert matrix.reference_of(Cell(str(plain))) == seeded
    alone = tmp_path / "generator.onnx"
    alone.write_bytes(plain.read_bytes())
    assert matrix.reference_of(Cell(str(alone))) is None
    # elsewhere than on the CPU it is the file itself
    assert matrix.reference_of(Cell(str(alone), "cuda")) == alone


def test_a_file_of_another_training_is_no_reference(exported_run: RunDir, tmp_path: Path) -> None:
    import dataclasses

    from support.changed import described_as

    plain, seeded = (exported_run.export / file_name(kind) for kind in ("onnx", "onnx-seeded"))
    here = tmp_path / seeded.name
    here.write_bytes(seeded.read_bytes())
    described_as(plain, tmp_path / plain.name, lambda m: dataclasses.replace(m, training={"run": "another"}))
    assert matrix.reference_of(Cell(str(here))) is None


# what becomes of them


class Machine:
    """Measures cells as told, in so many seconds each, on a clock of its own."""

    def __init__(self, folder: Path, fates: Callable[[Cell], Any], seconds: float = 10.0) -> None:
        self.folder, self.fates, self.seconds, self.now = folder, fates, seconds, 0.0
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
        more.setdefault("absent", everywhere)
        return bench(cells, settings, measure=self.measure, clock=lambda: self.now, **more)


def of(name: str, provider: str = "cpu", *options: str, threads: int | None = None) -> Cell:
    return Cell(f"/export/{name}", provider, threads, options)


def test_failures_are_rows_with_their_cause(tmp_path: Path) -> None:
    good = measured(of("generator.onnx"), [row(1, [100.0] * 10)])
    fates = {
        "cpu": good,
        "cuda": CellError("crashed", "It was killed by signal 11.", "Try --provider cpu."),
        "tensorrt": CellError("hung", "It was silent for 600 s."),
    }
    machine = Machine(tmp_path, lambda cell: fates[cell.provider])
    cells = [of("generator.onnx", provider) for provider in ("cuda", "openvino", "tensorrt", "cpu")]
    report = machine.bench(
        cells, Settings((1,)), absent=lambda provider: "no such build" if provider == "openvino" else None
    )
    statuses = [(cell["provider"], cell["status"], cell.get("cause")) for cell in report["cells"]]
    assert statuses == [
        ("cuda", "crashed", "It was killed by signal 11."),
        ("openvino", "not here", "no such build"),
        ("tensorrt", "hung", "It was silent for 600 s."),
        ("cpu", "measured", None),
    ]
    assert [request.cell.provider for request in machine.asked] == ["cuda", "tensorrt", "cpu"]
    assert report["answer"]["models"][0]["best_throughput"]["provider"] == "cpu"
    demand_one(report)
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import os; os.abort()", "crashed"),
        ("import time; time.sleep(60)", "hung"),
    ],
)
def test_a_real_process_that_crashes_or_hangs_is_a_row(
    exported_run: RunDir, monkeypatch: pytest.MonkeyPatch, code: str, status: str
) -> None:
    monkeypatch.setattr(runner, "WORKER", (sys.executable, "-S", "-c", code))
    cell = Cell(str(exported_run.export / "generator.onnx"))
    report = bench([cell], Settings((1,), seconds=0, timeout=0.5))
    assert report["cells"][0]["status"] == status
    assert report["answer"]["models"][0]["best_throughput"] is None
    with pytest.raises(GantoolError, match="The measured process"):
        demand_one(report)


def test_minutes_drop_the_last_cells_and_name_them(tmp_path: Path) -> None:
    cells = [of(f"{i}.onnx") for i in range(10)]
    machine = Machine(tmp_path, lambda cell: measured(cell, [row(1, [1.0] * 10)]), seconds=20.0)
    report = machine.bench(cells, Settings((1,), minutes=1.5))
    statuses = [cell["status"] for cell in report["cells"]]
    assert statuses == ["measured"] * 4 + ["dropped"] * 6
    assert report["cells"][-1]["file"]["name"] == "9.onnx"
    assert report["cells"][-1]["cause"] == "no time left of 1.5 minutes"


@pytest.mark.parametrize(
    ("fates", "says"),
    [
        # what another machine may have is no reason where more time would have been enough
        ({"cpu": CellError("dropped", "It was stopped after 6 s: no time was left.")}, "no time was left"),
        ({"cpu": CellError("refused", "Wrong output.")}, "Wrong output"),
        ({}, "'cuda' is not here: no driver"),
    ],
)
def test_why_nothing_was_measured(tmp_path: Path, fates: dict[str, CellError], says: str) -> None:
    machine = Machine(tmp_path, lambda cell: fates[cell.provider])
    cells = [of("g.onnx", provider) for provider in ("cuda", *fates)]
    report = machine.bench(
        cells, Settings((1,), minutes=0.1), absent=lambda provider: "no driver" if provider == "cuda" else None
    )
    with pytest.raises(GantoolError, match=says):
        demand_one(report)


def test_cells_for_when_none_would_run(tmp_path: Path) -> None:
    refused = CellError("refused", "No driver.")
    machine = Machine(
        tmp_path, lambda cell: refused if cell.provider == "cuda" else measured(cell, [row(1, [1.0] * 10)])
    )
    report = machine.bench([of("g.onnx", "cuda")], Settings((1,)), otherwise=[of("g.onnx")])
    assert [cell["status"] for cell in report["cells"]] == ["refused", "measured"]
    report = machine.bench([of("g.onnx")], Settings((1,)), otherwise=[of("g.onnx", "openvino")])
    assert [cell["provider"] for cell in report["cells"]] == ["cpu"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/g.onnx"], ["g.onnx"]),
        (["/a/g.onnx", "/a/h.onnx"], ["g.onnx", "h.onnx"]),
        (["/r/1/export/g.onnx", "/r/2/export/g.onnx"], ["1/export/g.onnx", "2/export/g.onnx"]),
        (["g.onnx", "a/g.onnx"], ["g.onnx", "a/g.onnx"]),
    ],
)
def test_files_are_told_apart_by_their_ends(paths: list[str], names: list[str]) -> None:
    assert list(told_apart(paths).values()) == names


# what they come to


@pytest.fixture
def report(tmp_path: Path) -> dict[str, Any]:
    for name in ("generator.onnx", "generator.int8.onnx", "generator.half-weights.onnx"):
        (tmp_path / name).touch()
    cells = {
        "generator.onnx": ([row(1, [100.0] * 10, 5.0), row(64, [400.0] * 10, 30.0)], 6_000_000, 0.0),
        "generator.int8.onnx": ([row(1, [200.0] * 10, 8.0), row(64, [900.0] * 10, 12.0)], 1_500_000, 23.0),
        "generator.half-weights.onnx": (
            [row(1, [90.0] * 10, 4.0), row(64, [300.0] * 10, 9.0, peak_memory_mb=50.0)], 3_000_000, 1.0,
        ),
    }  # fmt: skip

    def fate(cell: Cell) -> dict[str, Any]:
        rows, size, worst = cells[Path(cell.path).name]
        return measured(cell, rows, size=size, worst=worst, mean=worst / 50)

    asked = [Cell(str(tmp_path / name)) for name in cells]
    return Machine(tmp_path, fate).bench(asked, Settings((1, 64), limits=Limits(10.0)))


def test_answer(report: dict[str, Any]) -> None:
    (found,) = report["answer"]["models"]
    best, quick = found["best_throughput"], found["best_within_p99"]
    assert (best["name"], best["batch"]) == ("generator.int8.onnx", 64)
    assert (quick["name"], quick["batch"]) == ("generator.half-weights.onnx", 64)
    assert found["smallest_file"]["name"] == "generator.half-weights.onnx"
    assert found["words"] == [
        "Best throughput: generator.int8.onnx on cpu, batch 64: 900 images/s, p99 12 ms.",
        "Best under 10 ms p99: generator.half-weights.onnx on cpu, batch 64: 300 images/s, p99 9 ms.",
        "Smallest file within 1 grey level: generator.half-weights.onnx, 3 MB.",
    ]


def test_answer_within_memory_and_none(report: dict[str, Any]) -> None:
    (found,) = answer.answer(report["cells"], report["models"], Limits(3.0, 60.0))["models"]
    assert found["best_throughput"]["name"] == "generator.half-weights.onnx"
    assert found["best_within_p99"] is None
    assert "Best under 3 ms p99 within 60 MB: nothing measured." in found["words"]


def test_a_variant_that_nothing_was_compared_with_is_no_smallest_file() -> None:
    alone = measured(of("generator.int8.onnx"), [row(1, [1.0] * 10)], worst=None)
    assert answer.off_by(alone) == float("inf")
    assert answer.off_by(measured(of("generator.onnx"), [], worst=None)) == 0


def test_choice_is_written_beside_its_file_and_read_by_triton(report: dict[str, Any], tmp_path: Path) -> None:
    (path,) = answer.write_choices(report, within_p99=False)
    assert path == tmp_path / "generator.int8.onnx.bench.json"
    chosen = json.loads(path.read_text())
    assert (chosen["file"], chosen["provider"], chosen["threads"]) == ("generator.int8.onnx", "cpu", None)
    assert (chosen["batch"], chosen["images_per_second"]) == (64, pytest.approx(900))
    assert preferred_batches(chosen) == [64]
    assert preferred_batches(report) == [64]
    # what is too slow for a latency is no preferred batch either
    (within,) = answer.choices(report, within_p99=True).values()
    assert [batch["batch"] for batch in within["batches"]] == [1, 64]
    int8 = {**report, "answer": answer.answer(report["cells"][1:2], report["models"], Limits(10.0))}
    (of_int8,) = answer.choices(int8, within_p99=True).values()
    assert preferred_batches(of_int8) == [1]


def test_no_choice(report: dict[str, Any]) -> None:
    report["answer"] = answer.answer(report["cells"], report["models"], Limits(1.0))
    with pytest.raises(GantoolError, match="within 1 ms p99"):
        answer.write_choices(report, within_p99=True)
