"""The door: `gantool.data.load`, and the built-in digits."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gantool.data
from gantool.data import load
from gantool.data.pack.build import pack
from gantool.errors import GantoolError

DIGITS = "6d7bb25dce16f7d8c11fb7c45b2f437a0f0fbb24655b60c05b485815f132408e"


def test_digits_are_mnist() -> None:
    data = load("digits")
    assert (data.name, len(data), data.spec.shape) == ("digits", 10_000, (1, 28, 28))
    assert data.images.dtype == np.uint8
    assert (data.images.min(), data.images.max()) == (0, 255)
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    assert np.unique(data.labels).tolist() == list(range(10))
    assert data.class_names == tuple("0123456789")
    assert data.licence == "MNIST digits, Y. LeCun, C. Cortes, C. Burges, CC BY-SA 3.0"
    text = (Path(gantool.data.__file__).parent / "digits" / "LICENSE.md").read_text(encoding="utf-8")
    assert "CC BY-SA 3.0" in text
    assert "Yann LeCun, Corinna Cortes and Christopher Burges" in text


def test_fingerprint_is_stable_and_sensitive() -> None:
    data = load("digits")
    assert data.fingerprint == DIGITS
    assert replace(data, name="other", source="elsewhere").fingerprint == DIGITS
    images = data.images.copy()
    images[9_999, 0, 27, 27] ^= 1
    prints = {
        DIGITS,
        replace(data, arrays={**data.arrays, "images": images}).fingerprint,
        replace(data, arrays={**data.arrays, "images": data.images.reshape(10_000, 1, 14, 56)}).fingerprint,
        replace(data, arrays={"images": data.images}).fingerprint,
        replace(data, arrays={"pictures": data.images, "labels": data.arrays["labels"]}).fingerprint,
    }
    assert len(prints) == 5


def test_name_of_built_in_wins_over_path(here: Path) -> None:
    (here / "digits").mkdir()
    Image.new("L", (8, 8)).save(here / "digits" / "a.png")
    data = load("digits")
    assert data.fingerprint == DIGITS
    assert data.notes == ("this is the data set 'digits'; give ./digits for the file or folder of that name",)
    assert load("./digits").spec.shape == (1, 8, 8)
    assert load("digits/").spec.shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("didgits", "digits"), ("MNIST", "mnist"), ("fashion", "fashion-mnist"), ("CIFAR-10", "cifar10")],
)
def test_near_miss(name: str, meant: str, here: Path) -> None:
    with pytest.raises(GantoolError, match=f"no data set, file or folder '{name}'.*Did you mean `{meant}`\\?"):
        load(name)


@pytest.mark.parametrize("name", ["horses", "", "x" * 5_000, "\0"])
def test_unknown_name(name: str, here: Path) -> None:
    with pytest.raises(GantoolError, match="There is no data set, file or folder") as caught:
        load(name)
    assert repr(name)[:1000] in caught.value.message
    assert "Did you mean" not in caught.value.hint
    assert (
        "Give a folder or .zip of images, sounds or volumes, a pack (gantool data pack), a .npz file, an IDX file"
        in caught.value.hint
    )


@pytest.mark.parametrize("name", ["faces.npz", "some/where", "./digits"])
def test_missing_path(name: str, here: Path) -> None:
    with pytest.raises(GantoolError, match=f"There is no file or folder '{name}'"):
        load(name)


def test_other_files(here: Path) -> None:
    Path("a.csv").write_bytes(b"x")
    message = (
        "a.csv is a file of a kind that gantool does not read. "
        "Give a folder or .zip of images, sounds or volumes, a pack"
    )
    with pytest.raises(GantoolError, match=message):
        load("a.csv")


def test_a_npy_file_of_images_is_to_be_packed(here: Path) -> None:
    np.save("my images.npy", np.full((3, 8, 8), 200, np.uint8))
    message = "kind that gantool does not read. Pack it: gantool data pack 'my images.npy' -o 'my images'"
    with pytest.raises(GantoolError, match=message) as caught:
        load("my images.npy")
    *_, source, _, out = shlex.split(caught.value.hint)
    pack(source, Path(out))
    assert len(load(f"./{out}")) == 3


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((20, 1, 100), np.float32), r"shape \(20, 1, 100\): no images.*sounds are int16"),
        (np.zeros((20, 2, 8, 8, 8), np.float32), r"float32 of shape \(20, 2, 8, 8, 8\).*volumes of uint8"),
        (np.zeros((20, 8, 8), np.float32), "float32; a .npy file is packed when it holds uint8"),
        (np.zeros((20, 8, 8), np.uint16), r"images \* \(255 / images.max\(\)\)"),
        (np.array([None], object), "damaged, or no .npy file"),
    ],
    ids=["audio", "volumes", "floats", "16 bits", "objects"],
)
def test_a_npy_file_that_can_not_be_packed_is_not_sent_there(array: np.ndarray, message: str, here: Path) -> None:
    np.save("a.npy", array)
    with pytest.raises(GantoolError, match=message) as caught:
        load("a.npy")
    assert "data pack" not in caught.value.hint


@pytest.mark.parametrize("size", [-1, 0, 3])
def test_size_too_small(size: int) -> None:
    with pytest.raises(GantoolError, match=f"A size of {size} is too small. Give --size 4 or more"):
        load("digits", size=size)


def test_package_is_cheap_to_import() -> None:
    code = "import sys, gantool.data; print({'PIL', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
