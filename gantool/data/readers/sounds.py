"""Sound files by libsndfile: WAV, FLAC, OGG, MP3, AIFF. No more is read than is needed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from gantool.data.sounds import SILENCE, rescaled
from gantool.plugin.hookspecs import Reader, SourceFile, Wanted

MAX_VALUES = 2**24  # of all channels, that are read of a file: six minutes of mono at 44,100 Hz
_BLOCK = 2**18  # values that are read at once
_MORE = 4096  # samples that a resampler looks ahead
_STREAMED = 2**31 - 2**16  # a program that writes to a pipe declares about so many bytes, or more


def read(file: SourceFile, how: Wanted) -> tuple[np.ndarray, int]:
    """float32 (C, T) and the rate: all, or for a size as many as that needs, from the first that is no silence.

    ValueError for a file that is cut short, holds no samples or NaN, or can't be decoded.
    """
    import soundfile

    _check_whole(file.content)
    try:
        return _read(soundfile.SoundFile(io.BytesIO(file.content)), how)
    except soundfile.LibsndfileError as error:  # its own text names an address in memory
        raise ValueError(error.error_string) from error


def _read(opened: Any, how: Wanted) -> tuple[np.ndarray, int]:
    with opened as sound:
        rate, channels = sound.samplerate, sound.channels
        most = MAX_VALUES // channels
        needed = most if how.size is None else min(most, rescaled(how.size, how.rate or rate, rate) + _MORE)
        pieces: list[np.ndarray] = []
        kept = passed = 0
        while kept < needed and passed < most:
            block = sound.read(min(max(1, _BLOCK // channels), most - passed), "float32", always_2d=True)
            if not len(block):
                break
            passed += len(block)
            if not np.isfinite(block).all():
                raise ValueError("it holds values that are NaN or infinite")
            if not pieces and how.size is not None:
                loud = np.abs(block).max(axis=1) > SILENCE
                if not loud.any():
                    continue
                block = block[loud.argmax() :]
            pieces.append(block[: needed - kept])
            kept += len(pieces[-1])
        if not passed:
            raise ValueError("it holds no samples")
        if kept < needed and passed < min(most, sound.frames):
            raise ValueError(f"it ends after {passed:,} of {sound.frames:,} samples")
    if not pieces:
        return np.zeros((channels, 1), np.float32), rate
    return np.ascontiguousarray(np.concatenate(pieces).T), rate


def _check_whole(content: bytes) -> None:
    """ValueError when a WAV or AIFF file has fewer bytes than it declares: libsndfile reads what there is.

    Some programs declare the whole file's bytes, 8 too many. ValueError for a FLAC file without a length, too.
    """
    if content[:4] == b"fLaC" and len(content) >= 26 and not int.from_bytes(content[18:26], "big") % 2**36:
        raise ValueError("its header has no length, as of a stream: encode it again")
    if content[:4] not in (b"RIFF", b"FORM"):
        return
    declared = int.from_bytes(content[4:8], "little" if content[:4] == b"RIFF" else "big")
    if content[:4] == b"RIFF" and len(content) == declared:
        return
    if len(content) < declared + 8 and declared < _STREAMED:
        raise ValueError(f"it ends after {len(content):,} of {declared + 8:,} bytes")


SOUNDS = Reader(
    "soundfile", "audio", (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"), read
)
