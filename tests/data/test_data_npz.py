from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantool.data import dataset, load
from gantool.errors import GantoolError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 8, 6), np.uint8)
COLOUR = RNG.integers(0, 256, (5, 8, 6, 3), np.uint8)
SIGNED = RNG.uniform(-1, 1, (5, 8, 6)).astype(np.float32)


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def save(**arrays: Any) -> str:
        path = tmp_path / "faces.npz"
        np.savez_compressed(path, **arrays)
        return str(path)

    return save


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def header(descr: str, shape: str) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped(path: Path, data: bytes, name: str = "images.npy", method: int = zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path / "bad.npz", "w", method) as archive:
        archive.writestr(name, data)
    return str(path / "bad.npz")


# ---- what is accepted


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (np.asfortranarray(COLOUR), COLOUR.transpose(0, 3, 1, 2)),
        (SIGNED, SIGNED[:, None]),
        (SIGNED.astype(">f8"), SIGNED[:, None]),
    ],
)
def test_layouts(save: Any, images: np.ndarray, expected: np.ndarray) -> None:
    data = load(save(images=images))
    assert (data.name, data.labels, data.notes) == ("faces", None, ())
    assert data.images.dtype == expected.dtype
    assert data.images.flags.c_contiguous
    np.testing.assert_array_equal(data.images, expected)


def test_the_last_axis_wins(save: Any) -> None:
    with pytest.raises(GantoolError, match="is 8×3 pixels; each side needs at least 4"):
        load(save(images=np.zeros((2, 3, 8, 1), np.uint8)))


def test_floats_from_zero_are_scaled(save: Any) -> None:
    data = load(save(images=GREY / 255))
    assert data.notes == ("`images`: floats in [0, 1] were scaled to [-1, 1]",)
    assert data.images.dtype == np.float32
    np.testing.assert_allclose(data.images[:, 0], GREY / 127.5 - 1, atol=1e-6)


def test_rounding_outside_the_range_is_clipped(save: Any) -> None:
    images = SIGNED.copy()
    images[0, 0, :2] = -1.00001, 1.00001
    data = load(save(images=images))
    assert (data.images.min(), data.images.max()) == (-1, 1)


@pytest.mark.parametrize("dtype", ["uint8", ">i4", "uint64"])
def test_labels(save: Any, dtype: str) -> None:
    data = load(save(images=GREY, labels=np.array([3, 0, 1, 1, 2], dtype)))
    np.testing.assert_array_equal(data.labels, [3, 0, 1, 1, 2], strict=True)


def test_extras(save: Any) -> None:
    depth = RNG.uniform(-1, 1, (5, 8, 6))
    data = load(
        save(images=COLOUR, edges=GREY, depth=depth, small=GREY[:, ::2, ::2], pose=np.ones((5, 7)),
             codes=np.arange(5, dtype=">i2"), names=np.array(list("abcde")), flags=np.ones(5, bool),
             short=np.zeros(4), scale=np.array(2.0), objects=np.array([{}] * 5))
    )  # fmt: skip
    assert set(data.arrays) == {"images", "edges", "depth", "small", "pose", "codes"}
    np.testing.assert_array_equal(data.arrays["edges"], GREY[:, None])
    np.testing.assert_array_equal(data.arrays["depth"], depth[:, None].astype(np.float32))
    np.testing.assert_array_equal(data.arrays["small"], GREY[:, ::2, ::2])
    assert data.arrays["pose"].dtype == np.float32
    assert data.arrays["codes"].dtype == np.dtype("int16")
    assert data.arrays["codes"].dtype.isnative
    notes = " ".join(data.notes)
    for expected in (
        "`names` was ignored: dtype <U1 is not numeric",
        "`flags` was ignored: dtype bool",
        "`objects` was ignored: dtype object",
        "`short` was ignored: shape (4,) has not 5 rows",
        "`scale` was ignored: shape () has not 5 rows",
    ):
        assert expected in notes


def test_size_resizes_images_and_their_pairs(save: Any) -> None:
    path = save(images=COLOUR, edges=GREY, depth=SIGNED, pose=np.ones((5, 7)))
    data = load(path, size=4)
    shapes = {name: array.shape for name, array in data.arrays.items()}
    assert shapes == {"images": (5, 3, 4, 4), "edges": (5, 1, 4, 4), "depth": (5, 1, 4, 4), "pose": (5, 7)}
    with pytest.raises(GantoolError, match="`mask` has the images' sides but dtype int64, which can't be resized"):
        load(save(images=COLOUR, mask=GREY.astype(np.int64)), size=4)
    assert "mask" in load(save(images=COLOUR[:, :6], mask=GREY[:, :6].astype(np.int64)), size=6).arrays


def test_other_entries_are_noted(save: Any) -> None:
    path = save(images=GREY)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README.txt", "hello")
    assert load(path).notes == ("faces.npz: 1 entries that are no arrays were ignored",)


# ---- what is not


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GREY.astype(bool), r"`images` has dtype bool; .*Convert it: images.astype\(.uint8.\) \* 255"),
        (GREY.astype(np.uint16), r"`images` has dtype uint16; .*Convert it: \(images \* \(255 / images.max"),
        (np.array([{}, []], object), "`images` has dtype object"),
        (GREY[0], r"`images` has shape \(8, 6\); images are \(N, H, W\)"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"`images` has shape \(2, 8, 8, 4\).*images\[..., :3\]"),
        (GREY[:0], r"`images` has 0 rows \(shape \(0, 8, 6\)\)"),
        (GREY[:, :2], "`images` is 6×2 pixels; each side needs at least 4"),
        (SIGNED * 3, r"`images` has values from -2.9\d* to 2.9\d*; floats lie in .*Scale it"),
        (GREY.astype(np.float32), r"`images` has values from 0 to 255; .*images.round\(\).astype\(.uint8"),
        (np.full((2, 8, 8), 1e300), "`images` holds 128 values that are NaN or infinite as float32"),
    ],
)  # fmt: skip
def test_bad_images(save: Any, images: np.ndarray, message: str) -> None:
    with pytest.raises(GantoolError, match=message) as caught:
        load(save(images=images))
    assert "faces.npz" in caught.value.message
    assert caught.value.hint


def test_not_finite(save: Any) -> None:
    images = SIGNED.copy()
    images[3, 0, 0], images[4, 1, 1], images[4, 2, 2] = np.nan, np.inf, -np.inf
    with pytest.raises(GantoolError, match=r"`images` holds 3 values that are NaN or infinite.*first in row 3"):
        load(save(images=images))
    with pytest.raises(GantoolError, match=r"`pose` holds 1 values that are NaN .*first in row 1"):
        load(save(images=GREY, pose=np.array([0, np.nan, 0, 0, 0])))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(4, int), "`labels` has 4 labels for 5 images"),
        (np.array([0, 1, -1, 2, 0]), "`labels` has values from -1 to 2; labels run from 0"),
        (np.array([0, 1, 2**40, 2, 0]), "to 1099511627776; .*np.unique"),
        (np.zeros(5), "`labels` has dtype float64; labels are integers.*astype"),
        (
            np.array(list("abcde")),
            r"`labels` has dtype <U1; .*names, labels = np.unique\(labels, return_inverse=True\)",
        ),
        (np.zeros((5, 10), int), r"`labels` has shape \(5, 10\).*argmax"),
        (np.zeros((), int), r"`labels` has shape \(\)"),
    ],
)
def test_bad_labels(save: Any, labels: np.ndarray, message: str) -> None:
    with pytest.raises(GantoolError, match=message) as caught:
        load(save(images=GREY, labels=labels))
    assert "faces.npz" in caught.value.message


def test_no_images(save: Any) -> None:
    with pytest.raises(
        GantoolError, match="no array named `images`, `sounds` or `volumes`; its arrays: x_test, x_train"
    ) as caught:
        load(save(x_train=GREY, x_test=GREY))
    assert 'np.savez_compressed("faces.npz", images=' in caught.value.hint


def test_not_a_zip(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(npy(GREY))
    with pytest.raises(GantoolError, match=r"a.npz is damaged or no .npz file: File is not a zip file"):
        load(str(tmp_path / "a.npz"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header("'|u1'", "(1000000, 64, 64)"), r"header .* declares 4,096,0\d\d,\d\d\d bytes, where it has"),
        (npy(GREY) + b"x", "array `images`: its header"),
        (npy(GREY)[:-1], "array `images`: its header"),
        (header("'|u1'", "(-5, 8, 6)"), r"shape \(-5, 8, 6\)"),
        (header("'|u1'", f"(0, {2**70}, 8)"), "array `images`"),
        (header("'zz'", "(5, 8, 6)"), "descr is not a valid dtype"),
        (header("{{}: 1}", "(5, 8, 6)"), "array `images`"),
        (header("'|u1'", "(" * 5000), "array `images`"),
        (header("'|u1'", "(" + "-" * 9000 + "1,)"), "array `images`: MemoryError"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "array `images`"),
        (b"\x93NUMPY\x03\x00" + bytes(20), "npy format version 3.0"),
        (b"", "array `images`"),
    ],
)
def test_lying_headers(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(GantoolError, match=message):
        load(zipped(tmp_path, data))


def test_zip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path, npy(np.zeros((1024, 32, 32), np.uint8)))
    monkeypatch.setattr(dataset, "MAX_BYTES", 2**19)
    with pytest.raises(GantoolError, match=r"what it declares would take 0.0 GiB of memory; the limit is"):
        load(path)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (24, struct.pack("<I", 2**30 + 80), "more than its .* can hold"),  # the size of the array, as its header has it
        (10, struct.pack("<H", zipfile.ZIP_LZMA), "more than its .* can hold"),  # a method that numpy never writes
        (8, b"\x01\x00", "is encrypted"),
    ],
)
def test_lying_entries(tmp_path: Path, offset: int, value: bytes, message: str) -> None:
    path = Path(zipped(tmp_path, header("'|u1'", "(1024, 1024, 1024)") + bytes(4096)))
    raw = path.read_bytes()
    at = raw.index(b"PK\x01\x02") + offset  # in the central directory
    path.write_bytes(raw[:at] + value + raw[at + len(value) :])
    with pytest.raises(GantoolError, match=f"damaged or no .npz file: .*images.*{message}"):
        load(str(path))


def test_damaged_values(tmp_path: Path) -> None:
    path = Path(zipped(tmp_path, npy(GREY), method=zipfile.ZIP_STORED))
    raw = bytearray(path.read_bytes())
    raw[raw.index(GREY.tobytes()) + 100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(GantoolError, match="array `images`: Bad CRC-32"):
        load(str(path))


def test_size_over_the_limit(save: Any) -> None:
    with pytest.raises(GantoolError, match=r"`images` at size 1000000 would take .* GiB of memory.*smaller --size"):
        load(save(images=GREY), size=1_000_000)
