"""One image file to pixels: orientation, transparency, 16-bit greys, and all the ways to be broken."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from gantool.data.images import WHITE, Colour, Fit, square
from gantool.errors import GantoolError, excerpt

GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})
MAX_FILE_BYTES = 2**30  # Pillow's most pixels, with 16 bits of four channels, take 680 MiB
Mode = Literal["L", "RGB"]
# what Pillow's decoders raise on broken files; the code under `_broken` calls little else
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError,
    ZeroDivisionError, NotImplementedError, struct.error, zlib.error,
)  # fmt: skip
_BROKEN_HINT = "It is broken or cut short: replace it, or move it out of the folder."


class BrokenImage(GantoolError):
    """An image file that can't be used; `reason` is the message without the file's name."""

    def __init__(self, path: Path, reason: str, hint: str) -> None:
        super().__init__(f"{path} {reason}", hint)
        self.reason = reason


@dataclass(frozen=True)
class Preparation:
    """How pixels are made: `mode` L or RGB; with `size` made square as `fit` says; transparency over `background`."""

    mode: Mode
    size: int | None = None
    fit: Fit = "crop"
    background: Colour = WHITE

    @property
    def channels(self) -> int:
        return 1 if self.mode == "L" else 3


def colour(text: str) -> Colour:
    """The red, green and blue of a colour that Pillow knows: `white`, `#ff8800`, `hsl(0,100%,50%)` …"""
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise GantoolError(
            f"{excerpt(text)!r} is no colour that is known.", "Give a name or a number: white, black, '#ff8800'."
        ) from error


@contextmanager
def strictly() -> Iterator[None]:
    """Inside, an image of more pixels than Pillow deems sane is an error, and what else it warns of is not told.

    Not for threads: it sets warning filters.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read(path: Path) -> bytes:
    """The bytes of the image file `path`; BrokenImage when it can't be read or is larger than any image is."""
    with _broken(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            raise ValueError(f"it has {size:,} bytes; an image has at most {MAX_FILE_BYTES:,}")
        return file.read(size)


def is_grey(path: Path) -> bool:
    """Whether the header of `path` declares a greyscale image. Not for threads: it sets a warning filter.

    BrokenImage when the header is broken, or declares so many pixels that Pillow holds it for an attack.
    """
    with _broken(path), strictly(), Image.open(path) as image:
        return image.mode in GREY


def decode(path: Path, how: Preparation, stream: IO[bytes] | None = None) -> np.ndarray:
    """uint8 (C, H, W) of the first frame of `path`, upright, opaque; (C, size, size) with `how.size`.

    `stream`: the file's bytes, when they are at hand. BrokenImage when they can't be decoded.
    """
    with _broken(path), Image.open(stream or path) as opened:
        image = upright(opened, how)
        if how.size is not None:
            image = square(image, how.size, how.fit, how.background)
        pixels = np.array(image)
    return pixels[np.newaxis] if how.mode == "L" else pixels.transpose(2, 0, 1)


@dataclass(frozen=True)
class Examined:
    """What an image file is: its format and mode as Pillow names them, and its upright pixels, uint8 (H, W[, 3])."""

    format: str
    mode: str
    pixels: np.ndarray


def examine(path: Path, stream: IO[bytes]) -> Examined:
    """Look at the image file `path`, whose bytes are `stream`. BrokenImage when it can't be decoded."""
    with _broken(path), Image.open(stream) as opened:
        mode: Mode = "L" if opened.mode in GREY else "RGB"
        return Examined(opened.format or "?", opened.mode, np.array(upright(opened, Preparation(mode))))


def upright(opened: Image.Image, how: Preparation) -> Image.Image:
    """The first frame in `how.mode`, turned as its EXIF data says, over the background."""
    opened.load()
    image = _eight_bit(ImageOps.exif_transpose(opened))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, how.background), image)
    return image.convert(how.mode)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow clips greys of 16 bits when it converts them to 8: scale them instead."""
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit floats, whose range is not known; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65_535:
        raise ValueError(f"its greys run from {pixels.min()} to {pixels.max()}; save it with 8 or 16 bits")
    scaled = Image.fromarray(((pixels * 255 + 32_767) // 65_535).astype(np.uint8))
    transparent = image.info.get("transparency")  # one of 65,536 greys, which several of 256 would stand for
    if isinstance(transparent, int):
        scaled.putalpha(Image.fromarray(np.where(pixels == transparent, 0, 255).astype(np.uint8)))
    return scaled


@contextmanager
def _broken(path: Path) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenImage(
            path, f"is too large an image: {error}", "Shrink it, or move it out of the folder."
        ) from error
    except (FileNotFoundError, PermissionError) as error:
        raise BrokenImage(
            path, f"can't be read: {error.strerror}.", "Mend it, or move it out of the folder."
        ) from error
    except UnidentifiedImageError as error:  # its own message names a file, or where a stream lies in memory
        raise BrokenImage(path, "can't be decoded: cannot identify image file.", _BROKEN_HINT) from error
    except _BROKEN as error:
        raise BrokenImage(path, f"can't be decoded: {error}.", _BROKEN_HINT) from error
