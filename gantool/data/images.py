"""Images: arrays of any layout and range, and image files, to uint8 (C, H, W); resizing."""

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

from gantool.data.dataset import check_bytes, check_finite, check_sides
from gantool.errors import GantoolError, excerpt

CHANNELS = (1, 3)
Mode = Literal["L", "RGB"]
Fit = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")
Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})  # Pillow's modes
MAX_FILE_BYTES = 2**30  # Pillow's limit of pixels takes 680 MiB with four channels of 16 bits
_ROUNDING = 1e-4  # values this far outside a range are rounding errors, and are clipped
# what Pillow's decoders raise on broken files
_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError,
    ZeroDivisionError, NotImplementedError, struct.error, zlib.error,
)  # fmt: skip
_BROKEN_HINT = "It is broken or cut short: replace it, or move it out of the folder."


# arrays


def sides_of(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(H, W) of images of `shape`, which is (N,H,W), (N,H,W,C) or (N,C,H,W); None when it is none of these."""
    if len(shape) == 3 or (len(shape) == 4 and shape[3] in CHANNELS):  # where C could be either axis, it is the last
        return shape[1], shape[2]
    if len(shape) == 4 and shape[1] in CHANNELS:
        return shape[2], shape[3]
    return None


def channels_first(array: np.ndarray) -> np.ndarray:
    """A view (N, C, H, W) of images of any shape that `sides_of` accepts."""
    if array.ndim == 3:
        return array[:, np.newaxis]
    return np.moveaxis(array, 3, 1) if array.shape[3] in CHANNELS else array


def check_images(shape: tuple[int, ...], dtype: np.dtype, where: str) -> None:
    """GantoolError when an array of `shape` and `dtype` can't be images; needs no data."""
    if dtype != np.uint8 and not (dtype.kind == "f" and dtype.itemsize <= 8):
        raise GantoolError(
            f"{where} has dtype {dtype}; images are uint8, or floats in [0, 1] or [-1, 1].",
            'Convert it: images.astype("uint8") when its values run from 0 to 255.',
        )
    sides = sides_of(shape)
    if sides is None:
        raise GantoolError(
            f"{where} has shape {shape}; images are (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3.",
            "Reshape or transpose it; drop an alpha channel with images[..., :3].",
        )
    if shape[0] == 0:
        raise GantoolError(f"{where} has 0 rows (shape {shape}).", "Give at least one image.")
    check_sides(*sides, where)


def check_pictures(shape: tuple[int, ...], where: str) -> None:
    """GantoolError unless samples of `shape` (N, …) are pictures: a plugin may bring audio or volumes."""
    if len(shape) != 4 or shape[1] not in CHANNELS:
        raise GantoolError(
            f"The samples of {where} have shape {shape[1:]}: no pictures of 1 or 3 channels.",
            f"Train on them as they are: --data {where}",
        )


def is_paired(array: np.ndarray, sides: tuple[int, ...]) -> bool:
    """Whether `array` holds images (N, C, H, W) of these `sides`, to be resized along with `images`."""
    return array.ndim == 4 and array.shape[2:] == sides and (array.dtype == np.uint8 or array.dtype.kind == "f")


def as_images(array: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """(N, C, H, W), uint8 or float32 in [-1, 1], and a note when floats were scaled ("" when not).

    `array` is one that `check_images` accepts; it may be overwritten. GantoolError for values that are not finite, or
    lie outside both [0, 1] and [-1, 1].
    """
    array = channels_first(array)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), ""
    array = as_float32(array, where)
    low, high = float(array.min()), float(array.max())
    if low < -1 - _ROUNDING or high > 1 + _ROUNDING:
        eight_bit = low >= 0 and high <= 255
        raise GantoolError(
            f"{where} has values from {low:g} to {high:g}; floats lie in [0, 1] or [-1, 1].",
            'Convert it: images.round().astype("uint8").' if eight_bit else "Scale it to [-1, 1].",
        )
    positive = low >= -_ROUNDING
    if positive:  # in place, to save memory
        array *= 2
        array -= 1
    return np.clip(array, -1, 1, out=array), "floats in [0, 1] were scaled to [-1, 1]" if positive else ""


def as_float32(array: np.ndarray, where: str) -> np.ndarray:
    """Contiguous float32 of `array`; GantoolError for values that are not finite, or too large for it."""
    with np.errstate(over="ignore"):  # overflow becomes infinity, which is reported next
        array = np.ascontiguousarray(array, np.float32)
    check_finite(array, where)
    return array


def as_bytes(images: np.ndarray) -> np.ndarray:
    """uint8 of the same shape, from uint8 or from floats in [-1, 1], which are rounded."""
    if images.dtype == np.uint8:
        return images
    levels: np.ndarray = np.rint((images.astype(np.float32) + 1) * np.float32(127.5)).clip(0, 255)
    return levels.astype(np.uint8)


def with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (N, `channels`, H, W) from `images` (N, 1 or 3, H, W): grey repeated, or the luma of colours."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=1)
    pictures = (Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))) for image in images)
    grey: np.ndarray = np.stack([np.asarray(picture.convert("L")) for picture in pictures])
    return grey[:, np.newaxis]


def resize(
    images: np.ndarray, size: int | None, where: str, fit: Fit = "crop", background: Colour = WHITE
) -> np.ndarray:
    """(N, C, size, size) from `images` (N, C, H, W), uint8 or float32 in [-1, 1]; as is for `size` None.

    Padding is for uint8 only.
    """
    rows, channels, height, width = images.shape
    if size is None or (height, width) == (size, size):
        return images
    check_bytes(rows * channels * size * size * images.itemsize, f"{where} at size {size}")
    result = np.empty((rows, channels, size, size), images.dtype)
    for row, image in enumerate(images):
        if images.dtype == np.uint8 and channels == 3:
            pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
            resized = square(Image.fromarray(pixels), size, fit, background)
            result[row] = np.asarray(resized).transpose(2, 0, 1)
        else:  # L for uint8, F for float32
            for channel, plane in enumerate(image):
                result[row, channel] = np.asarray(square(Image.fromarray(plane), size, fit, background))
    if images.dtype != np.uint8:
        np.clip(result, -1, 1, out=result)  # Lanczos overshoots at edges; Pillow clips uint8 itself
    return result


def square(image: Image.Image, size: int, fit: Fit = "crop", background: Colour = WHITE) -> Image.Image:
    """`image` (mode L, RGB or F) as `size`×`size` pixels (Lanczos), cropped at its centre, padded or stretched."""
    if fit == "crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size == (size, size):
        return image
    if fit != "pad" or image.width == image.height:
        return image.resize((size, size), Image.Resampling.LANCZOS)
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("RGB", (size, size), background).convert(image.mode)
    canvas.paste(image.resize((width, height), Image.Resampling.LANCZOS), ((size - width) // 2, (size - height) // 2))
    return canvas


# files


class BrokenImage(GantoolError):
    """An image file that can't be used; `reason` is the message without the file's name."""

    def __init__(self, path: Path, reason: str, hint: str) -> None:
        super().__init__(f"{path} {reason}", hint)
        self.reason = reason


@dataclass(frozen=True)
class Preparation:
    """How a file becomes pixels: `mode` L or RGB; with `size`, made square as `fit` says; alpha over `background`."""

    mode: Mode
    size: int | None = None
    fit: Fit = "crop"
    background: Colour = WHITE


@dataclass(frozen=True)
class Examined:
    """An image file's format and mode in Pillow's words, and its upright pixels, uint8 (H, W[, 3])."""

    format: str
    mode: str
    pixels: np.ndarray


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
    """Oversized images raise; other warnings of Pillow are hidden. Enter it in one thread only: filters are global."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read(path: Path) -> bytes:
    """The bytes of the image file `path`; BrokenImage when it can't be read, or exceeds MAX_FILE_BYTES."""
    with _as_broken_image(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            raise ValueError(f"it has {size:,} bytes; an image has at most {MAX_FILE_BYTES:,}")
        return file.read(size)


def is_grey(path: Path) -> bool:
    """Whether the header of `path` declares a greyscale image; BrokenImage when the header is broken."""
    with _as_broken_image(path), Image.open(path) as image:
        return image.mode in GREY


def decode(path: Path, how: Preparation, stream: IO[bytes] | None = None) -> np.ndarray:
    """uint8 (C, H, W) of the first frame of `path`, upright, opaque; (C, size, size) with `how.size`.

    `stream`: the file's bytes, when they were read already. BrokenImage when they can't be decoded.
    """
    with _as_broken_image(path), Image.open(stream or path) as opened:
        image = _upright(opened, how.mode, how.background)
        if how.size is not None:
            image = square(image, how.size, how.fit, how.background)
        pixels = np.array(image)
    return pixels[np.newaxis] if how.mode == "L" else pixels.transpose(2, 0, 1)


def examine(path: Path, stream: IO[bytes]) -> Examined:
    """Look at the image file `path`, whose bytes are `stream`. BrokenImage when it can't be decoded."""
    with _as_broken_image(path), Image.open(stream) as opened:
        mode: Mode = "L" if opened.mode in GREY else "RGB"
        return Examined(opened.format or "?", opened.mode, np.array(_upright(opened, mode)))


def _upright(opened: Image.Image, mode: Mode, background: Colour = WHITE) -> Image.Image:
    """The first frame in `mode`, turned as its EXIF data says, composited over the background."""
    opened.load()
    image = _eight_bit(ImageOps.exif_transpose(opened))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    return image.convert(mode)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit greys to 8 bits: Pillow's `convert` would clip them."""
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit floats, whose range is not known; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65_535:
        raise ValueError(f"its greys run from {pixels.min()} to {pixels.max()}; save it with 8 or 16 bits")
    scaled = Image.fromarray(((pixels * 255 + 32_767) // 65_535).astype(np.uint8))
    transparent = image.info.get("transparency")  # one of 65,536 greys; compared before they are scaled
    if isinstance(transparent, int):
        scaled.putalpha(Image.fromarray(np.where(pixels == transparent, 0, 255).astype(np.uint8)))
    return scaled


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
    except _DECODING_ERRORS as error:
        raise BrokenImage(path, f"can't be decoded: {error}.", _BROKEN_HINT) from error
