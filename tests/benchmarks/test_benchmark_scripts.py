"""The scripts behind the published figures still run, on a moment's budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gantool.artifact import inspection
from gantool.errors import GantoolError
from gantool.exporting import Artifact
from gantool.exporting.app import assets, write_app
from gantool.run.rundir import RunDir

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_training_speed(tmp_path: Path) -> None:
    report = tmp_path / "train.json"
    command = [sys.executable, str(BENCHMARKS / "train.py"), "--cases", "mlp 28", "--batch", "8", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--seconds", "0.05", "--profile", "--json", str(report)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mlp 28: tutorial ")
    (case,) = json.loads(report.read_text())["cases"]
    assert set(case["steps_per_second"]) >= {"tutorial", "gantool", "gantool, simultaneous"}
    assert all(ratio["median"] > 0 for ratio in case["ratio"].values())
    assert case["ratio"]["tutorial"]["median"] == 1
    # 8 rows through 1.5 million weights on each side, several times over
    assert 1e8 < case["roofline"]["flops"] < 1e9
    assert 0 < case["roofline"]["fraction_of_bound"] < 1
    assert all(case["profile"].values())


def test_quality_against_time(tmp_path: Path) -> None:
    report, picture = tmp_path / "quality.json", tmp_path / "quality.png"
    command = [sys.executable, str(BENCHMARKS / "quality.py"), "--cases", "mlp 28", "--seeds", "3", "--iterations", "4"]
    done = subprocess.run(
        [*command, "--points", "2", "--samples", "256", "--json", str(report), "--plot", str(picture)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (case,) = json.loads(report.read_text())["cases"]
    assert case["label"] == "Fréchet distance (digits)"
    (run,) = case["runs"]
    for curve in run["curves"].values():
        assert [point["iteration"] for point in curve] == [2, 4]
        assert 0 < curve[0]["seconds"] < curve[1]["seconds"]
        assert all(100 < point["distance"] < 3000 for point in curve)  # nothing is learnt in four iterations
    assert run["verdict"]["tutorial_distance"] == run["curves"]["tutorial"][-1]["distance"]
    assert "| mlp 28 | 4 |" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_machine_with_a_gpu_gets_a_script_that_parses() -> None:
    subprocess.run(["bash", "-n", str(BENCHMARKS / "gpu.sh")], check=True)


def test_scaling_on_paper() -> None:
    command = [sys.executable, str(BENCHMARKS / "scaling.py"), "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    # 2.95 million weights of 4 bytes, of which each of two devices sends as many
    assert "| mlp 28 | 1.49 M + 1.46 M | 2 | 11.8 | 0.029 |" in done.stdout


def run_hosts(report: Path, *arguments: object, **environment: str) -> tuple[str, dict[str, dict[str, object]]]:
    """What benchmarks/hosts.py prints, and its rows by host."""
    command = [sys.executable, BENCHMARKS / "hosts.py", *arguments, "--quick", "--json", report]
    done = subprocess.run(
        list(map(str, command)), env=os.environ | environment,
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(report.read_text())["results"]
    return done.stdout, {row["host"]: row for row in result["rows"]}


@pytest.fixture
def browser_runtime() -> None:
    try:
        assets.ort_web()
    except GantoolError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("browser_runtime")
def test_hosts_of_a_kit(tmp_path: Path, exported_run: RunDir) -> None:
    seeded = exported_run.export / "generator.seeded.onnx"
    write_app(Artifact(seeded, inspection.inspect(seeded).manifest, ()), None, exported_run, tmp_path / "kit")
    hosts = "runtime,kit,node,reference,openvino"
    report = tmp_path / "report" / "hosts.json"
    said, rows = run_hosts(report, tmp_path / "kit", "--hosts", hosts, GANTOOL_HOSTS=str(tmp_path))
    assert list(rows) == hosts.split(",")
    made = {name: rows[name] for name in ("runtime", "kit", "reference")}
    assert all((row["missing"], row["values"], row["worst"] <= 1) == (None, 16 * 8 * 8, True) for row in made.values())
    assert all(row[f"ms_per_image_at_{batch}"] > 0 for row in made.values() for batch in (1, 64))
    assert (made["runtime"]["different"], made["kit"]["different"]) == (0, 0)
    # a host that is not here is told, and not left out
    for name, title in (("node", "Node"), ("openvino", "OpenVINO, float32, from numpy's latents")):
        assert f"| {title} | not here: " in said
        assert rows[name].keys() == {"host", "title", "missing"}
    assert "float32 weights" not in said  # as the kit's own model has
    # what was given is as it was
    assert not (tmp_path / "kit" / "node" / "node_modules").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("browser_runtime")
def test_hosts_of_a_short_training(tmp_path: Path) -> None:
    said, rows = run_hosts(tmp_path / "hosts.json", "--architectures", "mlp", "--hosts", "runtime,pt2,openvino-seeded")
    assert "**mlp**, 28×28×1, half-weights:" in said
    assert rows["pt2"]["share"] < 0.001
    if rows["openvino-seeded"]["missing"] is None:
        assert "; all images are the same |" in said


@pytest.mark.slow
@pytest.mark.parametrize("script", ["artifacts", "graph", "throughput"])
def test_exported_files_are_measured(tmp_path: Path, script: str) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), "--quick", "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "|---" in done.stdout
    found = json.loads(report.read_text())
    assert found["machine"]
    assert found["versions"]
