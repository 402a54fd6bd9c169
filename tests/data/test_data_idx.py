from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from gantool.data import dataset, load
from gantool.errors import GantoolError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 7), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape) + array.tobytes()


def write(path: Path, data: bytes) -> str:
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return str(path)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("train-images-idx3-ubyte", "train-images"),
        ("train-images-idx3-ubyte.gz", "train-images"),
        ("faces.IDX.gz", "faces"),
        ("faces-ubyte", "faces"),
    ],
)
def test_images(tmp_path: Path, name: str, stem: str) -> None:
    data = load(write(tmp_path / name, idx(IMAGES)))
    np.testing.assert_array_equal(data.images, IMAGES[:, None])
    assert (data.name, data.labels) == (stem, None)
    assert data.notes == (f"{name}: no file of labels lies beside it, so the images have none",)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"),
        ("t10k-images.idx3-ubyte.gz", "t10k-labels.idx1-ubyte"),
        ("images.idx", "labels.idx"),
    ],
)
def test_labels_beside(tmp_path: Path, images: str, labels: str) -> None:
    write(tmp_path / labels, idx(LABELS))
    data = load(write(tmp_path / images, idx(IMAGES)))
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == LABELS.tolist()
    assert data.notes == ()


def test_gzip_is_seen_from_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.idx").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "b.idx.gz").write_bytes(idx(IMAGES))
    assert load(str(tmp_path / "a.idx")).fingerprint == load(str(tmp_path / "b.idx.gz")).fingerprint


def test_a_file_is_not_its_own_labels(tmp_path: Path) -> None:
    write(tmp_path / "a.idx.gz", idx(LABELS))
    assert load(write(tmp_path / "a.idx", idx(IMAGES))).labels is None


def test_size(tmp_path: Path) -> None:
    data = load(write(tmp_path / "a.idx", idx(IMAGES)), size=5)
    np.testing.assert_array_equal(data.images[:, 0], IMAGES[:, :, 1:6])
    assert load(str(tmp_path / "a.idx"), size=9).images.shape == (6, 1, 9, 9)


def test_labels_of_another_count(tmp_path: Path) -> None:
    write(tmp_path / "train-labels-idx1-ubyte", idx(LABELS[:4]))
    with pytest.raises(GantoolError, match="train-labels-idx1-ubyte has 4 labels for 6 images"):
        load(write(tmp_path / "train-images-idx3-ubyte", idx(IMAGES)))


def test_labels_instead_of_images(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=r"a\.idx holds labels, not images. Give the file of images"):
        load(write(tmp_path / "a.idx", idx(LABELS)))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is damaged or cut short: it ends after 0 of 4 bytes"),
        (idx(IMAGES)[:9], "is damaged or cut short: it ends after 5 of 12 bytes"),
        (idx(IMAGES)[:-1], "is damaged or cut short: it ends after 209 of 210"),
        (idx(IMAGES) + b"x", r"goes on after the 210 bytes that its header declares \(shape \(6, 5, 7\)\)"),
        (b"<!DOCTYPE html>", "starts with 0x3C21444F; an IDX file of images starts with 0x00000803"),
        (struct.pack(">4I", 0x803, 0, 4, 4), r"has 0 rows \(shape \(0, 4, 4\)\)"),
        (struct.pack(">4I", 0x803, 1, 2, 4) + bytes(8), "is 4×2 pixels; each side needs at least 4"),
        (struct.pack(">4I", 0x803, 2**10, 2**10, 2**10), "its header declares 1,073,741,824 bytes, and it can hold"),
        (struct.pack(">4I", 0x803, 2**31, 2**20, 2**20), "what it declares would take 2,199,023,255,552.0 GiB"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, message: str, suffix: str) -> None:
    with pytest.raises(GantoolError, match=message) as caught:
        load(write(tmp_path / f"a.idx{suffix}", data))
    assert f"a.idx{suffix}" in caught.value.message
    assert caught.value.hint


def test_more_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MAX_BYTES", 100)
    with pytest.raises(GantoolError, match=r"a.idx.gz: what it declares would take"):
        load(write(tmp_path / "a.idx.gz", idx(IMAGES)))


def test_cut_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(idx(IMAGES))
    (tmp_path / "a.idx.gz").write_bytes(whole[:-20])
    with pytest.raises(GantoolError, match=r"a.idx.gz is damaged or cut short"):
        load(str(tmp_path / "a.idx.gz"))
