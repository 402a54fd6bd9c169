"""What is packed: arrays, row by row, or the files of a folder or zip archive, decoded in processes."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gantool import __version__
from gantool.data import is_bare, load
from gantool.data.catalog import names
from gantool.data.dataset import Dataset, check_size
from gantool.data.image_files import Preparation, colour
from gantool.data.images import FITS, Fit
from gantool.data.kinds import KINDS, Kind, kind_of_shape
from gantool.data.pack.format import is_pack
from gantool.data.pack.writer import Batch, Layout
from gantool.data.readers.archive import checksum, is_archive
from gantool.data.readers.folder import SizesDiffer, check_rate_of, find_files, name_of
from gantool.data.readers.labels import find_labels
from gantool.data.readers.npy import map_npy, release
from gantool.data.source_files import BrokenFile
from gantool.errors import ArgumentError, GantoolError, excerpt
from gantool.system.subprocesses import in_order

_BATCH_BYTES = 2 * 2**20  # of rows in a batch
_LINE_BYTES = 110  # of a line in files.jsonl, without the name


@dataclass(frozen=True)
class Options:
    """How a source is packed; the defaults keep what it has.

    `labels`: folders, none or a CSV file; None: folders, when there are any. `background`: a colour that Pillow knows.
    `target`, `pairs`, `rate`: as of `gantool.data.load`.
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
    rate: int | None = None

    def preparation(self, kind: Kind) -> Preparation:
        """GantoolError for what samples of `kind` can't be asked for."""
        if self.channels not in (None, *kind.channels):
            known = " or ".join(map(str, kind.channels))
            raise GantoolError(f"--channels is {self.channels}.", f"Give {known} for {kind.plural}.")
        check_rate_of(kind, self.rate)
        return Preparation(self.size, self.rate, self.channels, self.fit, colour(self.background))


def is_folder_of_files(source: str) -> bool:
    """Whether `source` is a folder or zip archive of files: no pack, and not the name of another data set."""
    path = Path(source)
    return is_archive(path) or (path.is_dir() and not is_pack(path) and not (is_bare(source) and source in names()))


def open_source(source: str, options: Options) -> ArraySource | FolderSource:
    """`source`, listed but not decoded. GantoolError for options that are not valid, and a source that is none."""
    if options.size is not None:
        check_size(options.size)
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
            f"--labels {excerpt(options.labels)} is for a folder of files, which {source} is not.",
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
    data = load(source, options.size, options.skip_broken, options.target, options.pairs, rate=options.rate)
    return ArraySource(data, replace(options, size=None), source, data.fingerprint)


def _plan(options: Options, kind: Kind, **source: str) -> dict[str, Any]:
    """Fingerprint of options and inputs: a call with an equal plan continues an interrupted pack."""
    versions = {**kind.versions(), "gantool": __version__}  # another version may decode other values
    return {**asdict(replace(options, skip_broken=False)), **versions, **source}


def _described(kind: Kind, how: Preparation, options: Options) -> dict[str, Any]:
    """What pack.json says of the preparation; without a background of arrays."""
    image = kind.name == "image"
    return {"size": how.size, "fit": options.fit if how.size and image else None, "rate": how.rate or None}


class ArraySource:
    """The arrays of `data`; `images`, and what is paired with them, with the channels, size and rate of `options`.

    `description`: for pack.json. `plan`: equal plans make equal packs. GantoolError for options that don't fit.
    """

    def __init__(self, data: Dataset, options: Options, source: str, fingerprint: str = "") -> None:
        self.kind = kind_of_shape(data.images.shape)
        self.data, self.count = data, len(data)
        self.how = options.preparation(self.kind)
        if not data.rate and options.rate:
            self.data = data = replace(data, rate=options.rate)
        self.arrays = {name: each for name, each in data.arrays.items() if options.labels != "none" or name != "labels"}
        self.kind.check_samples(data.images.shape, data.source)
        self.layouts = {name: self._layout(name) for name in self.arrays}
        self.list_bytes = 0  # what files.jsonl will take
        self.plan = _plan(options, self.kind, source=fingerprint)
        rounded = [name for name, array in self.arrays.items() if self._is_sample(name) and array.dtype.kind == "f"]
        labelled = "labels" in self.arrays
        bits = 8 * np.dtype(self.kind.dtype).itemsize
        self.description: dict[str, Any] = {
            "name": data.name,
            "source": source,
            "licence": data.licence if options.licence is None else options.licence,
            **_described(self.kind, replace(self.how, rate=options.rate or data.rate), options),
            "labels": "kept" if labelled else "none",
            "class_names": list(data.class_names) if labelled else [],
            "notes": [*data.notes, *(f"`{name}`: floats were rounded to {bits} bits" for name in rounded)],
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

    def _is_sample(self, name: str) -> bool:
        return self.kind.paired(name, self.arrays[name], self.data.images.shape)

    def _layout(self, name: str) -> Layout:
        array = self.arrays[name]
        if not self._is_sample(name):
            return Layout(array.dtype.newbyteorder("<").str, array.shape[1:])
        return Layout(self.kind.dtype, self._refitted(name, 0, 1).shape[1:])

    def _rows(self, name: str, first: int, last: int) -> np.ndarray:
        if not self._is_sample(name):
            return np.asarray(self.arrays[name][first:last]).astype(self.layouts[name].dtype, copy=False)
        return self._refitted(name, first, last)

    def _refitted(self, name: str, first: int, last: int) -> np.ndarray:
        how = self.how if name == "images" else replace(self.how, channels=None)
        rows = np.asarray(self.arrays[name][first:last])
        return self.kind.refit(rows, how, self.data.rate, f"{self.data.source}: {name}").astype(
            self.kind.dtype, copy=False
        )


@dataclass(frozen=True)
class _Job:
    folder: Path
    names: tuple[str, ...]
    kind: str
    how: Preparation
    row: tuple[int, ...]


@dataclass(frozen=True)
class _Decoded:
    """`samples` of the files that were decoded, in order; for each file its SHA-256, or why it is broken."""

    samples: np.ndarray
    outcomes: list[tuple[str, bool]]  # SHA-256 and True, or the reason and False
    differs: tuple[str, tuple[int, ...]] | None = None  # a file of another shape than the row's


class FolderSource:
    """The files in the folder or zip archive `path`; `prepare` has to be called before `batches`.

    `description`: for pack.json. `plan`: equal plans make equal packs.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self.path, self.options = path, options
        self.kind, self.names, notes = find_files(path)
        self._asked = options.preparation(self.kind)
        self.count = len(self.names)
        self.list_bytes = sum(map(len, self.names)) + _LINE_BYTES * self.count  # what files.jsonl will take
        found = find_labels(path, self.names, options.labels)
        self.labels, digest = found.labels, ""
        if self.labels is not None:
            digest = Dataset("", "", {"labels": self.labels}).fingerprint + json.dumps(found.class_names)
        self.plan = _plan(options, self.kind, source=_signature(path, self.names), label_digest=digest)
        self.description: dict[str, Any] = {
            "name": name_of(path),
            "source": str(path),
            "licence": options.licence or "",
            "labels": found.origin,
            "class_names": list(found.class_names),
            "notes": [*notes, *found.notes],
        }

    def prepare(self, found: Mapping[str, Any], workers: int | None) -> dict[str, Any]:
        """Find out how to prepare the files, and the shape of a row, or take them from `found`, what an earlier call
        returned."""
        self._workers = workers
        if "row" in found:
            self._how = replace(self._asked, **{name: found[name] for name in ("channels", "size", "rate")})
        else:
            self._how = self._settled()
        self._first, row = found.get("first", self.names[0]), found.get("row") or self.kind.row(self._how)
        if row is None:
            decoded = self._first_decoded()  # without any all will be reported as broken
            self._first, row = decoded or (self._first, self.kind.shape(self._how.channels or 1, 4))
            self.kind.check_row(row, str(self.path / self._first))
        self.layouts = {"images": Layout(self.kind.dtype, tuple(row))}
        if self.labels is not None:
            self.layouts["labels"] = Layout("<i8", ())
        background = {"background": self.options.background} if self.kind.name == "image" else {}
        self.description |= {**_described(self.kind, self._how, self.options), **background}
        how = self._how
        return {"channels": how.channels, "size": how.size, "rate": how.rate, "row": list(row), "first": self._first}

    def batches(self, start: int) -> Iterator[Batch]:
        """The decoded files from number `start` on, in order. SizesDiffer for one of another shape than the first."""
        images = self.layouts["images"]
        many = min(64, max(1, _BATCH_BYTES // images.bytes))
        jobs = (
            _Job(self.path, tuple(self.names[first : first + many]), self.kind.name, self._how, images.row)
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
        rows = {"images": decoded.samples}
        if self.labels is not None:
            rows["labels"] = self.labels[kept]
        done = first + len(decoded.outcomes)
        return Batch(done, rows, "".join(files).encode(), "".join(broken).encode())

    def _settled(self) -> Preparation:
        """How the files are prepared, as all of them say."""
        if not self.kind.needs_peek(self._asked):
            return self.kind.settle((), self._asked)
        many = 256 if self.kind.name == "image" else 16
        pieces = (
            (self.path, tuple(self.names[first : first + many]), self.kind.name, self._asked)
            for first in range(0, self.count, many)
        )
        found = in_order(_peek, pieces, self.count, self._workers)
        try:
            return self.kind.settle(itertools.chain.from_iterable(found), self._asked)
        finally:
            found.close()  # ends the processes, should one piece have been enough

    def _first_decoded(self) -> tuple[str, tuple[int, ...]] | None:
        """The first file that can be decoded, and its shape (C, …)."""
        with self.kind.decoding():
            for name in self.names:
                try:
                    return name, self.kind.decode(self.path / name, self._how).shape
                except BrokenFile:
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


def _peek(piece: tuple[Path, tuple[str, ...], str, Preparation]) -> list[Any]:
    """What the kind's `peek` says of each file, None of a broken one."""
    folder, names, kind, asked = piece
    found = []
    with KINDS[kind].decoding():
        for name in names:
            try:
                found.append(KINDS[kind].peek(folder / name, asked))
            except BrokenFile:
                found.append(None)
    return found


def _decode(job: _Job) -> _Decoded:
    kind = KINDS[job.kind]
    samples = np.empty((len(job.names), *job.row), kind.dtype)
    outcomes: list[tuple[str, bool]] = []
    whole = 0
    with kind.decoding():
        for name in job.names:
            path = job.folder / name
            try:
                content = kind.read(path)
                sample = kind.decode(path, job.how, content)
            except BrokenFile as error:
                outcomes.append((error.reason, False))
                continue
            if sample.shape != job.row:
                return _Decoded(samples[:0], [], (name, sample.shape))
            samples[whole] = sample
            whole += 1
            outcomes.append((hashlib.sha256(content).hexdigest(), True))
    return _Decoded(samples[:whole], outcomes)
