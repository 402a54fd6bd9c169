"""IDX files, the format of MNIST (http://yann.lecun.com/exdb/mnist/): a big-endian header, then bytes."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

from gantool.data.dataset import Dataset, as_labels, check_bytes
from gantool.data.images import channels_first, check_images, resize
from gantool.data.readers import read_exactly
from gantool.errors import GantoolError, cause
from gantool.system.archives import EXPANSION

LABELS, IMAGES = 0x00000801, 0x00000803  # two zero bytes, 08 for uint8, the number of axes
_GZIP = b"\x1f\x8b"
_SUFFIX = re.compile(r"([-.]idx\d?-ubyte|-ubyte|\.idx)(\.gz)?$", re.IGNORECASE)


def is_idx_name(name: str) -> bool:
    return _SUFFIX.search(name) is not None


def load_idx(path: Path, size: int | None = None) -> Dataset:
    """The images in `path`, uint8 (N, 1, H, W), with the labels of the file beside it when there is one.

    The labels of `train-images-idx3-ubyte.gz` are in `train-labels-idx1-ubyte.gz` (or the same without
    `.gz`). With `size` the images are centre-cropped and resized. GantoolError when a file is damaged, of
    another type, or the two don't fit together.
    """
    where = str(path)
    array = _read(path)
    if array.ndim == 1:
        raise GantoolError(
            f"{path} holds labels, not images.",
            "Give the file of images (…-images-idx3-ubyte); the labels beside it are found by themselves.",
        )
    check_images(array.shape, array.dtype, where)
    arrays = {"images": resize(channels_first(array), size, where)}
    notes: tuple[str, ...] = ()
    labels_path = _labels_beside(path)
    if labels_path is None:
        notes = (f"{path.name}: no file of labels lies beside it, so the images have none",)
    else:
        arrays["labels"] = as_labels(_read(labels_path), len(array), str(labels_path))
    return Dataset(_SUFFIX.sub("", path.name) or path.name, where, arrays, notes=notes)


def _labels_beside(path: Path) -> Path | None:
    """The file of labels that belongs to the file of images `path`, by its name; None when there is none."""
    if "images" not in path.name:
        return None
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    plain = name.removesuffix(".gz")
    found = (path.with_name(each) for each in (name, plain, plain + ".gz"))
    return next((each for each in found if each.is_file()), None)


def _read(path: Path) -> np.ndarray:
    """uint8 (N,) from a file of labels, (N, H, W) from one of images; gzip or not is seen from the content.

    Reads one byte more than the header declares, at most. GantoolError when the file is not exactly that.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            size = path.stat().st_size
            if not packed:
                return _parse(file, path, size)
            with gzip.open(file) as stream:
                return _parse(cast(IO[bytes], stream), path, size * EXPANSION[zipfile.ZIP_DEFLATED])
    except (EOFError, zlib.error, gzip.BadGzipFile, MemoryError) as error:
        raise GantoolError(f"{path} is damaged or cut short: {cause(error)}.", "Download or write it again.") from error
    except OSError as error:
        raise GantoolError(
            f"{path} can't be read: {error.strerror or error}.", "Check the path and its permissions."
        ) from error


def _parse(stream: IO[bytes], path: Path, most: int) -> np.ndarray:
    """`most`: bytes that the stream can have."""
    magic = int(struct.unpack(">I", read_exactly(stream, 4).tobytes())[0])
    if magic not in (LABELS, IMAGES):
        raise GantoolError(
            f"{path} starts with 0x{magic:08X}; an IDX file of images starts with 0x{IMAGES:08X} (uint8, 3 axes).",
            "Give an uncompressed or gzipped IDX file of uint8 images, or save the data as .npz.",
        )
    axes = magic & 0xFF
    shape = struct.unpack(f">{axes}I", read_exactly(stream, 4 * axes).tobytes())
    count = math.prod(shape)
    check_bytes(count, f"{path}: what it declares")
    if count > most:
        raise EOFError(f"its header declares {count:,} bytes, and it can hold {most:,} at most")
    data = read_exactly(stream, count)
    if stream.read(1):
        raise GantoolError(
            f"{path} goes on after the {count:,} bytes that its header declares (shape {shape}).",
            "Download or write it again.",
        )
    return data.reshape(shape)
