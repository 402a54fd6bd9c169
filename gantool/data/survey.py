"""`info`: what is in a source of images, whole or broken; memory does not grow with the pixels."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gantool.data import load
from gantool.data.decode import GREY, BrokenImage, examine, read, strictly
from gantool.data.images import check_pictures
from gantool.data.mapped import release
from gantool.data.pack.format import is_pack
from gantool.data.pack.plan import FEW, is_folder_of_files
from gantool.data.pool import in_order
from gantool.data.readers.folder import classes_of, find_images
from gantool.system.cores import usable_cores

COMMONEST = 10  # sizes that are told
GROUPS = 1000  # groups of duplicates that are told
_FILES, _ROWS_BYTES = 32, 4 * 2**20  # that are looked at together


@dataclass(frozen=True)
class Sides:
    """Least, middle and greatest of the images' widths or heights, in pixels."""

    min: int
    median: int
    max: int


@dataclass(frozen=True)
class Survey:
    """What was found. `count`: images that can be used. `sizes`: (width, height, count), the commonest first, of
    `distinct_sizes`. `duplicates`: images that have the pixels of an earlier one; `duplicate_groups`: their names,
    the earliest first. `broken`: file and reason. Bytes are of all images as they are, or at `size`."""

    name: str
    source: str
    kind: str  # folder, pack or arrays
    count: int
    sizes: list[tuple[int, int, int]]
    distinct_sizes: int
    width: Sides | None
    height: Sides | None
    channels: int
    modes: dict[str, int]
    formats: dict[str, int]
    classes: list[tuple[str, int]]
    duplicates: int
    duplicate_groups: list[list[str]]
    broken: list[tuple[str, str]]
    size: int | None
    bytes_uint8: int
    bytes_float32: int
    licence: str = ""
    fingerprint: str | None = None
    notes: list[str] = field(default_factory=list)


def survey(
    source: str,
    size: int | None = None,
    *,
    workers: int | None = None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> Survey:
    """Look at every image of `source`. GantoolError when there is no such thing, or no image in it."""
    if is_folder_of_files(source):
        return _of_folder(Path(source), size, workers, on_progress)
    return _of_arrays(source, size, on_progress)


class _Seen:
    """A row for each image: sides and the digest of the pixels, 32 bytes in all."""

    def __init__(self, count: int) -> None:
        self.count = 0
        self.numbers = np.empty(count, np.int64)  # in the list of names
        self.sides = np.empty((count, 2), np.int32)
        self.digests = np.empty((count, 2), np.uint64)
        self.modes: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()

    def add(self, number: int, width: int, height: int, digest: bytes) -> None:
        row = self.count
        self.numbers[row], self.sides[row] = number, (width, height)
        self.digests[row] = np.frombuffer(digest, np.uint64)
        self.count += 1

    def sizes(self) -> list[tuple[int, int, int]]:
        distinct, counts = np.unique(self.sides[: self.count], axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(int(distinct[i, 0]), int(distinct[i, 1]), int(counts[i])) for i in order]

    def extent(self, axis: int) -> Sides | None:
        sides = self.sides[: self.count, axis]
        return Sides(int(sides.min()), int(np.median(sides)), int(sides.max())) if self.count else None

    def duplicates(self) -> tuple[int, list[np.ndarray]]:
        """How many images repeat an earlier one, and the numbers of those that are equal, earliest first."""
        digests = self.digests[: self.count]
        order = np.lexsort((np.arange(self.count), digests[:, 1], digests[:, 0]))
        same = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
        starts = np.flatnonzero(np.concatenate([[True], ~same])) if self.count else np.empty(0, np.int64)
        lengths = np.diff(np.append(starts, self.count))
        groups = [self.numbers[order[a : a + n]] for a, n in zip(starts, lengths, strict=True) if n > 1]
        return int(same.sum()), sorted(groups, key=lambda group: int(group[0]))


def _of_folder(path: Path, size: int | None, workers: int | None, on_progress: Callable[[int, int], object]) -> Survey:
    names, notes = find_images(path)
    class_names, labels = classes_of(names)
    seen, broken = _Seen(len(names)), []
    pieces = ((path, tuple(names[first : first + _FILES])) for first in range(0, len(names), _FILES))
    number = 0
    for looked in in_order(_look, pieces, workers or (usable_cores() if len(names) > FEW else 1)):
        for each in looked:
            if isinstance(each, str):
                broken.append((names[number], each))
            else:
                seen.add(number, each.width, each.height, each.digest)
                seen.modes[each.mode] += 1
                seen.formats[each.format] += 1
            number += 1
        on_progress(number, len(names))
    channels = 3 if any(mode not in GREY for mode in seen.modes) else 1
    used = labels[seen.numbers[: seen.count]] if class_names else labels
    return _told(
        seen, names.__getitem__, class_names, used, broken, size,
        name=path.resolve().name or "images", source=str(path), kind="folder", channels=channels, notes=notes,
    )  # fmt: skip


def _of_arrays(source: str, size: int | None, on_progress: Callable[[int, int], object]) -> Survey:
    data = load(source)
    images = data.images
    check_pictures(images.shape, source)
    seen = _Seen(len(images))
    rows = max(1, _ROWS_BYTES // max(1, images[0].nbytes))
    for first in range(0, len(images), rows):
        piece = np.ascontiguousarray(images[first : first + rows])
        for number, image in enumerate(piece, first):
            seen.add(number, images.shape[3], images.shape[2], _digest(image))
        release(images)
        on_progress(min(first + rows, len(images)), len(images))
    channels = images.shape[1]
    seen.modes[f"{'grey' if channels == 1 else 'colour'}, {images.dtype}"] = len(images)
    names = data.class_names
    labels = np.empty(0, np.int64) if data.labels is None else np.asarray(data.labels)
    if not names and len(labels):
        names = tuple(map(str, range(int(labels.max()) + 1)))
    return _told(
        seen, lambda number: f"row {number}", names, labels, [], size,
        name=data.name, source=source, kind="pack" if is_pack(Path(source)) else "arrays", channels=channels,
        licence=data.licence, fingerprint=data.fingerprint, notes=list(data.notes),
    )  # fmt: skip


def _told(
    seen: _Seen,
    named: Callable[[int], str],
    class_names: Sequence[str],
    labels: np.ndarray,
    broken: list[tuple[str, str]],
    size: int | None,
    *,
    name: str,
    source: str,
    kind: str,
    channels: int,
    notes: list[str],
    licence: str = "",
    fingerprint: str | None = None,
) -> Survey:
    sizes = seen.sizes()
    count, groups = seen.duplicates()
    pixels = seen.count * size * size if size else int(seen.sides[: seen.count].astype(np.int64).prod(axis=1).sum())
    per_class = [int(n) for n in np.bincount(labels, minlength=len(class_names))] if class_names else []
    return Survey(
        name=name,
        source=source,
        kind=kind,
        count=seen.count,
        sizes=sizes[:COMMONEST],
        distinct_sizes=len(sizes),
        width=seen.extent(0),
        height=seen.extent(1),
        channels=channels,
        modes=dict(seen.modes.most_common()),
        formats=dict(seen.formats.most_common()),
        classes=list(zip(class_names, per_class, strict=True)),
        duplicates=count,
        duplicate_groups=[[named(int(number)) for number in group] for group in groups[:GROUPS]],
        broken=broken,
        size=size,
        bytes_uint8=pixels * channels,
        bytes_float32=4 * pixels * channels,
        licence=licence,
        fingerprint=fingerprint,
        notes=notes,
    )


@dataclass(frozen=True)
class _Looked:
    format: str
    mode: str
    width: int
    height: int
    digest: bytes


def _look(piece: tuple[Path, tuple[str, ...]]) -> list[_Looked | str]:
    """What each file is, or why it is broken."""
    folder, names = piece
    found: list[_Looked | str] = []
    for name in names:
        path = folder / name
        try:
            with strictly():
                image = examine(path, io.BytesIO(read(path)))
        except BrokenImage as error:
            found.append(error.reason)
            continue
        height, width = image.pixels.shape[:2]
        found.append(_Looked(image.format, image.mode, width, height, _digest(image.pixels)))
    return found


def _digest(pixels: np.ndarray) -> bytes:
    """16 bytes, of shape and values."""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()
