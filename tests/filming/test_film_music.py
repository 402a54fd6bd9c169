"""gantool.filming.music: clicks of known frequencies at known times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from gantool.errors import GantoolError
from gantool.filming.music import BANDS, open_song

RATE = 22_050


def click_track(path: Path, hertz: tuple[float, ...], every: float = 0.5) -> Path:
    """Short tones of these frequencies, one after the other, a click every so many seconds."""
    sound = np.zeros((round(every * RATE * len(hertz)), 2), np.float32)
    length = RATE // 10
    time = np.arange(length) / RATE
    for number, frequency in enumerate(hertz):
        start = round(number * every * RATE)
        tone = 0.7 * np.hanning(length) * np.sin(2 * np.pi * frequency * time)
        sound[start : start + length] = tone[:, None]
    soundfile.write(path, sound, RATE)
    return path


def test_each_band_hears_its_clicks(tmp_path: Path) -> None:
    song = open_song(click_track(tmp_path / "clicks.flac", (100, 800, 5000, 100)))
    assert (song.rate, song.channels, song.seconds) == (RATE, 2, 2.0)
    levels = song.levels(30, 60)
    loudest = {band: int(levels[band][:45].argmax()) for band in BANDS}
    for number, band in enumerate(BANDS):
        assert 15 * number <= loudest[band] <= 15 * number + 4
        assert levels[band].max() == 1
        assert levels[band].min() >= 0
    assert levels["bass"][48] > 0.8  # the last click
    assert levels["treble"][48] < 0.4
    rise, fall = levels["bass"][1] - levels["bass"][0], levels["bass"][3] - levels["bass"][4]
    assert rise > 4 * fall > 0
    assert levels["loudness"].max() == 1


@pytest.mark.parametrize("fps", [1, 7, 60])
def test_blocks_are_the_whole_song_and_then_nothing(tmp_path: Path, fps: int) -> None:
    song = open_song(click_track(tmp_path / "clicks.wav", (100, 800, 5000)))
    blocks = list(song.blocks(fps, 4 * fps))
    np.testing.assert_array_equal(np.concatenate(blocks), soundfile.read(song.path, dtype="float32")[0])
    assert len(blocks) == 4 * fps
    assert set(map(len, song.levels(fps, 4 * fps).values())) == {4 * fps}


def test_silence_moves_nothing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    assert all((level == 0).all() for level in open_song(tmp_path / "silent.wav").levels(30, 30).values())


def test_what_is_no_song(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF but no sound")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    for name, message in (("a.wav", "can't be read as a sound"), ("empty.wav", "no samples"), ("no.wav", "No such")):
        with pytest.raises(GantoolError, match=message):
            open_song(tmp_path / name)
