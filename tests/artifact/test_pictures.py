"""Samples of any shape as pictures, and pictures as a grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantool.artifact import pictures
from gantool.artifact.provenance import Provenance


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((2, 1, 5, 7), (2, 5, 7, 1)),
        ((2, 3, 5, 7), (2, 5, 7, 3)),
        ((2, 4, 5, 7), (2, 5, 7, 1)),
        ((2, 1, 9, 5, 7), (2, 64, 64, 1)),
        ((2, 2, 500), (2, 88, 96, 3)),
        ((2, 1, 10), (2, 88, 96, 3)),
    ],
    ids=["grey", "colour", "4 channels", "volume", "audio", "short audio"],
)
def test_every_sample_is_a_picture(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    made = pictures.to_pictures(samples)
    assert made.shape == wanted
    assert made.dtype == np.uint8
    assert made.std() > 0


def test_values_that_are_no_numbers_make_a_picture_all_the_same() -> None:
    samples = np.array([np.nan, np.inf, -np.inf, 0], np.float32).reshape(1, 1, 2, 2)
    assert pictures.to_pictures(samples).ravel().tolist() == [128, 255, 0, 128]


def test_a_grid_holds_every_image_row_by_row() -> None:
    images = np.stack([np.full((4, 6, 1), 10 * i, np.uint8) for i in range(1, 6)])
    picture = np.asarray(pictures.grid(images, gap=1, scale=1))
    assert picture.shape == (2 * 5 + 1, 3 * 7 + 1)
    for i in range(5):
        row, column = divmod(i, 3)
        tile = picture[1 + 5 * row : 5 + 5 * row, 1 + 7 * column : 7 + 7 * column]
        assert (tile == 10 * (i + 1)).all()
    assert (picture[0] == picture[5]).all()  # gaps


def test_small_images_are_enlarged_without_smoothing() -> None:
    images = np.array([0, 255], np.uint8).reshape(1, 1, 2, 1).repeat(3, 3)
    picture = np.asarray(pictures.grid(images, gap=0))
    assert picture.shape == (24, 48, 3)
    assert (picture[:, :24] == 0).all()
    assert (picture[:, 24:] == 255).all()


@pytest.mark.parametrize(("columns", "size"), [(1, (10, 26)), (3, (26, 10))])
def test_columns_can_be_chosen(columns: int, size: tuple[int, int]) -> None:
    assert pictures.grid(np.zeros((3, 6, 6, 3), np.uint8), columns=columns, scale=1).size == size


def test_a_picture_is_saved_as_png(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    pictures.save_png(Image.fromarray(values), tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as saved:
        assert saved.format == "PNG"
        assert np.array_equal(np.asarray(saved), values)


def test_a_png_says_where_it_comes_from_only_when_told(tmp_path: Path) -> None:
    picture = pictures.grid(np.arange(48, dtype=np.uint8).reshape(3, 4, 4, 1))
    pictures.save_png(picture, tmp_path / "bare.png")
    pictures.save_png(picture, tmp_path / "told.png", Provenance("mlp", step=7))
    with Image.open(tmp_path / "bare.png") as bare, Image.open(tmp_path / "told.png") as told:
        assert bare.info == {}
        assert set(told.info) == {"xmp", "XML:com.adobe.xmp", "Software", "Description", "gantool"}
        np.testing.assert_array_equal(np.asarray(bare), np.asarray(told))


def test_a_long_row_of_a_class_is_broken() -> None:
    images = np.arange(64, dtype=np.uint8).reshape(64, 1, 1, 1)  # two classes in turn
    tiles, columns = pictures.in_rows(images, 2)
    assert columns == 16
    first, second = tiles[:32].ravel(), tiles[32:].ravel()
    assert list(first) == list(range(0, 64, 2))
    assert list(second) == list(range(1, 64, 2))
