"""What a song does to a film: how loud it is at each frame, as a whole and in three bands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gantool.data.sounds import HIGHEST, LOWEST
from gantool.errors import ArgumentError, excerpt
from gantool.system.files import reading, regular_size

BANDS = ("bass", "mid", "treble")
EDGES = np.geomspace(40, 16_000, len(BANDS) + 1)  # Hz: 40, 295, 2171, 16000
MAX_CHANNELS = 32
WINDOW_SECONDS = 0.046
ATTACK, DECAY = 0.02, 0.25  # seconds in which a level follows a louder and a quieter sound by 63 %
EXPONENT = 0.6  # of loudness as a function of amplitude (Stevens 1955, doi:10.1121/1.1908048)
LEAST = 0.01  # of the loudest frame: a band that is always quieter never reaches 1
REST = 0.15  # the speed of silence, where that of the loudest frame is 1.15


@dataclass(frozen=True)
class Song:
    """A file of libsndfile, cut to `seconds`."""

    path: Path
    rate: int
    channels: int
    seconds: float

    def blocks(self, fps: int, frames: int) -> Iterator[np.ndarray]:
        """What is heard during each frame, float32 (T, C); shorter or empty behind the end of the file."""
        ends = np.round(np.arange(frames + 1) * self.rate / fps).astype(np.int64)
        with _decoding(self.path) as file:
            for length in np.diff(ends):
                yield np.nan_to_num(file.read(int(length), "float32", always_2d=True), posinf=0, neginf=0)

    def levels(self, fps: int, frames: int) -> dict[str, np.ndarray]:
        """(frames,) in [0, 1] for each of BANDS, and for `loudness`: 1 is the frame that is loudest there."""
        size = max(int(2 ** round(np.log2(WINDOW_SECONDS * self.rate))), -(-self.rate // fps))
        frequencies = np.fft.rfftfreq(size, 1 / self.rate)
        taper = np.hanning(size + 1)[:-1]
        heard = np.zeros(size)
        power = np.zeros((frames, len(BANDS) + 1))
        for row, block in enumerate(self.blocks(fps, frames)):
            mono = np.zeros(round(self.rate / fps)) if not len(block) else block.mean(1)
            heard = np.concatenate([heard, mono])[-size:]
            spectrum = np.abs(np.fft.rfft(heard * taper)) ** 2
            inside = [spectrum[(frequencies >= a) & (frequencies < b)].sum() for a, b in pairwise(EDGES)]
            power[row] = [*inside, spectrum.sum()]
        smoothed = _followed(np.sqrt(power), fps)
        loudest = smoothed.max(0)
        levels = (smoothed / np.maximum(loudest, max(LEAST * loudest[-1], 1e-9))) ** EXPONENT
        return dict(zip((*BANDS, "loudness"), levels.T, strict=True))


def open_song(path: Path) -> Song:
    """GantoolError for a file that libsndfile can't read, or that holds nothing."""
    regular_size(path)
    with _decoding(path) as file:
        song = Song(path, file.samplerate, file.channels, file.frames / file.samplerate)
    if not song.seconds:
        raise ArgumentError(f"{path} holds no samples.", "Give another song.")
    if not LOWEST <= song.rate <= HIGHEST or song.channels > MAX_CHANNELS:
        raise ArgumentError(
            f"{path} has {song.channels} channels of {song.rate:,} Hz.",
            f"Give a song of 1 to {MAX_CHANNELS} channels, {LOWEST:,} to {HIGHEST:,} Hz.",
        )
    return song


def _followed(levels: np.ndarray, fps: int) -> np.ndarray:
    """Levels (frames, …) that rise fast and fall slowly."""
    rise, fall = (1 - np.exp(-1 / (fps * seconds)) for seconds in (ATTACK, DECAY))
    followed = np.zeros_like(levels)
    now = np.zeros(levels.shape[1:])
    for row, level in enumerate(levels):
        now = now + (level - now) * np.where(level > now, rise, fall)
        followed[row] = now
    return followed


@contextmanager
def _decoding(path: Path) -> Iterator[Any]:
    import soundfile

    try:
        with reading(path), soundfile.SoundFile(path) as file:
            yield file
    except soundfile.LibsndfileError as error:  # its own text names an address in memory
        raise ArgumentError(
            f"{path} can't be read as a sound: {excerpt(error.error_string)}", "Give a WAV, FLAC, OGG or MP3 file."
        ) from error
