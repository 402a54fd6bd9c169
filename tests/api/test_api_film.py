"""gantool.film: which images a film has, whatever file it is in."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from support.exports import dimmed

import gantool
from gantool import ArgumentError, GantoolError, exporting
from gantool.artifact.pictures import to_pictures
from gantool.filming import frames
from gantool.run.rundir import RunDir


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """generator.onnx of a generator of 3 classes with a value `light`, -0.5 to 1.5."""
    (file, *_) = exporting.write(dimmed(), ["onnx"], tmp_path_factory.mktemp("light"))
    return file.path


def filmed(file: Path, to: Path, **options: object) -> np.ndarray:
    """The frames uint8 (n, 8, 8) of a film at 6 frames a second."""
    gantool.film(file, to, **{"size": 16, "scaling": "pixels", "fps": 6, **options})  # type: ignore[arg-type]
    made = np.stack([np.asarray(Image.open(path)) for path in sorted(to.glob("frame-*.png"))])
    assert made.shape[1:] == (16, 16)
    return made[:, ::2, ::2]


def test_key_frames_are_images_and_classes_change_midway(conditional_export: Path, tmp_path: Path) -> None:
    made = filmed(conditional_export, tmp_path / "film", through="3:4,3:5,0:0", seconds=3)  # 6 frames an arc
    generator = gantool.Generator(conditional_export / "generator.seeded.onnx")
    keys = [generator.sample(1, *pair)[0, :, :, 0] for pair in ((3, 4), (3, 5), (0, 0))]
    np.testing.assert_array_equal(made[::6], keys)  # of classes 1, 2 and 0
    fixed = filmed(conditional_export, tmp_path / "fixed", through="3:4,3:5,0:0", seconds=3, label="1")
    same = [bool((a == b).all()) for a, b in zip(made, fixed, strict=True)]
    assert same == [True] * 3 + [False] * 12 + [True] * 3
    steps = np.abs(np.diff(fixed.astype(int), axis=0)).max(axis=(1, 2))
    assert 0 < steps.max() < np.abs(made[3].astype(int) - made[2]).max()


def test_a_value_swings_and_one_key_frame_is_enough_for_that(light: Path, tmp_path: Path) -> None:
    made = filmed(light, tmp_path / "film", through=[(0, 1)], seconds=2, values={"light": (0.0, 1.5)})
    generator = gantool.Generator(light)
    for frame, number in ((0, 0.0), (3, 0.75), (6, 1.5), (9, 0.75)):
        np.testing.assert_array_equal(made[frame], generator.sample(1, 0, 1, values={"light": number})[0, :, :, 0])
    still = filmed(light, tmp_path / "still", n=2, seconds=1, values={"light": 0})
    assert (still == 128).all()  # black times 0
    with pytest.raises(ArgumentError, match="Nothing moves"):
        filmed(light, tmp_path / "none", through=[(0, 1)], values={"light": 1.0})
    with pytest.raises(ArgumentError, match=r"light is 2: it goes from -0\.5 to 1\.5"):
        filmed(light, tmp_path / "none", values={"light": (0, 2)})
    assert not (tmp_path / "none").exists()


def test_a_song_moves_a_value_and_the_film(light: Path, tmp_path: Path) -> None:
    rate = 8000
    song = np.zeros(2 * rate, np.float32)
    song[rate : rate + 800] = np.sin(2 * np.pi * 100 * np.arange(800) / rate)  # bass, after a second
    soundfile.write(tmp_path / "song.wav", song, rate)
    options = {"audio": tmp_path / "song.wav", "drive": {"light": "bass"}, "values": {"light": (0.0, 1.0)}}
    one = filmed(light, tmp_path / "one", through=[(0, 1)], **options)
    assert len(one) == 12  # as long as the song
    brightness = np.abs(one.astype(int) - 128).mean(axis=(1, 2))
    assert brightness[:6].max() == 0
    assert brightness.argmax() in (6, 7)
    assert 0 < brightness[11] < brightness[8]
    moved = filmed(
        light, tmp_path / "two", through=[(0, 1), (0, 4)], seconds=2, audio=tmp_path / "song.wav", loop=False
    )
    steps = np.abs(np.diff(moved.astype(int), axis=0)).mean(axis=(1, 2))
    assert steps[6:8].min() > 2 * steps[:5].max()
    with pytest.raises(ArgumentError, match="no value 'dark'"):
        filmed(light, tmp_path / "none", audio=tmp_path / "song.wav", drive={"dark": "bass"})
    with pytest.raises(ArgumentError, match="both fixed and driven"):
        filmed(light, tmp_path / "none", **{**options, "values": {"light": 1.0}})
    with pytest.raises(ArgumentError, match="no band 'base'"):
        filmed(light, tmp_path / "none", audio=tmp_path / "song.wav", drive={"light": "base"})


def test_equal_arguments_give_equal_frames_in_every_file(conditional_export: Path, tmp_path: Path) -> None:
    films = [
        gantool.film(conditional_export, tmp_path / name, n=3, seconds=0.5, size=64)
        for name in ("a.gif", "b.webp", "c.png", "d.mp4", "e.webm", "f")
    ]
    (digest,) = {film.sha256 for film in films}
    pixels = b"".join(np.asarray(Image.open(path)).tobytes() for path in sorted((tmp_path / "f").iterdir()))
    assert digest == hashlib.sha256(pixels).hexdigest()
    assert {(film.frames, film.width, film.height, film.through[2]) for film in films} == {(15, 64, 64, "0:2")}
    assert all(film.bytes == Path(film.path).stat().st_size for film in films[:5])
    other = gantool.film(
        conditional_export, tmp_path / "a.gif", n=3, seconds=0.5, size=64, interpolation="great-circle"
    )
    assert other.sha256 != digest


def test_frames_replace_frames_and_nothing_else(conditional_export: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    assert len(filmed(conditional_export, folder, n=2, seconds=2)) == 12
    assert len(filmed(conditional_export, folder, n=2, seconds=1)) == 6
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(GantoolError, match=r"holds thesis\.txt"):
        filmed(conditional_export, folder, n=2, seconds=2)
    assert len(list(folder.iterdir())) == 7


def test_a_seeded_file_needs_the_plain_one_of_its_model(
    conditional_export: Path, exported_run: RunDir, tmp_path: Path
) -> None:
    seeded = tmp_path / "generator.seeded.onnx"
    shutil.copy(conditional_export / seeded.name, seeded)
    for other in (None, exported_run.export):
        if other:
            shutil.copy(other / "generator.onnx", tmp_path)
        with pytest.raises(GantoolError, match=r"draws its latents itself.*\n?.*gantool export RUN --onnx"):
            filmed(seeded, tmp_path / "film")
    shutil.copy(conditional_export / "generator.onnx", tmp_path)
    assert len(filmed(seeded, tmp_path / "film", n=2, seconds=1)) == 6


def test_volumes_are_views(tiny_export: Callable[..., Path], tmp_path: Path) -> None:
    made = gantool.film(tiny_export(1, 8, 8, 8), tmp_path / "film.gif", n=2, seconds=0.2, fps=10)
    assert (made.width, made.height, made.frames) == (512, 512, 2)


def test_sounds_can_not_be_filmed(tiny_export: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="makes sounds"):
        gantool.film(tiny_export(2, 16), tmp_path / "film.gif")


@pytest.mark.slow  # a translator is exported
def test_translators_can_not_be_filmed(translator: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="a picture of a picture"):
        gantool.film(translator("unet"), tmp_path / "film.gif")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "film.avi"}, "as '.avi'"),
        ({"fps": 60}, "a .gif has 1 to 50"),
        ({"seconds": -1}, "-1 seconds"),
        ({"seconds": 1e9}, "the most is 1,000,000"),
        ({"size": 8}, "8 pixels"),
        ({"easing": "smoth"}, "no easing 'smoth'.*Did you mean 'smooth'"),
        ({"drive": {"light": "bass"}}, "No song"),
        ({"through": [(0, -1)]}, "no image -1"),
        ({"label": 7}, "no class '7'"),
        ({"label": "0,1,2", "n": 2}, "3 classes were given for 2"),
        ({"n": 10**12}, "more than 10,000"),
    ],
)
def test_arguments_that_are_wrong(light: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    output = tmp_path / str(options.pop("output", "film.gif"))
    with pytest.raises(ArgumentError, match=message):
        gantool.film(light, output, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_what_fails_midway_leaves_the_old_film(light: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(samples: np.ndarray) -> np.ndarray:
        if len(samples) < frames.BATCH:  # the last ones
            raise KeyboardInterrupt
        return to_pictures(samples)

    for name in ("film.mp4", "film.webp", "frames"):
        gantool.film(light, tmp_path / name, seconds=0.1, size=64)
    monkeypatch.setattr(frames, "to_pictures", stop)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("film.mp4", "film.webp", "frames"):
        with pytest.raises(KeyboardInterrupt):
            gantool.film(light, tmp_path / name, size=64)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
