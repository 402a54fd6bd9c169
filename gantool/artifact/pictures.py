"""Show samples of any kind as pictures, grids of pictures, and PNG files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gantool.artifact import latents, points, sounds, volumes
from gantool.artifact.provenance import KEY, SOFTWARE, XMP_KEY, Provenance, xmp
from gantool.errors import excerpt
from gantool.system.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

SAMPLES = 64  # images of a grid by default
MAX_ROWS = 16  # classes that a grid shows: more would not fit on a screen
MIN_COLUMNS, MAX_COLUMNS = 8, 16  # of a grid with a row a class
MOST = 256  # classes that have rows: more are single samples rather than kinds
SPACE = 64  # the grey between images


def to_pictures(samples: np.ndarray, rate: int = 0) -> np.ndarray:
    """Samples (N, C, …) float in [-1, 1] → uint8 (N, H, W, 1 or 3).

    An image is shown as it is (its first channel when it has neither 1 nor 3), a volume by a shaded view, audio by its
    spectrogram and waveform, a point by its place in the plane. `rate`: of audio, in samples a second, 0 where it is
    not known.
    """
    if samples.ndim == 5:
        return volumes.pictures(samples)
    if samples.ndim == 2:
        return points.pictures(samples)
    if samples.ndim == 3:
        return sounds.pictures(samples, rate)
    if samples.shape[1] not in (1, 3):
        samples = samples[:, :1]
    return latents.pixels(np.nan_to_num(samples, posinf=1, neginf=-1))


def grid(images: np.ndarray, columns: int | None = None, gap: int = 2, scale: int | None = None) -> Image:
    """Images uint8 (N, H, W, 1 or 3) → one picture, filled row by row; nearly square unless `columns` is given.

    Small images are enlarged without smoothing: `scale` times, by default to about 48 pixels.
    """
    from PIL import Image

    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), SPACE, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image
    scale = scale or enlarged(images)
    canvas = canvas.repeat(scale, 0).repeat(scale, 1)
    return Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas)


def enlarged(images: np.ndarray) -> int:
    """How many times `grid` enlarges images (N, H, W, …)."""
    width: int = images.shape[2]
    return max(1, round(48 / width))


def side_by_side(*images: np.ndarray) -> np.ndarray:
    """Images uint8 (N, H, W, 1 or 3), of any sizes and colours, each beside the others of its number, as one of them.

    Smaller ones are enlarged by whole numbers, without smoothing.
    """
    height, channels = max(i.shape[1] for i in images), max(i.shape[3] for i in images)
    made = []
    for image in images:
        scale = height // image.shape[1]
        large = image.repeat(scale, 1).repeat(scale, 2).repeat(channels // image.shape[3], 3)
        edges = ((0, 0), (0, height - large.shape[1]), (0, 0), (0, 0))
        made.append(np.pad(large, edges, constant_values=SPACE))
    return np.concatenate(made, 2)


def stacked(pictures: Sequence[Image]) -> Image:
    """Pictures below each other."""
    from PIL import Image

    if len(pictures) == 1:
        return pictures[0]
    canvas = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), (SPACE,) * 3)
    top = 0
    for picture in pictures:
        canvas.paste(picture, (0, top))
        top += picture.height
    return canvas


def with_titles(picture: Image, titles: Sequence[str], heads: Sequence[str] = ()) -> Image:
    """`picture`, of rows of equal height, with a title left of each row; `heads`: above its columns of equal width."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    # Pillow's own font has no letter beyond ASCII
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 13)
    shown = [excerpt(title, 20) for title in titles]
    left = int(max(font.getlength(title) for title in shown)) + 12
    top = 20 if heads else 0
    canvas = Image.new("RGB", (picture.width + left, picture.height + top), (SPACE,) * 3)
    canvas.paste(picture, (left, top))
    draw = ImageDraw.Draw(canvas)
    high, wide = picture.height / len(shown), picture.width / max(1, len(heads))
    for row, title in enumerate(shown):
        draw.text((left - 8, top + (row + 0.5) * high), title, "white", font, anchor="rm")
    for column, head in enumerate(heads):
        draw.text((left + (column + 0.5) * wide, top / 2), head, "white", font, anchor="mm")
    return canvas


def class_rows(classes: int) -> tuple[int, int]:
    """Rows and columns of a grid with a row for each of the first MAX_ROWS `classes`, and at least 8 columns.

    As in the first paper on conditional GANs (Mirza & Osindero 2014, arXiv:1411.1784, figure 2). With fewer than two
    classes, or so many that they are no kinds (MOST): SAMPLES images, each of another class, in one row, which `grid`
    breaks into several.
    """
    if not 2 <= classes <= MOST:
        return 1, SAMPLES
    rows = min(classes, MAX_ROWS)
    return rows, min(MAX_COLUMNS, max(MIN_COLUMNS, SAMPLES // rows))


def in_rows(images: np.ndarray, rows: int, first: int = 0) -> tuple[np.ndarray, int | None]:
    """Images (N, …) whose `rows` classes come in turn → (tiles, columns) with which `grid` shows a row a class.

    Image i belongs to row (first + i) mod rows; one of more than MAX_COLUMNS images is broken. Empty tiles are grey
    like the space between images.
    """
    if rows < 2:
        return images, None
    row = (first + np.arange(len(images))) % rows
    most = int(np.bincount(row, minlength=rows).max(initial=1))
    columns = min(most, MAX_COLUMNS)
    places = columns * math.ceil(most / columns)  # of a row
    tiles = np.full((rows * places, *images.shape[1:]), SPACE, images.dtype)
    for number in range(rows):
        own = images[row == number]
        tiles[number * places : number * places + len(own)] = own
    return tiles, columns


def save_png(picture: Image, path: Path, provenance: Provenance | None = None) -> None:
    """Write a PNG atomically, with `provenance` in its text chunks."""
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=None if provenance is None else png_info(provenance))


def png_info(provenance: Provenance) -> PngInfo:
    """The text chunks of a PNG, for Pillow's `save(pnginfo=…)`."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(XMP_KEY, xmp(SOFTWARE, provenance.composite))
    info.add_itxt("Software", SOFTWARE)
    info.add_itxt("Description", provenance.describe())
    info.add_itxt(KEY, provenance.to_json())
    return info
