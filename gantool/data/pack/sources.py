"""What can be packed: arrays, row by row, and folders of image files, decoded in processes."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gantool.data.dataset import Dataset
from gantool.data.decode import BrokenImage, Preparation, decode, is_grey, read, strictly
from gantool.data.images import WHITE, Colour, Fit, as_bytes, check_pictures, resize, with_channels
from gantool.data.mapped import is_image, release
from gantool.data.pack.writer import Batch, Layout
from gantool.data.pool import in_order
from gantool.data.readers.folder import SizesDiffer

_BATCH_BYTES = 2 * 2**20  # of rows that are worked on at once


class ArraySource:
    """The arrays of `data`; `images`, and what is paired with them, with `channels` and at `size`.

    GantoolError when they are no pictures: those are what a pack is for.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        size: int | None = None,
        channels: int | None = None,
        fit: Fit = "crop",
        background: Colour = WHITE,
        keep_labels: bool = True,
    ) -> None:
        check_pictures(data.images.shape, data.source)
        self.data, self.size, self.fit, self.background = data, size, fit, background
        self.count = len(data)
        self.channels = channels or data.images.shape[1]
        self.arrays = {name: array for name, array in data.arrays.items() if keep_labels or name != "labels"}
        self.labels = "kept" if "labels" in self.arrays else "none"
        rounded = [name for name, array in self.arrays.items() if self._is_image(name) and array.dtype != np.uint8]
        self.notes = [*data.notes, *(f"`{name}`: floats were rounded to 8 bits" for name in rounded)]
        self.layouts = {}
        for name, array in self.arrays.items():
            if self._is_image(name):
                sides = array.shape[2:] if size is None else (size, size)
                channels_now = self.channels if name == "images" else array.shape[1]
                self.layouts[name] = Layout("|u1", (channels_now, *sides))
            else:
                self.layouts[name] = Layout(array.dtype.newbyteorder("<").str, array.shape[1:])

    def batches(self, start: int) -> Iterator[Batch]:
        """The rows from number `start` on. Of a mapped array only these are in memory."""
        rows = max(1, _BATCH_BYTES // max(1, sum(layout.bytes for layout in self.layouts.values())))
        for first in range(start, self.count, rows):
            last = min(first + rows, self.count)
            yield Batch(last, {name: self._rows(name, first, last) for name in self.arrays})
            for array in self.arrays.values():
                release(array)

    def _is_image(self, name: str) -> bool:
        return is_image(self.arrays[name], self.data.images.shape[2:])

    def _rows(self, name: str, first: int, last: int) -> np.ndarray:
        rows = np.asarray(self.arrays[name][first:last])
        if not self._is_image(name):
            return rows.astype(self.layouts[name].dtype, copy=False)
        rows = with_channels(as_bytes(rows), self.layouts[name].row[0])
        return resize(rows, self.size, f"{self.data.source}: {name}", self.fit, self.background)


@dataclass(frozen=True)
class _Job:
    folder: Path
    names: tuple[str, ...]
    how: Preparation
    row: tuple[int, ...]


@dataclass(frozen=True)
class _Decoded:
    """`images` of the files that are whole, in order; for each file its SHA-256, or why it is broken."""

    images: np.ndarray
    outcomes: list[tuple[str, bool]]  # SHA-256 and True, or the reason and False
    differs: tuple[str, tuple[int, ...]] | None = None  # a file of another shape than the row's


class FolderSource:
    """The image files `names` in `folder`, prepared as `how` says; `labels` int64 (N,), or None.

    `row`: the shape of one image, and `first`, the file that has it, which an error names.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], labels: np.ndarray | None, how: Preparation, row: tuple[int, ...],
        first: str, workers: int,
    ) -> None:  # fmt: skip
        self.folder, self.names, self.labels, self.how = folder, names, labels, how
        self.row, self.first, self.workers = row, first, workers
        self.count = len(names)
        self.layouts = {"images": Layout("|u1", row)}
        if labels is not None:
            self.layouts["labels"] = Layout("<i8", ())

    def batches(self, start: int) -> Iterator[Batch]:
        """What becomes of the files from number `start` on, in order. SizesDiffer for one of another shape."""
        many = min(64, max(1, _BATCH_BYTES // self.layouts["images"].bytes))
        jobs = (
            _Job(self.folder, tuple(self.names[first : first + many]), self.how, self.row)
            for first in range(start, self.count, many)
        )
        done = start
        for decoded in in_order(_decode, jobs, self.workers):
            if decoded.differs is not None:
                name, shape = decoded.differs
                raise SizesDiffer((self.folder / self.first, self.row), (self.folder / name, shape))
            yield self._batch(decoded, done)
            done += len(decoded.outcomes)

    def _batch(self, decoded: _Decoded, first: int) -> Batch:
        files, broken, kept = [], [], []
        for number, (text, whole) in enumerate(decoded.outcomes, first):
            name = self.names[number]
            if whole:
                kept.append(number)
                label = None if self.labels is None else int(self.labels[number])
                files.append(json.dumps({"file": name, "sha256": text, "label": label}) + "\n")
            else:
                broken.append(json.dumps({"file": name, "reason": text}) + "\n")
        rows = {"images": decoded.images}
        if self.labels is not None:
            rows["labels"] = self.labels[kept]
        done = first + len(decoded.outcomes)
        return Batch(done, rows, "".join(files).encode(), "".join(broken).encode())


def all_grey(folder: Path, names: Sequence[str], workers: int) -> bool:
    """Whether no file's header declares colours; broken ones don't count. Ends at the first that does."""
    pieces = ((folder, tuple(names[first : first + 256])) for first in range(0, len(names), 256))
    found = in_order(_greys, pieces, workers)
    try:
        return all(found)
    finally:
        found.close()  # its processes end here


def first_whole(folder: Path, names: Sequence[str], how: Preparation) -> tuple[str, tuple[int, ...]] | None:
    """The first file that can be decoded, and its shape (C, H, W)."""
    for name in names:
        try:
            with strictly():
                return name, decode(folder / name, how).shape
        except BrokenImage:
            continue
    return None


def signature(folder: Path, names: Sequence[str]) -> str:
    """SHA-256 over names, sizes and times of change: another one, and the folder is no longer what it was."""
    digest = hashlib.sha256()
    for name in names:
        try:
            status = os.stat(folder / name)  # noqa: PTH116 — a million of them
            seen = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            seen = "gone"
        digest.update(os.fsencode(name) + f"\0{seen}\n".encode())
    return digest.hexdigest()


def _greys(piece: tuple[Path, tuple[str, ...]]) -> bool:
    folder, names = piece
    for name in names:
        try:
            if not is_grey(folder / name):
                return False
        except BrokenImage:
            continue
    return True


def _decode(job: _Job) -> _Decoded:
    images = np.empty((len(job.names), *job.row), np.uint8)
    outcomes: list[tuple[str, bool]] = []
    whole = 0
    for name in job.names:
        path = job.folder / name
        try:
            data = read(path)
            with strictly():
                image = decode(path, job.how, io.BytesIO(data))
        except BrokenImage as error:
            outcomes.append((error.reason, False))
            continue
        if image.shape != job.row:
            return _Decoded(images[:0], [], (name, image.shape))
        images[whole] = image
        whole += 1
        outcomes.append((hashlib.sha256(data).hexdigest(), True))
    return _Decoded(images[:whole], outcomes)
