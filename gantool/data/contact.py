"""Contact sheets: an even sample of a source, a row a class when it has classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gantool.artifact.pictures import grid
from gantool.data import load
from gantool.data.decode import BrokenImage, Preparation, decode, strictly
from gantool.data.images import as_bytes, resize, with_channels
from gantool.data.pack.plan import is_folder_of_files
from gantool.data.readers.folder import classes_of, find_images
from gantool.errors import excerpt

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS, ROWS = 12, 16
TILE = 64  # pixels of a side, when no size is asked for
_GAP = 2
_BACKGROUND = (64, 64, 64)  # of `grid`


def sheet(source: str, size: int | None = None) -> Image:
    """A picture of up to `ROWS` classes, `COLUMNS` images of each; without classes, of as many images of all.

    With `size` the images are as training at that size sees them, else they are shown whole. A broken file stays
    blank.
    """
    names, labels, tile_of = _files(Path(source), size) if is_folder_of_files(source) else _arrays(source, size)
    chosen, titles = _choose(names, labels, tile_of.count)
    blank = np.full((tile_of.side, tile_of.side, 3), _BACKGROUND[0], np.uint8)
    tiles = [blank if number is None else tile_of(number, blank) for number in chosen]
    scale = max(1, round(48 / tile_of.side))
    picture = grid(np.stack(tiles), columns=min(COLUMNS, len(tiles)), gap=_GAP, scale=scale)
    return _titled(picture, titles, (tile_of.side + _GAP) * scale) if titles else picture


class _Tiles:
    """`tiles(number, blank)` → uint8 (side, side, 3) of image `number` of `count`."""

    def __init__(self, count: int, side: int, make: Callable[[int], np.ndarray | None]) -> None:
        self.count, self.side, self._make = count, side, make

    def __call__(self, number: int, blank: np.ndarray) -> np.ndarray:
        made = self._make(number)
        return blank if made is None else made.transpose(1, 2, 0)


def _files(path: Path, size: int | None) -> tuple[Sequence[str], np.ndarray | None, _Tiles]:
    names, _ = find_images(path)
    class_names, labels = classes_of(names)
    how = Preparation("RGB", size or TILE, "crop" if size else "pad")

    def make(number: int) -> np.ndarray | None:
        try:
            with strictly():
                return decode(path / names[number], how)
        except BrokenImage:
            return None

    return class_names, labels if class_names else None, _Tiles(len(names), size or TILE, make)


def _arrays(source: str, size: int | None) -> tuple[Sequence[str], np.ndarray | None, _Tiles]:
    data = load(source)
    height, width = data.images.shape[2:]
    side = size or (width if height == width <= 2 * TILE else TILE)

    def make(number: int) -> np.ndarray:
        row = with_channels(as_bytes(np.asarray(data.images[number : number + 1])), 3)
        tile: np.ndarray = resize(row, side, source, "crop" if size else "pad")[0]
        return tile

    labels = None if data.labels is None else np.asarray(data.labels)
    names: Sequence[str] = data.class_names
    if labels is not None and not names:
        names = [str(label) for label in range(int(labels.max()) + 1)]
    return names, labels, _Tiles(len(data), side, make)


def _choose(names: Sequence[str], labels: np.ndarray | None, count: int) -> tuple[list[int | None], list[str]]:
    """The images to show, row by row (None: a place that stays blank), and a title for each row."""
    if labels is None:
        return [int(i) for i in _evenly(np.arange(count), COLUMNS * 8)], []
    chosen: list[int | None] = []
    titles = []
    for label in _evenly(np.arange(len(names)), ROWS):
        row = _evenly(np.flatnonzero(labels == label), COLUMNS)
        chosen += [*map(int, row), *[None] * (COLUMNS - len(row))]
        titles.append(names[int(label)])
    return chosen, titles


def _evenly(numbers: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of them, evenly spread."""
    return numbers if len(numbers) <= most else numbers[np.arange(most) * len(numbers) // most]


def _titled(picture: Image, titles: Sequence[str], pitch: int) -> Image:
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
