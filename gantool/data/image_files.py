"""Image files to pixels: upright, opaque, in 8 bits of sRGB."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Literal

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps, PngImagePlugin, UnidentifiedImageError

from gantool.data.images import WHITE, Colour, Fit, square
from gantool.data.readers.archive import divided, read_entry
from gantool.errors import GantoolError, cause, excerpt

# Pillow tries all formats whatever a file is called, and some run other programs: these don't
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".tga", ".jp2", ".avif",
}  # fmt: skip
GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})  # Pillow's modes
MAX_FILE_BYTES = 2**30  # Pillow's limit of pixels takes 680 MiB with four channels of 16 bits
Mode = Literal["L", "RGB"]
Half = Literal["", "left", "right"]
_WHITE_IS_ZERO, _PHOTOMETRIC, _BITS = 0, 262, 258  # of TIFF
_PROFILE_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_PROFILE_TOLERANCE = 2  # levels: a profile that moves colours less is sRGB by another name
# what Pillow's decoders raise on broken files
DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError,
    ZeroDivisionError, RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_BROKEN_HINT = (
    "Mend or replace it, or move it out of the folder; "
    "--skip-broken leaves such files out, of a training and of a pack."
)


class BrokenImage(GantoolError):
    """An image file that can't be used; `reason` is the message without the file's name."""

    def __init__(self, path: Path, reason: str, hint: str) -> None:
        super().__init__(f"{path} {reason}", hint)
        self.reason = reason


@dataclass(frozen=True)
class Preparation:
    """How a file becomes pixels: `mode` L or RGB; with `size`, made square as `fit` says; alpha over `background`.

    `half`: only that half of it.
    """

    mode: Mode
    size: int | None = None
    fit: Fit = "crop"
    background: Colour = WHITE
    half: Half = ""


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


def read(path: Path) -> bytes:
    """The bytes of the image file `path`; BrokenImage when it can't be read, or exceeds MAX_FILE_BYTES."""
    inside = divided(path)
    if inside:
        with _as_broken_image(path):
            return read_entry(*inside, MAX_FILE_BYTES)
    with _as_broken_image(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            raise ValueError(f"it has {size:,} bytes; an image has at most {MAX_FILE_BYTES:,}")
        return file.read(size)


def _content(path: Path) -> Path | IO[bytes]:
    return io.BytesIO(read(path)) if divided(path) else path


def is_grey(path: Path) -> bool:
    """Whether the header of `path` declares a greyscale image; BrokenImage when the header is broken."""
    with _as_broken_image(path), Image.open(_content(path), formats=_formats()) as image:
        return image.mode in GREY or _raw_mode(image) == "LA;16B"


def decode(path: Path, how: Preparation, stream: IO[bytes] | None = None) -> np.ndarray:
    """uint8 (C, H, W) of the first frame of `path`, upright, opaque; (C, size, size) with `how.size`.

    `stream`: the file's bytes, when they were read already. BrokenImage when they can't be decoded.
    """
    with _as_broken_image(path), Image.open(stream or _content(path), formats=_formats()) as opened:
        image = _upright(opened, how.mode, how.background)
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

    `stream`: the file's bytes. BrokenImage when it can't be decoded.
    """
    with _as_broken_image(path), Image.open(stream, formats=_formats()) as opened:
        name = "LA" if _raw_mode(opened) == "LA;16B" else opened.mode
        mode: Mode = "L" if name in GREY else "RGB"
        return opened.format or "?", name, np.array(_upright(opened, mode))


@lru_cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # a Pillow of an older version has no AVIF


def _upright(opened: Image.Image, mode: Mode, background: Colour = WHITE) -> Image.Image:
    """The first frame in `mode`, turned as its EXIF data says, in sRGB, composited over the background."""
    _scale_transparent_grey(opened)
    opened.load()
    image = _eight_bit(ImageOps.exif_transpose(opened), opened)
    grey, alpha = image.mode in GREY, None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if opened.format in ("BMP", "DIB", "TGA") and not alpha.getbbox():  # their fourth byte often has no meaning
            alpha = None
        image = image.getchannel("R") if grey else image.convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    image = _in_srgb(image, opened.info.get("icc_profile"))
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(alpha)
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    return image.convert(mode)


def _raw_mode(opened: Image.Image) -> str:
    """How the pixels are stored in a PNG file that is not loaded yet, in Pillow's words; "" for other formats."""
    tiles = getattr(opened, "tile", None)
    return str(tiles[0][3]) if opened.format == "PNG" and tiles else ""


def _scale_transparent_grey(opened: Image.Image) -> None:
    """Pillow scales greys of 2 and 4 bits to 8, but not the transparent one among them."""
    transparent, raw_mode = opened.info.get("transparency"), _raw_mode(opened)
    if transparent is not None and raw_mode in ("L;2", "L;4"):
        opened.info["transparency"] = transparent * 255 // (2 ** int(raw_mode[2:]) - 1)
    if transparent is not None and raw_mode == "RGB;16B":
        raise ValueError("it has 16-bit colours and a transparent one; save it with an alpha channel")


def _eight_bit(image: Image.Image, opened: Image.Image) -> Image.Image:
    """Scale greys of more than 8 bits: Pillow's `convert` would clip them."""
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit floats, whose range is not known; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    pixels = np.asarray(image).astype(np.int64)
    tags = getattr(opened, "tag_v2", {})
    top = 4095 if tags.get(_BITS) == (12,) else 65_535
    if pixels.min() < 0 or pixels.max() > top:
        raise ValueError(f"its greys run from {pixels.min()} to {pixels.max()}; save it with 8 or 16 bits")
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts greys of up to 8 bits itself
        pixels = top - pixels
    scaled = Image.fromarray(((pixels * 255 + top // 2) // top).astype(np.uint8))
    transparent = image.info.get("transparency")  # one of 65,536 greys; compared before they are scaled
    if isinstance(transparent, int):
        scaled.putalpha(Image.fromarray(np.where(pixels == transparent, 0, 255).astype(np.uint8)))
    return scaled


def _in_srgb(image: Image.Image, profile: object) -> Image.Image:
    """`image` (L, RGB or CMYK) converted from its ICC profile to sRGB."""
    if not isinstance(profile, bytes) or image.mode not in _PROFILE_SPACES:
        return image
    transform = _transform(profile, image.mode)
    if transform is None:
        return image
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted.convert("L") if image.mode == "L" else converted


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From `profile` to sRGB; None for sRGB itself, and for a profile that is broken or of other channels."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _PROFILE_SPACES[mode]:
            return None
        intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", intent)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if mode == "CMYK":
        return transform
    levels = np.arange(256) if mode == "L" else np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), -1).reshape(-1, 3)
    probe = Image.fromarray(levels.astype(np.uint8)[np.newaxis])
    converted = ImageCms.applyTransform(probe, transform)
    assert converted is not None
    moved = np.asarray(converted).astype(int) - np.asarray(probe.convert("RGB"))
    return transform if np.abs(moved).max() > _PROFILE_TOLERANCE else None


@contextmanager
def _as_broken_image(path: Path) -> Iterator[None]:
    """Turn what Pillow or the disk raises into a BrokenImage."""
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
    except UnidentifiedImageError as error:  # Pillow's message would name an address in memory
        raise BrokenImage(path, "can't be decoded: cannot identify image file.", _BROKEN_HINT) from error
    except DECODING_ERRORS as error:
        raise BrokenImage(path, f"can't be decoded: {cause(error)}.", _BROKEN_HINT) from error
