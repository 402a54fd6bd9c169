"""Model cards: what they say, that they are the same again, and that what people wrote is kept."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image
from support.inprocess import Run

import gantool
from gantool import exporting
from gantool.artifact import onnxfile
from gantool.errors import GantoolError
from gantool.exporting.edits import with_directions
from gantool.run.directions import Direction
from gantool.run.rundir import RunDir

HOSTILE = "x](javascript:1)\n---\nlicense: mit <script>&|\x1b[31m"


@pytest.fixture
def run(exported_run: RunDir, tmp_path: Path) -> RunDir:
    """A copy with its export, and without an evaluation."""
    return RunDir(Path(shutil.copytree(exported_run.path, tmp_path / "runs" / exported_run.name)))


def metadata(card: Path) -> dict[str, object]:
    _, head, _ = card.read_text(encoding="utf-8").split("---\n", 2)
    loaded: dict[str, object] = yaml.safe_load(head)
    return loaded


def test_what_a_card_says(run: RunDir, cli: Run) -> None:
    code, out, _ = cli("card", run.path)
    card = run.path / "card" / "README.md"
    assert (code, str(card) in out) == (0, True)
    text = card.read_text(encoding="utf-8")
    about = metadata(card)
    assert about["library_name"] == "gantool"
    assert about["pipeline_tag"] == "unconditional-image-generation"
    assert about["license"] == "unknown"
    for said in ("No evaluation was made of this checkpoint", "generator.seeded.onnx", "MNIST", "0001-tiny"):
        assert said in text, said
    with Image.open(card.with_name("samples.png")) as picture:
        assert picture.text["gantool"]
    (python,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    made: dict[str, object] = {}
    exec(python.replace("generator.seeded.onnx", str(run.export / "generator.seeded.onnx")), made)
    assert made["images"].shape == (16, 8, 8, 1)  # type: ignore[attr-defined]


def test_figures_of_an_evaluation_of_this_checkpoint(run: RunDir) -> None:
    gantool.evaluate(run.path, samples=64, progress=False)
    card = gantool.card(run.path)
    (entry,) = metadata(card)["model-index"]  # type: ignore[misc]
    figures = {metric["name"]: metric["value"] for metric in entry["results"][0]["metrics"]}
    report = json.loads(next((run.path / "evaluation").rglob("evaluation.json")).read_text())
    assert figures["Fréchet distance (digits)"] == report["figures"]["frechet_distance"]["value"]
    text = card.read_text(encoding="utf-8")
    assert "No evaluation was made" not in text
    assert "Memorisation: **" in text


def test_a_card_is_the_same_again_and_keeps_what_people_wrote(run: RunDir) -> None:
    card = gantool.card(run.path, licence="cc-by-4.0", datasets=["ylecun/mnist"])
    first = card.read_bytes()
    assert gantool.card(run.path).read_bytes() == first
    assert (metadata(card)["license"], metadata(card)["datasets"]) == ("cc-by-4.0", ["ylecun/mnist"])
    own = first.decode().replace("<!-- yours: about -->\n", "<!-- yours: about -->\nMade for *my* game.\n")
    card.write_text(own, encoding="utf-8")
    assert "Made for *my* game.\n" in gantool.card(run.path).read_text(encoding="utf-8")
    card.write_text(own.replace("<!-- /yours -->", "", 1), encoding="utf-8")
    with pytest.raises(GantoolError, match=r"A mark of yours .* is damaged"):
        gantool.card(run.path)


def test_another_readme_is_not_replaced(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("# Mine\n")
    with pytest.raises(GantoolError, match="is no card of gantool"):
        gantool.card(run.path, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["README.md"]


def test_hostile_names_stay_text(conditional_export: Path, tmp_path: Path) -> None:
    shutil.copytree(conditional_export, tmp_path / "files")
    for path in (tmp_path / "files").glob("*.onnx"):
        about = onnxfile.read_manifest(path)
        names = [HOSTILE, "dog", "cat"]
        hostile = dataclasses.replace(
            about, architecture={**about.architecture, "name": HOSTILE}, data={"name": HOSTILE, "class_names": names},
            licence=HOSTILE,
        )  # fmt: skip
        onnx = __import__("onnx")
        model = onnx.load(path)
        onnx.helper.set_model_props(model, {"gantool.manifest": hostile.to_json()})
        onnx.save(model, path)
    card = gantool.card(tmp_path / "files" / "generator.onnx")
    text = card.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    assert metadata(card)["license"] == "unknown"
    assert text.count("\n---\n") == 1


def test_a_changed_file_has_no_card(run: RunDir) -> None:
    path = run.export / "generator.onnx"
    model = __import__("onnx").load(path)
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    __import__("onnx").save(model, path)
    with pytest.raises(GantoolError, match=r"generator\.onnx has changed since its export"):
        gantool.card(path)


def test_files_of_an_older_export_are_not_shared(run: RunDir, cli: Run) -> None:
    """Such as one that lacks a direction which has got a name since."""
    source = exporting.source_of(run)
    (size,) = next(item.shape for item in source.inputs if item.distribution == "normal")
    lean = Direction(
        vector=(0.1,) * size, input="z", method="sefa", about="sefa 1", step=0, name="lean", low=-2.0, high=3.0
    )
    exporting.write(with_directions(source, [lean]), ["onnx"], run.export)
    assert cli("card", run.export / "generator.onnx")[0] == 0
    text = (run.path / "card" / "README.md").read_text(encoding="utf-8")
    assert "| `generator.onnx` |" in text
    assert "| `generator.seeded.onnx` |" not in text
