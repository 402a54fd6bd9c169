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
    assert (data.name, data.labels, data.class_names) == (tmp_path.name, None, ())


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


@pytest.mark.parametrize(
    ("names", "notes"),
    [
        (("all/1.png", "all/2.png"), ()),
        (("a.png", "b/c.png"), ("no labels, as 'a.png' lies beside the sub-folders",)),
    ],
)
def test_no_classes(tmp_path: Path, names: tuple[str, ...], notes: tuple[str, ...]) -> None:
    for name in names:
        put(tmp_path / name, grey())
    data = load(str(tmp_path))
    assert (data.labels, data.class_names, data.notes) == (None, (), notes)


def test_what_is_skipped(tmp_path: Path) -> None:
    put(tmp_path / "a.png", grey())
    put(tmp_path / ".hidden.png", grey(5, 5))
    put(tmp_path / ".cache" / "a.png", grey(5, 5))
    (tmp_path / "notes.txt").write_text("x")
    assert load(str(tmp_path)).notes == ("ignored, as they are not images: 1 .txt",)
    (tmp_path / "Thumbs.db").write_text("x")
    assert load(str(tmp_path)).notes == ("ignored, as they are not images: 1 .db, 1 .txt",)


def test_links(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside" / "x.png", grey())
    folder = tmp_path / "folder"
    put(folder / "a.png", grey())
    (folder / "b.png").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    data = load(str(folder))
    assert len(data) == 2
    assert data.notes == ("linked folders not followed: 1",)
    (folder / "gone.png").symlink_to(folder / "nowhere")
    with pytest.raises(GantoolError, match=r"gone.png can't be read: No such file or directory"):
        load(str(folder))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    put(tmp_path / "a.png", grey())
    os.mkfifo(tmp_path / "b.png")
    assert load(str(tmp_path)).notes == ("ignored, as they are not images: 1 pipe or device",)


def test_sizes_differ(tmp_path: Path) -> None:
    put(tmp_path / "a.png", grey(8, 8))
    put(tmp_path / "b.png", grey(8, 8))
    put(tmp_path / "c.png", grey(9, 6))
    with pytest.raises(GantoolError, match=r"a.png is 8×8, .*c.png is 9×6. Add --size"):
        load(str(tmp_path))
    assert load(str(tmp_path), size=6).images.shape == (3, 1, 6, 6)


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


def test_no_images(tmp_path: Path) -> None:
    message = f"{tmp_path.name} holds no images, sounds or volumes. Give a folder or a zip archive that holds PNG"
    with pytest.raises(GantoolError, match=message):
        load(str(tmp_path))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(
        GantoolError, match=r"holds no images, sounds or volumes \(ignored, as they are not images: 1 \.txt\)"
    ):
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
    assert (len(data), data.notes) == (1, ("ignored, as they are not images: 1 without a suffix",))

    def closed(path: Path, **options: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", closed)
    with pytest.raises(GantoolError, match=r"a\.png can't be read: Permission denied"):
        load(str(tmp_path))
