"""Pairs: files of equal names, halves of a file, an .npz, and sources made of pictures; and two sets without pairs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantool.data import load, rules
from gantool.errors import GantoolError

RNG = np.random.default_rng(0)


def put(path: Path, pixels: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def noise(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


def first(*pictures: np.ndarray) -> np.ndarray:
    return np.stack(pictures).transpose(0, 3, 1, 2)


@pytest.fixture
def named(tmp_path: Path) -> tuple[Path, Path, dict[str, np.ndarray]]:
    """Two folders, whose files have one name up to the suffix; targets are twice as large."""
    made = {}
    for name, suffix in (("b", "png"), ("a/x", "bmp"), ("a/y.z", "png")):
        made[f"in/{name}"] = put(tmp_path / f"in/{name}.png", noise(8, 8))
        made[f"out/{name}"] = put(tmp_path / f"out/{name}.{suffix}", noise(16, 16))
    return tmp_path / "in", tmp_path / "out", made


@pytest.mark.parametrize("zipped", [False, True])
def test_files_of_equal_names(named: tuple[Path, Path, dict[str, np.ndarray]], zipped: bool) -> None:
    sources, targets, made = named
    if zipped:
        sources, targets = (Path(shutil.make_archive(str(folder), "zip", folder)) for folder in (sources, targets))
    data = load(str(sources), target=str(targets), pairs="names")
    names = ("a/x", "a/y.z", "b")
    np.testing.assert_array_equal(data.arrays["sources"], first(*(made[f"in/{name}"] for name in names)))
    np.testing.assert_array_equal(data.images, first(*(made[f"out/{name}"] for name in names)))
    assert (data.name, data.spec.shape, data.spec.arrays) == ("in-to-out", (3, 16, 16), {"sources": (3, 8, 8)})


def test_a_file_without_a_partner_is_named(named: tuple[Path, Path, dict[str, np.ndarray]]) -> None:
    sources, targets, _ = named
    put(sources / "lone.png", noise(8, 8))
    with pytest.raises(GantoolError, match=r"1 files in .*in have no partner in .*out: lone\.") as caught:
        load(str(sources), target=str(targets), pairs="names")
    assert "equal names up to the suffix" in caught.value.hint
    (sources / "lone.png").unlink()
    (targets / "b.png").unlink()
    with pytest.raises(GantoolError, match=r"1 files in .*in have no partner in .*out: b\."):
        load(str(sources), target=str(targets), pairs="names")
    put(sources / "b.bmp", noise(8, 8))
    with pytest.raises(GantoolError, match=r"two files of the name b: b\.bmp, b\.png"):
        load(str(sources), target=str(targets), pairs="names")


@pytest.mark.parametrize("broken", ["in", "out"])
def test_a_broken_file_takes_its_partner_along(
    named: tuple[Path, Path, dict[str, np.ndarray]], broken: str, tmp_path: Path
) -> None:
    sources, targets, made = named
    (tmp_path / broken / "a/y.z.png").write_bytes(b"no picture")
    with pytest.raises(GantoolError, match=r"y\.z\.png can't be decoded"):
        load(str(sources), target=str(targets), pairs="names")
    data = load(str(sources), None, True, str(targets), "names")
    np.testing.assert_array_equal(data.arrays["sources"], first(made["in/a/x"], made["in/b"]))
    np.testing.assert_array_equal(data.images, first(made["out/a/x"], made["out/b"]))
    assert len(data.arrays["labels"] if data.labels is not None else data.images) == 2


@pytest.mark.parametrize("kind", ["folder", "npz"])
@pytest.mark.parametrize("size", [None, 4])
def test_halves_of_a_picture(tmp_path: Path, kind: str, size: int | None) -> None:
    left, right = np.full((2, 8, 8, 3), 50, np.uint8), np.full((2, 8, 8, 3), 200, np.uint8)
    whole = np.concatenate([left, right], 2)
    for number, picture in enumerate(whole):
        put(tmp_path / f"wide/{number}.png", picture)
    np.savez(tmp_path / "wide.npz", images=whole)
    data = load(str(tmp_path / ("wide" if kind == "folder" else "wide.npz")), size, pairs="left-right")
    side = size or 8
    np.testing.assert_array_equal(data.arrays["sources"], np.full((2, 3, side, side), 50))
    np.testing.assert_array_equal(data.images, np.full((2, 3, side, side), 200))


def step_picture() -> np.ndarray:
    """(1, 3, 16, 16): white, with a dark square in the middle."""
    picture = np.full((1, 3, 16, 16), 255, np.uint8)
    picture[..., 4:12, 4:12] = np.array([200, 30, 30], np.uint8)[:, None, None]
    return picture


def test_edges_are_thin_dark_lines_around_what_is_there() -> None:
    made = rules.edges(step_picture())[0, 0]
    assert set(np.unique(made)) == {0, 255}
    assert (made[:, 8] == 0).sum() == 2  # one pixel wide, above and below
    assert (made[8] == 0).sum() == 2
    assert made[:2].min() == made[7:9, 7:9].min() == 255
    assert (rules.edges(np.full((1, 3, 16, 16), 90, np.uint8)) == 255).all()


def test_weak_edges_count_only_where_they_are_joined_to_strong_ones() -> None:
    picture = np.full((1, 1, 24, 24), 255, np.uint8)
    picture[..., 12:] = np.linspace(255, 130, 24).astype(np.uint8)[:, None]  # stronger and stronger downwards
    joined = rules.edges(picture)[0, 0]
    lone = rules.edges(np.repeat(picture[:, :, 11:12], 24, 2))[0, 0]  # of a weak row alone
    assert (joined[8:] == 0).any(axis=1).all()
    assert (joined[8:16] == 0).any()
    assert (lone == 255).all()


def test_lines_are_dark_where_a_channel_is_darker_than_around_it() -> None:
    made = rules.lines(step_picture())
    assert made.shape == (1, 1, 16, 16)
    assert made[0, 0, 4, 8] < 60 < 250 < made[0, 0, 0, 0]
    assert made[0, 0, 8, 8] == 255


def test_grey_and_small_are_means() -> None:
    picture = np.stack([np.full((8, 8), value, np.uint8) for value in (255, 0, 0)])[None]
    np.testing.assert_array_equal(rules.grey(picture), np.full((1, 1, 8, 8), 76))
    ramp = np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8)
    np.testing.assert_array_equal(rules.small(ramp, 4)[0, 0], [[14, 18], [46, 50]])  # means 13.5 …, halves go up


def test_a_mask_is_grey_elsewhere_in_each_picture_and_the_same_every_time() -> None:
    pictures = RNG.integers(0, 100, (6, 3, 32, 32), np.uint8)
    made = rules.mask(pictures)
    hidden = (made == rules.GREY).all(axis=1)
    np.testing.assert_array_equal(made[~hidden[:, None].repeat(3, 1)], pictures[~hidden[:, None].repeat(3, 1)])
    assert ((hidden.mean(axis=(1, 2)) >= 1 / 16) & (hidden.mean(axis=(1, 2)) <= 1 / 4)).all()
    assert len({row.tobytes() for row in hidden}) == 6
    np.testing.assert_array_equal(rules.mask(pictures[2:4], 2), made[2:4])


@pytest.mark.parametrize(
    ("rule", "shape"),
    [("edges", (1, 8, 8)), ("lines", (1, 8, 8)), ("grey", (1, 8, 8)), ("mask", (3, 8, 8)), ("small:2", (3, 4, 4))],
)
def test_sources_made_of_a_data_set(tmp_path: Path, rule: str, shape: tuple[int, ...]) -> None:
    images = RNG.integers(0, 256, (5, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(5))
    data, again = (load(str(tmp_path / "data.npz"), pairs=rule) for _ in range(2))
    assert (data.spec.shape, data.spec.arrays, data.spec.classes) == ((3, 8, 8), {"sources": shape}, 5)
    assert data.fingerprint == again.fingerprint != load(str(tmp_path / "data.npz")).fingerprint
    name, _, factor = rule.partition(":")
    np.testing.assert_array_equal(data.arrays["sources"], rules.apply(name, int(factor or 1), data.images))


def test_sources_of_many_pictures_are_those_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = RNG.integers(0, 256, (7, 3, 8, 8), np.uint8)
    whole = {name: rules.apply(name, 2, pictures) for name in (*rules.RULES, "small")}
    monkeypatch.setattr(rules, "_ROWS", 3 * 3 * 8 * 8)
    for name, made in whole.items():
        np.testing.assert_array_equal(rules.apply(name, 2, pictures), made)


def test_two_sets_without_pairs_are_two_classes(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / f"horses/{number}.png", noise(8, 8))
    grey = put(tmp_path / "zebras/x.png", noise(8, 8)[..., 0])
    data = load(str(tmp_path / "horses"), target=str(tmp_path / "zebras"))
    assert (data.class_names, data.labels.tolist()) == (("horses", "zebras"), [0, 0, 0, 1])
    assert (data.name, data.spec.shape) == ("horses-to-zebras", (3, 8, 8))
    np.testing.assert_array_equal(data.images[3], np.stack([grey] * 3))
    put(tmp_path / "large/x.png", noise(16, 16))
    with pytest.raises(GantoolError, match=r"horses have 8×8 pixels, those of .*large 16×16") as caught:
        load(str(tmp_path / "horses"), target=str(tmp_path / "large"))
    assert "--size" in caught.value.hint
    assert load(str(tmp_path / "horses"), 8, target=str(tmp_path / "large")).class_counts == (3, 1)
    assert load(str(tmp_path / "horses"), target=str(tmp_path / "horses")).class_names == ("horses-a", "horses-b")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pairs": "edge"}, "--pairs edge is no way to make pairs"),
        ({"pairs": "small:1"}, "--pairs small:1 is no way"),
        ({"pairs": "names"}, "--pairs names needs a --target"),
        ({"pairs": "edges", "target": "digits"}, "without --target digits"),
        ({"pairs": "names", "target": "digits"}, "digits is no folder or .zip of image files"),
        ({"pairs": "small:3"}, "can't make pictures of 28×28 pixels 3 times smaller"),
        (
            {"pairs": "small:4", "jitter": 2},
            "--jitter 2 of 28 pixels is no whole number of those of 'sources': 7",
        ),
        ({"pairs": "edges", "size": 16, "jitter": 16}, "--jitter 16 would crop 16 of 32 pixels"),
    ],
)
def test_what_does_not_fit_is_an_error(given: dict[str, object], message: str) -> None:
    with pytest.raises(GantoolError, match=message) as caught:
        load("digits", **given)  # type: ignore[arg-type]
    assert caught.value.hint


@pytest.mark.parametrize("size", [None, 16])
def test_with_jitter_pictures_are_larger_than_samples(tmp_path: Path, size: int | None) -> None:
    np.savez(tmp_path / "data.npz", images=RNG.integers(0, 256, (3, 16, 16), np.uint8))
    data = load(str(tmp_path / "data.npz"), size, pairs="small:4", jitter=8)
    assert (data.images.shape, data.arrays["sources"].shape) == ((3, 1, 24, 24), (3, 1, 6, 6))
    assert (data.spec.shape, data.spec.arrays["sources"], data.crop_steps) == ((1, 16, 16), (1, 4, 4), 2)
    centre = data.centred()
    np.testing.assert_array_equal(centre.images, data.images[..., 4:20, 4:20])
    np.testing.assert_array_equal(centre.arrays["sources"], data.arrays["sources"][..., 1:5, 1:5])
    assert (centre.fingerprint, centre.spec) == (data.fingerprint, data.spec)
