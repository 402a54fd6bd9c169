"""Append rows to the .npy files of a pack, and commit them to the disk now and then."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.lib import format as npy

from gantool.data.dataset import fingerprint_header

FILES, BROKEN = "files.jsonl", "broken.jsonl"
HEADER = 128  # bytes of a .npy header, padded so that it can be rewritten in place with any number of rows
COMMIT = 64 * 2**20  # bytes of rows between two commits, at most
COMMIT_EVERY = 20.0  # seconds between two commits, at most: large photographs make few rows
_CHUNK = 4 * 2**20


@dataclass(frozen=True)
class Layout:
    """The dtype (numpy's `str`) and the shape of one row of an array."""

    dtype: str
    row: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.row) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Mark:
    """How far a pack is: items of the source that are done, rows, broken files, and bytes of the two lists."""

    done: int = 0
    rows: int = 0
    broken: int = 0
    files_bytes: int = 0
    broken_bytes: int = 0


@dataclass(frozen=True)
class Batch:
    """The source's next items, up to number `done`, as rows, and a line for each file that is whole or broken."""

    done: int
    rows: Mapping[str, np.ndarray]
    files: bytes = b""
    broken: bytes = b""


class Writer:
    """Writes a pack's arrays and lists into `folder`, from `mark` on; a context manager, which closes the files.

    `count`: the rows that are expected. Bytes beyond `mark`, of an earlier call, are cut off; when there are fewer, all
    is written anew, and `self.mark` is back at the start. `on_commit` gets the mark after everything that it counts has
    reached the disk. OSError when the folder can't be written.
    """

    def __init__(
        self,
        folder: Path,
        layouts: Mapping[str, Layout],
        count: int,
        mark: Mark | None = None,
        on_commit: Callable[[Mark], object] = lambda mark: None,
    ) -> None:
        self.folder, self.layouts, self._on_commit = folder, dict(layouts), on_commit
        self.mark = mark if mark and self._holds(mark) else Mark()
        self._uncommitted, self._committed = 0, time.monotonic()
        self._arrays: dict[str, IO[bytes]] = {}
        self._lists: dict[str, IO[bytes]] = {}
        try:
            for name, layout in self.layouts.items():
                self._arrays[name] = self._open(f"{name}.npy", HEADER + self.mark.rows * layout.bytes)
                if not self.mark.rows:
                    self._write_header(name, count)
            self._lists[FILES] = self._open(FILES, self.mark.files_bytes)
            self._lists[BROKEN] = self._open(BROKEN, self.mark.broken_bytes)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def append(self, batch: Batch) -> None:
        """Write `batch`, and commit when enough bytes or seconds have passed."""
        rows = 0
        for name, file in self._arrays.items():
            array = np.ascontiguousarray(batch.rows[name])
            assert array.dtype.str == self.layouts[name].dtype
            assert array.shape[1:] == self.layouts[name].row
            rows = len(array)
            file.write(array.data)
            self._uncommitted += array.nbytes
        self._lists[FILES].write(batch.files)
        self._lists[BROKEN].write(batch.broken)
        before = self.mark
        self.mark = Mark(
            batch.done,
            before.rows + rows,
            before.broken + batch.broken.count(b"\n"),
            before.files_bytes + len(batch.files),
            before.broken_bytes + len(batch.broken),
        )
        if self._uncommitted >= COMMIT or time.monotonic() - self._committed >= COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        """Bring everything to the disk, then give the mark to `on_commit`."""
        self._sync()
        self._on_commit(self.mark)
        self._uncommitted, self._committed = 0, time.monotonic()

    def finish(self) -> None:
        """Write the headers for the rows that there are, close the files, and remove empty lists."""
        for name in self._arrays:
            self._write_header(name, self.mark.rows)
        self._sync()
        self._close()
        for name, size in ((FILES, self.mark.files_bytes), (BROKEN, self.mark.broken_bytes)):
            if not size:
                (self.folder / name).unlink(missing_ok=True)

    def _holds(self, mark: Mark) -> bool:
        """Whether the files have the bytes that `mark` counts."""
        sizes = {f"{name}.npy": HEADER + mark.rows * layout.bytes for name, layout in self.layouts.items()}
        sizes |= {FILES: mark.files_bytes, BROKEN: mark.broken_bytes}
        paths = {self.folder / name: size for name, size in sizes.items()}
        return all(path.exists() and path.stat().st_size >= size for path, size in paths.items())

    def _sync(self) -> None:
        for file in (*self._arrays.values(), *self._lists.values()):
            file.flush()
            os.fsync(file.fileno())

    def _open(self, name: str, size: int) -> IO[bytes]:
        path = self.folder / name
        path.touch()
        file = path.open("r+b")
        file.truncate(size)
        file.seek(size)
        return file

    def _write_header(self, name: str, rows: int) -> None:
        file, layout = self._arrays[name], self.layouts[name]
        file.seek(0)
        file.write(header(layout, rows))
        file.seek(HEADER + self.mark.rows * layout.bytes)

    def _close(self) -> None:
        for file in (*self._arrays.values(), *self._lists.values()):
            with suppress(OSError):  # a full disk, already reported; what the mark counts was committed
                file.close()


def header(layout: Layout, rows: int) -> bytes:
    """The first `HEADER` bytes of a .npy file, version 1.0, of `rows` rows."""
    fields = {"descr": layout.dtype, "fortran_order": False, "shape": (rows, *layout.row)}
    text = repr(fields).encode("latin-1")
    room = HEADER - npy.MAGIC_LEN - 2
    assert len(text) < room, f"{text!r} is longer than a header"
    return npy.magic(1, 0) + room.to_bytes(2, "little") + text.ljust(room - 1) + b"\n"


def checksums(folder: Path, layouts: Mapping[str, Layout], rows: int) -> tuple[dict[str, str], str]:
    """SHA-256 of each array's file, and the fingerprint of all (`Dataset.fingerprint`); read once, in pieces."""
    digests = {}
    fingerprint = hashlib.sha256()
    for name, layout in sorted(layouts.items()):
        fingerprint.update(fingerprint_header(name, np.dtype(layout.dtype), (rows, *layout.row)))
        digest = hashlib.sha256()
        with (folder / f"{name}.npy").open("rb") as file:
            digest.update(file.read(HEADER))
            while piece := file.read(_CHUNK):
                digest.update(piece)
                fingerprint.update(piece)
        digests[name] = digest.hexdigest()
    return digests, fingerprint.hexdigest()
