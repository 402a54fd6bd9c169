"""Image arrays of any layout and range to gantool's own, and the one resize that all sources share."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from gantool.data.checks import check_bytes, check_finite, check_sides
from gantool.errors import GantoolError

CHANNELS = (1, 3)
Fit = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")
Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
_ROUNDING = 1e-4  # values this far outside a range are rounding, and are clipped
_SCALED = "floats in [0, 1] were scaled to [-1, 1]"


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Axis of the channels of images of `shape`: 3 for (N,H,W,C), 1 for (N,C,H,W), None for (N,H,W).

    Where both could be (C is 1 or 3), the last axis wins. ValueError when it is none of the three.
    """
    if len(shape) == 3:
        return None
    if len(shape) == 4:
        for axis in (3, 1):
            if shape[axis] in CHANNELS:
                return axis
    raise ValueError(f"{shape} is no shape of images")


def sides_of(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(H, W) of images of `shape`, or None when it is no shape of images."""
    try:
        axis = channel_axis(shape)
    except ValueError:
        return None
    return (shape[2], shape[3]) if axis == 1 else (shape[1], shape[2])


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
    """GantoolError unless samples of `shape` (N, …), which a plugin may bring of any kind, are pictures."""
    if len(shape) != 4 or shape[1] not in CHANNELS:
        raise GantoolError(
            f"The samples of {where} have shape {shape[1:]}: no pictures of 1 or 3 channels.",
            f"Train on them as they are: --data {where}",
        )


def as_images(array: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """(N, C, H, W), uint8 or float32 in [-1, 1], and a note when floats were scaled ("" when not).

    `array` is what `check_images` accepts; it may be overwritten. GantoolError for values that are not
    finite, or lie outside both [0, 1] and [-1, 1].
    """
    axis = channel_axis(array.shape)
    array = array[:, np.newaxis] if axis is None else np.moveaxis(array, axis, 1)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), ""
    with np.errstate(over="ignore"):  # becomes infinite, which is reported next
        array = np.ascontiguousarray(array, np.float32)
    check_finite(array, where)
    low, high = float(array.min()), float(array.max())
    if low < -1 - _ROUNDING or high > 1 + _ROUNDING:
        eight_bit = low >= 0 and high <= 255
        raise GantoolError(
            f"{where} has values from {low:g} to {high:g}; floats lie in [0, 1] or [-1, 1].",
            'Convert it: images.round().astype("uint8").' if eight_bit else "Scale it to [-1, 1].",
        )
    positive = low >= -_ROUNDING
    if positive:  # in place: the array is ours, and may be most of the memory
        array *= 2
        array -= 1
    return np.clip(array, -1, 1, out=array), _SCALED if positive else ""


def square(image: Image.Image, size: int, fit: Fit = "crop", background: Colour = WHITE) -> Image.Image:
    """`image` (mode L, RGB or F) as `size`×`size` pixels (Lanczos).

    `fit`: what is not square is cropped at its centre, padded with `background`, or stretched.
    """
    if fit == "crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size == (size, size):
        return image
    if fit != "pad" or image.width == image.height:
        return image.resize((size, size), Image.Resampling.LANCZOS)
    scale = size / max(image.size)
    inner = tuple(max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("RGB", (size, size), background).convert(image.mode)
    resized = image.resize((inner[0], inner[1]), Image.Resampling.LANCZOS)
    canvas.paste(resized, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return canvas


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
            shaped = square(Image.fromarray(pixels), size, fit, background)
            result[row] = np.asarray(shaped).transpose(2, 0, 1)
        else:  # L for uint8, F for float32
            for channel, plane in enumerate(image):
                result[row, channel] = np.asarray(square(Image.fromarray(plane), size, fit, background))
    if images.dtype != np.uint8:
        np.clip(result, -1, 1, out=result)  # Lanczos overshoots at edges; Pillow clips uint8 itself
    return result


def with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (N, `channels`, H, W) from `images` (N, 1 or 3, H, W): grey repeated, or the luma of colours."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=1)
    pixels = (Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))) for image in images)
    grey: np.ndarray = np.stack([np.asarray(image.convert("L")) for image in pixels])
    return grey[:, np.newaxis]


def as_bytes(images: np.ndarray) -> np.ndarray:
    """uint8 of the same shape from uint8, or from floats in [-1, 1], which are rounded."""
    if images.dtype == np.uint8:
        return images
    levels: np.ndarray = np.rint((images.astype(np.float32) + 1) * np.float32(127.5)).clip(0, 255)
    return levels.astype(np.uint8)
