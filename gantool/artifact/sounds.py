"""Show sounds as pictures (a spectrogram over the waveform), and write them as WAV files."""

from __future__ import annotations

import struct
import wave
from functools import lru_cache
from pathlib import Path

import numpy as np

from gantool.artifact import latents
from gantool.artifact.provenance import SOFTWARE, Provenance, xmp
from gantool.system.files import replacing

ASSUMED_RATE = 16_000  # samples a second of a WAV whose rate is not known
WIDTH = 96  # of a picture, in pixels
BANDS = 64  # of a spectrogram, a pixel each
WAVE = 23  # height of the waveform
WINDOW_SECONDS = 0.032
WINDOW = 512  # samples, where the rate is not known
FLOOR = -80.0  # decibels below a sine of full scale that are shown as silence
# anchors of the colour map, from silence to full scale: those of matplotlib's `inferno` (CC0)
COLOURS = (
    (0, 0, 4),
    (40, 11, 84),
    (101, 21, 110),
    (159, 42, 99),
    (212, 72, 66),
    (245, 125, 21),
    (250, 193, 39),
    (252, 255, 164),
)
LINE = (120, 190, 240)  # of the waveform


def pictures(samples: np.ndarray, rate: int = 0) -> np.ndarray:
    """Sounds (N, C, T) float in [-1, 1] → uint8 (N, 88, 96, 3): a log-mel spectrogram, below it the waveform.

    Colours are decibels, the same ones in all pictures: dark is silence. With several channels the spectrogram is that
    of their mean power, and the waveform spans all. `rate` in samples a second; 0: the axis is the logarithm of the
    frequency, down to a 256th of the highest.
    """
    shown = np.zeros((len(samples), BANDS + 1 + WAVE, WIDTH, 3), np.uint8)
    table = _colours()
    for picture, sound in zip(shown, samples, strict=True):
        clean = np.clip(np.nan_to_num(sound.astype(np.float32), posinf=1, neginf=-1), -1, 1)
        level = 1 - spectrogram(clean, rate) / FLOOR
        picture[:BANDS] = table[np.round(255 * level).astype(int)][::-1]  # low frequencies are below
        picture[BANDS + 1 :] = np.where(_waveform(clean)[..., None], np.array(LINE, np.uint8), table[0])
    return shown


def spectrogram(sound: np.ndarray, rate: int = 0) -> np.ndarray:
    """A sound (C, T) → decibels (BANDS, WIDTH) in [FLOOR, 0], the lowest band first.

    A sine of full scale has 0 to -4 of them.
    """
    length, size = sound.shape[1], window(rate)
    frames = WIDTH * max(1, -(-2 * length // (WIDTH * size)))  # they overlap, however long the sound is
    centres = ((np.arange(frames) + 0.5) * length / frames).astype(int)
    padded = np.pad(sound, ((0, 0), (size // 2, size // 2)))
    taper = np.hanning(size + 1)[:-1].astype(np.float32)
    cut = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, centres] * taper
    # twice the window: the lowest bands are narrower than a bin of it
    power = (np.abs(np.fft.rfft(cut, 2 * size)) ** 2).mean(0) * (2 / taper.sum()) ** 2 / 3  # a sine's bins sum to 3
    banded = bands(size + 1, rate) @ power.T
    columns = banded.reshape(BANDS, WIDTH, -1).mean(2)
    decibels: np.ndarray = 10 * np.log10(np.maximum(columns, 10 ** (FLOOR / 10)))
    return decibels.clip(FLOOR, 0)


def window(rate: int = 0) -> int:
    """How many samples a column of a spectrogram looks at."""
    size = 2 ** round(np.log2(WINDOW_SECONDS * rate)) if rate else WINDOW
    return int(np.clip(size, 32, 4096))


def save_wav(sounds: np.ndarray, path: Path, rate: int = 0, *, seconds: float = 10.0, pause: float = 0.1) -> int:
    """Write the first of `sounds` (N, C, T), one after the other, as 16-bit PCM; return how many.

    As many as fit into `seconds`, at least one, with `pause` seconds of silence after each. The file is written
    atomically. More than two channels: the first two.
    """
    rate = rate or ASSUMED_RATE
    silence = round(pause * rate)
    count: int = max(1, min(len(sounds), int(seconds * rate) // (sounds.shape[2] + silence)))
    chosen = np.pad(sounds[:count, :2], ((0, 0), (0, 0), (0, silence)))
    clean = np.nan_to_num(np.concatenate(chosen, 1), posinf=1, neginf=-1)
    with replacing(path) as temporary:
        temporary.write_bytes(wav(latents.steps(clean[None])[0], rate))
    return count


def wav(sound: np.ndarray, rate: int = 0, about: Provenance | None = None) -> bytes:
    """A WAV file of int16 (T, C), PCM in 16 bits, or of float32 (T, C), floats; `rate` 0: ASSUMED_RATE is written.

    `about` is in the comment (chunk LIST INFO), in XMP (chunk _PMX, where audio tools look for it), and as JSON (chunk
    gant). The format: https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html
    """
    (frames, channels), size, rate = sound.shape, sound.dtype.itemsize, rate or ASSUMED_RATE
    floats = sound.dtype.kind == "f"
    layout = (3 if floats else 1, channels, rate, size * channels * rate, size * channels, 8 * size)
    chunks = _chunk(b"fmt ", struct.pack("<HHIIHH", *layout) + bytes(2 * floats))  # of floats with no extension
    if floats:
        chunks += _chunk(b"fact", struct.pack("<I", frames))
    if about is not None:
        texts = _chunk(b"ISFT", f"{SOFTWARE}\0".encode()) + _chunk(b"ICMT", f"{about.describe()}\0".encode())
        chunks += _chunk(b"LIST", b"INFO" + texts) + _chunk(b"_PMX", xmp(SOFTWARE, about.composite).encode())
        chunks += _chunk(b"gant", about.to_json().encode())
    values = sound.astype(sound.dtype.newbyteorder("<"))
    return _chunk(b"RIFF", b"WAVE" + chunks + _chunk(b"data", values.tobytes()))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def read_wav(path: Path) -> tuple[np.ndarray, int]:
    """A file of `save_wav` → the mean of its channels, float32 (T,), and its rate."""
    with wave.open(str(path), "rb") as file:
        values = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return values.mean(1, dtype=np.float32) / 32767, file.getframerate()


def _waveform(sound: np.ndarray) -> np.ndarray:
    """A sound (C, T) → bool (WAVE, WIDTH): the range of its values in each column."""
    length = sound.shape[1]
    edges = np.arange(WIDTH + 1) * length // WIDTH
    low, high = np.empty(WIDTH), np.empty(WIDTH)
    for i in range(WIDTH):
        span = sound[:, edges[i] : max(edges[i + 1], edges[i] + 1)]
        low[i], high[i] = span.min(), span.max()
    rows = np.linspace(1, -1, WAVE)[:, None]
    half_row = 1.001 / (WAVE - 1)  # a little more, or rounding would hide a value between two rows
    inside: np.ndarray = (rows >= low - half_row) & (rows <= high + half_row)
    return inside


@lru_cache(maxsize=8)
def bands(bins: int, rate: int) -> np.ndarray:
    """Triangles (BANDS, bins) over the bins of a spectrum from 0 to half the rate, each at least a bin wide."""
    if rate:  # O'Shaughnessy's mel scale
        top = 2595 * np.log10(1 + rate / 2 / 700)
        hertz = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
        edges = hertz / (rate / 2) * (bins - 1)
    else:
        edges = (bins - 1) * np.geomspace(1 / 256, 1, BANDS + 2)
    centre = edges[1:-1, None]
    below, above = np.maximum(centre - edges[:-2, None], 1), np.maximum(edges[2:, None] - centre, 1)
    offset = np.arange(bins) - centre
    triangles: np.ndarray = np.clip(1 - np.where(offset < 0, -offset / below, offset / above), 0, 1)
    return triangles.astype(np.float32)


@lru_cache(maxsize=1)
def _colours() -> np.ndarray:
    """The colour map: uint8 (256, 3)."""
    places = np.linspace(0, len(COLOURS) - 1, 256)
    parts = [np.interp(places, range(len(COLOURS)), part) for part in zip(*COLOURS, strict=True)]
    return np.round(np.stack(parts, 1)).astype(np.uint8)
