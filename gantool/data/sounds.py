"""Arrays of sounds: trimmed, resampled, mixed, cut; int16 (N, C, T), where ±32767 stands for ±1."""

from __future__ import annotations

import numpy as np

from gantool.data.dataset import check_bytes
from gantool.data.images import as_float32
from gantool.errors import GantoolError

CHANNELS = (1, 2)
FULL = 32_767
SILENCE = 1e-3  # -60 dBFS: what is quieter at both ends is trimmed
FADE = 256  # samples at most, at a cut
SHORTEST = 16  # samples of a sound
LONGEST = 2**18  # samples that no --size was given for
LOWEST, HIGHEST = 1_000, 768_000  # samples a second


def check_rate(rate: int) -> None:
    if not LOWEST <= rate <= HIGHEST:
        raise GantoolError(f"A rate of {rate:,} Hz is none of a sound.", f"Give --rate {LOWEST} to {HIGHEST}.")


def as_int16(sounds: np.ndarray) -> np.ndarray:
    """int16 of the same shape, from int16, or from floats in [-1, 1], which are clipped and rounded.

    The factor is 32768, so that the values of a file of 16 bits stay as they are.
    """
    if sounds.dtype == np.int16:
        return sounds
    steps: np.ndarray = np.rint(as_floats(sounds) * np.float32(FULL + 1)).clip(-FULL, FULL)
    return steps.astype(np.int16)


def as_floats(sounds: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] from int16, uint8 (128 is silence) or floats."""
    if sounds.dtype == np.int16:
        return sounds.astype(np.float32) / np.float32(FULL + 1)
    if sounds.dtype == np.uint8:
        return (sounds.astype(np.float32) - 128) / np.float32(128)
    return sounds.astype(np.float32, copy=False)


def trimmed(sound: np.ndarray) -> np.ndarray:
    """(C, T) without what is quieter than SILENCE at both ends; one sample of a sound that is quieter everywhere."""
    loud = np.flatnonzero(np.abs(sound).max(axis=0) > SILENCE)
    return sound[:, loud[0] : loud[-1] + 1] if loud.size else sound[:, :1] * 0


def with_channels(sound: np.ndarray, channels: int) -> np.ndarray:
    """(C', T) of floats (C, T): the mean of all channels; of one, itself twice; of more, the first two."""
    if len(sound) == channels:
        return sound
    if channels == 1:
        return np.asarray(sound.mean(axis=0, keepdims=True, dtype=np.float32))
    return np.repeat(sound, 2, axis=0) if len(sound) == 1 else sound[:2]


def resampled(sound: np.ndarray, rate: int, new: int) -> np.ndarray:
    """Floats (C, T) of `rate` samples a second as (C, T') of `new`; as it is where one of them is 0."""
    if rate == new or not rate or not new:
        return sound
    import soxr

    made: np.ndarray = soxr.resample(np.ascontiguousarray(sound.T), rate, new, quality="HQ")
    return np.ascontiguousarray(made.T, np.float32)


def fitted(sound: np.ndarray, size: int) -> np.ndarray:
    """Floats (C, size) of (C, T): its beginning, faded out at the cut, or padded with silence."""
    length = sound.shape[1]
    if length <= size:
        return np.pad(sound, ((0, 0), (0, size - length)))
    cut = sound[:, :size].copy()
    fade = min(FADE, size // 8)
    cut[:, size - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return cut


def refitted(sounds: np.ndarray, channels: int, size: int, rate: int, new: int, where: str) -> np.ndarray:
    """int16 (N, channels, size) of `new` samples a second from sounds (N, C, T) of `rate`, of any dtype."""
    if sounds.shape[1:] == (channels, size) and (rate == new or not rate or not new):
        return as_int16(sounds)
    check_bytes(len(sounds) * channels * size * 2, f"{where} at size {size}")
    made = np.empty((len(sounds), channels, size), np.int16)
    for row, sound in enumerate(sounds):
        made[row] = as_int16(fitted(resampled(with_channels(as_floats(sound), channels), rate, new), size))
    return made


def rescaled(length: int, rate: int, new: int) -> int:
    """How many samples `length` of them are at a `new` rate."""
    return -(-length * new // rate) if rate and new else length


def as_sounds(array: np.ndarray, where: str) -> np.ndarray:
    """(N, C, T), int16, or float32 in [-1, 1], from (N, T) or (N, C, T). GantoolError for other arrays and values."""
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise GantoolError(
            f"{where} has shape {array.shape}; sounds are (N, T) or (N, C, T).", "Reshape it, the time last."
        )
    array = array[:, np.newaxis] if array.ndim == 2 else array
    if array.shape[1] > 16 or array.shape[2] < SHORTEST:
        raise GantoolError(
            f"{where} has shape {array.shape}: {array.shape[1]} channels of {array.shape[2]} samples.",
            f"Sounds are (N, C, T) with at most 16 channels and at least {SHORTEST} samples; transpose it.",
        )
    if array.dtype == np.int16:
        return np.ascontiguousarray(array)
    if array.dtype.kind != "f":
        raise GantoolError(
            f"{where} has dtype {array.dtype}; sounds are int16, or floats in [-1, 1].",
            'Convert it: sounds.astype("int16").',
        )
    array = as_float32(array, where)
    peak = float(np.abs(array).max())
    if peak > 1.001:
        raise GantoolError(
            f"{where} has values up to {peak:g}; floats lie in [-1, 1].", "Divide it by its largest value."
        )
    return np.clip(array, -1, 1, out=array)
