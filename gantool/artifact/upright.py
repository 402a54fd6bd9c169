"""A picture of Pillow as opaque pixels of 8 bits in sRGB, turned upright: for files of data, and for a generator."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms, ImageOps

GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})  # Pillow's modes
Mode = Literal["L", "RGB"]
_WHITE_IS_ZERO, _PHOTOMETRIC, _BITS = 0, 262, 258  # of TIFF
_PROFILE_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_PROFILE_TOLERANCE = 2  # levels: a profile that moves colours less is sRGB by another name


def upright(opened: Image.Image, mode: Mode, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """The first frame in `mode`, turned as its EXIF data says, in sRGB, composited over the background.

    Greys of 16 bits are scaled. ValueError for pixels whose range is not known, and what Pillow raises.
    """
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


def as_pixels(picture: Image.Image | np.ndarray, channels: int) -> np.ndarray:
    """A picture of Pillow, or uint8 (H, W, 1 to 4), over white: uint8 (H, W, channels), grey for one, else RGB."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    pixels = np.asarray(upright(picture, "L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


def raw_mode(opened: Image.Image) -> str:
    """How the pixels are stored in a PNG file that is not loaded yet, in Pillow's words; "" for other formats."""
    tiles = getattr(opened, "tile", None)
    return str(tiles[0][3]) if opened.format == "PNG" and tiles else ""


def _scale_transparent_grey(opened: Image.Image) -> None:
    """Pillow scales greys of 2 and 4 bits to 8, but not the transparent one among them."""
    transparent, stored = opened.info.get("transparency"), raw_mode(opened)
    if transparent is not None and stored in ("L;2", "L;4"):
        opened.info["transparency"] = transparent * 255 // (2 ** int(stored[2:]) - 1)
    if transparent is not None and stored == "RGB;16B":
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
