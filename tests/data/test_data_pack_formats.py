"""Every kind of image file, through a pack and as it is: the same pixels, and the right ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from gantool.data import load
from gantool.data.pack.build import Options, pack
from gantool.errors import GantoolError

RNG = np.random.default_rng(0)


def put(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
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


def test_alpha_is_composited_on_the_background(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png", Image.new("RGBA", (4, 4), (100, 200, 0, 51)))  # a fifth of it
    assert pixel(tmp_path / "in") == [224, 244, 204]
    assert pixel(tmp_path / "in", background="black") == [20, 40, 0]
    assert pixel(tmp_path / "in", background="#0000ff", channels=3) == [20, 40, 204]
    assert pixel(tmp_path / "in", background="white", channels=1) == [round(0.299 * 224 + 0.587 * 244 + 0.114 * 204)]


def test_grey_with_alpha(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png", Image.new("LA", (4, 4), (100, 51)))
    assert pixel(tmp_path / "in") == [224]
    assert pixel(tmp_path / "in", background="black") == [20]
    assert pixel(tmp_path / "in", background="red", channels=3) == [224, 20, 20]


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([1, 2, 3, 40, 50, 60] + [0] * 762)
    put(tmp_path / "in" / "a.png", image)
    assert pixel(tmp_path / "in") == [40, 50, 60]


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palette_with_a_transparent_colour(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]] * 2, np.uint8).repeat(2, 1), "P")
    image.putpalette([1, 2, 3, 40, 50, 60] + [0] * 762)
    put(tmp_path / "in" / f"a.{suffix}", image, transparency=0)
    row = packed(tmp_path / "in", background="lime")[0, :, 0]
    assert row.T.tolist() == [[0, 255, 0], [0, 255, 0], [40, 50, 60], [40, 50, 60]]


def test_palette_with_alpha_of_every_colour(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([1, 2, 3, 100, 200, 0] + [0] * 762)
    put(tmp_path / "in" / "a.png", image, transparency=bytes([255, 51]))
    assert pixel(tmp_path / "in") == [224, 244, 204]


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    values = np.array([0, 257, 32_768, 65_535] * 4, np.uint16).reshape(4, 4)
    for name, image in (("png", Image.fromarray(values)), ("tif", Image.fromarray(values))):
        put(tmp_path / name / f"a.{name}", image)
        assert packed(tmp_path / name)[0, 0, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bits_with_a_transparent_grey(tmp_path: Path) -> None:
    values = np.array([100, 101, 65_535, 65_534] * 4, np.uint16).reshape(4, 4)
    put(tmp_path / "in" / "a.png", Image.fromarray(values), transparency=100)
    assert packed(tmp_path / "in")[0, 0, 0].tolist() == [255, 0, 255, 255]
    assert packed(tmp_path / "in", background="black")[0, 0, 0].tolist() == [0, 0, 255, 255]


def test_one_bit(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png", Image.fromarray(np.array([[True, False] * 2] * 4)))
    assert packed(tmp_path / "in")[0, 0, 0].tolist() == [255, 0, 255, 0]


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / "in" / f"a.{suffix}", Image.new("CMYK", (16, 16), (255, 0, 0, 0)))  # cyan ink
    np.testing.assert_allclose(pixel(tmp_path / "in"), [0, 255, 255], atol=3)


def test_the_inverted_inks_of_adobe(tmp_path: Path) -> None:
    path = put(tmp_path / "in" / "a.jpg", Image.new("CMYK", (16, 16), (0, 0, 0, 200)))
    data = path.read_bytes()
    assert b"\xff\xee\x00\x0eAdobe" in data  # the marker that tells of inverted inks
    np.testing.assert_allclose(pixel(tmp_path / "in"), [55, 55, 55], atol=3)


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


def test_resizing_is_pillows_lanczos(tmp_path: Path) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (20, 20, 3), np.uint8))
    put(tmp_path / "in" / "a.png", image)
    expected = np.asarray(image.resize((8, 8), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    np.testing.assert_array_equal(packed(tmp_path / "in", size=8)[0], expected)


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


@pytest.mark.parametrize(("text", "value"), [("white", 255), ("#f00", 76), ("hsl(0, 0%, 50%)", 127), ("rgb(9,9,9)", 9)])
def test_colours(tmp_path: Path, text: str, value: int) -> None:
    put(tmp_path / "in" / "a.png", Image.new("LA", (4, 4), (0, 0)))
    assert pixel(tmp_path / "in", background=text, channels=1) == [pytest.approx(value, abs=1)]


def test_no_colour(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=r"'reddish' is not a colour. Give a name"):
        pack(str(tmp_path), tmp_path / "out", Options(background="reddish"))
