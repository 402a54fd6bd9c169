"""Arrays of images, of any layout and range: checked, converted, resized."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from gantool.data.dataset import check_bytes, check_finite, check_sides
from gantool.errors import GantoolError

CHANNELS = (1, 3)
Fit = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")
Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
DARK = 17  # no pixel is brighter in 12-bit values that a 16-bit file holds
_ROUNDING = 1e-4  # values this far outside a range are rounding errors, and are clipped


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
        convert = {
            "b": 'images.astype("uint8") * 255',
            "u2": '(images * (255 / images.max())).astype("uint8")',
            "O": "np.stack(images), of pictures that all have one size",
        }
        how = convert.get(dtype.kind) or convert.get(dtype.str[1:])
        raise GantoolError(
            f"{where} has dtype {dtype}; images are uint8, or floats in [0, 1] or [-1, 1].",
            f"Convert it: {how}." if how else 'Convert it: images.astype("uint8") when its values run from 0 to 255.',
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


def darkness(images: np.ndarray) -> tuple[str, ...]:
    """A note when all of `images`, uint8 (N, C, H, W), are nearly black, as 12-bit values in 16-bit files are."""
    rows = max(1, 2**22 // max(1, images[0].size))
    brightest = 0
    for first in range(0, len(images), rows):
        brightest = max(brightest, int(images[first : first + rows].max()))
        if brightest >= DARK:
            return ()
    return (darkness_note(brightest),) if brightest else ()


def darkness_note(brightest: int) -> str:
    return f"all images are nearly black (at most {brightest} of 255): 12-bit values in 16-bit files have to be scaled"


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
