"""A report of several generators: what each row is of, and an answer for each."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from support.benched import measured, row
from support.changed import described_as

from gantool.artifact.manifest import file_name
from gantool.benching import answer, html, models
from gantool.benching.cell import Cell
from gantool.benching.report import Settings, bench
from gantool.run.rundir import RunDir
from gantool.system.files import sha256_of


@pytest.fixture
def report(exported_run: RunDir, tmp_path: Path) -> dict[str, Any]:
    """Both files of a run, and one of another run, which is faster."""
    first = [exported_run.export / file_name(kind) for kind in ("onnx", "onnx-seeded")]
    other = tmp_path / "0002-mlp" / "generator.onnx"
    other.parent.mkdir()
    described_as(first[0], other, lambda m: dataclasses.replace(m, training=m.training | {"run": "0002-mlp"}))
    rates = {str(first[0]): 100.0, str(first[1]): 200.0, str(other): 900.0}
    return bench(
        [Cell(path) for path in rates],
        Settings((1, 8)),
        measure=lambda request, *more: measured(
            request.cell, [row(batch, [rates[request.cell.path] * batch] * 10) for batch in (1, 8)]
        ),
        absent=lambda provider: None,
        peak=lambda provider, threads, settings: 10.0,
    )


def test_every_file_has_its_digests(report: dict[str, Any]) -> None:
    for cell in report["cells"]:
        file = cell["file"]
        described = models.manifest_of(Path(file["path"]))
        assert described is not None
        assert file["sha256"] == sha256_of(Path(file["path"]))
        assert (file["weights_sha256"], file["graph_sha256"]) == (described.weights_sha256, described.graph_sha256)
    one, two, three = (cell["file"]["model"] for cell in report["cells"])
    assert one == two != three
    json.dumps(report, allow_nan=False)


def test_an_answer_a_model(report: dict[str, Any]) -> None:
    first, second = report["answer"]["models"]
    assert [len(model["files"]) for model in report["models"]] == [2, 1]
    assert first["best_throughput"]["name"].endswith("generator.seeded.onnx")
    assert first["best_throughput"]["images_per_second"] == pytest.approx(1600)
    assert second["best_throughput"]["images_per_second"] == pytest.approx(7200)
    assert "0002-mlp" in second["name"]
    paths = answer.choices(report, within_p99=False)
    assert [path.name for path in paths] == ["generator.seeded.onnx.bench.json", "generator.onnx.bench.json"]
    assert [choice["model"] for choice in paths.values()] == [first["model"], second["model"]]


def test_rows_say_how_much_of_the_machine_they_use(report: dict[str, Any]) -> None:
    for cell in report["cells"]:
        assert cell["gemm_gflops"] == 10
        for batch in cell["batches"]:
            assert batch["gflops"] == pytest.approx(cell["work"]["flops"] * batch["images_per_second"] / 1e9)
            assert batch["of_gemm"] == pytest.approx(batch["gflops"] / 10)


def test_the_page_says_which_model_a_row_is_of(report: dict[str, Any]) -> None:
    page = html.page(report)
    first, second = (model["name"] for model in report["models"])
    for text in (
        first,
        second,
        f"{first}: generator.seeded.onnx on cpu",
        f"Warm: one call of Generator.sample, {second}",
    ):
        assert text in page
    # one model has two files, and a front of its own; the other has nothing to be compared with
    assert page.count("<figcaption>Size, quality and speed") == 1
    assert page.count('class="dot"') == 2


def test_names_are_told_apart_by_digests_at_last(report: dict[str, Any]) -> None:
    rows = [{"file": {"path": f"/{i}/g.onnx", "name": f"{i}/g.onnx", "model": str(i) * 64}} for i in (1, 2)]
    assert [model["name"] for model in models.listed(rows)] == ["g.onnx (11111111)", "g.onnx (22222222)"]
    names = models.Names(models.listed(rows))
    cell = {**rows[1], "provider": "cpu", "threads": 1, "options": []}
    assert (names.within(cell), names.cell(cell)) == (
        "g.onnx on cpu, 1 thread",
        "g.onnx (22222222): g.onnx on cpu, 1 thread",
    )
