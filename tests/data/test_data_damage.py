"""Files of every kind with a bit changed or an end cut off: data, or an error that names the file; never a crash."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantool.data import Dataset, load
from gantool.errors import GantoolError

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 5, 7), np.uint8)
IDX = struct.pack(">4I", 0x803, *IMAGES.shape) + IMAGES.tobytes()


def npz(save: Callable[..., None]) -> bytes:
    file = io.BytesIO()
    save(file, images=IMAGES, labels=np.array([0, 1]), extra=IMAGES.astype(np.float32) / 255)
    return file.getvalue()


def picture(kind: str) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.stack([IMAGES[0]] * 3, 2)).save(file, kind, exif=exif)
    return file.getvalue()


PICTURES = ("png", "jpeg", "webp", "bmp", "gif", "tiff")
WHOLE = {
    "damaged.idx": IDX,
    "damaged.idx.gz": gzip.compress(IDX, mtime=0),
    "stored/damaged.npz": npz(np.savez),
    "packed/damaged.npz": npz(np.savez_compressed),
    **{f"{kind}/damaged.{kind}": picture(kind) for kind in PICTURES},
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=120)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, name: str, place: float, bit: int, cut: bool
) -> None:
    data = bytearray(WHOLE[name])
    at = int(place * len(data))
    if cut:
        del data[at:]
    else:
        data[at] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    source = path.parent if path.parent.name in PICTURES else path
    try:
        assert isinstance(load(str(source), size=8), Dataset)
    except GantoolError as error:
        assert path.name in error.message  # noqa: PT017 — either outcome is right
