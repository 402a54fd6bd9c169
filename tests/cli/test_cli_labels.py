"""Classes on the command line: data with labels becomes a file that is asked for them, by number or by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.changed import described_as
from support.exports import Conditional, Z, source
from support.inprocess import Run
from support.trainings import save_npz

from gantool import exporting
from gantool.artifact.manifest import MAX_LISTED_CHARACTERS
from gantool.errors import GantoolError
from gantool.plugin.architecture import Input
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

NAMES = ("cat", "dog, brown", "7")


def named(seeded: Path, to: Path, data: dict[str, Any]) -> Path:
    """The generator of three classes, whose manifest says `data`."""
    return described_as(seeded, to, lambda described: replace(described, data=data))


@pytest.fixture(scope="module")
def seeded(conditional_export: Path) -> Path:
    return conditional_export / "generator.seeded.onnx"


@pytest.fixture(scope="module")
def file(seeded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    return named(seeded, folder / "generator.seeded.onnx", {"name": "pets", "class_names": list(NAMES)})


def test_classes_that_are_called_by_numbers_are_asked_for_by_name(cli: Run, here: Path, seeded: Path) -> None:
    """Of folders 1, 2 and 3, `--label 0` would make class 1 in silence."""
    generator = Generator(named(seeded, here / "numbers.onnx", {"class_names": ["1", "2", "10"]}))
    assert [generator.manifest.class_number(name) for name in ("1", "2", " 10 ")] == [0, 1, 2]
    for wrong in ("0", "01", "3"):
        code, _, errors = cli("generate", here / "numbers.onnx", "--label", wrong, "-n", 1, "-o", "i.npz")
        assert code == 1
        assert f"There is no class '{wrong}': the classes are 1, 2, 10.\nGive a class's name." in errors


def images(path: str = "i.npz") -> np.ndarray:
    with np.load(path) as arrays:
        found: np.ndarray = arrays["images"]
        return found


def told(path: str) -> dict[str, Any]:
    with Image.open(path) as picture:
        found: dict[str, Any] = json.loads(picture.text["gantool"])
        return found


def tiles(path: str, rows: int, columns: int) -> np.ndarray:
    """The images of a grid of 8×8 ones: (rows, columns, 8, 8)."""
    with Image.open(path) as picture:
        assert picture.size == ((columns * 10 + 2) * 6, (rows * 10 + 2) * 6)
        pixels = np.asarray(picture)[::6, ::6]
    place = [slice(2 + 10 * i, 10 + 10 * i) for i in range(max(rows, columns))]
    return np.array([[pixels[place[r], place[c]] for c in range(columns)] for r in range(rows)])


# a class that is asked for


@pytest.mark.parametrize(
    ("asked", "labels"),
    [("1", [1]), ("cat", [0]), ("dog, brown", [1]), ("7", [2]), ("0,2", [0, 2]), ("7, cat", [2, 0]), (" 1 ", [1])],
)
def test_a_class_by_number_or_by_name(cli: Run, here: Path, file: Path, asked: str, labels: list[int]) -> None:
    assert cli("generate", file, "-n", 5, "--first", 3, "--label", asked, "-o", "i.npz")[0] == 0
    wanted = [labels[i % len(labels)] for i in range(3, 8)]
    np.testing.assert_array_equal(images(), Generator(file).sample(5, first=3, labels=wanted))
    with np.load("i.npz") as arrays:
        assert arrays["labels"].tolist() == wanted
        where = json.loads(str(arrays["provenance"]))
    assert (where.get("label"), where.get("labels")) == ((labels[0], None) if len(labels) == 1 else (None, labels))


def test_pictures_say_their_class_and_shards_take_names(cli: Run, here: Path, file: Path) -> None:
    assert cli("generate", file, "-n", 4, "-o", "all")[0] == 0
    assert cli("generate", file, "-n", 2, "--label", "dog, brown", "-o", "dogs")[0] == 0
    assert [told(str(path))["label"] for path in sorted(Path("all").iterdir())] == [0, 1, 2, 0]
    assert [told(str(path))["label"] for path in sorted(Path("dogs").iterdir())] == [1, 1]
    assert cli("generate", file, "-n", 4, "--label", 2, "-o", "i.png")[0] == 0
    assert told("i.png")["label"] == 2
    assert cli("generate", file, "--count", 4, "--workers", 1, "--label", "7,cat")[0] == 0
    found = np.load(here / "shards" / "shard-000000.npy")
    np.testing.assert_array_equal(found, Generator(file).sample(4, labels=[2, 0, 2, 0]))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("3", "no class '3': the classes are 0 cat, 1 dog, brown, 2 7."),
        ("-1", "no class '-1'"),
        ("Cats", "Did you mean 'cat'?"),
        ("cat,fish", "no class 'fish'"),
        ("", "no class ''"),
        ("9" * 5000, "no class '9999"),
        ("²", "no class '²'"),
    ],
)
def test_what_is_no_class(cli: Run, here: Path, file: Path, asked: str, message: str) -> None:
    before = sorted(here.rglob("*"))
    for where in (["-o", "i.npz"], ["--count", 5]):
        code, out, err = cli("generate", file, "--label", asked, *where)
        assert (code, out) == (1, "")
        assert message in err
        assert len(err) < 1500
    assert sorted(here.rglob("*")) == before


def test_labels_asked_of_an_unlabelled_model(cli: Run, here: Path, exported_run: RunDir) -> None:
    plain = exported_run.export / "generator.seeded.onnx"
    for flags in (["--label", "cat"], ["--label", 1], ["--count", 5, "--label", "0,1"]):
        code, _, err = cli("generate", plain, *flags)
        assert code == 1
        assert "takes no labels: its inputs are seed, index." in err
        assert "on data with labels" in err
        assert "gantool train" in err
    with pytest.raises(GantoolError, match="its inputs are seed, index"):
        Generator(plain).sample(2, labels=["cat", "dog"])


def test_labels_asked_of_an_unlabelled_model_name_the_run_that_takes_them(
    cli: Run, exported_run: RunDir, conditional_export: Path, here: Path
) -> None:
    plain = exported_run.export / "generator.seeded.onnx"
    shutil.copytree(conditional_export, here / "runs" / "0004-cgan-digits" / "export")
    (here / "runs" / "0004-cgan-digits" / "run.json").write_text("{}")
    for flags in (["--label", 2], ["--label", 2, "--count", 3]):
        code, _, err = cli("generate", plain, *flags)
        assert code == 1
        assert "takes no labels: its inputs are seed, index." in err
        assert "The run 0004-cgan-digits does: gantool generate runs/0004-cgan-digits --label 2" in err
    assert cli("generate", "runs/0004-cgan-digits", "--label", 2)[0] == 0


def test_without_names_numbers_do(cli: Run, here: Path, seeded: Path) -> None:
    plain = named(seeded, here / "nameless.onnx", {"name": "pets"})
    assert cli("generate", plain, "-n", 2, "--label", 2, "-o", "i.npz")[0] == 0
    np.testing.assert_array_equal(images(), Generator(plain).sample(2, labels=2))
    errors = " ".join(cli("generate", plain, "--label", "cat")[2].split())
    assert "no class 'cat': the classes are 0 to 2. Give a class's number." in errors


@pytest.mark.parametrize("names", [["cat"], ["cat", 5, "dog"], "cat", {"0": "cat"}, 7])
def test_names_that_do_not_fit_are_no_names(here: Path, seeded: Path, names: object) -> None:
    """A manifest may hold anything; only one name for each class can be asked for."""
    generator = Generator(named(seeded, here / "odd.onnx", {"class_names": names}))
    assert generator.manifest.class_names == ()
    with pytest.raises(GantoolError, match="the classes are 0 to 2"):
        generator.sample(1, labels="cat")


def test_the_runtime_takes_names(file: Path) -> None:
    generator = Generator(file)
    wanted = generator.sample(4, labels=[0, 1, 2, 0])
    np.testing.assert_array_equal(generator.sample(4, labels=["cat", "dog, brown", "7", "cat"]), wanted)
    np.testing.assert_array_equal(generator.sample(4, labels=np.array(["cat", "1", "7", "0"])), wanted)
    np.testing.assert_array_equal(generator.sample(4, labels=("0", "1", "2", "0")), wanted)
    np.testing.assert_array_equal(
        np.concatenate(list(generator.stream(4, part=3, labels=["0", "1", "2", "0"]))), wanted
    )
    np.testing.assert_array_equal(generator.sample(2, labels="cat"), generator.sample(2, labels=0))
    with pytest.raises(GantoolError, match="no class 'bird'"):
        generator.sample(2, labels=["cat", "bird"])
    with pytest.raises(GantoolError, match=r"wanted: one whole number, or 2"):
        generator.sample(2, labels=["cat"])


# a row a class


def test_a_grid_has_a_row_a_class(cli: Run, here: Path, file: Path) -> None:
    code, out, _ = cli("generate", file, "-o", "g.png")
    assert code == 0
    assert "48 images (0 … 47 of seed 0)" in out
    assert out.rstrip().endswith("g.png; rows: cat, dog, brown, 7")
    every = Generator(file).sample(48)[:, :, :, 0]
    np.testing.assert_array_equal(tiles("g.png", 3, 16), every.reshape(16, 3, 8, 8).swapaxes(0, 1))
    assert "labels" not in told("g.png")


def test_a_grid_of_some_classes_of_any_first_image(cli: Run, here: Path, file: Path) -> None:
    """A row is one class, whatever the number of the first image; a row may be one image short."""
    assert cli("generate", file, "-n", 5, "--first", 3, "--label", "7,cat", "-o", "g.png")[0] == 0
    shown = tiles("g.png", 2, 3)
    generator = Generator(file)
    for row, label, numbers in ((0, 2, (4, 6)), (1, 0, (3, 5, 7))):
        for column, number in enumerate(numbers):
            wanted = generator.sample(1, first=number, labels=label)[0, :, :, 0]
            np.testing.assert_array_equal(shown[row, column], wanted)
    assert (shown[0, 2] == 64).all()
    assert told("g.png")["labels"] == [2, 0]


def test_one_class_and_few_images_are_a_plain_grid(cli: Run, here: Path, file: Path) -> None:
    for flags, count in ((["--label", "cat", "-n", 9], 9), (["-n", 3], 3)):
        code, out, _ = cli("generate", file, *flags, "-o", "g.png")
        assert code == 0
        assert "rows:" not in out
        assert f"{count} images" in out
    assert tiles("g.png", 2, 2).shape == (2, 2, 8, 8)


def test_of_many_classes_a_grid_shows_the_first(cli: Run, here: Path) -> None:
    class Many(Conditional):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(100, 64)

    made = source(Many(), Z, Input("label", (), "label", 100))
    (artifact,) = exporting.write(made, ["onnx"], here / "many", exporting.Options(optimize=False))
    code, out, _ = cli("generate", artifact.path, "-o", "g.png")
    assert code == 0
    assert "128 images" in out
    assert out.rstrip().endswith("14, 15 (--label shows others of the 100 classes)")
    assert told("g.png")["labels"] == list(range(16))
    shown = tiles("g.png", 16, 8)
    wanted = Generator(artifact.path).sample(1, first=16 + 5, labels=5)[0, :, :, 0]
    np.testing.assert_array_equal(shown[5, 1], wanted)
    asked = ",".join(map(str, range(40, 60)))
    assert cli("generate", artifact.path, "--label", asked, "-o", "g.png")[0] == 0
    assert tiles("g.png", 20, 8).shape == (20, 8, 8, 8)


# inspect, and the whole way


def test_inspect_names_the_classes(cli: Run, file: Path, exported_run: RunDir) -> None:
    assert "3: 0 cat, 1 dog, brown, 2 7" in cli("inspect", file)[1]
    assert json.loads(cli("inspect", file, "--json")[1])["data"]["class_names"] == list(NAMES)
    assert "0 cat" not in cli("inspect", exported_run.export / "generator.onnx")[1]


def test_a_long_list_of_names_is_cut(file: Path) -> None:
    described = Generator(file).manifest
    item = next(i for i in described.inputs if i.distribution == "label")
    inputs = tuple(replace(i, classes=1000) if i is item else i for i in described.inputs)
    many = replace(described, inputs=inputs, data={"class_names": [f"kind{i}" for i in range(1000)]})
    assert many.list_classes().endswith("19 kind19, … 999 kind999")
    assert many.parse_classes("kind999,kind0", "file") == [999, 0]
    hostile = replace(many, data={"class_names": ["\x1b[31m" * 1000 for _ in range(1000)]})
    assert len(hostile.list_classes()) <= MAX_LISTED_CHARACTERS
    assert "\x1b" not in hostile.list_classes()


def test_from_folders_of_pictures_to_a_class_by_its_name(cli: Run, here: Path) -> None:
    """Sub-folders are classes; their names go with the model."""
    stream = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (here / "pets" / name).mkdir(parents=True)
        for number in range(6):
            pixels = stream.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(here / "pets" / name / f"{number}.png")
    small = ("--widths", "16", "--batch-size", 4, "--steps", 2, "--device", "cpu")
    assert cli("train", "cgan", "--data", "pets", *small)[0] == 0
    assert cli("export", "--onnx", "--seeded", "--no-optimize")[0] == 0
    code, out, _ = cli("generate", "--label", "dog", "-n", 4, "-o", "i.npz")
    assert code == 0
    path = next(Path("runs").rglob("generator.seeded.onnx"))
    np.testing.assert_array_equal(images(), Generator(path).sample(4, labels=1))
    code, out, _ = cli("generate", "-o", "g.png")
    assert "32 images" in out
    assert "rows: cat, dog" in out
    code, _, err = cli("generate", "--label", "dgo")
    assert code == 1
    assert "the classes are 0 cat, 1 dog. Did you mean 'dog'?" in " ".join(err.split())


def test_training_without_labels_says_what_to_give(cli: Run, here: Path) -> None:
    with np.load(save_npz(here / "labelled.npz")) as arrays:
        np.savez(here / "bare.npz", images=arrays["images"])
    code, _, err = cli("train", "cgan", "--data", "bare.npz", "--steps", 1)
    assert code == 1
    assert "the data has no labels" in err
    for way in (
        "gantool data cluster SOURCE -o pack",
        "sub-folder a class",
        "'labels'",
        "gantool data pack SOURCE -o pack --labels FILE.csv",
    ):
        assert way in err
    assert not Path("runs").exists()
