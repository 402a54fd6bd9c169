"""The scripts behind the published figures still run, on a moment's budget."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantool.artifact import inspection
from gantool.exporting import Artifact
from gantool.exporting.app import write_app
from gantool.run.rundir import RunDir

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: object, timeout: int = 120, cwd: Path | None = None, **environment: str) -> str:
    """What the script prints; an assertion when it fails."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, *map(str, arguments)], env=os.environ | environment,
        cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_training_speed(tmp_path: Path) -> None:
    report = tmp_path / "train.json"
    usual = ("--cases", "mlp 28", "--batch", 8, "--rounds", 1, "--seconds", 0.05, "--profile", "--json", report)
    assert run("train.py", *usual).startswith("mlp 28: tutorial ")
    (case,) = json.loads(report.read_text())["cases"]
    assert set(case["steps_per_second"]) >= {"tutorial", "gantool", "gantool, simultaneous"}
    assert all(ratio["median"] > 0 for ratio in case["ratio"].values())
    assert case["ratio"]["tutorial"]["median"] == 1
    # 8 rows through 1.5 million weights on each side, several times over
    assert 1e8 < case["roofline"]["flops"] < 1e9
    assert 0 < case["roofline"]["fraction_of_bound"] < 10  # peaks measured on a busy machine are too small
    assert all(case["profile"].values())


@pytest.mark.slow
def test_quality_against_time(tmp_path: Path) -> None:
    report, picture = tmp_path / "quality.json", tmp_path / "quality.png"
    usual = ("--cases", "mlp 28", "--seeds", 3, "--iterations", 4, "--points", 2, "--samples", 256)
    stdout = run("quality.py", *usual, "--json", report, "--plot", picture)
    (case,) = json.loads(report.read_text())["cases"]
    assert case["label"] == "Fréchet distance (digits)"
    (training,) = case["runs"]
    for curve in training["curves"].values():
        assert [point["iteration"] for point in curve] == [2, 4]
        assert 0 < curve[0]["seconds"] < curve[1]["seconds"]
        assert all(100 < point["distance"] < 3000 for point in curve)  # nothing is learnt in four iterations
    assert training["verdict"]["tutorial_distance"] == training["curves"]["tutorial"][-1]["distance"]
    assert "| mlp 28 | 4 |" in stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_where_a_steps_time_goes(tmp_path: Path) -> None:
    report = tmp_path / "shares.json"
    run("shares.py", "--cases", "mlp 28", "--threads", 1, "--json", report)
    (row,) = json.loads(report.read_text())["rows"]
    assert sum(row["shares"].values()) == pytest.approx(1, abs=0.01)
    assert min(row["shares"].values()) >= 0
    assert 0 < row["of_matrix_rate"] <= row["products_of_matrix_rate"]


@pytest.mark.slow
def test_many_samples_at_once_against_openvino(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    report = tmp_path / "bulk.json"
    # labels, a value beside two latents, and int16: each way makes the same samples, or the script fails
    cases = ("cgan 28", "stylegan2 tiny 32", "wavegan 8192")
    run("bulk.py", "--cases", *cases, "--batch", 32, "--rounds", 1, "--seconds", 0.05, "--json", report)
    rows = json.loads(report.read_text())["rows"]
    assert [row["case"] for row in rows] == list(cases)
    assert all(row["ratio"] > 0 and min(row["per_cpu_second"].values()) > 0 for row in rows)


@pytest.mark.slow
def test_toys(tmp_path: Path) -> None:
    report = tmp_path / "toys.json"
    small = ("--minutes", 0.05, "--points", 1, "--count", 2000, "--samples", 200)
    run("toys.py", *small, "--pictures", tmp_path, "--json", report)
    found = json.loads(report.read_text())
    assert found["dirac"]["relativistic, R1 and R2"] < 0.001 < 0.1 < found["dirac"]["relativistic"]
    assert [each["loss"] for each in found["runs"]] == ["nonsaturating", "relativistic"]
    for each in found["runs"]:
        (point,) = each["curve"]
        assert 1 <= point["modes"] <= 200
        assert point["divergence"] > 0
    assert (tmp_path / "stacked-relativistic.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_presets(tmp_path: Path) -> None:
    report = tmp_path / "presets.json"
    which = ("--architectures", "cgan", "r3gan", "--presets", "tiny", "--size", 28, "--channels", 1, "--seconds", 0.1)
    stdout = run("presets.py", *which, "--threads", 1, "--json", report)
    rows = json.loads(report.read_text())["rows"]
    assert [(row["architecture"], row["preset"]) for row in rows] == [("cgan", ""), ("r3gan", "tiny")]
    for row in rows:
        assert row["steps_per_second"] > 0
        assert row["megabytes"] > 100
        assert row["weights"]["generator"] > 10_000
    assert "| r3gan, tiny |" in stdout


@pytest.mark.slow
def test_scaling_on_paper() -> None:
    # 2.95 million weights of 4 bytes, of which each of two devices sends as many
    assert "| mlp 28 | 1.49 M + 1.46 M | 2 | 11.8 | 0.029 |" in run("scaling.py", "--devices", 2)


@pytest.mark.slow
def test_labels(tmp_path: Path) -> None:
    report, pictures = tmp_path / "one.json", tmp_path / "pictures"
    usual = ("--bodies", "mlp", "--steps", 3, "--each", 4, "--json", report, "--pictures", pictures)
    stdout = run("labels.py", *usual, timeout=300, cwd=tmp_path)
    assert stdout.startswith("mlp, 3 steps: ")
    (case,) = json.loads(report.read_text())["cases"]
    counts = np.array(case["asked_and_said"])
    assert counts.sum(1).tolist() == [4] * 10
    assert case["agreement"] == pytest.approx(counts.trace() / 40, abs=1e-4)
    assert min(case["classifier_on_reals"]) > 0.98
    with Image.open(pictures / "cgan-mlp.png") as picture:
        assert picture.size == (8 * 30 + 2, 10 * 30 + 2)
    assert run("labels.py", "--from", 1, "--each", 4, timeout=300, cwd=tmp_path) == stdout


def run_hosts(report: Path, *arguments: object, **environment: str) -> tuple[str, dict[str, dict[str, object]]]:
    """What benchmarks/hosts.py prints, and its rows by host."""
    stdout = run("hosts.py", *arguments, "--quick", "--json", report, timeout=240, **environment)
    (result,) = json.loads(report.read_text())["results"]
    return stdout, {row["host"]: row for row in result["rows"]}


@pytest.mark.usefixtures("browser_runtime")
def test_hosts_of_a_kit(tmp_path: Path, exported_run: RunDir) -> None:
    seeded = exported_run.export / "generator.seeded.onnx"
    write_app(Artifact(seeded, inspection.inspect(seeded).manifest, ()), None, exported_run, tmp_path / "kit")
    hosts = "runtime,kit,node,reference,openvino"
    report = tmp_path / "report" / "hosts.json"
    stdout, rows = run_hosts(report, tmp_path / "kit", "--hosts", hosts, GANTOOL_HOSTS=str(tmp_path))
    assert list(rows) == hosts.split(",")
    made = {name: rows[name] for name in ("runtime", "kit", "reference")}
    assert all((row["missing"], row["values"], row["worst"] <= 1) == (None, 16 * 8 * 8, True) for row in made.values())
    assert all(row[f"ms_per_image_at_{batch}"] > 0 for row in made.values() for batch in (1, 64))
    assert (made["runtime"]["different"], made["kit"]["different"]) == (0, 0)
    # a host that is not here is named, and not left out
    for name, title in (("node", "Node"), ("openvino", "OpenVINO, numpy's latents")):
        assert f"| {title} | float32 | not here: " in stdout
        assert rows[name].keys() == {"host", "title", "precision", "missing"}
    # what was given is as it was
    assert not (tmp_path / "kit" / "node" / "node_modules").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("browser_runtime")
def test_hosts_of_a_short_training(tmp_path: Path) -> None:
    stdout, rows = run_hosts(
        tmp_path / "hosts.json", "--architectures", "mlp", "--hosts", "runtime,c,pt2,openvino-seeded"
    )
    assert "### mlp, 28×28×1" in stdout
    assert rows["pt2"]["share"] < 0.001
    if rows["openvino-seeded"]["missing"] is None:
        assert "**no**: all images are the same |" in stdout
    if rows["c"]["missing"] is None:
        assert rows["c"]["worst"] <= 1
        assert rows["c"]["library_bytes"] < 100_000 < rows["c"]["model_bytes"] < rows["runtime"]["library_bytes"]


def test_the_scoreboard_is_that_of_its_results(tmp_path: Path) -> None:
    written = tmp_path / "scoreboard.md"
    run("hosts.py", "--from", BENCHMARKS / "results" / "hosts-cpu.json", "--page", written)
    page = written.read_text(encoding="utf-8")
    assert page == (BENCHMARKS.parent / "docs" / "scoreboard.md").read_text(encoding="utf-8"), "write it by --page"
    function, row = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len((function + row).splitlines()) <= 10


@pytest.mark.slow
@pytest.mark.parametrize("script", ["artifacts", "graph", "throughput"])
def test_exported_files_are_measured(tmp_path: Path, script: str) -> None:
    report = tmp_path / "report.json"
    assert "|---" in run(f"{script}.py", "--quick", "--json", report, timeout=600)
    found = json.loads(report.read_text())
    assert found["machine"]
    assert found["versions"]


@pytest.mark.slow
def test_threads_side_by_side(tmp_path: Path) -> None:
    report = tmp_path / "threads.json"
    run("threads.py", "--architectures", "mlp", "--threads", 1, "--rounds", 1, "--seconds", 0.2, "--json", report)
    alone, two = json.loads(report.read_text())["cases"]
    assert (alone["trainings"], two["trainings"], two["threads"]) == (1, 2, 1)
    assert alone["images_per_second"] > 0
    assert two["images_per_cpu_second"] > 0


@pytest.mark.slow
def test_the_gallery(tmp_path: Path) -> None:
    given: tuple[object, ...] = ("--only", "mlp", "--minutes", 0.01, "--samples", 200, "--results", tmp_path / "none")
    given += ("--json", tmp_path / "gallery.json")
    run("gallery.py", *given, "--out", tmp_path)
    page = (tmp_path / "gallery.md").read_text()
    assert "### mlp\n\nFully connected GAN" in page
    assert "`gantool train mlp`: " in page
    assert "steps in 0.01 minutes of a core. Fréchet distance (digits) " in page
    with Image.open(tmp_path / "images" / "gallery-digits-mlp.png") as picture:
        assert picture.width == picture.height > 8 * 28
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["gallery-digits-mlp.png"]  # README's need more


@pytest.mark.slow
def test_a_contest(tmp_path: Path) -> None:
    report, pictures = tmp_path / "contest.json", tmp_path / "pictures"
    usual = ("--data", "digits", "--size", 16, "--minutes", 0.02, "--seeds", 3, "--points", 2, "--samples", 64)
    small = ("--final", 64, "--epochs", 1, "--reals", 200, "--work", tmp_path / "work", "--pictures", pictures)
    who = ("--who", "dcgan+width=4+max_width=8", "tutorial")
    stdout = run("contest.py", *usual, *small, *who, "--json", report, timeout=400)
    first, second = json.loads(report.read_text())["rows"]
    assert (first["name"], second["name"]) == (who[1], "tutorial")
    for row in (first, second):
        assert [round(point["seconds"], 1) >= 0.6 * n for n, point in enumerate(row["curve"], 1)] == [True, True]
        assert set(row["figures"]) == {"efficientnet-lite0", "classifier.pt"}
        assert all(figures["frechet_distance"] > 1 for figures in row["figures"].values())
    assert "| tutorial | 3 |" in stdout
    assert {path.name for path in pictures.iterdir()} == {"dcgan-width-4-max-width-8-3.png", "tutorial-3.png"}


@pytest.mark.slow
def test_portable_files(tmp_path: Path) -> None:
    report = tmp_path / "portable.json"
    assert "| mlp 28 | 64 |" in run("portable.py", "--cases", "mlp 28", "--rounds", 3, "--json", report)
    rows = json.loads(report.read_text())["results"]
    assert [row["batch"] for row in rows] == [1, 16, 64]
    assert all(low <= median <= high for row in rows for low, median, high in [row["ratio"]])
