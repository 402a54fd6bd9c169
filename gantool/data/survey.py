"""Look at every sample of a source: `survey` counts and compares them, `sheet` draws a contact sheet.

Memory does not grow with the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gantool.artifact.pictures import SPACE, grid, with_titles
from gantool.data import Dataset, load
from gantool.data.image_files import Preparation
from gantool.data.kinds import KINDS, kind_of_shape
from gantool.data.kinds.base import Look, Spread, Survey, Tally
from gantool.data.pack.format import is_pack
from gantool.data.pack.sources import is_folder_of_files
from gantool.data.readers.archive import is_archive
from gantool.data.readers.folder import find_files, name_of
from gantool.data.readers.labels import find_labels
from gantool.data.readers.npy import release
from gantool.data.readers.npz import resized
from gantool.data.source_files import BrokenFile
from gantool.system.subprocesses import in_order

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Spread", "Survey", "sheet", "survey"]

COLUMNS, ROWS = 12, 16  # of a contact sheet
TILE = 64  # pixels of a side, when no size is given
_FILES, _ROWS_BYTES = 32, 4 * 2**20  # examined together
_GAP = 2
OnProgress = Callable[[int, int], object]


def survey(
    source: str,
    size: int | None = None,
    *,
    data: Dataset | None = None,
    workers: int | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Survey:
    """Look at every sample of `source`. GantoolError when there is no such thing, or no sample in it.

    `data`: what was made of it, such as pairs; None: what it holds.
    """
    if data is None and is_folder_of_files(source):
        return _survey_folder(Path(source), size, workers, on_progress)
    return _survey_arrays(load(source) if data is None else data, source, size, on_progress)


def _survey_folder(path: Path, size: int | None, workers: int | None, on_progress: OnProgress) -> Survey:
    kind, names, notes = find_files(path)
    found_labels = find_labels(path, names)
    tally, broken = Tally(len(names), kind.width), []
    pieces = (
        (path, tuple(names[first : first + _FILES]), kind.name, Preparation(size))
        for first in range(0, len(names), _FILES)
    )
    number = 0
    for found in in_order(_look, pieces, len(names), workers):
        for each in found:
            if isinstance(each, str):
                broken.append((names[number], each))
            else:
                tally.add(number, each)
            number += 1
        on_progress(number, len(names))
    labels = None if found_labels.labels is None else found_labels.labels[tally.rows]
    duplicates, groups = tally.duplicates(names.__getitem__)
    return kind.survey(
        tally,
        size,
        classes=_counted(*_classes(found_labels.class_names, labels)),
        duplicates=duplicates,
        duplicate_groups=groups,
        name=name_of(path),
        source=str(path),
        kind="zip" if is_archive(path) else "folder",
        broken=broken,
        notes=[*notes, *found_labels.notes],
    )


def _survey_arrays(data: Dataset, source: str, size: int | None, on_progress: OnProgress) -> Survey:
    samples, kind = data.images, kind_of_shape(data.images.shape)
    kind.check_samples(samples.shape, source)
    tally = Tally(len(samples), kind.width)
    rows = max(1, _ROWS_BYTES // max(1, samples[0].nbytes))
    for first in range(0, len(samples), rows):
        for number, sample in enumerate(np.ascontiguousarray(samples[first : first + rows]), first):
            tally.add(number, kind.examine_row(sample, data.rate))
        release(samples)
        on_progress(min(first + rows, len(samples)), len(samples))
    duplicates, groups = tally.duplicates(lambda number: f"row {number}")
    pair = {"pair": [data.spec.arrays["sources"], data.spec.shape]} if _has_pairs(data) else {}
    return kind.survey(
        tally,
        size,
        classes=_counted(*_classes(data.class_names, data.labels)),
        duplicates=duplicates,
        duplicate_groups=groups,
        name=data.name,
        source=source,
        kind="pack" if is_pack(Path(source)) else "arrays",
        broken=[],
        licence=data.licence,
        fingerprint=data.fingerprint,
        notes=list(data.notes),
        **pair,
    )


def _counted(names: Sequence[str], labels: np.ndarray) -> list[tuple[str, int]]:
    return list(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True)) if names else []


def _has_pairs(data: Dataset) -> bool:
    return data.images.ndim == 4 and data.arrays.get("sources", data.images[:0, 0]).ndim == 4


def _classes(names: Sequence[str], labels: np.ndarray | None) -> tuple[Sequence[str], np.ndarray]:
    """The names of the classes, which are numbers where they have none, and labels; none and [] without labels."""
    if labels is None:
        return (), np.empty(0, np.int64)
    return names or [str(label) for label in range(int(labels.max()) + 1)], np.asarray(labels)


def _look(piece: tuple[Path, tuple[str, ...], str, Preparation]) -> list[Look | str]:
    """What each file is, or why it is broken."""
    folder, names, kind, asked = piece
    found: list[Look | str] = []
    with KINDS[kind].decoding():
        for name in names:
            try:
                found.append(KINDS[kind].examine(folder / name, asked))
            except BrokenFile as error:
                found.append(error.reason)
    return found


# contact sheets


@dataclass(frozen=True)
class _Tiles:
    """`image(number)`: uint8 (3, side, width) of sample `number` of `count`, None for a broken file."""

    class_names: Sequence[str]
    labels: np.ndarray
    count: int
    side: int
    width: int
    image: Callable[[int], np.ndarray | None]


def sheet(source: str, size: int | None = None, data: Dataset | None = None) -> Image:
    """A picture of up to `ROWS` classes, `COLUMNS` images of each; without classes, of an even sample of all.

    A sound is shown by its spectrogram and waveform, a volume from the front, the right and the top, pairs as source |
    target. With `size` they are shown as training at that size sees them, else whole. A broken file stays blank.
    `data`: what was made of `source`; None: what it holds.
    """
    if data is None and is_folder_of_files(source):
        tiles = _file_tiles(Path(source), size)
    else:
        tiles = _array_tiles(load(source) if data is None else data, size)
    columns = max(1, COLUMNS * tiles.side // tiles.width)
    blank = np.full((3, tiles.side, tiles.width), SPACE, np.uint8)
    titles, pictures = [], []
    if tiles.class_names:
        for label in _evenly(np.arange(len(tiles.class_names)), ROWS):
            row = [tiles.image(int(i)) for i in _evenly(np.flatnonzero(tiles.labels == label), columns)]
            pictures += row + [None] * (columns - len(row))
            titles.append(tiles.class_names[int(label)])
    else:
        pictures = [tiles.image(int(i)) for i in _evenly(np.arange(tiles.count), columns * 8)]
    pixels = np.stack([blank if picture is None else picture for picture in pictures]).transpose(0, 2, 3, 1)
    scale = max(1, round(48 / tiles.side))
    picture = grid(pixels, columns=min(columns, len(pixels)), gap=_GAP, scale=scale)
    return with_titles(picture, titles) if titles else picture


def _file_tiles(path: Path, size: int | None) -> _Tiles:
    kind, names, _ = find_files(path)
    side = kind.tile_side(size, TILE)

    def image(number: int) -> np.ndarray | None:
        try:
            with kind.decoding():
                return kind.shown(path / names[number], side, size)
        except BrokenFile:
            return None

    labels = find_labels(path, names)
    return _Tiles(*_classes(labels.class_names, labels.labels), len(names), side, kind.tile_width(side), image)


def _array_tiles(data: Dataset, size: int | None) -> _Tiles:
    kind, classes = kind_of_shape(data.images.shape), _classes(data.class_names, data.labels)
    kind.check_samples(data.images.shape, data.source)
    shown = ("sources", "images") if _has_pairs(data) else ("images",)
    side = kind.tile_side(size, TILE)
    if kind.name == "image" and size is None and len(set(data.images.shape[2:])) == 1:
        side = data.images.shape[3] if data.images.shape[3] <= 2 * TILE else TILE

    def image(number: int) -> np.ndarray:
        rows = (np.asarray(data.arrays[name][number : number + 1]) for name in shown)
        tiles = [kind.tile(resized(row, size, data.source)[0], side, data.rate) for row in rows]
        return np.concatenate(tiles, axis=2)

    return _Tiles(*classes, len(data), side, kind.tile_width(side) * len(shown), image)


def _evenly(numbers: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of them, evenly spread."""
    return numbers if len(numbers) <= most else numbers[np.arange(most) * len(numbers) // most]
