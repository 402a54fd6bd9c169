"""A whole evaluation: planted faults of a generator show in the figure that is made for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.trainings import dataset

from gantool import data
from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics.evaluation import Classes, Evaluation, evaluate
from gantool.metrics.samples import halves

COUNT = 400


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """The first 2,000 of the built-in digits."""
    found = data.load("digits")
    return Dataset("digits", "digits", {name: array[:2000] for name, array in found.arrays.items()}, found.class_names)


def judge(images: np.ndarray, reals: Dataset, extractor: str = "digits", **given: Any) -> Evaluation:
    return evaluate(
        lambda start, n: images[start : start + n], reals, samples=len(images), extractor=extractor, **given
    )


def value(found: Evaluation, key: str) -> float:
    return next(figure.value for figure in found.figures if figure.key == key)


@pytest.fixture(scope="module")
def floor(digits: Dataset) -> Evaluation:
    fakes, reals = halves(len(digits), 0)
    return judge(digits.images[fakes[:COUNT]], digits, against=reals)


@pytest.fixture(scope="module")
def collapsed(digits: Dataset) -> Evaluation:
    """Three images, over and over."""
    return judge(digits.images[np.arange(COUNT) % 3], digits)


@pytest.fixture(scope="module")
def copied(digits: Dataset) -> Evaluation:
    return judge(digits.images[:COUNT], digits)


def test_the_floor(floor: Evaluation) -> None:
    assert (floor.fakes, floor.reals) == (COUNT, COUNT)
    assert value(floor, "precision") > 0.75
    assert value(floor, "recall") > 0.75
    assert value(floor, "coverage") > 0.85
    assert value(floor, "density") == pytest.approx(1, abs=0.15)
    assert value(floor, "diversity") == pytest.approx(1, abs=0.05)
    assert value(floor, "classifier_score") > 8
    assert floor.classes is not None
    assert floor.classes.missing == ()
    assert floor.classes.max_deviation < 0.06
    for space in (floor.memorisation.features, floor.memorisation.pixels):
        assert space.ratio == pytest.approx(1, abs=0.15)
    assert floor.memorisation.features.among == COUNT
    assert floor.memorisation.pixels.among == 1000


def test_verdicts(digits: Dataset, floor: Evaluation, collapsed: Evaluation, copied: Evaluation) -> None:
    assert floor.verdict == "As good as a second half of the data would be in precision, recall and coverage."
    assert set(floor.to_json()["floor"]) == {"precision", "recall", "coverage"}
    assert collapsed.verdict == "8 of 10 classes are missing: the generator has collapsed."
    assert copied.verdict.startswith("The samples are copies of training samples")
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, 1, 28, 28), np.uint8)
    assert judge(noise, digits, "pixels").verdict == "The samples are nothing like the data."
    assert judge(digits.images[:60], digits).to_json()["verdict"].startswith("Too few samples for a verdict: 60")


def test_copies_are_found(digits: Dataset, copied: Evaluation) -> None:
    pixels = copied.memorisation.pixels
    assert pixels.ratio == 0
    assert pixels.among == 2000
    assert np.array_equal(pixels.rows[:, 0], np.arange(COUNT))
    everything = judge(digits.images, digits)  # all reals are measured: the features find the copies, too
    assert everything.memorisation.features.ratio == pytest.approx(0, abs=1e-5)


def test_a_collapse_is_found(floor: Evaluation, collapsed: Evaluation) -> None:
    assert value(collapsed, "diversity") < 0.8
    assert value(collapsed, "recall") < 0.02
    assert value(collapsed, "coverage") < 0.1
    assert value(collapsed, "frechet_distance") > 5 * value(floor, "frechet_distance")
    assert value(collapsed, "kernel_distance") > 5 * abs(value(floor, "kernel_distance"))
    assert collapsed.classes is not None
    assert len(collapsed.classes.missing) >= 7
    assert collapsed.classes.max_deviation > 0.2


def test_classes() -> None:
    found = Classes(("a", "b", "c", "d"), (0.7, 0.3, 0.0, 0.0), (0.4, 0.3, 0.3, 0.0))
    assert found.missing == ("c",)
    assert found.max_deviation == pytest.approx(0.3)


def test_the_same_call_gives_the_same_figures(digits: Dataset, collapsed: Evaluation) -> None:
    again = judge(digits.images[np.arange(COUNT) % 3], digits)
    assert collapsed.to_json() == again.to_json()
    other = judge(digits.images[np.arange(COUNT) % 3], digits, seed=1)
    assert value(other, "kernel_distance") != value(again, "kernel_distance")


def test_batches_change_no_digit_that_is_told(digits: Dataset, collapsed: Evaluation) -> None:
    again = judge(digits.images[np.arange(COUNT) % 3], digits, batch=37)
    for figure, other in zip(collapsed.figures, again.figures, strict=True):
        assert figure.value == pytest.approx(other.value, rel=1e-4, abs=1e-4)
    assert again.classes == collapsed.classes


@pytest.mark.parametrize(
    ("count", "said"), [(100, "not more than the 128 features"), (COUNT, "fewer than 2048")], ids=["100", "400"]
)
def test_too_few_samples_are_warned_of(digits: Dataset, count: int, said: str) -> None:
    (note,) = judge(digits.images[:count], digits).notes
    assert said in note


def test_digits_features_of_other_images_are_warned_of() -> None:
    reals = dataset(30, (1, 16, 16))
    assert any("handwritten digits only" in note for note in judge(reals.images, reals).notes)
    assert not any("handwritten" in note for note in judge(reals.images, reals, "pixels").notes)


@pytest.mark.parametrize(("fakes", "reals", "said"), [(9, 50, "9 fakes"), (50, 9, "9 reals")])
def test_far_too_few_are_an_error(fakes: int, reals: int, said: str) -> None:
    with pytest.raises(GantoolError, match=f"{said} are too few to compare") as caught:
        judge(dataset(fakes).images, dataset(reals), "pixels")
    assert ("--samples" in caught.value.hint) == (reals >= 10)  # where more of them would help


@pytest.mark.parametrize("shape", [(1, 64), (2, 6, 6, 6), (1, 9, 7), (3, 8, 8)], ids=str)
def test_samples_of_any_shape_and_their_picture(shape: tuple[int, ...]) -> None:
    reals = dataset(40, shape)
    found = judge(reals.images[::-1], reals, "pixels")
    assert found.classes is None
    assert {figure.key for figure in found.figures} == {
        "frechet_distance",
        "kernel_distance",
        "precision",
        "recall",
        "density",
        "coverage",
        "diversity",
    } | ({"overlap", "overlap_coverage"} if len(shape) == 4 else set())
    assert found.memorisation.pixels.ratio == 0
    assert found.picture().width > 0


def test_the_picture_shows_each_fake_beside_its_nearest(digits: Dataset, copied: Evaluation) -> None:
    picture = np.asarray(copied.picture())
    tile, scale = 28 + 2, 2  # enlarged twice, with a gap of 2
    assert picture.shape == ((12 * tile + 2) * scale, (11 * tile + 2) * scale)

    def at(row: int, column: int) -> np.ndarray:
        top, left = (2 + row * tile) * scale, (2 + column * tile) * scale
        return picture[top : top + 56 : scale, left : left + 56 : scale]

    first = int(copied.memorisation.suspicious[0])
    assert np.array_equal(at(0, 0), digits.images[first, 0])
    assert np.array_equal(at(0, 2), digits.images[copied.memorisation.features.rows[first, 0], 0])
    assert np.array_equal(at(0, 7), digits.images[first, 0])  # of copies, the nearest by pixels is the original
    assert np.unique(at(0, 1)).tolist() == np.unique(at(0, 6)).tolist() == [64]


def test_the_most_suspicious_come_first(digits: Dataset) -> None:
    """One copy among images of the other half."""
    fakes, reals = halves(len(digits), 0)
    images = digits.images[fakes[:100]].copy()
    images[42] = digits.images[reals[7]]
    found = judge(images, digits, against=reals[: len(images)]).memorisation
    assert found.suspicious[0] == 42
    assert found.features.distances[42, 0] == pytest.approx(0, abs=1e-3)


def test_duplicates_in_the_data_leave_no_yardstick() -> None:
    image = dataset(1).images
    reals = Dataset("same", "same", {"images": image.repeat(30, 0)})
    found = judge(dataset(30).images, reals, "pixels")
    assert found.memorisation.pixels.ratio is None
    assert found.to_json()["memorisation"]["pixels"]["ratio"] is None


@pytest.mark.parametrize("rows", [20, 60])  # distances of more than 25 rows come from a product, which rounds
def test_reals_that_are_all_alike_leave_no_diversity(rows: int) -> None:
    reals = Dataset("same", "same", {"images": dataset(1).images.repeat(rows, 0)})
    found = judge(dataset(rows).images, reals, "pixels")
    assert found.to_json()["figures"]["diversity"]["value"] is None
    assert "All reals are alike, so there is no diversity to compare with." in found.notes


def test_medians_of_an_even_number_lie_between_the_middle_two() -> None:
    """Samples of one grey level each: the distances between them are known."""

    def grey(levels: list[int]) -> np.ndarray:
        return np.array(levels, np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3)

    reals = Dataset("grey", "grey", {"images": grey([0, 10, 30, 60, 100, 150, 210, 220, 235, 255])})
    found = judge(grey([1, 11, 31, 61, 101, 155, 215, 225, 240, 250]), reals, "pixels")  # off by 1 or by 5
    level = 4 / 127.5  # of 4×4 pixels
    assert found.memorisation.pixels.fake_median == pytest.approx(3 * level, rel=1e-4)
    # to the nearest other: 10 10 20 30 40 50 10 10 15 20
    assert found.memorisation.pixels.real_median == pytest.approx(17.5 * level, rel=1e-4)


def test_progress_is_told(digits: Dataset) -> None:
    totals: dict[str, int] = {}
    done: dict[str, int] = {}

    def watch(what: str, total: int) -> Callable[[int], None]:
        totals[what] = total
        done[what] = 0

        def advance(parts: int) -> None:
            done[what] += parts

        return advance

    judge(digits.images[:50], digits, watch=watch)
    assert len(totals) == 5
    # by features and by pixels, each its two parts
    assert done == totals


def test_rows_for_neighbours_are_picked_from_data_sorted_by_class(
    digits: Dataset, floor: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand and more, sorted: the first of them would be a few classes."""
    monkeypatch.setattr("gantool.metrics.evaluation.MANIFOLD_ROWS", COUNT // 2)
    assert digits.labels is not None
    order = np.argsort(digits.labels, kind="stable")
    sorted_digits = Dataset("digits", "digits", {"images": digits.images[order]})
    fakes, reals = halves(len(digits), 0)
    found = judge(
        sorted_digits.images[np.random.default_rng(0).permutation(fakes)[:COUNT]], sorted_digits, against=reals
    )
    assert value(found, "precision") > 0.7
    assert value(found, "coverage") > 0.8
    assert value(found, "diversity") == pytest.approx(1, abs=0.08)


def test_defaults_take_all_reals_and_the_extractor_of_the_data() -> None:
    reals = dataset(30)
    found = evaluate(lambda start, n: reals.images[start : start + n], reals)
    assert (found.fakes, found.reals, found.extractor.name) == (30, 30, "pixels")
    half = evaluate(lambda start, n: reals.images[start : start + n], reals, against=np.arange(15, 30))
    assert (half.fakes, half.reals, half.memorisation.pixels.among) == (15, 15, 15)


@pytest.mark.parametrize(
    ("output", "names"),
    [("new", ("new/evaluation.json", "new/neighbours.png")), ("a.png", ("a.json", "a.png"))],
)
def test_what_is_saved_is_what_to_json_gives(tmp_path: Path, output: str, names: tuple[str, str]) -> None:
    reals = dataset(30)
    subject, notes = {"kind": "file", "path": "g.onnx", "step": 3}, ("a note",)
    found = evaluate(lambda start, n: reals.images[start : start + n], reals, subject=subject, notes=notes)
    files = found.save(str(tmp_path / output))
    assert list(files.values()) == [str(tmp_path / name) for name in names]
    saved = json.loads((tmp_path / names[0]).read_text())
    assert saved == found.to_json() | {"files": files}
    assert (saved["subject"], saved["notes"][0]) == (subject, "a note")
    assert (tmp_path / names[1]).read_bytes().startswith(b"\x89PNG")
