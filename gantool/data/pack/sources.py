"""What is packed: arrays, row by row, or the image files of a folder or zip archive, decoded in processes."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from gantool import __version__
from gantool.data import is_bare, load
from gantool.data.catalog import names
from gantool.data.dataset import Dataset, check_sides, check_size
from gantool.data.image_files import BrokenImage, Preparation, colour, decode, is_grey, read, strict_decoding
from gantool.data.images import (
    CHANNELS,
    FITS,
    Fit,
    as_bytes,
    check_pictures,
    is_paired,
    resize,
    with_channels,
)
from gantool.data.pack.format import is_pack
from gantool.data.pack.writer import Batch, Layout
from gantool.data.readers.archive import checksum, is_archive
from gantool.data.readers.folder import SizesDiffer, find_images, name_of
from gantool.data.readers.labels import find_labels
from gantool.data.readers.npy import map_npy, release
from gantool.errors import ArgumentError, GantoolError, excerpt
from gantool.system.subprocesses import in_order

_BATCH_BYTES = 2 * 2**20  # of rows in a batch
_LINE_BYTES = 110  # of a line in files.jsonl, without the name


@dataclass(frozen=True)
class Options:
    """How a source is packed; the defaults keep what it has.

    `labels`: folders, none or a CSV file; None: folders, when there are any. `background`: a colour that Pillow knows.
    `target`, `pairs`: as of `gantool.data.load`.
    """

    size: int | None = None
    channels: int | None = None
    fit: Fit = "crop"
    labels: str | None = None
    background: str = "white"
    skip_broken: bool = False
    licence: str | None = None
    target: str = ""
    pairs: str = ""


def is_folder_of_files(source: str) -> bool:
    """Whether `source` is a folder or zip archive of image files: not a pack, and not the name of another data set."""
    path = Path(source)
    return is_archive(path) or (path.is_dir() and not is_pack(path) and not (is_bare(source) and source in names()))


def open_source(source: str, options: Options) -> ArraySource | FolderSource:
    """`source`, listed but not decoded. GantoolError for options that are not valid, and a source that is none."""
    if options.size is not None:
        check_size(options.size)
    if options.channels not in (None, *CHANNELS):
        raise GantoolError(f"--channels is {options.channels}.", "Give 1 (grey) or 3 (colour).")
    if options.fit not in FITS:
        raise GantoolError(f"--fit is {excerpt(options.fit)!r}.", f"Give one of {', '.join(FITS)}.")
    colour(options.background)
    path = Path(source)
    if options.target or options.pairs:
        return _made(source, options)
    if is_folder_of_files(source):
        return FolderSource(path, options)
    if options.labels not in (None, "none"):
        raise GantoolError(
            f"--labels {excerpt(options.labels)} is for a folder of image files, which {source} is not.",
            "Leave --labels out to keep the labels that it has, or give --labels none.",
        )
    if path.suffix.lower() == ".npy" and path.is_file():
        return ArraySource(map_npy(path), options, source, _signature(path.parent, [path.name]))
    data = load(source)
    return ArraySource(data, options, source, data.fingerprint)


def _made(source: str, options: Options) -> ArraySource:
    """Pairs, or two sets, as training makes them."""
    for flag, value, only in (("--fit", options.fit, "crop"), ("--background", options.background, "white")):
        if value != only:
            raise ArgumentError(f"{flag} {excerpt(value)} is not for --pairs and --target.", f"Leave {flag} out.")
    data = load(source, options.size, options.skip_broken, options.target, options.pairs)
    return ArraySource(data, replace(options, size=None), source, data.fingerprint)


def _plan(options: Options, **source: str) -> dict[str, Any]:
    """Fingerprint of options and inputs: a call with an equal plan continues an interrupted pack."""
    versions = {"pillow": PIL.__version__, "gantool": __version__}  # another version may decode other pixels
    return {**asdict(replace(options, skip_broken=False)), **versions, **source}


class ArraySource:
    """The arrays of `data`; `images`, and what is paired with them, with the channels and size of `options`.

    `description`: for pack.json. `plan`: equal plans make equal packs. GantoolError when the images are no pictures.
    """

    def __init__(self, data: Dataset, options: Options, source: str, fingerprint: str = "") -> None:
        check_pictures(data.images.shape, data.source)
        self.data, self.options, self.count = data, options, len(data)
        self.arrays = {name: each for name, each in data.arrays.items() if options.labels != "none" or name != "labels"}
        self.layouts = {name: self._layout(name) for name in self.arrays}
        self.list_bytes = 0  # what files.jsonl will take
        self.plan = _plan(options, source=fingerprint)
        rounded = [name for name, array in self.arrays.items() if self._is_image(name) and array.dtype != np.uint8]
        labelled = "labels" in self.arrays
        self.description: dict[str, Any] = {
            "name": data.name,
            "source": source,
            "licence": data.licence if options.licence is None else options.licence,
            "size": options.size,
            "fit": options.fit if options.size else None,
            "labels": "kept" if labelled else "none",
            "class_names": list(data.class_names) if labelled else [],
            "notes": [*data.notes, *(f"`{name}`: floats were rounded to 8 bits" for name in rounded)],
        }

    def prepare(self, found: Mapping[str, Any], workers: int | None) -> dict[str, Any]:
        """Nothing has to be found out, and nothing is decoded."""
        return {}

    def batches(self, start: int) -> Iterator[Batch]:
        """The rows from number `start` on. Only one batch of a memory map is in memory."""
        rows = max(1, _BATCH_BYTES // max(1, sum(layout.bytes for layout in self.layouts.values())))
        for first in range(start, self.count, rows):
            last = min(first + rows, self.count)
            yield Batch(last, {name: self._rows(name, first, last) for name in self.arrays})
            for array in self.arrays.values():
                release(array)

    def _is_image(self, name: str) -> bool:
        return is_paired(self.arrays[name], self.data.images.shape[2:])

    def _layout(self, name: str) -> Layout:
        array, size = self.arrays[name], self.options.size
        if not self._is_image(name):
            return Layout(array.dtype.newbyteorder("<").str, array.shape[1:])
        channels = (self.options.channels if name == "images" else None) or array.shape[1]
        return Layout("|u1", (channels, *(array.shape[2:] if size is None else (size, size))))

    def _rows(self, name: str, first: int, last: int) -> np.ndarray:
        rows, options = np.asarray(self.arrays[name][first:last]), self.options
        if not self._is_image(name):
            return rows.astype(self.layouts[name].dtype, copy=False)
        rows = with_channels(as_bytes(rows), self.layouts[name].row[0])
        return resize(rows, options.size, f"{self.data.source}: {name}", options.fit, colour(options.background))


@dataclass(frozen=True)
class _Job:
    folder: Path
    names: tuple[str, ...]
    how: Preparation
    row: tuple[int, ...]


@dataclass(frozen=True)
class _Decoded:
    """`images` of the files that were decoded, in order; for each file its SHA-256, or why it is broken."""

    images: np.ndarray
    outcomes: list[tuple[str, bool]]  # SHA-256 and True, or the reason and False
    differs: tuple[str, tuple[int, ...]] | None = None  # a file of another shape than the row's


class FolderSource:
    """The image files in the folder or zip archive `path`; `prepare` has to be called before `batches`.

    `description`: for pack.json. `plan`: equal plans make equal packs.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self.path, self.options = path, options
        self.names, notes = find_images(path)
        self.count = len(self.names)
        self.list_bytes = sum(map(len, self.names)) + _LINE_BYTES * self.count  # what files.jsonl will take
        found = find_labels(path, self.names, options.labels)
        self.labels, digest = found.labels, ""
        if self.labels is not None:
            digest = Dataset("", "", {"labels": self.labels}).fingerprint + json.dumps(found.class_names)
        self.plan = _plan(options, source=_signature(path, self.names), label_digest=digest)
        self.description: dict[str, Any] = {
            "name": name_of(path),
            "source": str(path),
            "licence": options.licence or "",
            "size": options.size,
            "fit": options.fit if options.size else None,
            "background": options.background,
            "labels": found.origin,
            "class_names": list(found.class_names),
            "notes": [*notes, *found.notes],
        }

    def prepare(self, found: Mapping[str, Any], workers: int | None) -> dict[str, Any]:
        """Find out channels and the shape of a row, or take them from `found`, what an earlier call returned."""
        options = self.options
        self._workers = workers
        channels = found.get("channels") or options.channels or (1 if self._all_grey() else 3)
        self._how = Preparation("L" if channels == 1 else "RGB", options.size, options.fit, colour(options.background))
        self._first, row = found.get("first", self.names[0]), found.get("row")
        if row is None and options.size is not None:
            row = (channels, options.size, options.size)
        elif row is None:
            decoded = self._first_decoded()
            self._first, row = decoded or (self._first, (channels, 4, 4))  # else all will be reported as broken
            check_sides(row[1], row[2], str(self.path / self._first))
        self.layouts = {"images": Layout("|u1", tuple(row))}
        if self.labels is not None:
            self.layouts["labels"] = Layout("<i8", ())
        return {"channels": channels, "row": list(row), "first": self._first}

    def batches(self, start: int) -> Iterator[Batch]:
        """The decoded files from number `start` on, in order. SizesDiffer for one of another shape than the first."""
        images = self.layouts["images"]
        many = min(64, max(1, _BATCH_BYTES // images.bytes))
        jobs = (
            _Job(self.path, tuple(self.names[first : first + many]), self._how, images.row)
            for first in range(start, self.count, many)
        )
        done = start
        for decoded in in_order(_decode, jobs, self.count - start, self._workers):
            if decoded.differs is not None:
                name, shape = decoded.differs
                raise SizesDiffer((self.path / self._first, images.row), (self.path / name, shape))
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

    def _all_grey(self) -> bool:
        """Whether no header declares colours; broken files don't count."""
        pieces = ((self.path, tuple(self.names[first : first + 256])) for first in range(0, self.count, 256))
        found = in_order(_greys, pieces, self.count, self._workers)
        try:
            return all(found)
        finally:
            found.close()  # ends the processes, should one piece have been enough

    def _first_decoded(self) -> tuple[str, tuple[int, ...]] | None:
        """The first file that can be decoded, and its shape (C, H, W)."""
        with strict_decoding():
            for name in self.names:
                try:
                    return name, decode(self.path / name, self._how).shape
                except BrokenImage:
                    continue
        return None


def _signature(folder: Path, names: Sequence[str]) -> str:
    """SHA-256 over names, sizes and times of change; in a zip archive, checksums."""
    digest = hashlib.sha256()
    archive = is_archive(folder)
    for name in names:
        try:
            if archive:
                seen = checksum(folder, name)
            else:
                status = os.stat(folder / name)  # noqa: PTH116 — a million of them
                seen = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            seen = "gone"
        digest.update(os.fsencode(name) + f"\0{seen}\n".encode())
    return digest.hexdigest()


@strict_decoding()
def _greys(piece: tuple[Path, tuple[str, ...]]) -> bool:
    folder, names = piece
    for name in names:
        try:
            if not is_grey(folder / name):
                return False
        except BrokenImage:
            continue
    return True


@strict_decoding()
def _decode(job: _Job) -> _Decoded:
    images = np.empty((len(job.names), *job.row), np.uint8)
    outcomes: list[tuple[str, bool]] = []
    whole = 0
    for name in job.names:
        path = job.folder / name
        try:
            data = read(path)
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
