"""Sounds: int16 (C, T)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gantool.artifact.sounds import BANDS, WAVE, WIDTH, pictures
from gantool.data import sounds
from gantool.data.image_files import Preparation
from gantool.data.kinds.base import Kind, Look, Spread, Survey, Tally, counted, digest, version
from gantool.data.kinds.formats import sound_of
from gantool.data.source_files import as_broken_file
from gantool.errors import GantoolError
from gantool.system.terminal import megabytes

LEAST = 4096  # samples of a sound whose length nobody gave; it is a power of two, as most networks make
_USUAL = 65_536  # samples: longer ones are cut to so many
_CLIPPED, _IN_A_ROW = 0.999, 3  # of full scale, and so many samples at it
_MODES = {1: "mono", 2: "stereo"}


@dataclass(frozen=True, kw_only=True)
class SoundSurvey(Survey):
    """Of sounds.

    `durations`: seconds; `sounding`: without silence at both ends. `loudness`: of those not silent, dBFS (RMS).
    `rates`: samples a second → sounds. `clipped`: at full scale for three samples in a row.
    """

    durations: Spread | None
    sounding: Spread | None
    rates: dict[str, int]
    loudness: Spread | None
    clipped: int
    silent: int
    bytes_int16: int

    def facts(self) -> list[list[str]]:
        rates = ", ".join(
            f"{int(rate):,} Hz: {count:,}" if int(rate) else "unknown" for rate, count in self.rates.items()
        )
        return [
            ["seconds", f"{self.durations or '–'}"],
            ["without silence", f"{self.sounding or '–'}"],
            ["rates", rates or "–"],
            ["loudness", f"{self.loudness} dBFS" if self.loudness else "–"],
            ["clipped", f"{self.clipped:,}" if self.clipped else "none"],
            ["silent", f"{self.silent:,}" if self.silent else "none"],
        ]

    def packing(self) -> str:
        rate = int(next(iter(self.rates), "0"))
        longest = (self.sounding.max + 0.005) * rate if self.sounding else 0  # it is rounded
        if self.size is None and longest <= _USUAL:
            return ""
        return f" --size {self.size or _USUAL}"

    def stored(self) -> str:
        return f"{megabytes(self.bytes_int16)} as int16, {super().stored()}"


class Sounds(Kind):
    name, plural, dtype, width, channels = "audio", "sounds", "<i2", 7, sounds.CHANNELS
    unit, usual, resizing = "samples", 16_384, "cut them all to N samples"
    examples = "WAV, FLAC, OGG, MP3 or AIFF files"

    def needs_peek(self, asked: Preparation) -> bool:
        return not (asked.size and asked.rate and asked.channels)

    def peek(self, path: Path, asked: Preparation) -> tuple[int, int, int]:
        """Rate, channels, and without a size the length without silence."""
        sound, rate = sound_of(path, replace(asked, size=1, rate=None) if asked.size else asked)
        return rate, len(sound), sounds.trimmed(sound).shape[1]

    def settle(self, peeked: Iterable[tuple[int, int, int] | None], asked: Preparation) -> Preparation:
        known = Counter(each for each in peeked if each is not None) if self.needs_peek(asked) else Counter()
        rates = Counter({rate: 0 for rate, _, _ in known})
        for (rate, _, _), count in known.items():
            rates[rate] += count
        rate = asked.rate or max(rates, key=lambda each: (rates[each], each), default=0)
        channels = asked.channels or (2 if known and all(number == 2 for _, number, _ in known) else 1)
        longest = max((sounds.rescaled(length, own, rate) for own, _, length in known), default=1)
        size = asked.size or max(LEAST, 1 << (longest - 1).bit_length())
        if not asked.size and longest > sounds.LONGEST:
            raise GantoolError(
                f"The longest sound has {longest:,} samples at {rate:,} Hz ({longest / rate:.1f} s); without --size "
                f"the most is {sounds.LONGEST:,}.",
                f"Give a length to cut them to: --size 65536 is {65536 / rate:.1f} s. Or a lower --rate.",
            )
        return replace(asked, rate=rate, channels=channels, size=size)

    def decode(self, path: Path, how: Preparation, content: bytes | None = None) -> np.ndarray:
        sound, rate = sound_of(path, how, content)
        assert how.size is not None
        with as_broken_file(path):
            sound = sounds.with_channels(sounds.trimmed(sound), how.channels or 1)
            return sounds.as_int16(sounds.fitted(sounds.resampled(sound, rate, how.rate or 0), how.size))

    def shape(self, channels: int, size: int) -> tuple[int, ...]:
        return channels, size

    def check_row(self, shape: tuple[int, ...], where: str) -> None:
        if shape[1] < sounds.SHORTEST:
            raise GantoolError(
                f"A sound of {shape[1]} samples is too short.", f"Give --size {sounds.SHORTEST} or more."
            )

    def refit(self, rows: np.ndarray, how: Preparation, rate: int, where: str) -> np.ndarray:
        new = how.rate or rate
        size = how.size or sounds.rescaled(rows.shape[2], rate, new)
        return sounds.refitted(rows, how.channels or rows.shape[1], size, rate, new, where)

    def notes(self, samples: np.ndarray) -> tuple[str, ...]:
        silent = sum(not sample.any() for sample in samples)
        return (f"{silent:,} of {len(samples):,} sounds are silent",) if silent else ()

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("soundfile", "soxr")}

    def examine(self, path: Path, asked: Preparation) -> Look:
        sound, rate = sound_of(path, Preparation())
        return _look(sound, rate, path.suffix[1:].upper())

    def examine_row(self, sample: np.ndarray, rate: int) -> Look:
        return _look(sounds.as_floats(sample), rate, "")

    def survey(self, tally: Tally, size: int | None, **facts: Any) -> SoundSurvey:
        frames, rates, channels, sounding, loudness, clipped, silent = tally.numbers.T
        known = np.where(rates > 0, rates, 1)
        most = 2 if len(channels) and channels.min() == 2 else 1
        values = tally.count * size * most if size else float((frames * channels).sum())
        return SoundSurvey(
            **self.common(tally, values, most, size),
            durations=Spread.of((frames / known)[rates > 0], 2),
            sounding=Spread.of((sounding / known)[rates > 0], 2),
            rates=counted(rates),
            loudness=Spread.of(loudness[silent == 0], 1),
            clipped=int(clipped.sum()),
            silent=int(silent.sum()),
            **facts,
        )

    def tile(self, sample: np.ndarray, side: int, rate: int) -> np.ndarray:
        picture: np.ndarray = pictures(sounds.as_floats(sample)[np.newaxis], rate)[0]
        return picture.transpose(2, 0, 1)

    def tile_side(self, size: int | None, usual: int) -> int:
        return BANDS + 1 + WAVE

    def tile_width(self, side: int) -> int:
        return WIDTH

    def shown(self, path: Path, side: int, size: int | None) -> np.ndarray:
        sound, rate = sound_of(path, Preparation(size))
        sound = sounds.trimmed(sound)
        return self.tile(sounds.fitted(sound, size) if size else sound, side, rate)


def _look(sound: np.ndarray, rate: int, form: str) -> Look:
    full = (np.abs(sound) >= _CLIPPED).any(axis=0)
    runs = np.lib.stride_tricks.sliding_window_view(full, _IN_A_ROW).all(axis=1) if full.size >= _IN_A_ROW else full[:0]
    power = float(np.square(sound, dtype=np.float64).mean())
    silent = float(np.abs(sound).max()) <= sounds.SILENCE
    decibels = 10 * math.log10(max(power, 1e-20))
    numbers = (
        sound.shape[1], rate, len(sound), sounds.trimmed(sound).shape[1], decibels, bool(runs.any()), silent,
    )  # fmt: skip
    mode = _MODES.get(len(sound), f"{len(sound)} channels")
    return Look(form, mode, numbers, digest(sounds.as_int16(sound)))
