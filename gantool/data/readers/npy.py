"""NumPy's .npy and .npz files, read without trust: headers first, sizes checked, no pickles."""

from __future__ import annotations

import io
import math
import mmap
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from gantool.data.dataset import check_bytes
from gantool.data.readers import DEFLATE_RATIO
from gantool.errors import GantoolError
from gantool.system.files import reading, regular_size

_HEADER_BYTES = 16_384  # numpy itself refuses longer ones
# what zipfile, zlib and numpy's header parser (literal_eval, after a tokenizer) raise on damaged bytes
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, OSError, EOFError, ValueError,
    TypeError, KeyError, IndexError, OverflowError, SyntaxError, RecursionError, NotImplementedError,
)  # fmt: skip


def open_npy(path: Path) -> np.memmap:
    """The array in the .npy file `path`, a read-only memory map. GantoolError when it is damaged, or holds objects."""
    size = regular_size(path)
    try:
        with reading(path), path.open("rb") as file:
            start = io.BytesIO(file.read(_HEADER_BYTES))
        shape, fortran, dtype = _parse_header(start)
        if dtype.hasobject:
            raise ValueError("it holds pickled objects")
        declared = start.tell() + math.prod(shape) * dtype.itemsize
        if size != declared:
            raise ValueError(f"it has {size:,} bytes, where its header (shape {shape}, {dtype}) asks for {declared:,}")
        if not math.prod(shape):
            raise ValueError(f"shape {shape} holds nothing")
        return np.memmap(path, dtype, "r", start.tell(), shape, "F" if fortran else "C")
    except _DAMAGE as error:
        raise GantoolError(
            f"{path} is damaged, or no .npy file: {error}.", "Write it anew, or get it again."
        ) from error


def release(array: np.ndarray) -> None:
    """Free the memory of the pages read of a memory map; other arrays are left alone."""
    mapped = getattr(array, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


class Member(NamedTuple):
    """An array's header, checked against its zip entry."""

    entry: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype


class Archive:
    """An .npz file; a context manager. `members`: the headers of its arrays; `others`: entries that are no arrays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.members: dict[str, Member] = {}
        self.others: list[str] = []
        with _damage(path):
            self._bytes = path.stat().st_size
            self._zip = zipfile.ZipFile(path)
        try:
            self._read_headers()
        except GantoolError:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def read(self, name: str) -> np.ndarray:
        """The values of array `name`, in native byte order; GantoolError when they are damaged."""
        member = self.members[name]
        with _damage(self.path, name), self._zip.open(member.entry) as stream:
            array: np.ndarray = npy.read_array(stream, allow_pickle=False)
            stream.read(1)  # at the end zipfile checks the CRC
        return array.astype(member.dtype.newbyteorder("="), copy=False)

    def _read_headers(self) -> None:
        entries = self._zip.infolist()
        check_bytes(sum(entry.file_size for entry in entries), f"{self.path}: what it declares")
        for entry in entries:
            if not entry.filename.endswith(".npy"):
                self.others.append(entry.filename)
                continue
            name = entry.filename.removesuffix(".npy")
            self._check_entry(entry, name)
            with _damage(self.path, name):
                self.members[name] = self._member(entry)

    def _check_entry(self, entry: zipfile.ZipInfo, name: str) -> None:
        if entry.flag_bits & 1:
            raise GantoolError(f"{self.path}: array `{name}` is encrypted.", "Save it anew with np.savez.")
        ratios = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: DEFLATE_RATIO}
        if entry.compress_type not in ratios:
            raise GantoolError(
                f"{self.path}: array `{name}` has compression method {entry.compress_type}, which numpy never writes.",
                "Save it anew with np.savez_compressed.",
            )
        if entry.file_size > ratios[entry.compress_type] * min(entry.compress_size, self._bytes):
            raise GantoolError(
                f"{self.path} is damaged: array `{name}` declares {entry.file_size:,} bytes, "
                "more than the file can hold.",
                "Save it anew with np.savez_compressed, or download it again.",
            )

    def _member(self, entry: zipfile.ZipInfo) -> Member:
        with self._zip.open(entry) as stream:
            start = io.BytesIO(stream.read(_HEADER_BYTES))
        shape, _, dtype = _parse_header(start)
        declared = start.tell() + math.prod(shape) * dtype.itemsize
        if declared != entry.file_size and not dtype.hasobject:  # the size of pickled objects is not in the header
            raise ValueError(
                f"its header declares {declared:,} bytes (shape {shape}, {dtype}), its zip entry {entry.file_size:,}"
            )
        return Member(entry, shape, dtype)


def _parse_header(start: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype of the .npy file that begins with `start`, which is left at the first value.

    Raises what numpy raises for damaged bytes (`_DAMAGE`).
    """
    version = npy.read_magic(start)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(start)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(start)
    else:
        raise ValueError(f"npy format version {version[0]}.{version[1]}; known are 1.0 and 2.0")
    if any(side < 0 for side in shape):
        raise ValueError(f"shape {shape}")
    return shape, fortran, dtype


@contextmanager
def _damage(path: Path, name: str = "") -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        raise GantoolError(f"{path} can't be read: {error.strerror}.", "Check the path and its permissions.") from error
    except _DAMAGE as error:
        where = f"array `{name}`: " if name else ""
        raise GantoolError(
            f"{path} is damaged or no .npz file: {where}{error}.",
            'Save it anew with np.savez_compressed("data.npz", images=…), or download it again.',
        ) from error
