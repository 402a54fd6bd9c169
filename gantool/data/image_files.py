"""Image files to pixels: upright, opaque, in 8 bits of sRGB."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Literal

import numpy as np
from PIL import Image, ImageColor, PngImagePlugin, UnidentifiedImageError

from gantool.artifact.upright import GREY, Mode, raw_mode, upright
from gantool.data.images import WHITE, Colour, Fit, square
from gantool.data.readers.archive import divided
from gantool.data.source_files import BrokenFile, as_broken_file, read
from gantool.errors import GantoolError, excerpt
from gantool.plugin.hookspecs import Wanted

# Pillow tries all formats whatever a file is called, and some run other programs: these don't
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".tga", ".jp2", ".avif",
}  # fmt: skip
MAX_FILE_BYTES = 2**30  # Pillow's limit of pixels takes 680 MiB with four channels of 16 bits
Half = Literal["", "left", "right"]
_OTHERWISE = (Image.DecompressionBombError, Image.DecompressionBombWarning, UnidentifiedImageError)


@dataclass(frozen=True)
class Preparation(Wanted):
    """How a file becomes a sample. Of an image: with `size`, made square as `fit` says; alpha over `background`.

    `channels` of an image: 1 grey, else colour. `half`: only that half of it.
    """

    fit: Fit = "crop"
    background: Colour = WHITE
    half: Half = ""

    @property
    def mode(self) -> Mode:
        return "L" if self.channels == 1 else "RGB"


def colour(text: str) -> Colour:
    """Red, green and blue of a colour that Pillow knows: `white`, `#ff8800`, `hsl(0,100%,50%)` …"""
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise GantoolError(
            f"{excerpt(text)!r} is not a colour.", "Give a name or a number: white, black, '#ff8800'."
        ) from error


@contextmanager
def strict_decoding() -> Iterator[None]:
    """Oversized images raise; other warnings of Pillow are hidden; text in PNG files may be as long as it is.

    Enter it in one thread only: it changes settings of the whole process.
    """
    longest = PngImagePlugin.MAX_TEXT_CHUNK
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
        try:
            yield
        finally:
            PngImagePlugin.MAX_TEXT_CHUNK = longest


def _content(path: Path) -> Path | IO[bytes]:
    return io.BytesIO(read(path, MAX_FILE_BYTES)) if divided(path) else path


def is_grey(path: Path) -> bool:
    """Whether the header of `path` declares a greyscale image; BrokenFile when the header is broken."""
    with _as_broken(path), Image.open(_content(path), formats=_formats()) as image:
        return image.mode in GREY or raw_mode(image) == "LA;16B"


def decode(path: Path, how: Preparation, stream: IO[bytes] | None = None) -> np.ndarray:
    """uint8 (C, H, W) of the first frame of `path`, upright, opaque; (C, size, size) with `how.size`.

    `stream`: the file's bytes, when they were read already. BrokenFile when they can't be decoded.
    """
    with _as_broken(path), Image.open(stream or _content(path), formats=_formats()) as opened:
        image = upright(opened, how.mode, how.background)
        if how.half:
            middle = image.width // 2
            left, right = (0, middle) if how.half == "left" else (image.width - middle, image.width)
            image = image.crop((left, 0, right, image.height))
        if how.size is not None:
            image = square(image, how.size, how.fit, how.background)
        pixels = np.array(image)
    return pixels[np.newaxis] if how.mode == "L" else pixels.transpose(2, 0, 1)


def examine(path: Path, stream: IO[bytes]) -> tuple[str, str, np.ndarray]:
    """The format and mode of the image file `path` in Pillow's words, and its upright pixels, uint8 (H, W[, 3]).

    `stream`: the file's bytes. BrokenFile when it can't be decoded.
    """
    with _as_broken(path), Image.open(stream, formats=_formats()) as opened:
        name = "LA" if raw_mode(opened) == "LA;16B" else opened.mode
        mode: Mode = "L" if name in GREY else "RGB"
        return opened.format or "?", name, np.array(upright(opened, mode))


@lru_cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # a Pillow of an older version has no AVIF


@contextmanager
def _as_broken(path: Path) -> Iterator[None]:
    """Turn what Pillow or the disk raises into a BrokenFile."""
    try:
        with as_broken_file(path, _OTHERWISE):
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenFile(path, f"is too large an image: {error}", "Shrink it, or move it out of the folder.") from error
    except UnidentifiedImageError as error:  # Pillow's message would name an address in memory
        raise BrokenFile(path, "can't be decoded: cannot identify image file.") from error
