"""`gantool bench`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnxruntime as ort
import pytest
from typer.testing import CliRunner, Result

from gantool.cli import app
from gantool.errors import GantoolError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs 1 (both ONNX files and TorchScript) and 2 (trained later, not exported)."""
    from support.exports import source_of

    from gantool.exporting import FILES, write

    folder = tmp_path_factory.mktemp("here") / "runs"
    write(source_of("mlp", 8, latent_dim=8, widths=(16,)), list(FILES), folder / "0001-mlp-a" / "export")
    (folder / "0002-mlp-b").mkdir()
    for run in folder.iterdir():
        (run / "run.json").write_text("{}")
    return folder


def invoke(runs: Path, *arguments: str) -> Result:
    """Without a second of timing, of one small batch."""
    usual = ["--runs", str(runs), "--seconds", "0", "--batches", "1"]
    return CliRunner().invoke(app, ["bench", *usual, *arguments])


def test_table(runs: Path) -> None:
    result = invoke(runs, "--batches", "1, 70", "--threads", "1")
    assert result.exit_code == 0, result.output
    for part in ("Cold", "interpreter", "images/s", "p99 ms", "var.", "peak MB", "Proof:", "byte for byte"):
        assert part in result.stdout
    assert "0001-mlp-a" in result.stdout
    for part in ("Best throughput: ", "Best under 10 ms p99: ", "Smallest file within 1 level of 255: "):
        assert part in result.stdout


def test_json_alone_on_stdout(runs: Path) -> None:
    command = [sys.executable, "-m", "gantool", "bench", "1", "--runs", str(runs), "--seconds", "0", "--json"]
    done = subprocess.run([*command, "--provider", "cpu"], capture_output=True, text=True, timeout=120, check=True)
    report = json.loads(done.stdout)
    assert report["schema_version"] == 3
    assert [row["batch"] for row in report["cells"][0]["batches"]] == [1, 8, 64, 256]
    assert done.stderr == ""


def test_several_files(runs: Path) -> None:
    folder = runs / "0001-mlp-a" / "export"
    result = invoke(runs, str(folder / "generator.onnx"), "1", "--json", "--provider", "cpu")
    cells = json.loads(result.stdout)["cells"]
    assert [cell["file"]["name"] for cell in cells] == ["generator.onnx", "generator.seeded.onnx"]
    assert [cell["proof"]["reference"]["worst_level"] for cell in cells] == [0, 0]


def test_full(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(runs, "--full", "--minutes", "5", "--json")
    assert result.exit_code == 0, result.output
    cells = json.loads(result.stdout)["cells"]
    on_cpu = {(c["file"]["name"], c["threads"]) for c in cells if c["provider"] == "cpu" and c["status"] == "measured"}
    assert {("generator.onnx", None), ("generator.seeded.onnx", None)} <= on_cpu
    assert {c["provider"] for c in cells} == {"cpu", "cuda", "tensorrt", "openvino"}
    assert all(c["cause"] for c in cells if c["status"] != "measured")
    monkeypatch.setattr("gantool.api.bench.bench", lambda *_, **__: json.loads(result.stdout))
    table = invoke(runs, "--full", "--minutes", "5")
    for part in ("generator.seeded.onnx on cpu", "worst level", "Not measured"):
        assert part in table.stdout


def test_full_takes_no_provider(runs: Path) -> None:
    result = invoke(runs, "--full", "--provider", "cpu")
    assert result.exit_code == 2
    assert "--full takes" in result.output


def test_files_that_are_written(runs: Path, tmp_path: Path) -> None:
    result = invoke(runs, "--csv", str(tmp_path / "b.csv"), "--html", str(tmp_path / "b.html"), "--quality")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "b.csv").read_text().startswith("file,precision,bytes,model,sha256,")
    assert (tmp_path / "b.html").read_text().startswith("<!doctype html>")
    assert "Fréchet distance (pixels)" in result.stdout


def test_baseline(runs: Path, tmp_path: Path) -> None:
    """The planted slow-down: the earlier report claims a million times as many images a second, or as few."""
    before = json.loads(invoke(runs, "--json").stdout)
    for factor, code, says in ((1e6, 3, "slower: a regression"), (1e-12, 0, "faster")):
        for row in before["cells"][0]["batches"]:
            row["images_per_second"] *= factor
        (tmp_path / "before.json").write_text(json.dumps(before))
        result = invoke(runs, "--baseline", str(tmp_path / "before.json"))
        assert result.exit_code == code, result.output
        assert says in result.stdout


def test_baseline_is_read_before_anything_is_measured(runs: Path, tmp_path: Path) -> None:
    result = invoke(runs, "--baseline", str(tmp_path / "none.json"))
    assert isinstance(result.exception, GantoolError)
    assert "none.json can't be read" in result.exception.message


def test_missing_provider_exits_1(runs: Path) -> None:
    if "OpenVINOExecutionProvider" in ort.get_available_providers():
        pytest.skip("this build of onnxruntime has OpenVINO")
    plain = runs / "0001-mlp-a" / "export" / "generator.onnx"  # the seeded file has a refusal of its own
    command = [sys.executable, "-m", "gantool", "bench", str(plain), "--provider", "openvino"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "'openvino' is not in the installed onnxruntime" in done.stderr
    assert "pip install onnxruntime-openvino" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--provider", "gpu"], "There is no provider 'gpu'"),
        (["--provider", "cpu", "--options", "nhwc"], "has no option 'nhwc'"),
        (["--compare", "jax"], "called 'jax'"),
    ],
)
def test_what_there_is_not(runs: Path, arguments: list[str], says: str) -> None:
    result = invoke(runs, *arguments)
    assert isinstance(result.exception, GantoolError)
    assert says in result.exception.message


@pytest.mark.parametrize("value", ["0", "1,,2", "x", "", "-1", "65537", "1.5", "99999999999"])
def test_batches_are_a_usage_error(value: str) -> None:
    result = CliRunner().invoke(app, ["bench", "--batches", value])
    assert result.exit_code == 2
    assert "whole numbers" in result.output
