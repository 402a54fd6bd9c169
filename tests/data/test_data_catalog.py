"""`gantool data list`, and what the data set of a plugin has to be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.inprocess import Run

from gantool.data import Dataset, load
from gantool.data.catalog import cache_folder
from gantool.errors import GantoolError
from gantool.plugin import DataSource, registry
from gantool.plugin.architecture import SampleSpec
from gantool.plugin.registry import Plugin

IMAGES = np.arange(6 * 3 * 8 * 8, dtype=np.uint8).reshape(6, 3, 8, 8)
FLOATS = np.linspace(-1, 1, 6 * 64, dtype=np.float32).reshape(6, 1, 8, 8)
LABELS = np.arange(6) % 2


@pytest.fixture
def cli(cli: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path / "cache"))
    return cli


Bring = Callable[[Callable[[int | None], Any]], None]


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Bring:
    """`bring(load)`: a plugin `shapes-data` with a data set `shapes`."""

    def brought(load: Callable[[int | None], Any]) -> None:
        source = DataSource("shapes", "circles", load, "CC0")
        plugin = Plugin("shapes", "shapes-data", "1.0", dataset=source)
        monkeypatch.setattr(registry, "discover", lambda: (plugin,))

    return brought


def dataset(**arrays: Any) -> Dataset:
    return Dataset("mine", "here", arrays)


def test_the_list(cli: Run) -> None:
    code, out, err = cli("data", "list")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert {"digits", "mnist", "fashion-mnist", "cifar10"} <= set(rows)
    assert "10,000" in rows["digits"]
    assert "built in" in rows["digits"]
    assert "32×32×3" in rows["cifar10"]
    assert "to fetch: 170 MB" in rows["cifar10"]
    assert "gantool data fetch NAME" in out


def test_the_list_for_programs(cli: Run) -> None:
    rows = json.loads(cli("data", "list", "--json")[1])
    keys = {"name", "summary", "images", "shape", "classes", "licence", "state", "detail", "path", "download_bytes"}
    assert all(set(row) == keys for row in rows)
    digits = next(row for row in rows if row["name"] == "digits")
    built_in = load("digits")
    assert digits["images"] == len(built_in)
    assert tuple(digits["shape"]) == built_in.spec.shape
    assert digits["classes"] == built_in.spec.classes
    assert digits["licence"] == built_in.licence


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GANTOOL_CACHE", "~/sets")
    assert cache_folder() == tmp_path / "sets"
    monkeypatch.setenv("GANTOOL_CACHE", "")
    assert cache_folder().name == "gantool"
    assert cache_folder().is_absolute()


SOUND = {
    "images alone": dataset(images=IMAGES),
    "floats and labels": dataset(images=FLOATS, labels=LABELS),
    "a paired array": dataset(images=IMAGES, edges=IMAGES[:, :1], angle=np.zeros((6, 2), np.float32)),
    "with a licence of its own": Dataset("mine", "here", {"images": IMAGES}, licence="MIT"),
    "audio": dataset(images=np.zeros((6, 1, 100), np.float32)),
    "a volume": dataset(images=np.zeros((6, 1, 4, 8, 8), np.uint8)),
}


@pytest.mark.parametrize("what", SOUND)
def test_what_is_sound_is_taken_under_the_name_of_its_source(bring: Bring, what: str) -> None:
    bring(lambda size: SOUND[what])
    data = load("shapes")
    assert (data.name, data.source, data.licence) == ("shapes", "shapes", SOUND[what].licence or "CC0")
    assert data.fingerprint == SOUND[what].fingerprint


def test_the_size_is_passed_on(bring: Bring) -> None:
    bring(lambda size: dataset(images=np.zeros((6, 1, size or 8, size or 8), np.uint8)))
    assert load("shapes").spec.shape == (1, 8, 8)
    assert load("shapes", 16).spec.shape == (1, 16, 16)
    with pytest.raises(GantoolError, match="A size of 3 is too small"):
        load("shapes", 3)


NAN = FLOATS.copy()
NAN[3, 0, 2, 2] = np.nan
UNSOUND: dict[str, tuple[Any, str]] = {
    "nothing": (None, "its load returned None, not a gantool.data.Dataset"),
    "an array": (IMAGES, "its load returned a ndarray, not"),
    "no images": (dataset(pictures=IMAGES), "no array named 'images'"),
    "no mapping": (Dataset("a", "a", [IMAGES]), "no array named 'images'"),  # type: ignore[arg-type]
    "a list of images": (dataset(images=IMAGES.tolist()), "its array 'images' is a list, not a numpy array"),
    "images of another dtype": (dataset(images=IMAGES.astype(np.int64)), "its images have dtype int64"),
    "double precision": (dataset(images=FLOATS.astype(np.float64)), "its images have dtype float64"),
    "images without channels": (dataset(images=np.zeros((6, 8), np.uint8)), r"shape \(6, 8\); they are \(N, C, T\)"),
    "no rows": (dataset(images=IMAGES[:0]), r"shape \(0, 3, 8, 8\)"),
    "values up to 255": (dataset(images=FLOATS * 255), "values from -255 to 255; float32 images lie in"),
    "NaN": (dataset(images=NAN), "'images' has values that are NaN or infinite"),
    "infinity elsewhere": (dataset(images=IMAGES, x=np.full(6, np.inf)), "'x' has values that are NaN or infinite"),
    "text": (dataset(images=IMAGES, x=np.array(["a"] * 6)), "its array 'x' has dtype <U1"),
    "another length": (dataset(images=IMAGES, x=np.zeros(5)), r"'x' has shape \(5,\), but there are 6 images"),
    "a number": (dataset(images=IMAGES, x=np.array(5)), r"'x' has shape \(\)"),
    "a label short": (dataset(images=IMAGES, labels=LABELS[:5]), r"'labels' has shape \(5,\), but there are 6"),
    "labels in floats": (dataset(images=IMAGES, labels=LABELS.astype(float)), "labels are integers"),
    "labels of 8 bits": (dataset(images=IMAGES, labels=LABELS.astype(np.uint8)), "dtype uint8; they are int64"),
    "one-hot labels": (dataset(images=IMAGES, labels=np.eye(6)), "labels have one axis"),
    "names as labels": (
        dataset(images=IMAGES, labels=np.array(list("abcdef"), object)),
        "dtype object; labels are integers",
    ),
    "labels below zero": (dataset(images=IMAGES, labels=LABELS - 1), "values from -1 to 0"),
    "a class without a name": (
        Dataset("a", "a", {"images": IMAGES, "labels": LABELS}, ("round",)),
        "1 class names, and a label of 1",
    ),
    "names that are no texts": (Dataset("a", "a", {"images": IMAGES}, (1, 2)), "texts"),  # type: ignore[arg-type]
    "names that are one text": (Dataset("a", "a", {"images": IMAGES}, "ab"), "a tuple of texts"),  # type: ignore[arg-type]
    "a made-up fingerprint": (Dataset("a", "a", {"images": IMAGES}, stored_fingerprint="x"), "is no SHA-256"),
}


if np.dtype(np.longdouble).itemsize > 8:  # not everywhere
    UNSOUND["long doubles"] = (dataset(images=IMAGES, x=np.zeros(6, np.longdouble)), "'x' has dtype float")


@pytest.mark.parametrize("what", UNSOUND)
def test_what_is_unsound_is_told_with_the_name_of_its_plugin(bring: Bring, what: str) -> None:
    value, reason = UNSOUND[what]
    bring(lambda size: value)
    with pytest.raises(GantoolError, match=f"The data set 'shapes' of shapes-data 1.0 is broken: .*{reason}") as caught:
        load("shapes")
    assert caught.value.hint == "Tell the authors of shapes-data."


def test_another_size_than_asked_for(bring: Bring) -> None:
    bring(lambda size: dataset(images=IMAGES))
    with pytest.raises(GantoolError, match=r"shape \(6, 3, 8, 8\), though size 16 was asked for"):
        load("shapes", 16)


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (KeyError("horses"), "KeyError: 'horses'", "Tell the authors of shapes-data."),
        (GantoolError("They are not here.", "Type: shapes download"), "They are not here", "Type: shapes download"),
    ],
)
def test_a_load_that_raises(bring: Bring, error: Exception, message: str, hint: str) -> None:
    def failing(size: int | None) -> Dataset:
        raise error

    bring(failing)
    with pytest.raises(GantoolError, match=f"'shapes' of shapes-data 1.0 can't be loaded: {message}") as caught:
        load("shapes")
    assert caught.value.hint == hint


def test_pictures_of_two_channels_are_for_training(bring: Bring, cli: Run, here: Path) -> None:
    shape = (6, 2, 8, 8)
    bring(lambda size: dataset(images=np.zeros(shape, np.float32)))
    assert load("shapes").images.shape == shape
    for command in (("info", "shapes"), ("info", "shapes", "-o", "sheet.png"), ("pack", "shapes", "-o", "out")):
        code, out, err = cli("data", *command)
        assert (code, out) == (1, "")
        assert err.startswith("Error: The samples of shapes have shape (")
        assert err.endswith("Train on them as they are: --data shapes\n")
    assert not list(here.glob("out*"))


def test_the_example_of_the_documentation(bring: Bring) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(# shapes_data\.py.*?)```", text, re.DOTALL)
    assert example is not None
    module: dict[str, Any] = {}
    exec(example[1], module)
    (source,) = module["gantool_datasets"]()
    bring(source.load)
    assert load("shapes").spec.shape == (3, 32, 32)
    assert load("shapes", 64).spec == SampleSpec((3, 64, 64), 2)
