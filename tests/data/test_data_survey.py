"""`survey` and contact sheets: what is told of folders, arrays and packs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantool.data import Dataset, survey
from gantool.data.pack.build import Options, pack, save
from gantool.data.survey import Spread, sheet

RNG = np.random.default_rng(0)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
    noise(8, 6).save(root / "cat" / "a.png")
    Image.open(root / "cat" / "a.png").save(root / "cat" / "same.bmp")  # other bytes, the same pixels
    shutil.copy(root / "cat" / "a.png", root / "dog" / "copy.png")
    noise(8, 6).save(root / "dog" / "b.png")
    noise(20, 10).convert("L").save(root / "dog" / "c.jpg")
    (root / "dog" / "bad.png").write_bytes(b"hello")
    (root / "notes.txt").write_text("x")
    return root


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder(folder: Path, workers: int) -> None:
    heard = []
    found = survey.survey(str(folder), workers=workers, on_progress=lambda done, total: heard.append((done, total)))
    assert (found.kind, found.name, found.count, found.channels) == ("folder", "in", 5, 3)
    assert found.sizes == [(8, 6, 4), (20, 10, 1)]
    assert (found.width, found.height) == (Spread(8, 8, 20), Spread(6, 6, 10))
    assert found.modes == {"RGB": 4, "L": 1}
    assert found.formats == {"PNG": 3, "BMP": 1, "JPEG": 1}
    assert found.classes == [("cat", 2), ("dog", 3)]
    assert found.duplicates == 2
    assert found.duplicate_groups == [["cat/a.png", "cat/same.bmp", "dog/copy.png"]]
    assert found.broken == [("dog/bad.png", "can't be decoded: cannot identify image file.")]
    assert found.bytes_uint8 == 3 * (4 * 48 + 200)
    assert found.bytes_float32 == 4 * found.bytes_uint8
    assert found.notes == ["ignored, as they are not images: 1 .txt", "labels are the 2 sub-folders: cat, dog"]
    assert heard[-1] == (6, 6)


def test_a_pack_and_arrays_agree(folder: Path, tmp_path: Path) -> None:
    pack(str(folder), tmp_path / "out", Options(size=8, skip_broken=True), workers=1)
    found = survey.survey(str(tmp_path / "out"))
    assert (found.kind, found.count, found.channels, found.sizes) == ("pack", 5, 3, [(8, 8, 5)])
    assert found.classes == [("cat", 2), ("dog", 3)]
    assert found.duplicate_groups == [["row 0", "row 1", "row 4"]]
    assert found.fingerprint is not None
    np.savez(tmp_path / "x.npz", images=np.load(tmp_path / "out" / "images.npy"), labels=[0, 0, 1, 1, 1])
    arrays = survey.survey(str(tmp_path / "x.npz"))
    assert (arrays.kind, arrays.duplicates, arrays.classes) == ("arrays", 2, [("0", 2), ("1", 3)])


def test_nothing_but_broken_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"hello")
    found = survey.survey(str(tmp_path))
    assert (found.count, found.sizes, found.width, len(found.broken)) == (0, [], None, 1)


def tile(picture: Image.Image, row: int, column: int, pitch: int) -> np.ndarray:
    """The pixel in the middle of a tile, counted from the right for what titles take at the left."""
    columns = survey.COLUMNS
    right = picture.width - 2 - (columns - 1 - column) * pitch - pitch // 2
    return np.asarray(picture.convert("RGB"))[2 + row * pitch + pitch // 2, right]


def test_classes_are_rows(tmp_path: Path) -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    labels = np.array([2, 0, 1] * 9 + [0])
    images = np.array(colours, np.uint8)[labels][:, :, None, None].repeat(48, 2).repeat(48, 3)
    save(Dataset("x", "x", {"images": images, "labels": labels}, ("red", "ü", "猫")), tmp_path / "pack")
    picture = sheet(str(tmp_path / "pack"))
    for row, colour in enumerate(colours):
        assert tile(picture, row, 0, 50).tolist() == list(colour)
        assert tile(picture, row, 8, 50).tolist() == list(colour)
        assert tile(picture, row, 11, 50).tolist() == [64, 64, 64]  # there are but nine or ten
    assert picture.height == 3 * 50 + 2
    title = np.asarray(picture.convert("RGB"))[:52, :30]
    assert (title == 255).any()


def test_an_even_sample_without_classes(tmp_path: Path) -> None:
    images = np.arange(192, dtype=np.uint8)[:, None, None, None].repeat(48, 2).repeat(48, 3)
    save(Dataset("x", "x", {"images": images}), tmp_path / "pack")
    picture = sheet(str(tmp_path / "pack"))
    assert picture.size == (12 * 50 + 2, 8 * 50 + 2)
    assert [tile(picture, 0, column, 50)[0] for column in range(12)] == list(range(0, 24, 2))
    assert tile(picture, 7, 11, 50)[0] == 190


def test_a_broken_file_stays_blank(folder: Path) -> None:
    picture = sheet(str(folder))
    assert tile(picture, 1, 0, 66).tolist() != [64, 64, 64]
    assert tile(picture, 1, 1, 66).tolist() == [64, 64, 64]  # bad.png
    assert tile(picture, 1, 2, 66).tolist() != [64, 64, 64]


def test_many_classes(tmp_path: Path) -> None:
    labels = np.arange(100)
    save(
        Dataset("x", "x", {"images": RNG.integers(0, 9, (100, 1, 48, 48), np.uint8), "labels": labels}), tmp_path / "p"
    )
    assert sheet(str(tmp_path / "p")).height == survey.ROWS * 50 + 2
