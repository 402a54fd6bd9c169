"""The best cell of each model of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.benched import measured, report_of, row

from gantool.benching import answer
from gantool.benching.answer import Limits
from gantool.benching.matrix import Cell
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
        "Smallest file within 1 grey level: generator.half-weights.onnx, 3 MB.",
    ]


def test_limits_of_memory_and_latency(report: dict[str, Any]) -> None:
    (found,) = answer.answer(report["cells"], report["models"], Limits(3.0, 60.0))["models"]
    assert found["best_throughput"]["name"] == "generator.half-weights.onnx"
    assert found["best_within_p99"] is None
    assert "Best under 3 ms p99 within 60 MB: nothing measured." in found["words"]


def test_a_variant_that_was_not_compared_is_no_smallest_file() -> None:
    files = {"/x/generator.int8.onnx": 1_000, "/x/generator.onnx": 5_000}
    found = report_of(
        [Cell(path) for path in files],
        lambda cell: measured(cell, [row(1, [1.0] * 10)], size=files[cell.path], worst=None),
    )
    assert found["answer"]["models"][0]["smallest_file"]["name"] == "generator.onnx"


def test_triton_prefers_the_batches_of_a_report(report: dict[str, Any]) -> None:
    assert preferred_batches(report) == [64]
