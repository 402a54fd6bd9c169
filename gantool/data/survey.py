"""Look at every image of a source: `survey` counts and compares them, `sheet` draws a contact sheet.

Memory does not grow with the pixels.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gantool.artifact.pictures import grid
from gantool.artifact.upright import GREY
from gantool.data import Dataset, load
from gantool.data.image_files import BrokenImage, Preparation, decode, examine, read, strict_decoding
from gantool.data.images import DARK, as_bytes, check_pictures, darkness_note, resize, with_channels
from gantool.data.pack.format import is_pack
from gantool.data.pack.sources import is_folder_of_files
from gantool.data.readers.archive import is_archive
from gantool.data.readers.folder import find_images, name_of
from gantool.data.readers.labels import find_labels
from gantool.data.readers.npy import release
from gantool.errors import excerpt
from gantool.system.subprocesses import in_order

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIZES = 10  # in a survey
MAX_GROUPS = 1000  # of duplicates, in a survey
COLUMNS, ROWS = 12, 16  # of a contact sheet
TILE = 64  # pixels of a side, when no size is given
_FILES, _ROWS_BYTES = 32, 4 * 2**20  # examined together
_GAP = 2
_BACKGROUND = (64, 64, 64)  # of `grid`
OnProgress = Callable[[int, int], object]


@dataclass(frozen=True)
class Sides:
    """Minimum, median and maximum of the images' widths or heights, in pixels."""

    min: int
    median: int
    max: int


@dataclass(frozen=True)
class Survey:
    """What is in a source.

    `count`: images that can be used. `sizes`: (width, height, count), the commonest first, of `distinct_sizes`.
    `duplicates`: images with the pixels of an earlier one; `duplicate_groups`: their names, the earliest first.
    `broken`: file and reason. `crop_cuts`: the share of all pixels outside the centre squares. Bytes are of all images
    as they are, or at `size`. `pair`: of pairs, the shapes (C, H, W) of a source and a target.
    """

    name: str
    source: str
    kind: str  # folder, zip, pack or arrays
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
    crop_cuts: float
    size: int | None
    bytes_uint8: int
    bytes_float32: int
    licence: str = ""
    fingerprint: str | None = None
    notes: list[str] = field(default_factory=list)
    pair: list[tuple[int, ...]] | None = None


def survey(
    source: str,
    size: int | None = None,
    *,
    data: Dataset | None = None,
    workers: int | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Survey:
    """Look at every image of `source`. GantoolError when there is no such thing, or no image in it.

    `data`: what was made of it, such as pairs; None: what it holds.
    """
    if data is None and is_folder_of_files(source):
        return _survey_folder(Path(source), size, workers, on_progress)
    return _survey_arrays(load(source) if data is None else data, source, size, on_progress)


class _Tally:
    """The sides and the digest of the pixels of each image: 32 bytes a row."""

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

    def survey(
        self,
        image_name: Callable[[int], str],
        class_names: Sequence[str],
        labels: np.ndarray,
        *,
        size: int | None,
        channels: int,
        **facts: Any,
    ) -> Survey:
        sides = self.sides[: self.count]
        distinct, counts = np.unique(sides, axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        extents = [Sides(int(s.min()), int(np.median(s)), int(s.max())) if self.count else None for s in sides.T]
        duplicates, groups = self._duplicates()
        squares, whole = (sides.astype(np.int64).min(axis=1) ** 2).sum(), sides.astype(np.int64).prod(axis=1).sum()
        pixels = self.count * size * size if size else int(sides.astype(np.int64).prod(axis=1).sum())
        per_class = np.bincount(labels, minlength=len(class_names)).tolist() if class_names else []
        return Survey(
            count=self.count,
            sizes=[(int(distinct[i, 0]), int(distinct[i, 1]), int(counts[i])) for i in order[:MAX_SIZES]],
            distinct_sizes=len(order),
            width=extents[0],
            height=extents[1],
            channels=channels,
            modes=dict(self.modes.most_common()),
            formats=dict(self.formats.most_common()),
            classes=list(zip(class_names, per_class, strict=True)),
            duplicates=duplicates,
            duplicate_groups=[[image_name(int(number)) for number in group] for group in groups[:MAX_GROUPS]],
            crop_cuts=1 - float(squares / whole) if self.count else 0.0,
            size=size,
            bytes_uint8=pixels * channels,
            bytes_float32=4 * pixels * channels,
            **facts,
        )

    def _duplicates(self) -> tuple[int, list[np.ndarray]]:
        """How many images repeat an earlier one, and the numbers of equal images, the earliest first."""
        digests = self.digests[: self.count]
        order = np.lexsort((np.arange(self.count), digests[:, 1], digests[:, 0]))
        same = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
        starts = np.flatnonzero(np.concatenate([[True], ~same])) if self.count else np.empty(0, np.int64)
        lengths = np.diff(np.append(starts, self.count))
        groups = [self.numbers[order[a : a + n]] for a, n in zip(starts, lengths, strict=True) if n > 1]
        return int(same.sum()), sorted(groups, key=lambda group: int(group[0]))


def _survey_folder(path: Path, size: int | None, workers: int | None, on_progress: OnProgress) -> Survey:
    names, notes = find_images(path)
    found_labels = find_labels(path, names)
    tally, broken, brightest = _Tally(len(names)), [], 0
    pieces = ((path, tuple(names[first : first + _FILES])) for first in range(0, len(names), _FILES))
    number = 0
    for found in in_order(_look, pieces, len(names), workers):
        for each in found:
            if isinstance(each, str):
                broken.append((names[number], each))
            else:
                tally.add(number, each.width, each.height, each.digest)
                tally.modes[each.mode] += 1
                tally.formats[each.format] += 1
                brightest = max(brightest, each.brightest)
            number += 1
        on_progress(number, len(names))
    if 0 < brightest < DARK:
        notes.append(darkness_note(brightest))
    labels = None if found_labels.labels is None else found_labels.labels[tally.numbers[: tally.count]]
    return tally.survey(
        names.__getitem__,
        *_classes(found_labels.class_names, labels),
        size=size,
        channels=3 if any(mode not in GREY for mode in tally.modes) else 1,
        name=name_of(path),
        source=str(path),
        kind="zip" if is_archive(path) else "folder",
        broken=broken,
        notes=[*notes, *found_labels.notes],
    )


def _survey_arrays(data: Dataset, source: str, size: int | None, on_progress: OnProgress) -> Survey:
    images = data.images
    check_pictures(images.shape, source)
    tally = _Tally(len(images))
    rows = max(1, _ROWS_BYTES // max(1, images[0].nbytes))
    for first in range(0, len(images), rows):
        for number, image in enumerate(np.ascontiguousarray(images[first : first + rows]), first):
            tally.add(number, images.shape[3], images.shape[2], _digest(image))
        release(images)
        on_progress(min(first + rows, len(images)), len(images))
    channels = images.shape[1]
    tally.modes[f"{'grey' if channels == 1 else 'colour'}, {images.dtype}"] = len(images)
    return tally.survey(
        lambda number: f"row {number}",
        *_classes(data.class_names, data.labels),
        size=size,
        channels=channels,
        name=data.name,
        source=source,
        kind="pack" if is_pack(Path(source)) else "arrays",
        broken=[],
        licence=data.licence,
        fingerprint=data.fingerprint,
        notes=list(data.notes),
        pair=[data.spec.arrays["sources"], data.spec.shape] if _has_pairs(data) else None,
    )


def _has_pairs(data: Dataset) -> bool:
    return data.arrays.get("sources", data.images[:0, 0]).ndim == 4


def _classes(names: Sequence[str], labels: np.ndarray | None) -> tuple[Sequence[str], np.ndarray]:
    """The names of the classes, which are numbers where they have none, and labels; none and [] without labels."""
    if labels is None:
        return (), np.empty(0, np.int64)
    return names or [str(label) for label in range(int(labels.max()) + 1)], np.asarray(labels)


@dataclass(frozen=True)
class _Look:
    format: str
    mode: str
    width: int
    height: int
    digest: bytes
    brightest: int


@strict_decoding()
def _look(piece: tuple[Path, tuple[str, ...]]) -> list[_Look | str]:
    """What each file is, or why it is broken."""
    folder, names = piece
    found: list[_Look | str] = []
    for name in names:
        path = folder / name
        try:
            file_format, mode, pixels = examine(path, io.BytesIO(read(path)))
        except BrokenImage as error:
            found.append(error.reason)
            continue
        found.append(_Look(file_format, mode, pixels.shape[1], pixels.shape[0], _digest(pixels), int(pixels.max())))
    return found


def _digest(pixels: np.ndarray) -> bytes:
    """16 bytes that stand for shape and values."""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


# contact sheets


@dataclass(frozen=True)
class _Tiles:
    """`image(number)`: uint8 (3, side, width) of image `number` of `count`, None for a broken file.

    `width`: `side`, or of pairs two of them.
    """

    class_names: Sequence[str]
    labels: np.ndarray
    count: int
    side: int
    width: int
    image: Callable[[int], np.ndarray | None]


def sheet(source: str, size: int | None = None, data: Dataset | None = None) -> Image:
    """A picture of up to `ROWS` classes, `COLUMNS` images of each; without classes, of an even sample of all.

    With `size` the images are shown as training at that size sees them, else whole. A broken file stays blank. Pairs
    are shown as source | target. `data`: what was made of `source`; None: what it holds.
    """
    if data is None and is_folder_of_files(source):
        tiles = _file_tiles(Path(source), size)
    else:
        tiles = _array_tiles(load(source) if data is None else data, size)
    columns = COLUMNS * tiles.side // tiles.width
    blank = np.full((3, tiles.side, tiles.width), _BACKGROUND[0], np.uint8)
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
    return _with_titles(picture, titles, (tiles.side + _GAP) * scale) if titles else picture


def _file_tiles(path: Path, size: int | None) -> _Tiles:
    names, _ = find_images(path)
    how = Preparation("RGB", size or TILE, "crop" if size else "pad")

    @strict_decoding()
    def image(number: int) -> np.ndarray | None:
        try:
            return decode(path / names[number], how)
        except BrokenImage:
            return None

    labels = find_labels(path, names)
    return _Tiles(*_classes(labels.class_names, labels.labels), len(names), size or TILE, size or TILE, image)


def _array_tiles(data: Dataset, size: int | None) -> _Tiles:
    height, width = data.images.shape[2:]
    side = size or (width if height == width <= 2 * TILE else TILE)
    shown = ("sources", "images") if _has_pairs(data) else ("images",)

    def image(number: int) -> np.ndarray:
        rows = (with_channels(as_bytes(np.asarray(data.arrays[name][number : number + 1])), 3) for name in shown)
        tiles = [resize(_repeated(row, side), side, data.source, "crop" if size else "pad")[0] for row in rows]
        return np.concatenate(tiles, axis=2)

    return _Tiles(*_classes(data.class_names, data.labels), len(data), side, side * len(shown), image)


def _repeated(images: np.ndarray, side: int) -> np.ndarray:
    """Small images with their pixels repeated, so that they show as such."""
    times = max(1, side // max(images.shape[2:]))
    return images.repeat(times, 2).repeat(times, 3)


def _evenly(numbers: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of them, evenly spread."""
    return numbers if len(numbers) <= most else numbers[np.arange(most) * len(numbers) // most]


def _with_titles(picture: Image, titles: Sequence[str], pitch: int) -> Image:
    """`picture` with a title at the left of each row; rows are `pitch` pixels apart."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    # Pillow's own font has no letter beyond ASCII
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 13)
    shown = [excerpt(title, 20) for title in titles]
    margin = int(max(font.getlength(title) for title in shown)) + 12
    canvas = Image.new("RGB", (picture.width + margin, picture.height), _BACKGROUND)
    canvas.paste(picture, (margin, 0))
    draw = ImageDraw.Draw(canvas)
    for row, title in enumerate(shown):
        draw.text((margin - 8, row * pitch + pitch // 2), title, fill="white", font=font, anchor="rm")
    return canvas
