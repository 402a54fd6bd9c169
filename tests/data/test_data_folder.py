from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantool.data import dataset, load
from gantool.errors import GantoolError

RNG = np.random.default_rng(0)


def grey(width: int = 8, height: int = 8) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width), np.uint8))


def colour(width: int = 8, height: int = 8) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), np.uint8))


def put(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def test_colour_in_the_order_of_names(tmp_path: Path) -> None:
    images = {name: colour(8, 6) for name in ("b.png", "a.PNG", "z/a.bmp", "c/d/e.tif")}
    for name, image in images.items():
        put(tmp_path / name, image)
    data = load(str(tmp_path))
    order = ["a.PNG", "b.png", "c/d/e.tif", "z/a.bmp"]
    expected = np.stack([np.asarray(images[name]).transpose(2, 0, 1) for name in order])
    np.testing.assert_array_equal(data.images, expected)
    assert data.images.dtype == np.uint8
    assert (data.name, data.labels, data.class_names, data.notes) == (tmp_path.name, None, (), ())


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / f"a.{suffix}", Image.new("RGB", (8, 8), (200, 100, 50)))
    image = load(str(tmp_path)).images[0]
    np.testing.assert_allclose(image.mean((1, 2)), (200, 100, 50), atol=3)


def test_all_grey_is_one_channel(tmp_path: Path) -> None:
    first = grey()
    put(tmp_path / "a.png", first)
    put(tmp_path / "b.png", first.convert("1"))
    data = load(str(tmp_path))
    assert data.spec.shape == (1, 8, 8)
    np.testing.assert_array_equal(data.images[0, 0], np.asarray(first))
    put(tmp_path / "c.png", colour())
    mixed = load(str(tmp_path))
    assert mixed.spec.shape == (3, 8, 8)
    np.testing.assert_array_equal(mixed.images[0], np.stack([np.asarray(first)] * 3))


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    values = np.array([0, 257, 32_768, 65_535] * 4, np.uint16).reshape(4, 4)
    put(tmp_path / "a.png", Image.fromarray(values))
    put(tmp_path / "b.tif", Image.fromarray(values.astype(np.int32)))
    data = load(str(tmp_path))
    assert data.spec.shape == (1, 4, 4)
    for image in data.images:
        assert image[0, 0].tolist() == [0, 1, 128, 255]


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


def test_transparency_is_white(tmp_path: Path) -> None:
    put(tmp_path / "a.png", Image.new("RGBA", (4, 4), (10, 20, 30, 0)))
    put(tmp_path / "b.png", Image.new("RGBA", (4, 4), (0, 0, 0, 255)))
    palette = Image.new("P", (4, 4))
    palette.putpalette([9, 9, 9] * 256)
    put(tmp_path / "c.png", palette, transparency=0)
    data = load(str(tmp_path))
    assert [image.mean() for image in data.images] == [255, 0, 255]


def test_transparent_grey_stays_grey(tmp_path: Path) -> None:
    put(tmp_path / "a.png", Image.new("LA", (4, 4), (10, 0)))
    put(tmp_path / "b.png", Image.new("L", (4, 4), 7), transparency=7)
    data = load(str(tmp_path))
    assert data.spec.shape == (1, 4, 4)
    assert data.images.min() == 255


def test_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    image = grey(8, 6)
    put(tmp_path / "a.png", image, exif=exif)
    put(tmp_path / "b.png", image.transpose(Image.Transpose.ROTATE_270))
    data = load(str(tmp_path))
    assert data.spec.shape == (1, 8, 6)
    np.testing.assert_array_equal(data.images[0], data.images[1])


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/2.png", "cat/deep/1.png"):
        put(tmp_path / name, grey())
    data = load(str(tmp_path))
    assert data.class_names == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == [0, 0, 1]
    assert data.notes == ("labels are the 2 sub-folders: cat, dog",)


@pytest.mark.parametrize("names", [("cat/1.png", "dog/1.png", "1.png"), ("all/1.png", "all/2.png")])
def test_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        put(tmp_path / name, grey())
    data = load(str(tmp_path))
    assert (data.labels, data.class_names) == (None, ())


def test_what_is_skipped(tmp_path: Path) -> None:
    put(tmp_path / "a.png", grey())
    put(tmp_path / ".hidden.png", grey(5, 5))
    put(tmp_path / ".cache" / "a.png", grey(5, 5))
    (tmp_path / "notes.txt").write_text("x")
    assert load(str(tmp_path)).notes == ("1 file that is no image ignored",)
    (tmp_path / "Thumbs.db").write_text("x")
    assert load(str(tmp_path)).notes == ("2 files that are no image ignored",)


def test_links(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside" / "x.png", grey())
    folder = tmp_path / "folder"
    put(folder / "a.png", grey())
    (folder / "b.png").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    data = load(str(folder))
    assert len(data) == 2
    assert data.notes == ("1 linked folder not followed",)
    (folder / "gone.png").symlink_to(folder / "nowhere")
    with pytest.raises(GantoolError, match=r"gone.png can't be read: No such file or directory"):
        load(str(folder))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    put(tmp_path / "a.png", grey())
    os.mkfifo(tmp_path / "b.png")
    assert load(str(tmp_path)).notes == ("1 file that is no image ignored",)


def test_sizes_differ(tmp_path: Path) -> None:
    put(tmp_path / "a.png", grey(8, 8))
    put(tmp_path / "b.png", grey(8, 8))
    put(tmp_path / "c.png", grey(9, 6))
    with pytest.raises(GantoolError, match=r"a.png is 8×8, .*c.png is 9×6. Add --size"):
        load(str(tmp_path))
    assert load(str(tmp_path), size=6).images.shape == (3, 1, 6, 6)


def test_size_crops_the_centre(tmp_path: Path) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 8:24] = 255
    put(tmp_path / "a.png", Image.fromarray(pixels))
    assert load(str(tmp_path), size=8).images.min() == 255


def test_broken_files(tmp_path: Path) -> None:
    put(tmp_path / "a.png", grey())
    stream = io.BytesIO()
    colour(64, 64).save(stream, "png")
    bad = tmp_path / "b.png"
    bad.write_bytes(stream.getvalue()[:2000])
    with pytest.raises(GantoolError, match=r"b.png can't be decoded: .*truncated.*replace it, or move it out"):
        load(str(tmp_path), size=8)
    bad.write_bytes(b"hello")
    with pytest.raises(GantoolError, match=r"b.png can't be decoded: cannot identify image file"):
        load(str(tmp_path))
    bad.write_bytes(b"")
    with pytest.raises(GantoolError, match=r"b.png can't be decoded"):
        load(str(tmp_path))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tif"])
def test_damage_is_never_a_crash(tmp_path: Path, suffix: str) -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    colour(6, 8).save(stream, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix), exif=exif)
    for _ in range(60):
        raw = bytearray(stream.getvalue())
        raw[int(RNG.integers(len(raw) if RNG.random() < 0.5 else 100))] ^= 1 << int(RNG.integers(8))
        (tmp_path / f"a.{suffix}").write_bytes(raw)
        try:
            load(str(tmp_path), size=8)
        except GantoolError as error:
            assert f"a.{suffix}" in error.message  # noqa: PT017 — either outcome is right


@pytest.mark.parametrize("limit", [100, 40])  # above it a warning, above twice as much an error
def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    put(tmp_path / "a.png", grey(12, 12))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(GantoolError, match=r"a.png is too large an image: Image size \(144 pixels\) exceeds"):
        load(str(tmp_path), size=8)


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=f"{tmp_path.name} holds no images. Give a folder that holds png"):
        load(str(tmp_path))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(GantoolError, match=r"holds no images \(1 file that is no image ignored\)"):
        load(str(tmp_path))


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.png", grey(8, 3))
    with pytest.raises(GantoolError, match=r"a.png is 8×3 pixels; each side needs at least 4"):
        load(str(tmp_path))
    monkeypatch.setattr(dataset, "MAX_BYTES", 100)
    with pytest.raises(GantoolError, match="1 images of 16×16 pixels would take"):
        load(str(tmp_path), size=16)


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.png", grey())
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:  # chmod would not stop root
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(GantoolError, match="closed can't be read: Permission denied"):
        load(str(tmp_path))


def test_entries_that_may_not_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.png", grey())
    (tmp_path / "cwd").write_text("")
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> object:  # chmod would not stop root
        if path.parent == tmp_path:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    data = load(str(tmp_path))
    assert (len(data), data.notes) == (1, ("1 file that is no image ignored",))

    def closed(path: Path) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", closed)
    with pytest.raises(GantoolError, match=r"a\.png can't be read: Permission denied"):
        load(str(tmp_path))
