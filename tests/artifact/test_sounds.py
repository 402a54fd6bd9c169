"""Pictures of sounds show when and how high they are; a WAV of samples is read by other programs."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from gantool.artifact import sounds

RATE = 16_000
TIMES = np.arange(8192) / RATE


def tone(hertz: float, level: float = 1.0) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * TIMES))[None].astype(np.float32)


def test_a_higher_tone_is_a_higher_line_by_the_mel_scale() -> None:
    mel = 2595 * np.log10(1 + np.array([200, 1000, 4000, 8000]) / 700)
    for hertz, wanted in zip((200, 1000, 4000), mel[:3] / mel[3], strict=True):
        bands = sounds.spectrogram(tone(hertz), RATE)[:, 20:80].mean(1)
        assert bands.argmax() == pytest.approx(wanted * (sounds.BANDS + 1) - 1, abs=1)
        assert bands.max() == pytest.approx(-2, abs=2)  # decibels


def test_without_a_rate_equal_ratios_are_equal_distances() -> None:
    lines = [sounds.spectrogram(tone(hertz))[:, 20:80].mean(1).argmax() for hertz in (500, 1000, 2000, 4000)]
    assert np.ptp(np.diff(lines)) <= 1
    assert lines[0] > 0


def test_levels_are_absolute_decibels() -> None:
    loud, quiet = (sounds.spectrogram(tone(1000, level), RATE).max() for level in (0.5, 0.005))
    assert loud - quiet == pytest.approx(40, abs=0.1)
    assert (sounds.spectrogram(np.zeros((1, 8192), np.float32), RATE) == sounds.FLOOR).all()


@pytest.mark.parametrize("length", [10, 500, 65_536, 300_000])
def test_a_click_is_seen_at_its_time_however_long_the_sound_is(length: int) -> None:
    click = np.zeros((1, 2, length), np.float32)
    click[:, 1, length * 3 // 4] = -1
    (picture,) = sounds.pictures(click, RATE)
    assert picture.shape == (88, sounds.WIDTH, 3)
    assert picture.dtype == np.uint8
    wave_part = picture[sounds.BANDS + 1 :]
    lowest = (wave_part[-1] == sounds.LINE).all(1)
    assert np.flatnonzero(lowest).mean() == pytest.approx(0.75 * sounds.WIDTH, abs=0.06 * sounds.WIDTH)
    brightness = picture[: sounds.BANDS].astype(float).sum((0, 2))
    assert brightness.argmax() == pytest.approx(0.75 * sounds.WIDTH, abs=sounds.WIDTH if length < 1000 else 3)


def test_silence_is_dark_and_broken_values_make_a_picture() -> None:
    silent, broken = np.zeros((1, 1, 4096), np.float32), np.full((1, 1, 4096), np.nan, np.float32)
    assert sounds.pictures(silent)[:, : sounds.BANDS].max() <= 4
    assert np.array_equal(sounds.pictures(broken), sounds.pictures(silent))


def test_a_wav_has_the_first_samples_with_silence_between(tmp_path: Path) -> None:
    made = np.stack([tone(300, 0.5), tone(600, 2.0), tone(900)])
    assert sounds.save_wav(made, tmp_path / "a.wav", RATE, seconds=1.3) == 2
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        values = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    step = 8192 + RATE // 10
    assert len(values) == 2 * step
    assert np.abs(values[:8192] - 32767 * made[0, 0]).max() <= 1
    assert (values[8192:step] == 0).all()
    assert values[step:].max() == 32767  # clipped, not wrapped
    assert np.sign(values[step : step + 8192] * made[1, 0].astype(float)).min() >= 0


def test_a_wav_of_stereo_without_a_rate_says_16000(tmp_path: Path) -> None:
    stereo = np.stack([tone(300), -0.5 * tone(300)], 1)
    assert sounds.save_wav(stereo, tmp_path / "a.wav", seconds=0.1) == 1  # one at least
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 16_000)
    mixed, rate = sounds.read_wav(tmp_path / "a.wav")
    assert rate == 16_000
    assert np.abs(mixed[:8192] - 0.25 * tone(300)[0]).max() < 1e-4
