"""The best cell of each model of a report, and a report against an earlier one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.benched import measured, report_of, row

from gantool.benching import answer
from gantool.benching.answer import Limits, compare
from gantool.benching.matrix import Cell
from gantool.errors import GantoolError
from gantool.exporting.triton import preferred_batches


@pytest.fixture
def report(tmp_path: Path) -> dict[str, Any]:
    cells = {
        "generator.onnx": ([row(1, [100.0] * 10, 5.0), row(64, [400.0] * 10, 30.0)], 6_000_000, 0.0),
        "generator.int8.onnx": ([row(1, [200.0] * 10, 8.0), row(64, [900.0] * 10, 12.0)], 1_500_000, 23.0),
        "generator.half-weights.onnx": (
            [row(1, [90.0] * 10, 4.0), row(64, [300.0] * 10, 9.0, peak_memory_mb=50.0)], 3_000_000, 1.0,
        ),
    }  # fmt: skip

    def measure(cell: Cell) -> dict[str, Any]:
        rows, size, worst = cells[Path(cell.path).name]
        return measured(cell, rows, size=size, worst=worst, mean=worst / 50)

    return report_of([Cell(str(tmp_path / name)) for name in cells], measure, (1, 64))


def test_words(report: dict[str, Any]) -> None:
    (found,) = report["answer"]["models"]
    best, quick = found["best_throughput"], found["best_within_p99"]
    assert (best["name"], best["batch"]) == ("generator.int8.onnx", 64)
    assert (quick["name"], quick["batch"]) == ("generator.half-weights.onnx", 64)
    assert found["smallest_file"]["name"] == "generator.half-weights.onnx"
    assert found["words"] == [
        "Best throughput: generator.int8.onnx on cpu, batch 64: 900 images/s, p99 12 ms.",
        "Best under 10 ms p99: generator.half-weights.onnx on cpu, batch 64: 300 images/s, p99 9 ms.",
        "Smallest file within 1 level of 255: generator.half-weights.onnx, 3 MB.",
    ]


def test_sounds_are_counted_in_times_real_time(report: dict[str, Any]) -> None:
    for cell in report["cells"]:
        cell["file"]["seconds"] = 0.5
    (found,) = answer.answer(report["cells"], report["models"])["models"]
    assert found["best_throughput"]["real_time"] == pytest.approx(450)
    assert "900 images/s (450 times real time), p99 12 ms" in found["words"][0]


def test_limits_of_memory_and_latency(report: dict[str, Any]) -> None:
    (found,) = answer.answer(report["cells"], report["models"], Limits(3.0, 60.0))["models"]
    assert found["best_throughput"]["name"] == "generator.half-weights.onnx"
    assert found["best_within_p99"] is None
    assert not any("p99 within 60 MB" in words for words in found["words"])  # there is none, so nothing is said


STEADY, SHAKY = row(1, [100.0] * 10), row(8, [100.0, 300.0] * 5)


@pytest.mark.parametrize(
    ("rows", "load", "said"),
    [
        ([STEADY], 0.5, ""),
        ([STEADY], 3.0, ""),
        ([STEADY], None, ""),
        (
            [STEADY, SHAKY],
            None,
            "Unsteady: 1 of 2 batches, measured twice, still vary by up to 78% from moment to moment.",
        ),
        ([STEADY], 3.1, "Busy: 3.1 programs wanted to run on 2 cores before the measuring began."),
    ],
)
def test_figures_that_mean_little(rows: list[dict[str, Any]], load: float | None, said: str) -> None:
    cells = [measured(Cell("generator.onnx"), rows)]
    found = answer.warning(cells, load, 2)
    advice = "These figures mean little: close other programs and measure again, with more --seconds."
    assert found == (f"{said} {advice}" if said else None)


def test_a_variant_that_was_not_compared_is_no_smallest_file() -> None:
    files = {"/x/generator.int8.onnx": 1_000, "/x/generator.onnx": 5_000}
    found = report_of(
        [Cell(path) for path in files],
        lambda cell: measured(cell, [row(1, [1.0] * 10)], size=files[cell.path], worst=None),
    )
    assert found["answer"]["models"][0]["smallest_file"]["name"] == "generator.onnx"


def test_triton_prefers_the_batches_of_a_report(report: dict[str, Any]) -> None:
    assert preferred_batches(report) == [64]


# against an earlier report

STEADY = [0.99, 1.0, 1.01, 1.0, 0.99, 1.0, 1.01, 1.0, 0.99, 1.01]
NOISY = [0.6, 1.4, 1.0, 0.8, 1.2, 0.7, 1.3, 1.0, 0.9, 1.1]


def timed(*rates: tuple[int, float], shape: Sequence[float] = STEADY, provider: str = "cpu") -> dict[str, Any]:
    """One cell; `rates`: batch and images a second, which vary by `shape`. Through JSON, as a file has it."""
    rows = [row(batch, [rate * part for part in shape]) for batch, rate in rates]
    batches = tuple(batch for batch, _ in rates)
    made = report_of([Cell("generator.onnx", provider)], lambda cell: measured(cell, rows), batches)
    found: dict[str, Any] = json.loads(json.dumps(made))
    return found


@pytest.mark.parametrize(
    ("now", "shape", "verdict", "regression"),
    [
        (1000, STEADY, "same", False),
        (980, STEADY, "same", False),  # 2 %: within the noise
        (960, STEADY, "slower", False),  # 4 %: beyond it, and tolerated
        (900, STEADY, "slower", True),
        (1200, STEADY, "faster", False),
        (700, NOISY, "same", False),  # such a measurement can't tell
        (100, NOISY, "slower", True),
    ],
)
def test_verdicts(now: float, shape: Sequence[float], verdict: str, regression: bool) -> None:
    found = compare(timed((8, now), shape=shape), timed((8, 1000), shape=shape))
    (only,) = found["rows"]
    assert (only["verdict"], only["regression"], found["regressed"]) == (verdict, regression, regression)
    assert only["ratio"] == pytest.approx(now / 1000)
    assert (only["cell"], only["batch"]) == ("generator.onnx on cpu", 8)


def test_the_noise_is_that_of_both() -> None:
    slow, steady, noisy = timed((8, 900)), timed((8, 1000)), timed((8, 1000), shape=NOISY)
    assert compare(slow, steady)["regressed"]
    assert not compare(slow, noisy)["regressed"]


def test_tolerance() -> None:
    assert not compare(timed((8, 900)), timed((8, 1000)), tolerance=0.2)["regressed"]
    assert compare(timed((8, 900)), timed((8, 1000)), tolerance=0.05)["regressed"]


def test_batches_and_cells_of_one_report_alone_are_passed_over() -> None:
    found = compare(timed((1, 50), (8, 1000)), timed((8, 1000), (64, 10)))
    assert [row["batch"] for row in found["rows"]] == [8]
    with pytest.raises(GantoolError, match="no cell and batch"):
        compare(timed((8, 1000)), timed((8, 1000), provider="cuda"))


@pytest.mark.parametrize(("status", "regression"), [("crashed", True), ("not here", True), ("dropped", False)])
def test_what_was_measured_and_now_is_not(status: str, regression: bool) -> None:
    now, before = timed((8, 1000)), timed((8, 1000))
    now["cells"].append(
        {"file": {"path": "g", "name": "g.onnx"}, "provider": "cuda", "threads": None, "options": [], "status": status}
    )
    before["cells"].append({**before["cells"][0], "provider": "cuda", "file": {"path": "g", "name": "g.onnx"}})
    found = compare(now, before)
    assert found["regressed"] is regression
    assert [row["verdict"] for row in found["rows"]] == (["same", "lost"] if regression else ["same"])


def test_another_machine_is_said() -> None:
    before = timed((8, 1000))
    assert not compare(timed((8, 1000)), before)["other_machine"]
    before["machine"]["cores"] = 999
    assert compare(timed((8, 1000)), before)["other_machine"]


SAME = {"sha256": "a", "weights_sha256": "b", "graph_sha256": "c"}


@pytest.mark.parametrize(
    ("then", "differs"),
    [
        (SAME, {}),
        (SAME | {"sha256": "x"}, {"generator.onnx": "metadata"}),
        (SAME | {"sha256": "x", "graph_sha256": "x"}, {"generator.onnx": "graph"}),
        ({"sha256": "x", "weights_sha256": "x", "graph_sha256": "x"}, {"generator.onnx": "weights"}),
        ({}, {"generator.onnx": "unknown"}),  # of a report of schema 2
    ],
)
def test_another_file_is_said_and_compared(then: dict[str, str], differs: dict[str, str]) -> None:
    now, before = timed((8, 900)), timed((8, 1000))
    now["cells"][0]["file"] |= SAME
    before["cells"][0]["file"] = {**dict.fromkeys(SAME), **before["cells"][0]["file"], **then}
    before["cells"][0]["file"] |= {key: None for key in SAME if key not in then}
    found = compare(now, before)
    assert found["files"] == differs
    assert found["regressed"]
    assert len(found["words"]) == len(differs)
    assert all("generator.onnx: " in words for words in found["words"])


@pytest.mark.parametrize(
    "before",
    [
        {},
        [],
        {"cells": [1]},
        {"cells": [{"status": "measured"}]},
        {"batches": [{"batch": 1, "images_per_second": 5}]},  # schema 1
    ],
)
def test_no_report(before: object) -> None:
    with pytest.raises(GantoolError, match="baseline") as caught:
        compare(timed((8, 1000)), before)
    assert "gantool bench --json" in caught.value.hint


@pytest.mark.parametrize(
    "change", [{"windows": None}, {"images_per_second": 0}, {"windows": [0.0, 1.0]}, {"windows": [1e-300, 1e300]}]
)
def test_damaged_baseline(change: dict[str, Any]) -> None:
    before = timed((8, 1000))
    before["cells"][0]["batches"][0] |= change
    with pytest.raises(GantoolError, match="damaged"):
        compare(timed((8, 1000)), before)
