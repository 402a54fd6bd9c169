"""Generators that take a picture, on the command line: export --which, inspect, generate --input."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import tiny_cyclegan
from support.inprocess import Run
from support.trainings import run_until, start

from gantool.artifact.cards import card
from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.registry import Plugin
from gantool.run.exports import find_artifact
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

(CYCLEGAN,) = tiny_cyclegan.gantool_architectures()
PLUGIN = Plugin("tiny-cyclegan", "tests", "1", CYCLEGAN)


@pytest.fixture
def file(translator: Callable[[str], Path]) -> Path:
    return translator("unet") / "generator.seeded.onnx"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run of a game with two generators."""
    folder = tmp_path_factory.mktemp("cyclegan")
    opened = start(PLUGIN, folder, steps=1, tick=1, width=4)
    run_until(opened)
    return opened.run


@pytest.fixture
def two(trained: RunDir, here: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A copy of `trained` in runs/, its plugin installed."""
    found = registry.find
    monkeypatch.setattr(registry, "find", lambda name: PLUGIN if name == PLUGIN.name else found(name))
    return RunDir(Path(shutil.copytree(trained.path, here / "runs" / trained.name)))


def saved(path: Path, number: int = 0, height: int = 40, width: int = 48) -> np.ndarray:
    picture = card(number, height, width, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return picture


def test_a_picture_becomes_a_picture_with_provenance(cli: Run, here: Path, file: Path) -> None:
    picture = saved(here / "in.png", height=37)
    code, out, _ = cli("generate", file, "--input", "in.png", "-o", "out.png", "--seed", 5, "--value", "strength=0.5")
    assert code == 0
    assert "→ out.png: 48×37 pixels" in out
    with Image.open("out.png") as made:
        np.testing.assert_array_equal(made, Generator(file).translate(picture, 5, values={"strength": 0.5})[0])
        about = json.loads(made.text["gantool"])  # type: ignore[attr-defined]
        assert (about["seed"], about["first"], about["values"]) == (5, 0, {"strength": 0.5})
        assert "digitalsourcetype/trainedAlgorithmicMedia" in made.text["XML:com.adobe.xmp"]  # type: ignore[attr-defined]


def test_a_folder_keeps_names_and_sub_folders(cli: Run, here: Path, file: Path) -> None:
    pictures = [saved(here / "in" / name, i, 32 + 8 * i) for i, name in enumerate(("a.bmp", "b/a.png", "b/c.PNG"))]
    (here / "in/notes.txt").write_text("no picture")
    code, out, _ = cli("generate", file, "--input", "in", "-o", "made", "--seed", 2, "--first", 4, "--json")
    assert code == 0
    report = json.loads(out)
    names = ["made/a.png", "made/b/a.png", "made/b/c.png"]
    assert [each["path"] for each in report["pictures"]] == names
    assert [each["height"] for each in report["pictures"]] == [32, 40, 48]
    for number, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        wanted = Generator(file).translate(picture, seed=2, first=4 + number)[0]
        assert np.abs(np.asarray(Image.open(name)).astype(int) - wanted).max() <= 1
    assert sorted(str(p.relative_to(here)) for p in (here / "made").rglob("*.*")) == names


def test_standard_input(cli: Run, here: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = saved(here / "in.png")
    stream = io.TextIOWrapper(io.BytesIO((here / "in.png").read_bytes()))
    monkeypatch.setattr("sys.stdin", stream)
    assert cli("generate", file, "--input", "-", "-o", "out.png")[0] == 0
    np.testing.assert_array_equal(Image.open("out.png"), Generator(file).translate(picture)[0])


def test_a_broken_picture_is_named_and_what_came_before_it_stays(cli: Run, here: Path, file: Path) -> None:
    saved(here / "in/a.png")
    (here / "in/b.png").write_bytes((here / "in/a.png").read_bytes()[:200])
    code, _, err = cli("generate", file, "--input", "in", "-o", "made")
    assert code == 1
    assert "in/b.png can't be decoded" in err
    assert [path.name for path in (here / "made").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--input PICTURE -o out.png"),
        (["--count", 5], "--input PICTURE -o out.png"),
        (["--input", "none.png"], "There is no picture none.png"),
        (["--input", "in.png", "-o", "in.png"], "in.png is a picture that goes in"),
        (["--input", "in.png", "-o", "out.jpg"], "can't be written as 'out.jpg'"),
        (["--input", "empty"], "There are no pictures in empty"),
        (["--input", "twins", "-o", "made"], "twins/a.bmp and twins/a.png would both become made/a.png"),
        (["--input", "twins", "-o", "one.png"], "twins is a folder, and one.png is one picture"),
        (["--input", "in.png", "-n", 3], "-n is not for pictures"),
        (["--input", "in.png", "--value", "strength=9"], "strength is 9"),
    ],
)
def test_what_is_refused(cli: Run, here: Path, file: Path, arguments: list[object], message: str) -> None:
    for name in ("in.png", "twins/a.png", "twins/a.bmp"):
        saved(here / name)
    (here / "empty").mkdir()
    before = sorted(here.rglob("*"))
    code, _, err = cli("generate", file, *arguments)
    assert code == 1
    assert message in " ".join(err.split())
    assert sorted(here.rglob("*")) == before


def test_a_generator_of_images_from_noise_takes_no_picture(cli: Run, here: Path, exported_run: RunDir) -> None:
    saved(here / "in.png")
    code, _, err = cli("generate", exported_run.export / "generator.seeded.onnx", "--input", "in.png")
    assert code == 1
    assert "makes images of no picture" in " ".join(err.split())


def test_inspect_says_that_a_picture_may_have_any_size(cli: Run, file: Path) -> None:
    code, out, _ = cli("inspect", file)
    assert code == 0
    assert "uint8 32×32×3, data: a picture of any size, multiples of 8" in " ".join(out.split())


def test_each_of_two_generators_is_exported_to_a_folder_of_its_name(cli: Run, two: RunDir) -> None:
    code, out, _ = cli("export", two.path, "--seeded")
    assert code == 0
    assert out.count("generator.seeded.onnx") == 6  # in each table, and in two next steps
    assert out.count("--input PICTURE") == 2
    one, other = (Generator(two.export / name / "generator.seeded.onnx") for name in ("to-a", "to-b"))
    assert (one.manifest.which, other.manifest.which) == ("to-a", "to-b")
    assert one.manifest.model != other.manifest.model
    picture = card(0, *one.manifest.inputs[0].sides, one.manifest.inputs[0].channels)
    assert not np.array_equal(one.translate(picture), other.translate(picture))

    with pytest.raises(GantoolError, match="several generators: to-a, to-b") as caught:
        find_artifact(str(two.path), two.path.parent)
    assert "export/to-a" in caught.value.hint
    assert find_artifact(str(two.export / "to-b"), two.path.parent) == other.path


def test_one_of_two_generators_is_exported(cli: Run, two: RunDir) -> None:
    assert cli("export", two.path, "--onnx", "--which", "to-a")[0] == 0
    assert [path.name for path in two.export.iterdir()] == ["to-a"]
    assert find_artifact(str(two.path), two.path.parent) == two.export / "to-a/generator.onnx"
    code, _, err = cli("export", two.path, "--which", "elsewhere")
    assert code == 1
    assert "to-b, to-a" in " ".join(err.split())


def test_a_file_that_takes_pictures_is_not_evaluated_without_its_run(cli: Run, file: Path) -> None:
    code, _, err = cli("evaluate", file, "--data", "digits")
    assert code == 1
    assert "does not say which of the data it takes" in err
    assert "gantool evaluate RUN" in err
