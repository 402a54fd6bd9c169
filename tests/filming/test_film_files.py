"""gantool.filming.files and video: what players and picture programs read in the files."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image, ImageSequence

from gantool.artifact.provenance import Provenance
from gantool.filming import files
from gantool.filming.files import Form
from gantool.filming.music import open_song
from gantool.filming.video import write_video

ABOUT = Provenance("mlp", "0001-mlp", 200, through=("0:3", "0:17"), kind="film")
MADE = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
WRITERS = {"gif": files.write_gif, "apng": files.write_png, "webp": files.write_webp}
COUNT, FPS = 13, 30


def frames(channels: int = 3) -> list[np.ndarray]:
    """A colour that changes, over a ramp."""
    ramp = np.linspace(0, 120, 48, dtype=np.uint8)
    made = []
    for number in range(COUNT):
        frame = np.zeros((32, 48, channels), np.uint8)
        frame[..., 0] = ramp + 10 * number
        frame[..., channels - 1] = 40
        made.append(frame)
    return made


def form(about: Provenance | None = ABOUT, **more: object) -> Form:
    return Form(48, 32, COUNT, FPS, about, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", WRITERS)
def test_an_animation_is_what_pillow_reads(tmp_path: Path, name: str, channels: int) -> None:
    path = tmp_path / f"film.{name}"
    WRITERS[name](path, iter(frames(channels)), form())
    with Image.open(path) as opened:
        assert (opened.n_frames, opened.info["loop"], opened.size) == (COUNT, 0, (48, 32))
        read = [(np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(opened)]
    assert sum(duration for _, duration in read) == pytest.approx(1000 * COUNT / FPS, abs=6)
    for (shown, _), frame in zip(read, frames(channels), strict=True):
        assert np.abs(shown.astype(int) - frame).mean() <= (4 if name == "webp" else 0)  # which is lossy


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["gif", "apng"])
def test_an_animation_is_what_ffmpeg_reads(tmp_path: Path, name: str, channels: int) -> None:
    path = tmp_path / f"film.{name}"
    WRITERS[name](path, iter(frames(channels)), form())
    with av.open(str(path)) as container:
        read = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for shown, frame in zip(read, frames(channels), strict=True):
        assert np.abs(shown.astype(int) - frame).max() == 0


@pytest.mark.parametrize("name", WRITERS)
def test_an_animation_says_what_made_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"film.{name}"
    WRITERS[name](path, iter(frames()), form())
    assert MADE in path.read_bytes()
    with Image.open(path) as opened:
        told = opened.info.get("comment", opened.info.get("gantool", opened.getexif().get(0x010E, "")))
    told = told.decode() if isinstance(told, bytes) else told
    assert json.loads(told.splitlines()[-1])["through"] == ["0:3", "0:17"]
    WRITERS[name](path, iter(frames()), form(None))
    assert b"gantool" not in path.read_bytes()


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_a_video_decodes_to_its_frames(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film.{suffix}"
    write_video(path, iter(frames()), form())
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert (stream.average_rate, stream.codec_context.pix_fmt) == (FPS, "yuv420p")
        told = {key.lower(): text for key, text in container.metadata.items()}
        assert told["comment"] == ABOUT.describe()
        assert json.loads(told["gantool"])["run"] == "0001-mlp"
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(shown) == COUNT
    for image, frame in zip(shown, frames(), strict=True):
        assert np.abs(image.astype(int) - frame).mean() < 4
    assert (MADE in path.read_bytes()) == (suffix == "mp4")


@pytest.mark.parametrize(("suffix", "channels", "rate"), [("mp4", 2, 44_100), ("webm", 1, 11_025)])
def test_a_video_plays_its_song(tmp_path: Path, suffix: str, channels: int, rate: int) -> None:
    time = np.arange(rate) / rate  # a second, longer than the film
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "song.wav", np.stack([tone] * channels, 1), rate)
    path = tmp_path / f"film.{suffix}"
    write_video(path, iter(frames()), form(song=open_song(tmp_path / "song.wav")))
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == COUNT
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
        assert stream.codec_context.layout.nb_channels == channels
    assert len(heard) / 48_000 == pytest.approx(COUNT / FPS, abs=0.05)
    spectrum = np.abs(np.fft.rfft(heard[4800:14400]))
    assert spectrum.argmax() * 5 == pytest.approx(440, abs=5)


def test_delays_add_up() -> None:
    form = Form(1, 1, 300, 30)
    assert sum(form.delays(100)) == 1000
    assert set(form.delays(100)) == {3, 4}
