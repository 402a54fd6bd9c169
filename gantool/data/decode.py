"""One image file to pixels: orientation, transparency, 16-bit greys, and all the ways to be broken."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from gantool.data.images import square
from gantool.errors import GantoolError

GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})
# what Pillow's decoders raise on broken files; the code under `_broken` calls little else
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError,
    ZeroDivisionError, NotImplementedError, struct.error, zlib.error,
)  # fmt: skip


def is_grey(path: Path) -> bool:
    """Whether the header of `path` declares a greyscale image. Not for threads: it sets a warning filter.

    GantoolError when the header is broken, or declares so many pixels that Pillow holds it for an attack.
    """
    with _broken(path), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            return image.mode in GREY


def decode(path: Path, mode: str, size: int | None) -> np.ndarray:
    """uint8 (C, H, W) of the first frame of `path`, `mode` L or RGB, upright, white where it is transparent.

    With `size` centre-cropped and resized to (C, size, size). GantoolError when the file can't be decoded.
    """
    with _broken(path), Image.open(path) as opened:
        opened.load()
        image = _eight_bit(ImageOps.exif_transpose(opened))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert(mode)
        if size is not None:
            image = square(image, size)
        pixels = np.array(image)
    return pixels[np.newaxis] if mode == "L" else pixels.transpose(2, 0, 1)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow clips greys of 16 bits when it converts them to 8: scale them instead."""
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit floats, whose range is not known; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65_535:
        raise ValueError(f"its greys run from {pixels.min()} to {pixels.max()}; save it with 8 or 16 bits")
    return Image.fromarray(((pixels * 255 + 32_767) // 65_535).astype(np.uint8))


@contextmanager
def _broken(path: Path) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise GantoolError(
            f"{path} is too large an image: {error}", "Shrink it, or move it out of the folder."
        ) from error
    except (FileNotFoundError, PermissionError) as error:
        raise GantoolError(
            f"{path} can't be read: {error.strerror}.", "Mend it, or move it out of the folder."
        ) from error
    except _BROKEN as error:
        raise GantoolError(
            f"{path} can't be decoded: {error}.",
            "It is broken or cut short: replace it, or move it out of the folder.",
        ) from error
