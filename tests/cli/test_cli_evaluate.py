"""`gantool evaluate`: a run, an older checkpoint, an exported file or the data itself, in the same named figures."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.exports import Conditional, Z, source
from support.inprocess import Run
from support.trainings import dataset, run_until, save_npz, start

from gantool import data, exporting
from gantool.api.evaluate import draw_from
from gantool.metrics.samples import as_samples
from gantool.plugin.architecture import Input, SampleSpec
from gantool.plugin.game import Game
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

FIGURES = {
    "frechet_distance",
    "kernel_distance",
    "classifier_score",
    "precision",
    "recall",
    "density",
    "coverage",
    "diversity",
}
FEW = ("--samples", "40", "--device", "cpu")


@pytest.fixture
def run(exported_run: RunDir, here: Path) -> RunDir:
    """A copy in runs/ of the current folder: an mlp of a few weights on the digits at 8×8, exported."""
    copy = RunDir(Path("runs") / exported_run.name)
    shutil.copytree(exported_run.path, copy.path)
    return copy


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """An exported run of two checkpoints on 50 random images, 16×16. Tests only read it."""
    folder = tmp_path_factory.mktemp("noise")
    opened = start("mlp", folder, keep=2)
    run_until(opened)
    exporting.export_run(opened.run)
    return opened.run


def evaluate(cli: Run, *arguments: object) -> dict[str, Any]:
    code, out, err = cli("evaluate", *arguments, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def values(found: dict[str, Any]) -> dict[str, float]:
    return {key: figure["value"] for key, figure in found["figures"].items()}


def test_the_newest_run(cli: Run, run: RunDir) -> None:
    code, out, err = cli("evaluate", *FEW)
    assert code == 0, err
    folder = run.path / "evaluation" / "step-00000002"
    for text in (
        f"{run.path}, step 2",
        "Fréchet distance (digits)",
        "kernel distance (digits)",
        "classifier score (digits)",
        "diversity of fakes / of reals",
        "missing classes: ",
        "40 fakes and 40 of 10,000 reals, seed 0",
        "data digits, fingerprint ",
        "extractor digits, version 1, SHA-256 ",
        str(folder / "neighbours.png"),
    ):
        assert text in out
    assert out.splitlines()[-1] == "Too few samples for a verdict: 40, and it takes 200 of each."
    assert "FID" not in out
    assert "KID" not in out
    assert "note: 40 samples are not more than the 128 features" in err
    with Image.open(folder / "neighbours.png") as picture:
        assert picture.width > picture.height / 2
    assert json.loads((folder / "evaluation.json").read_text())["fakes"] == 40
    assert sorted(p.name for p in folder.iterdir()) == ["evaluation.json", "neighbours.png"]


def test_json_and_a_picture_by_name(cli: Run, run: RunDir) -> None:
    found = evaluate(cli, *FEW, "--seed", 5, "-o", "new/copies.png")
    assert set(found) == {
        "schema_version",
        "gantool",
        "subject",
        "data",
        "extractor",
        "seed",
        "fakes",
        "reals",
        "figures",
        "floor",
        "sources",
        "verdict",
        "classes",
        "memorisation",
        "notes",
        "files",
    }
    digits = data.load("digits", 8)
    assert found["subject"] == {"kind": "run", "path": str(run.path), "step": 2}
    assert found["data"]["fingerprint"] == digits.fingerprint
    assert found["data"]["shape"] == [1, 8, 8]
    assert found["extractor"]["name"] == "digits"
    assert len(found["extractor"]["sha256"]) == 64
    assert (found["seed"], found["fakes"], found["reals"]) == (5, 40, 40)
    assert set(found["figures"]) == FIGURES
    assert all(set(f) == {"name", "value", "deviation", "better"} for f in found["figures"].values())
    assert sum(found["classes"]["fakes"]) == pytest.approx(1)
    assert found["memorisation"]["features"]["among"] == 40
    assert found["memorisation"]["pixels"]["among"] == 10_000
    assert found["files"] == {"evaluation": "new/copies.json", "neighbours": "new/copies.png"}
    assert json.loads(Path("new/copies.json").read_text()) == found
    assert Path("new/copies.png").is_file()
    assert not (run.path / "evaluation").exists()


def test_the_same_call_gives_the_same_bytes(cli: Run, noise: RunDir, tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        evaluate(cli, noise.path, *FEW, "-o", tmp_path / "out")
        texts.append([(tmp_path / "out" / name).read_bytes() for name in ("evaluation.json", "neighbours.png")])
    assert texts[0] == texts[1]
    assert values(evaluate(cli, noise.path, *FEW, "-o", tmp_path / "out", "--seed", 1)) != values(
        json.loads(texts[0][0])
    )


def test_a_run_and_its_files_have_the_same_figures(cli: Run, noise: RunDir, tmp_path: Path) -> None:
    judged = [noise.path, noise.export / "generator.onnx", noise.export / "generator.seeded.onnx"]
    found = [evaluate(cli, subject, *FEW, "-o", tmp_path / "out") for subject in judged]
    assert [f["subject"]["kind"] for f in found] == ["run", "file", "file"]
    assert [f["subject"]["step"] for f in found] == [40, 40, 40]
    for other in found[1:]:  # a pixel may be rounded the other way
        assert values(other) == pytest.approx(values(found[0]), rel=1e-2, abs=1e-3)
        assert other["data"] == found[0]["data"]


def test_a_conditional_generator_takes_its_classes_in_turn(conditional_export: Path) -> None:
    """As `gantool generate` numbers its images."""
    conditional = source(Conditional(), Z, Input("label", (), "label", 3))
    made = draw_from(conditional, 7, torch.device("cpu"))(5, 10)
    pixels = Generator(conditional_export / "generator.onnx").sample(10, seed=7, first=5).transpose(0, 3, 1, 2)
    assert (as_samples(made) - as_samples(pixels)).abs().max() <= 1 / 127


def test_a_generator_of_data_takes_its_rows() -> None:
    noise = dataset(30, (1, 8, 8))
    game = Game(torch.nn.Identity(), (), (Input("x", (1, 8, 8), "data"),), (), SampleSpec((1, 8, 8)))
    same = exporting.from_game(game, architecture={}, training={}, data={}, dataset=noise)
    made = draw_from(same, 0, torch.device("cpu"))(20, 15)
    rows = np.arange(20, 35) % 30
    torch.testing.assert_close(made, as_samples(noise.images[rows]))


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_number_of_threads_changes_figures_by_rounding_at_most(cli: Run, noise: RunDir, threads: str) -> None:
    figures = [
        json.loads(cli("evaluate", noise.path, "--json", *given)[1])["figures"]
        for given in ([], ["--threads", threads])
    ]
    for name, figure in figures[0].items():
        assert figures[1][name]["value"] == pytest.approx(figure["value"], rel=1e-4), name


def test_a_wrong_number_of_threads_is_a_usage_error(cli: Run) -> None:
    for command in ("evaluate", "generate", "bench"):
        code, _, err = cli(command, "--threads", "0")
        assert code == 2
        assert "give 1 to 1024, or auto" in " ".join(err.split())


def test_an_older_checkpoint(cli: Run, noise: RunDir, tmp_path: Path) -> None:
    older, newest = (evaluate(cli, noise.path, *FEW, *step, "-o", tmp_path / "o") for step in (("--step", 20), ()))
    assert (older["subject"]["step"], newest["subject"]["step"]) == (20, 40)
    assert values(older) != values(newest)


def test_a_file_elsewhere(cli: Run, run: RunDir) -> None:
    """Its data is known by name; the results lie beside it."""
    shutil.copy(run.export / "generator.onnx", "mine.onnx")
    found = evaluate(cli, "mine.onnx", *FEW)
    assert found["data"]["name"] == "digits"
    assert Path("mine.evaluation/neighbours.png").is_file()


def test_floor_and_ceiling(cli: Run, here: Path) -> None:
    floor = evaluate(cli, "--floor", "--data", "digits", "--size", 8, "--samples", 200)
    ceiling = evaluate(cli, "--ceiling", "--data", "digits", "--size", 8, "--samples", 200)
    assert floor["subject"]["kind"] == "floor"
    assert ceiling["subject"]["kind"] == "ceiling"
    assert values(floor)["frechet_distance"] < values(ceiling)["frechet_distance"] / 20
    assert values(floor)["coverage"] > 0.8 > 0.1 > values(ceiling)["coverage"]
    assert floor["memorisation"]["pixels"]["among"] == 5000
    assert list(here.iterdir()) == []


def test_the_floor_takes_no_more_than_half(cli: Run, tmp_path: Path) -> None:
    found = evaluate(cli, "--floor", "--data", save_npz(tmp_path / "n.npz"), "--samples", 40)
    assert (found["fakes"], found["reals"]) == (25, 25)
    assert found["extractor"]["name"] == "pixels"


def test_more_fakes_than_there_are_reals(cli: Run, noise: RunDir, tmp_path: Path) -> None:
    found = evaluate(cli, noise.path, "--samples", 70, "-o", tmp_path / "out")
    assert (found["fakes"], found["reals"]) == (70, 50)


def test_other_data_is_noted(cli: Run, noise: RunDir, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, images=np.random.default_rng(1).integers(0, 256, (60, 16, 16), dtype=np.uint8))
    found = evaluate(cli, noise.path, "--data", other, "-o", tmp_path / "out")
    assert found["data"]["count"] == 60
    assert any("memorisation can't be measured" in note for note in found["notes"])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_an_extractor_of_one_s_own(cli: Run, noise: RunDir, tmp_path: Path) -> None:
    module = torch.jit.trace(torch.nn.Flatten(), torch.zeros(2, 1, 16, 16))  # type: ignore[no-untyped-call]
    module.save(str(tmp_path / "flat.pt"))
    found = evaluate(cli, noise.path, *FEW, "--extractor", tmp_path / "flat.pt", "-o", tmp_path / "out")
    assert found["extractor"]["name"] == "flat.pt"
    assert found["extractor"]["features"] == 256
    assert found["figures"]["frechet_distance"]["name"] == "Fréchet distance (flat.pt)"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--floor", "--ceiling"], ["--floor and --ceiling", "one at a time"]),
        (["1", "--floor"], ["--floor judges the data itself, not 1"]),
        (["--step", "2", "--ceiling"], ["--ceiling judges the data itself, not step 2"]),
        (["--step", "7"], ["has no checkpoint '7'", "It has: 2."]),
        (["--step", "best"], ["No checkpoint of", "--keep-best METRIC"]),
        (["--step", "2", "runs/0001-tiny/export/generator.onnx"], ["--step 2 is for a run"]),
        (["nothing"], ["There is no run 'nothing'"]),
        (["nothing.onnx"], ["There is no file nothing.onnx"]),
        (["nothing.pt2"], ["There is no file nothing.pt2"]),
        (["runs/0001-tiny/export/generator.torchscript.pt"], ["is a file for torch"]),
        (["--data", "digits", "--size", "28"], ["makes samples of 1×8×8", "1×28×28", "--size"]),
        (["--data", "nowhere.npz"], ["There is no file or folder 'nowhere.npz'"]),
        (
            ["--extractor", "vgg"],
            ["There is no extractor 'vgg'", "digits, efficientnet-lite0, inception, log-mel, pixels"],
        ),
        (["--samples", "5"], ["5 fakes are too few", "--samples"]),
        (["--device", "tpu"], ["There is no device 'tpu'"]),
    ],
    ids=lambda value: " ".join(value[:3]) if value[0].startswith("-") else None,
)
def test_bad_requests(cli: Run, run: RunDir, arguments: list[str], said: list[str]) -> None:
    code, out, err = cli("evaluate", *arguments)
    assert code == 1
    assert out == ""
    for text in said:
        assert text in err
    assert not (run.path / "evaluation").exists()


def test_data_that_moved_or_changed(cli: Run, noise: RunDir, tmp_path: Path) -> None:
    copy = RunDir(tmp_path / "runs" / noise.name)
    shutil.copytree(noise.path, copy.path)
    described = json.loads((copy.path / "run.json").read_text())
    described["data"]["source"] = str(tmp_path / "gone.npz")
    (copy.path / "run.json").write_text(json.dumps(described))
    code, _, err = cli("evaluate", copy.path)
    assert code == 1
    assert "gone.npz" in err
    assert "--data" in err
    np.savez(tmp_path / "gone.npz", images=np.zeros((60, 16, 16), np.uint8))
    code, _, err = cli("evaluate", copy.path)
    assert code == 1
    assert "is not what" in err
    assert f"--data {tmp_path / 'gone.npz'}" in err


def test_a_file_that_does_not_know_where_its_data_lies(cli: Run, noise: RunDir, tmp_path: Path) -> None:
    path = shutil.copy(noise.export / "generator.onnx", tmp_path / "mine.onnx")
    code, _, err = cli("evaluate", path)
    assert code == 1
    assert "does not say where that is" in err
    assert "--data" in err


def test_without_torchmetrics(cli: Run, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    code, _, err = cli("evaluate")
    assert code == 1
    assert "pip install 'gantool[train]'" in err


def test_the_table_fits_80_columns(cli: Run, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = cli("evaluate", *FEW)
    assert code == 0
    assert max(len(line) for line in out.splitlines() if not line.startswith("→")) <= 80
