"""Arrays in .npy files, mapped instead of read."""

from __future__ import annotations

import io
import math
import mmap
from pathlib import Path

import numpy as np

from gantool.data.readers.npyzip import DAMAGE, HEADER_BYTES, read_header
from gantool.errors import GantoolError
from gantool.system.files import reading, regular_size


def is_image(array: np.ndarray, sides: tuple[int, ...]) -> bool:
    """Whether `array` holds images (N, C, H, W) of those `sides`: what is resized and coloured along with `images`."""
    floats = array.dtype.kind == "f"
    return array.ndim == 4 and array.shape[2:] == sides and (array.dtype == np.uint8 or floats)


def release(array: np.ndarray) -> None:
    """Give back the memory of what was read of a mapped array; it is read again when needed. Others are left alone."""
    mapped = getattr(array, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def open_npy(path: Path) -> np.memmap:
    """The array in the .npy file `path`, a read-only memory map. GantoolError when it is damaged, or holds objects."""
    size = regular_size(path)
    try:
        with reading(path), path.open("rb") as file:
            start = io.BytesIO(file.read(HEADER_BYTES))
        shape, fortran, dtype = read_header(start)
        if dtype.hasobject:
            raise ValueError("it holds pickled objects")
        declared = start.tell() + math.prod(shape) * dtype.itemsize
        if size != declared:
            raise ValueError(f"it has {size:,} bytes, where its header (shape {shape}, {dtype}) asks for {declared:,}")
        if not math.prod(shape):
            raise ValueError(f"shape {shape} holds nothing")
        return np.memmap(path, dtype, "r", start.tell(), shape, "F" if fortran else "C")
    except DAMAGE as error:
        raise GantoolError(
            f"{path} is damaged, or no .npy file: {error}.", "Write it anew, or get it again."
        ) from error
