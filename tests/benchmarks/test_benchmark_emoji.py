"""The mixed folder of `benchmarks/emoji.py`: every kind of file shows the picture it was made from. No network."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageDraw
from support.scripts import script

from gantool.data import load
from gantool.errors import GantoolError


@pytest.fixture(scope="module")
def emoji() -> ModuleType:
    return script("benchmarks/emoji.py")


def drawn(number: int = 0) -> Image.Image:
    """64×64 RGBA, another way up at every turn: a red bar above, a green disc at the left, blue at the right below."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rectangle((8, 6, 56, 18), fill=(220, 20, 20 + number % 50, 255))
    draw.ellipse((6, 26, 28, 48), fill=(20, 160, 40, 255))
    draw.rectangle((40, 40, 58, 58), fill=(20, 30, 200, 255))
    return image


def seen(folder: Path, size: int = 64) -> np.ndarray:
    """The one image in `folder`, as training sees it: float (3, size, size)."""
    images = load(str(folder), size).images.astype(float)
    return np.broadcast_to(images[0], (3, size, size))


@pytest.mark.parametrize("seed", range(4))
def test_every_kind_shows_the_picture(emoji: ModuleType, tmp_path: Path, seed: int) -> None:
    """Cropped to the middle, on white and upright; grey ones show its grey. A wrong turn or background is far off."""
    original = drawn()
    white = emoji.on_white(original)
    for number, (kind, (_, suffix, how)) in enumerate(emoji.KINDS.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        rng = random.Random(seed)
        (folder / f"a{suffix}").write_bytes(how(emoji.shaped(original, rng), rng))
        expected = white.convert("L").convert("RGB") if "grey" in kind else white
        found, wanted = seen(folder), np.asarray(expected, float).transpose(2, 0, 1)
        assert np.abs(found - wanted).mean() < 14, kind
        for turns in (1, 2, 3):
            assert np.abs(found - np.rot90(wanted, turns, (1, 2))).mean() > 20, kind
        assert found[:, :3, :3].min() > 235, f"{kind}: its transparent corner is not white"


def test_what_kinds_are(emoji: ModuleType) -> None:
    """Each is the format, mode and feature that its name says."""
    modes = {}
    for kind, (_, _, how) in emoji.KINDS.items():
        rng = random.Random(1)
        with Image.open(io.BytesIO(how(emoji.shaped(drawn(), rng), rng))) as image:
            modes[kind] = (image.format, image.mode)
            turned = image.getexif().get(emoji.ORIENTATION, 1) != 1
            assert turned == (kind == "jpeg, turned")
            assert (getattr(image, "n_frames", 1) > 1) == (kind == "gif, animated")
            assert image.has_transparency_data == (
                kind in ("png", "webp", "tiff", "png, palette", "png, grey and alpha") or kind.startswith("gif")
            )
    assert modes["jpeg, cmyk"] == ("JPEG", "CMYK")
    assert modes["png, palette"] == ("PNG", "P")
    assert modes["png, grey and alpha"] == ("PNG", "LA")
    assert modes["png, 16-bit grey"] == ("PNG", "I;16")
    assert modes["webp"] == ("WEBP", "RGBA")


def test_sizes(emoji: ModuleType) -> None:
    sizes = [emoji.shaped(drawn(), random.Random(seed)).size for seed in range(200)]
    sides = [side for size in sizes for side in size]
    assert min(sides) < 60
    assert max(sides) > 180
    assert emoji.SMALLEST <= min(sides) <= max(sides) <= emoji.LARGEST
    assert 30 < sum(width != height for width, height in sizes) < 110


def test_the_folder_follows_from_the_seed_and_trains(emoji: ModuleType, tmp_path: Path) -> None:
    pictures = [("round" if n % 3 else "flat", f"p{n:03}", drawn(n)) for n in range(150)]
    counts = emoji.write(pictures, tmp_path / "a", seed=5)
    emoji.write(reversed(pictures), tmp_path / "b", seed=5)
    emoji.write(pictures, tmp_path / "c", seed=6)

    def files(name: str) -> dict[str, bytes]:
        found = (path for path in (tmp_path / name).rglob("*") if path.is_file())
        return {path.relative_to(tmp_path / name).as_posix(): path.read_bytes() for path in found}

    assert files("a") == files("b")
    assert files("a") != files("c")
    assert set(counts) == set(emoji.KINDS)
    assert files("a")["LICENCE.txt"].decode().startswith("Twemoji, copyright Twitter, Inc")
    data = load(str(tmp_path / "a"), 32)
    assert data.images.shape == (150, 3, 32, 32)
    assert data.class_names == ("flat", "round")


def test_broken_files_are_broken(emoji: ModuleType, tmp_path: Path) -> None:
    pictures = [("round", f"p{n}", drawn(n)) for n in range(3)]
    assert emoji.write(pictures, tmp_path / "a", bad=5)["broken"] == 5
    bad = sorted((tmp_path / "a").rglob("broken-*"))
    assert len(bad) == 5
    for path in bad:
        folder = tmp_path / path.stem
        folder.mkdir()
        path.rename(folder / path.name)
        with pytest.raises(GantoolError, match=path.stem):
            load(str(folder), 32)
    assert len(load(str(tmp_path / "a"), 32)) == 3


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An archive as npm makes it: an emoji, one in two colours of skin, one that is only a swatch, one without file."""
    described = [
        {"image": "a.png", "category": "Smileys & Emotion"},
        {"image": "b.png", "category": "Flags", "skin_variations": {"1": {"image": "b-1.png"}}},
        {"image": "c.png", "category": "Component"},
        {"image": "d.png", "category": "Flags"},
    ]
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("b-1", "a", "c", "b"):
            buffer = io.BytesIO()
            drawn().save(buffer, "PNG")
            add(archive, f"package/img/twitter/64/{name}.png", buffer.getvalue())
        add(archive, "package/emoji.json", json.dumps(described).encode())
    return path


def add(archive: tarfile.TarFile, name: str, body: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    archive.addfile(info, io.BytesIO(body))


def test_the_package_is_read(
    emoji: ModuleType,
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(emoji, "SHA256", hashlib.sha256(package.read_bytes()).hexdigest())
    emoji.main([str(tmp_path / "out"), "--package", str(package)])
    out = capsys.readouterr().out
    assert "3 files in" in out
    assert out.endswith("CC BY 4.0\n")
    found = sorted(path.relative_to(tmp_path / "out").with_suffix("").as_posix() for path in tmp_path.glob("out/*/*"))
    assert found == ["flags/b", "flags/b-1", "smileys-emotion/a"]
    with pytest.raises(SystemExit, match="is not empty"):
        emoji.main([str(tmp_path / "out"), "--package", str(package)])
    emoji.main([str(tmp_path / "two"), "--package", str(package), "--limit", "2", "--broken", "1"])
    assert "3 files in" in capsys.readouterr().out


def test_another_package_is_refused(emoji: ModuleType, package: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="its SHA-256 is"):
        emoji.main([str(tmp_path / "out"), "--package", str(package)])
