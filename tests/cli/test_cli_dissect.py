"""`gantool dissect`: a table and JSON of the units, the page's files, and what can't be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.inprocess import Run
from support.trainings import run_until, start

import gantool
from gantool.errors import ArgumentError
from gantool.run.rundir import RunDir

FEW = ["--samples", 6, "--units", 3]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    opened = start("dcgan", tmp_path_factory.mktemp("dissect"), steps=1)
    run_until(opened)
    return opened.run


@pytest.mark.usefixtures("browser_runtime")
def test_a_table_and_a_page(run: RunDir, cli: Run) -> None:
    code, out, err = cli("dissect", run.path, *FEW, "--extractor", "digits")
    assert code == 0, err
    assert "other class" in out
    assert f"→ {run.path / 'dissect' / 'index.html'}" in out
    assert max(map(len, out.partition("→")[0].splitlines())) <= 60
    recorded = json.loads((run.path / "dissect" / "units.json").read_text())
    assert {"run": run.name, "step": 1, "samples": 6, "extractor": "digits"}.items() <= recorded.items()
    assert (run.path / "dissect" / "index.html").stat().st_size > 1_000_000
    for layer in recorded["layers"]:
        assert len(layer["units"]) == 3
        effects = [unit["off"]["pixels"] for unit in layer["units"]]
        assert effects == sorted(effects, reverse=True)
        assert all(0 <= unit["off"]["classes"] <= 1 for unit in layer["units"])


@pytest.mark.slow
@pytest.mark.usefixtures("browser_runtime")
def test_json_and_another_folder(run: RunDir, tmp_path: Path, cli: Run) -> None:
    code, out, _ = cli("dissect", run.path, *FEW, "-o", tmp_path / "atlas", "--json")
    printed = json.loads(out)
    assert (code, Path(printed.pop("page"))) == (0, tmp_path / "atlas" / "index.html")
    assert printed == json.loads((tmp_path / "atlas" / "units.json").read_text())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--layers", "nope"], "no layer 'nope'"),
        (["--extractor", "nope"], "no extractor 'nope'"),
        (["--which", "b"], "no generator 'b'"),
    ],
)
def test_what_can_not_be(run: RunDir, given: list[str], message: str, tmp_path: Path, cli: Run) -> None:
    code, _, err = cli("dissect", run.path, *FEW, *given, "-o", tmp_path / "atlas")
    assert (code, message in err) == (1, True), err
    assert not (tmp_path / "atlas").exists()


def test_a_folder_of_other_things_is_left_alone(run: RunDir, tmp_path: Path, cli: Run) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    for name, message in (
        ("site", "holds something else than a page of gantool dissect"),
        ("site/index.html", "is no folder"),
    ):
        code, _, err = cli("dissect", run.path, *FEW, "-o", tmp_path / name)
        assert (code, message in err) == (1, True), err
    assert (tmp_path / "site" / "index.html").read_text() == "mine"


def test_points_are_refused(tmp_path: Path, cli: Run) -> None:
    opened = start("mlp", tmp_path, steps=1, data="ring")
    run_until(opened)
    code, _, err = cli("dissect", opened.run.path, *FEW)
    assert (code, "makes points" in err, "gantool watch" in err) == (1, True, True), err


def test_classes_of_the_data(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = gantool.dissect(run.path, units=2, samples=4, extractor="pixels", progress=False)
    assert found.extractor == "pixels, on the data's classes"
    assert found.layers[0].units[0].off.classes is not None
    assert "a linear classifier on pixels tells the class of" in capsys.readouterr().err
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 16, 16), np.uint8)
    np.savez(tmp_path / "bare.npz", images=images)
    opened = start("mlp", tmp_path, steps=1, data=tmp_path / "bare.npz")
    run_until(opened)
    with pytest.raises(ArgumentError, match="tells no classes, and the data has no labels"):
        gantool.dissect(opened.run.path, extractor="pixels")


def test_from_python(run: RunDir) -> None:
    found = gantool.dissect(run.path, layers="all", units=2, samples=4, progress=False)
    assert found.layers[0].units[0].off.classes is None  # no extractor that classifies
    assert found.layers[0].units[0].off.where.shape == (16, 16)
    again = gantool.dissect(run.path, layers="all", units=2, samples=4, progress=False)
    assert found.as_json() == again.as_json()
    with pytest.raises(ArgumentError, match="0 units and 4 samples"):
        gantool.dissect(run.path, units=0, samples=4)
