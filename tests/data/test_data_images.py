"""Every kind of image file, through a pack and as it is: the same pixels, and the right ones."""

from __future__ import annotations

import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from gantool.data import load
from gantool.data.image_files import SUFFIXES
from gantool.data.images import resize
from gantool.data.pack.build import Options, pack
from gantool.errors import GantoolError

RNG = np.random.default_rng(0)
SIDE = 4
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6  # colour types of PNG
CHANNELS = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), COLOUR: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), COLOUR_ALPHA: (8, 16)}


def put(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def packed(folder: Path, **options: Any) -> np.ndarray:
    """The images of `folder` from a pack, which agree with those that `load` decodes when the options are its own."""
    out = folder.with_name(f"{folder.name}-pack-{len(list(folder.parent.iterdir()))}")
    pack(str(folder), out, Options(**options), workers=1)
    images = load(str(out)).images
    if set(options) <= {"size"}:
        np.testing.assert_array_equal(images, load(str(folder), options.get("size")).images)
    return np.array(images)


def pixel(folder: Path, **options: Any) -> list[int]:
    return [int(value) for value in packed(folder, **options)[0, :, 0, 0]]


# PNG: every colour type, depth and transparency, written without Pillow


def png(samples: np.ndarray, colour_type: int, depth: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of `samples` (H, W, channels)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = samples.shape
    bits = np.unpackbits(samples.reshape(height, -1, 1).astype(">u2").view(np.uint8), axis=2)[:, :, 16 - depth :]
    rows = np.packbits(bits.reshape(height, -1), axis=1)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


MATRIX = [
    (kind, depth, transparent)
    for kind, depths in DEPTHS.items()
    for depth, transparent in itertools.product(depths, (False, True))
    if not transparent or (kind in (GREY, COLOUR, PALETTE) and (kind, depth) != (COLOUR, 16))
]


@pytest.mark.parametrize(("kind", "depth", "transparent"), MATRIX)
def test_png(tmp_path: Path, kind: int, depth: int, transparent: bool) -> None:
    top = 2**depth - 1
    samples = RNG.integers(0, top + 1, (SIDE, SIDE, CHANNELS[kind]))
    samples[0, :2, 0] = 0, top  # both ends are there
    chunks = []
    palette = RNG.integers(0, 256, (top + 1, 3)) if kind == PALETTE else np.empty(0)
    if kind == PALETTE:
        chunks.append((b"PLTE", palette.astype(np.uint8).tobytes()))
        colours, alpha = palette[samples[..., 0]].astype(float), np.full((SIDE, SIDE), 255.0)
        if transparent:
            chunks.append((b"tRNS", bytes([255, 51])))
            alpha[samples[..., 0] == 1] = 51
    else:
        colours, alpha = (
            samples[..., : 1 if kind in (GREY, GREY_ALPHA) else 3] * 255 / top,
            np.full((SIDE, SIDE), 255.0),
        )
        if kind in (GREY_ALPHA, COLOUR_ALPHA):
            alpha = samples[..., -1] * 255 / top
        elif transparent:
            chunks.append((b"tRNS", samples[0, 1].astype(">u2").tobytes()))
            alpha[(samples == samples[0, 1]).all(-1)] = 0
    write(tmp_path / "in" / "a.png", png(samples, kind, depth, *chunks))
    expected = (colours * alpha[..., None] + 255 * (255 - alpha[..., None])) / 255
    images = packed(tmp_path / "in")
    assert images.shape[1] == (1 if kind in (GREY, GREY_ALPHA) else 3)
    # Pillow keeps the upper byte of 16 bits, and each composition rounds
    np.testing.assert_allclose(images[0].transpose(1, 2, 0), expected, atol=1 if depth < 16 else 2)
    if depth <= 8 and kind == GREY:
        np.testing.assert_array_equal(images[0, 0], np.round(expected[..., 0]))


def test_a_transparent_colour_of_16_bits_is_refused(tmp_path: Path) -> None:
    samples = RNG.integers(0, 65_536, (SIDE, SIDE, 3))
    write(tmp_path / "in" / "a.png", png(samples, COLOUR, 16, (b"tRNS", bytes(6))))
    with pytest.raises(GantoolError, match=r"a.png can't be decoded: it has 16-bit colours and a transparent one"):
        load(str(tmp_path / "in"))


def test_a_long_text_does_not_break_a_png(tmp_path: Path) -> None:
    text = b"comment\0\0" + zlib.compress(bytes(range(32, 127)) * 40_000)  # 3.8 MB when it is expanded
    samples = np.full((SIDE, SIDE, 1), 9)
    write(tmp_path / "in" / "a.png", png(samples, GREY, 8, (b"zTXt", text)))
    assert pixel(tmp_path / "in") == [9]


# TIFF: bits, byte orders and white as zero, written without Pillow


UNREAD = {(12, True, False), (12, True, True), (12, False, True), (16, True, True)}  # bits, white is zero, big endian


def tiff(samples: np.ndarray, bits: int, white_is_zero: bool, big: bool) -> bytes:
    order = ">" if big else "<"
    if bits == 12:
        pairs = samples.reshape(-1, 2).astype(int)
        values = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
        body = values.astype(np.uint8).tobytes()
    elif bits == 16:
        body = samples.astype(f"{order}u2").tobytes()
    else:
        spread = np.unpackbits(samples.astype(np.uint8)[..., None], axis=2)[:, :, 8 - bits :]
        body = np.packbits(spread.reshape(len(samples), -1), axis=1).tobytes()
    height, width = samples.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 273: 8, 277: 1, 278: height}
    tags[279] = len(body)
    entries = b"".join(struct.pack(f"{order}HHI", tag, 4, 1) + struct.pack(f"{order}I", v) for tag, v in tags.items())
    start = struct.pack(f"{order}2sHI", b"MM" if big else b"II", 42, 8 + len(body))
    return start + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_tiff(tmp_path: Path, bits: int, white_is_zero: bool, big: bool) -> None:
    top = 2**bits - 1
    samples = RNG.integers(0, top + 1, (8, 8))
    samples[0, :2] = 0, top
    write(tmp_path / "in" / "a.tif", tiff(samples, bits, white_is_zero, big))
    expected = np.floor((top - samples if white_is_zero else samples) * 255 / top + 0.5)
    if (bits, white_is_zero, big) in UNREAD:  # by Pillow: an error, and never another picture
        with pytest.raises(GantoolError, match=r"a\.tif can't be decoded"):
            load(str(tmp_path / "in"))
    else:
        np.testing.assert_array_equal(packed(tmp_path / "in")[0, 0], expected)


# colour profiles


def swapped() -> bytes:
    """The profile of a device whose red is sRGB's green, and the other way round."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"tmpX", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"tmpX", b"gXYZ", 1)


def grey_profile() -> bytes:
    """The profile of linear greys."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65_536) for v in (0.9642, 1, 0.8249)))
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    table = struct.pack(">I", 2) + struct.pack(">4sII", b"wtpt", 156, 20) + struct.pack(">4sII", b"kTRC", 176, 12)
    size = 128 + len(table) + len(white) + len(curve)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, b"mntr", b"GRAY", b"XYZ ").ljust(36, b"\0")
    header = (header + b"acsp").ljust(68, b"\0") + white[8:]
    return header.ljust(128, b"\0") + table + white + curve


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_converted_from_their_profile(tmp_path: Path, suffix: str, mode: str) -> None:
    image = Image.new("RGB", (16, 16), (200, 50, 10)).convert(mode, palette=Image.Palette.ADAPTIVE)
    if (mode, suffix) in {("RGBA", "jpg"), ("P", "jpg"), ("P", "webp")}:
        image = image.convert("RGB")
    options = {"lossless": True} if suffix == "webp" else {}
    put(tmp_path / "in" / f"a.{suffix}", image, icc_profile=swapped(), **options)
    np.testing.assert_allclose(pixel(tmp_path / "in"), [50, 200, 10], atol=4 if suffix == "jpg" else 1)


def test_greys_are_converted_from_their_profile(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png", Image.new("L", (8, 8), 55), icc_profile=grey_profile())
    linear = 55 / 255
    assert pixel(tmp_path / "in") == [pytest.approx(255 * (1.055 * linear ** (1 / 2.4) - 0.055), abs=1)]


def test_profiles_that_change_nothing(tmp_path: Path) -> None:
    """sRGB itself, one that is damaged, and one of other channels than the image has."""
    pixels = RNG.integers(0, 256, (16, 16, 3), np.uint8)
    for name, profile in (
        ("srgb", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        ("damaged", swapped()[:200]),
        ("grey", grey_profile()),
    ):
        put(tmp_path / name / "a.png", Image.fromarray(pixels), icc_profile=profile)
        np.testing.assert_array_equal(packed(tmp_path / name)[0].transpose(1, 2, 0), pixels)
    put(tmp_path / "l" / "a.png", Image.fromarray(pixels[..., 0]), icc_profile=swapped())
    np.testing.assert_array_equal(packed(tmp_path / "l")[0, 0], pixels[..., 0])


# transparency


def bmp(pixels: np.ndarray) -> bytes:
    """A BMP of 32 bits with an alpha mask (BITMAPV4HEADER) from (H, W, 4)."""
    height, width, _ = pixels.shape
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, pixels.size, 0, 0, 0, 0) + masks
    body = np.ascontiguousarray(pixels[::-1, :, [2, 1, 0, 3]]).astype(np.uint8).tobytes()
    start = 14 + 108
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header.ljust(108, b"\0") + body


def test_an_alpha_plane_of_zeros_is_none(tmp_path: Path) -> None:
    pixels = np.full((SIDE, SIDE, 4), (10, 20, 30, 0))
    write(tmp_path / "bmp" / "a.bmp", bmp(pixels))
    put(tmp_path / "tga" / "a.tga", Image.fromarray(pixels.astype(np.uint8)))
    for folder in ("bmp", "tga"):
        assert pixel(tmp_path / folder) == [10, 20, 30]
    pixels[0, 0, 3] = 255
    write(tmp_path / "some" / "a.bmp", bmp(pixels))
    assert packed(tmp_path / "some")[0, :, 0, :2].T.tolist() == [[10, 20, 30], [255, 255, 255]]


def test_alpha_is_composited_on_the_background(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png", Image.new("RGBA", (4, 4), (100, 200, 0, 51)))  # a fifth of it
    assert pixel(tmp_path / "in") == [224, 244, 204]
    assert pixel(tmp_path / "in", background="black") == [20, 40, 0]
    assert pixel(tmp_path / "in", background="#0000ff", channels=3) == [20, 40, 204]
    assert pixel(tmp_path / "in", background="white", channels=1) == [round(0.299 * 224 + 0.587 * 244 + 0.114 * 204)]


def test_grey_with_alpha(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png", Image.new("LA", (4, 4), (100, 51)))
    assert pixel(tmp_path / "in") == [224]
    assert pixel(tmp_path / "in", background="red", channels=3) == [224, 20, 20]


def test_a_gif_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]] * 2, np.uint8).repeat(2, 1), "P")
    image.putpalette([1, 2, 3, 40, 50, 60] + [0] * 762)
    put(tmp_path / "in" / "a.gif", image, transparency=0)
    row = packed(tmp_path / "in", background="lime")[0, :, 0]
    assert row.T.tolist() == [[0, 255, 0], [0, 255, 0], [40, 50, 60], [40, 50, 60]]


# other formats and colour spaces


@pytest.mark.parametrize("suffix", [*sorted(SUFFIXES), ".PNG"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    images = {".pgm": ("L", 100), ".pbm": ("1", 255)}
    mode, colour = images.get(suffix, ("RGB", (200, 100, 50)))
    format = Image.registered_extensions()[suffix.lower()]
    put(tmp_path / "in" / f"a{suffix}", Image.new(mode, (16, 16), colour), format=format)
    np.testing.assert_allclose(pixel(tmp_path / "in"), np.atleast_1d(colour), atol=3)


def test_no_other_program_is_run_for_a_format(tmp_path: Path) -> None:
    """Pillow goes by content, and opens PostScript with Ghostscript."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    write(tmp_path / "in" / "a.png", eps)
    with pytest.raises(GantoolError, match=r"a.png can't be decoded: cannot identify image file"):
        load(str(tmp_path / "in"))


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / "in" / f"a.{suffix}", Image.new("CMYK", (16, 16), (255, 0, 0, 0)))  # cyan ink
    np.testing.assert_allclose(pixel(tmp_path / "in"), [0, 255, 255], atol=3)


def test_the_inverted_inks_of_adobe(tmp_path: Path) -> None:
    path = put(tmp_path / "in" / "a.jpg", Image.new("CMYK", (16, 16), (0, 0, 0, 200)))
    data = path.read_bytes()
    assert b"\xff\xee\x00\x0eAdobe" in data  # the marker that tells of inverted inks
    np.testing.assert_allclose(pixel(tmp_path / "in"), [55, 55, 55], atol=3)


def test_other_colour_spaces(tmp_path: Path) -> None:
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (8, 8), (200, 100, 50)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert lab is not None
    put(tmp_path / "lab" / "a.tif", lab)
    np.testing.assert_allclose(pixel(tmp_path / "lab"), [200, 100, 50], atol=4)
    put(tmp_path / "ycc" / "a.jpg", Image.new("YCbCr", (16, 16), (100, 128, 128)))
    np.testing.assert_allclose(pixel(tmp_path / "ycc"), [100, 100, 100], atol=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((4, 4), 70_000, np.int32), "its greys run from 70000 to 70000"),
        (np.zeros((4, 4), np.float32), "its pixels are 32-bit floats"),
    ],
)
def test_deeper_pixels_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    put(tmp_path / "a.tif", Image.fromarray(values))
    with pytest.raises(GantoolError, match=f"a.tif can't be decoded: {message}"):
        load(str(tmp_path))


def test_twelve_bits_in_sixteen_are_noted(tmp_path: Path) -> None:
    values = RNG.integers(0, 4096, (8, 8)).astype(np.uint16)
    put(tmp_path / "in" / "a.png", Image.fromarray(values))
    pack(str(tmp_path / "in"), tmp_path / "out", workers=1)
    for source in ("in", "out"):
        assert "all images are nearly black (at most 1" in load(str(tmp_path / source)).notes[-1]


def test_orientation(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (6, 8, 3), np.uint8)
    turned = {2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 6: np.rot90(pixels, -1), 8: np.rot90(pixels)}
    for value, expected in turned.items():
        exif = Image.Exif()
        exif[0x0112] = value
        put(tmp_path / str(value) / "a.png", Image.fromarray(pixels), exif=exif)
        np.testing.assert_array_equal(packed(tmp_path / str(value))[0], expected.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_the_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if suffix == "webp" else {}
    put(tmp_path / "in" / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    assert pixel(tmp_path / "in") == [255, 0, 0]


# sizes and channels


def stripes(width: int, height: int) -> Image.Image:
    """Red, with what a centre crop to a square takes away in blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 2] = 255
    side = min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    pixels[top : top + side, left : left + side] = (255, 0, 0)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("width", "height"), [(32, 16), (16, 32)])
def test_fits(tmp_path: Path, width: int, height: int) -> None:
    put(tmp_path / "in" / "a.png", stripes(width, height))
    crop = packed(tmp_path / "in", size=8, fit="crop")[0]
    assert (crop[0] == 255).all()
    assert not crop[1:].any()
    stretch = packed(tmp_path / "in", size=8, fit="stretch")[0]
    line = stretch[:, 4] if width > height else stretch[:, :, 4]
    assert line[2, 0] > 200 < line[2, -1]  # blue at both ends
    assert line[0, 4] > 200
    pad = packed(tmp_path / "in", size=8, fit="pad", background="lime")[0]
    across = pad[:, :, 4] if width > height else pad[:, 4]
    assert across.T.tolist()[:2] == across.T.tolist()[-2:] == [[0, 255, 0]] * 2
    assert not across[1, 2:-2].any()


def test_pad_of_grey(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png", Image.new("L", (16, 8), 9))
    image = packed(tmp_path / "in", size=8, fit="pad", background="#404040")[0]
    assert image.shape == (1, 8, 8)
    assert image[0, :, 0].tolist() == [64, 64, 9, 9, 9, 9, 64, 64]


def test_channels(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png", Image.new("RGB", (4, 4), (200, 100, 50)))
    put(tmp_path / "in" / "b.png", Image.new("L", (4, 4), 7))
    assert packed(tmp_path / "in").shape[1] == 3
    assert packed(tmp_path / "in", channels=1)[:, 0, 0, 0].tolist() == [124, 7]  # 0.299 R + 0.587 G + 0.114 B
    (tmp_path / "in" / "a.png").unlink()
    assert packed(tmp_path / "in").shape[1] == 1
    assert packed(tmp_path / "in", channels=3)[0, :, 0, 0].tolist() == [7, 7, 7]


@pytest.mark.parametrize("channels", [None, 3])  # with and without a look at the headers first
@pytest.mark.parametrize("limit", [100, 40])  # above it Pillow warns, above twice as much it raises
def test_a_bomb_is_a_broken_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, channels: int | None
) -> None:
    put(tmp_path / "in" / "a.png", Image.new("RGB", (12, 12)))
    put(tmp_path / "in" / "b.png", Image.new("RGB", (6, 6)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(GantoolError, match=r"1 of 2 files can't be used:\n  a.png is too large an image: Image size"):
        pack(str(tmp_path / "in"), tmp_path / "out", Options(size=8, channels=channels), workers=1)


def test_no_colour(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=r"'reddish' is not a colour. Give a name"):
        pack(str(tmp_path), tmp_path / "out", Options(background="reddish"))


# arrays


def test_resize_is_pillows_lanczos_per_image() -> None:
    images = RNG.integers(0, 256, (3, 3, 12, 16), np.uint8)
    result = resize(images, 6, "x")
    for before, after in zip(images, result, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(before.transpose(1, 2, 0)))
        expected = picture.crop((2, 0, 14, 12)).resize((6, 6), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(after.transpose(1, 2, 0), np.asarray(expected))


@pytest.mark.parametrize("channels", [1, 3])
def test_resize_of_floats_agrees_with_that_of_bytes(channels: int) -> None:
    images = RNG.integers(100, 156, (2, channels, 8, 8), np.uint8)  # no overshoot: bytes clip after each axis
    floats = (images / np.float32(127.5) - 1).astype(np.float32)
    result = resize(floats, 16, "x")
    assert result.dtype == np.float32
    np.testing.assert_allclose((result + 1) * 127.5, resize(images, 16, "x"), atol=1.5)


def test_overshoot_of_floats_is_clipped() -> None:
    result = resize(RNG.choice(np.array([-1, 1], np.float32), (2, 1, 8, 8)), 16, "x")
    assert (result.min(), result.max()) == (-1, 1)


def test_nothing_to_resize() -> None:
    images = np.zeros((2, 1, 8, 8), np.uint8)
    assert resize(images, 8, "x") is images
    assert resize(images, None, "x") is images


@pytest.mark.parametrize("box", [b"av1C", b"infe"])
def test_a_broken_avif_is_a_broken_file(tmp_path: Path, box: bytes) -> None:
    """Its decoder raises what no other one does."""
    path = put(tmp_path / "a.avif", Image.fromarray(RNG.integers(0, 256, (16, 16, 3), np.uint8)))
    path.write_bytes(path.read_bytes().replace(box, b"none"))
    with pytest.raises(GantoolError, match=r"a\.avif can't be decoded"):
        load(str(tmp_path))
