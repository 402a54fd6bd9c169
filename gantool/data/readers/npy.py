"""NumPy's .npy files and the members of .npz files, read without trust: headers first, sizes checked, no pickles."""

from __future__ import annotations

import io
import math
import mmap
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from gantool.data.dataset import MIN_SIDE, Dataset
from gantool.data.images import channels_first, check_images, sides_of
from gantool.errors import GantoolError, cause
from gantool.system.files import reading, regular_size

# what zipfile, zlib and numpy's header parser (literal_eval, after a tokenizer) raise on damaged bytes
DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, OSError, EOFError, ValueError, TypeError,
    KeyError, IndexError, OverflowError, SyntaxError, RuntimeError, MemoryError,
)  # fmt: skip

HEADER_BYTES = 2**16  # that are read of a member before its sizes are checked


def open_npy(path: Path) -> np.memmap:
    """The array in the .npy file `path`, a read-only memory map. GantoolError when it is damaged, or holds objects."""
    size = regular_size(path)
    try:
        with reading(path), path.open("rb") as file:
            shape, fortran, dtype = _read_header(file, size)
            start = file.tell()
        if dtype.hasobject:
            raise ValueError("it holds pickled objects")
        if not math.prod(shape):
            raise ValueError(f"shape {shape} holds nothing")
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
    except DAMAGE as error:
        raise GantoolError(
            f"{path} is damaged, or no .npy file: {cause(error)}.", "Write it anew, or get it again."
        ) from error


def map_npy(path: Path) -> Dataset:
    """The samples in a .npy file, a memory map: images or volumes (N, C, D, H, W) of uint8, sounds (N, C, T) of int16.

    No floats, as their range would have to be found first.
    """
    array: np.ndarray = open_npy(path)
    if array.ndim == 5 or (array.ndim == 3 and array.dtype == np.int16 and array.shape[1] in (1, 2)):
        if array.dtype.name != ("uint8" if array.ndim == 5 else "int16") or min(array.shape[2:]) < MIN_SIDE:
            raise GantoolError(
                f"{path} holds {array.dtype} of shape {array.shape}; a .npy file is packed when it holds volumes of "
                f"uint8, with sides of at least {MIN_SIDE}, or sounds of int16.",
                "Convert it, or save it as .npz.",
            )
        return Dataset(path.stem, str(path), {"images": array})
    sides = sides_of(array.shape)
    if sides is None or min(sides) < MIN_SIDE:
        raise GantoolError(
            f"{path} has shape {array.shape}: no images, (N, H, W), (N, H, W, C) or (N, C, H, W).",
            "Reshape it; sounds are int16 (N, C, T), volumes (N, C, D, H, W).",
        )
    check_images(array.shape, array.dtype, str(path))
    if array.dtype != np.uint8:
        raise GantoolError(
            f"{path} holds {array.dtype}; a .npy file is packed when it holds uint8.",
            "Convert it to uint8, or save the floats as .npz.",
        )
    return Dataset(path.stem, str(path), {"images": channels_first(array)})


def read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """The array in an entry of an .npz file, opened by `open_zip`, in native byte order. One of objects is not read: an
    empty one stands for it. Raises `DAMAGE`.
    """
    with archive.open(entry) as stream:
        _, _, dtype = _read_header(io.BytesIO(stream.read(HEADER_BYTES)), entry.file_size)
    if dtype.hasobject:
        return np.empty((), dtype)
    with archive.open(entry) as stream:
        array: np.ndarray = npy.read_array(stream, allow_pickle=False)
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_npy(stream: IO[bytes], size: int) -> np.ndarray:
    """The array in a .npy file of `size` bytes. ValueError for one of objects, and for a header that lies."""
    _, _, dtype = _read_header(stream, size)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects")
    stream.seek(0)
    array: np.ndarray = npy.read_array(stream, allow_pickle=False)
    return array.astype(dtype.newbyteorder("="), copy=False)


def release(array: np.ndarray) -> None:
    """Free the memory of the pages read of a memory map; other arrays are left alone."""
    mapped = getattr(array, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _read_header(stream: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype of the .npy file `stream`, which has `size` bytes; left at the first value."""
    version = npy.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(stream)
    else:
        raise ValueError(f"npy format version {version[0]}.{version[1]}; known are 1.0 and 2.0")
    declared = stream.tell() + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or (declared != size and not dtype.hasobject):  # pickles have any size
        raise ValueError(f"its header (shape {shape}, {dtype}) declares {declared:,} bytes, where it has {size:,}")
    return shape, fortran, dtype
