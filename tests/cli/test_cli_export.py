"""`gantool export`: a run becomes verified files, or says why not and writes none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from support.commands import gantool
from support.inprocess import Run

from gantool import exporting
from gantool.exporting.onnx_files import graph
from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.system.files import sha256_of


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".json"}


def test_without_flags_the_newest_run_in_every_format(cli: Run, run: RunDir) -> None:
    code, out, _ = cli("export")
    assert code == 0
    assert names(run.export) == {exporting.FILES[kind] for kind in exporting.USUAL}
    said = [line.split("  ")[-1] for line in out.splitlines() if line.startswith("generator.")]
    assert said == ["verified by 11 checks", "verified by 14 checks", "verified by 11 checks"]  # a line a file
    assert "gantool generate" in out
    assert "gantool bench" in out


def test_verbose_shows_the_checks_and_the_interface(cli: Run, run: RunDir) -> None:
    code, out, _ = cli("export", "--verbose")
    assert code == 0
    for text in (
        "eval against train drift",
        "max abs difference to torch, batch 64",
        "values different to generator.onnx",
        "z float32 (n, 4) → image float32 (n, 1, 8, 8)",
        "seed int64 (1,), index int64 (n,) → image uint8 (n, 8, 8, 1)",
    ):
        assert text in out


@pytest.mark.parametrize(
    ("flags", "files"),
    [
        ("--onnx", "generator.onnx"),
        ("--seeded", "generator.seeded.onnx"),
        pytest.param("--onnx --torchscript", "generator.onnx generator.torchscript.pt", marks=pytest.mark.slow),
        ("--pt2 --torchscript-seeded", "generator.pt2 generator.seeded.torchscript.pt"),
        ("--half-weights", "generator.half-weights.onnx generator.half-weights.seeded.onnx"),
        pytest.param("--half --onnx", "generator.half.onnx", marks=pytest.mark.slow),
        ("--int8 --force --seeded --pt2", "generator.int8.seeded.onnx generator.pt2"),
        ("--onnx --opset 21 --batch 3 --no-optimize", "generator.onnx"),
    ],
)
def test_a_flag_a_format(cli: Run, run: RunDir, flags: str, files: str) -> None:
    assert cli("export", "1", *flags.split(), "-o", "out")[0] == 0
    assert names(Path("out")) == set(files.split())
    assert not run.export.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--opset", "12"], "Opset 12 can't be written"),
        (["--pt2", "--no-optimize"], "--no-optimize is for ONNX files"),
        (["--full"], "--full needs --app DIR"),
        (["--int8", "--app", "kit"], "computes in float32 in every language; asked for was int8"),
        (["--force", "--onnx"], "--force needs --int8"),
        (["--torchscript", "--batch", "7"], "--batch is for ONNX files: add --onnx or --seeded"),
        (["--pt2", "--opset", "25"], "--opset is for ONNX files"),
        (["--no-provenance"], "--no-provenance needs --app DIR"),
        (["--app", "x", "--triton", "x/y"], "overlap: name two separate folders"),
        (["--c", "x", "--app", "x/y"], "overlap: name two separate folders"),
        (["--c", "x", "--half"], "C computes one sample in float32"),
        (["--batch", "1025"], "A batch of 1025 can't be fixed"),
        (["--tflite"], "No such option: --tflite"),
    ],
)
def test_what_does_not_go_together(cli: Run, run: RunDir, flags: list[str], message: str) -> None:
    code, _, errors = cli("export", *flags)
    assert code
    assert message in " ".join(errors.replace("│", " ").split())
    assert not run.export.exists()
    assert not Path("kit").exists()


@pytest.mark.parametrize("taken", ["generator.seeded.onnx", "generator.onnx.json"])
def test_a_folder_in_the_place_of_a_file(cli: Run, run: RunDir, taken: str) -> None:
    Path("out", taken).mkdir(parents=True)
    code, _, errors = cli("export", "-o", "out")
    assert code == 1
    assert f"{taken} is a folder" in errors
    assert [path.name for path in Path("out").iterdir()] == [taken]


def test_files_are_put_in_place_together(cli: Run, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    export = ("export", "--onnx", "--seeded", "-o", "out")
    assert cli(*export)[0] == 0
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    honest, failed = Path.replace, []

    def full(path: Path, target: Path) -> Path:
        if target == Path("out", "generator.seeded.onnx") and not failed:
            failed.append(path)
            raise OSError(28, "No space left on device")
        return honest(path, target)

    monkeypatch.setattr(Path, "replace", full)
    code, _, errors = cli(*export, "--opset", "20")
    assert code == 1
    assert "No space left on device" in errors
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


def test_sigterm_leaves_nothing(run: RunDir, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "gantool", "export", "-o", "out"], stderr=subprocess.PIPE, text=True
    ) as process:
        while not (tmp_path / "out").is_dir() and process.poll() is None:
            time.sleep(0.01)
        process.terminate()
        assert process.wait(60) == 143
    assert list((tmp_path / "out").iterdir()) == []


def test_the_manifest_tells_how_the_file_was_made(cli: Run, run: RunDir) -> None:
    assert cli("export", "--opset", "20", "--batch", "5", "--half-weights", "--no-optimize", "-o", "out")[0] == 0
    for name in ("generator.half-weights.onnx", "generator.half-weights.seeded.onnx"):
        described = Generator(Path("out") / name).manifest
        assert (described.precision, described.batch, described.opset) == ("half-weights", 5, 20)
        assert described.optimize == {"enabled": False, "rewritten": []}
        checkpoint = run.checkpoint(2)
        assert described.training["checkpoint"] == {"file": checkpoint.name, "sha256": sha256_of(checkpoint)}
        assert len(Generator(Path("out") / name).sample(7)) == 7


@pytest.mark.usefixtures("browser_runtime")
def test_an_app_kit_and_a_model_repository(cli: Run, run: RunDir) -> None:
    cell = {"file": {}, "status": "measured", "batches": [{"batch": 8, "images_per_second": 9.0}]}
    Path("bench.json").write_text(json.dumps({"cells": [cell]}))
    flags = ["--app", "kit", "--triton", "models", "--bench", "bench.json", "--no-provenance"]
    code, out, _ = cli("export", *flags, "--json")
    assert code == 0
    made = {kind: {f["file"] for f in json.loads(out) if f["kind"] == kind} for kind in ("app", "triton")}
    assert {"kit/generator.seeded.onnx", "kit/playground.html", "kit/cpp/main.cpp"} <= made["app"]
    assert Generator("kit/generator.seeded.onnx").manifest.precision == "half-weights"
    assert "trainedAlgorithmicMedia" not in Path("kit/playground.html").read_text()
    wanted = {f"models/mlp-digits/{name}" for name in ("README.md", "config.pbtxt", "1/model.onnx")}
    assert made["triton"] == wanted
    assert "preferred_batch_size: [ 8 ]" in Path("models/mlp-digits/config.pbtxt").read_text()
    assert not run.export.exists()
    assert cli("export", "--app", "kit", "--full")[0] == 0
    assert Generator("kit/generator.seeded.onnx").manifest.precision == "float32"


def test_json_is_all_there_is_on_stdout(cli: Run, run: RunDir) -> None:
    code, out, _ = cli("export", run.path, "--onnx", "--torchscript", "--json")
    assert code == 0
    files = json.loads(out)
    assert [f["kind"] for f in files] == ["onnx", "torchscript"]
    for file in files:
        assert Path(file["file"]).stat().st_size == file["bytes"]
        assert all(check["passed"] for check in file["checks"])
        measures = {check["measure"] for check in file["checks"]}
        assert "share of finite values" in measures
        assert any("torch, batch 7" in measure for measure in measures)


def test_a_format_that_fails_exits_1_and_keeps_its_old_file(
    cli: Run, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("export", "--onnx")[0] == 0
    before = {path.name: path.read_bytes() for path in run.export.iterdir()}
    honest = graph.to_onnx

    def tampered(*arguments: object) -> onnx.ModelProto:
        model = honest(*arguments)
        weight = model.graph.initializer[0]
        array = onnx.numpy_helper.to_array(weight) + 1
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
        return model

    monkeypatch.setattr(graph, "to_onnx", tampered)
    code, out, err = cli("export")
    assert code == 1
    assert "generator.onnx could not be written: The export failed its verification" in err
    assert "max abs difference to torch, batch 1" in err
    assert "generator.torchscript.pt" in out  # the one format that works
    assert {path.name: path.read_bytes() for path in run.export.iterdir() if "onnx" in path.name} == before
    code, out, err = cli("export", "--onnx")
    assert (code, out) == (1, "")
    assert {path.name: path.read_bytes() for path in run.export.iterdir() if "onnx" in path.name} == before


def test_nothing_is_trained_yet(cli: Run, here: Path) -> None:
    code, _, err = cli("export")
    assert code == 1
    assert "no trained run in runs" in err
    assert "gantool train mlp" in err
    assert list(here.iterdir()) == []


def test_a_run_that_is_not_there(cli: Run, run: RunDir) -> None:
    code, _, err = cli("export", "7")
    assert code == 1
    assert "no run '7'" in err
    assert run.name in err


@pytest.mark.parametrize("taken", ["taken", "taken/inside"])
def test_a_folder_that_can_not_be(cli: Run, run: RunDir, taken: str) -> None:
    Path("taken").touch()
    code, _, err = cli("export", "--onnx", "-o", taken)
    assert code == 1
    assert f"{taken} can't be written" in err


@pytest.mark.slow
def test_a_process_of_its_own_is_quiet(run: RunDir) -> None:
    """No warning or progress of a library beside our own lines."""
    done = gantool("export", "--json", cwd=run.path.parent.parent)
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == 3
    first, *others = done.stderr.splitlines()
    assert first == f"exporting {Path('runs') / run.name} and verifying what comes out …"
    for line in others:  # one in ten seconds
        assert re.fullmatch(r"(exporting|writing|comparing|making|checking) .* …", line)


def test_plain_c(cli: Run, run: RunDir) -> None:
    code, out, errors = cli("export", "--c", "in c", "--half-weights")
    assert code == 0, errors
    assert "make -C 'in c' check" in out
    assert names(Path("in c")) > {"generator.c", "generator.h", "kernels.h", "generator.bin"}
    assert json.loads(Path("in c/manifest.json").read_text())["precision"] == "half-weights"
    code, out, _ = cli("export", "--c", "in c", "--json")
    assert {file["kind"] for file in json.loads(out)} == {"c"}
    assert not run.export.exists()
