"""Checks that every source shares, and reads that never take more memory than the file can be worth."""

from __future__ import annotations

from typing import IO

import numpy as np

from gantool.errors import GantoolError

MAX_BYTES = 16 * 2**30  # of decoded data: it has to fit into memory, once as read and once as prepared
MAX_CLASSES = 65_536  # a larger label is an identifier, not a class
MIN_SIDE = 4  # pixels
DEFLATE_RATIO = 1032  # the most that deflate can expand: what declares more is lying
_CHUNK = 4 * 2**20


def check_size(size: int) -> None:
    if size < MIN_SIDE:
        raise GantoolError(f"A size of {size} is too small.", f"Give --size {MIN_SIDE} or more.")


def check_bytes(count: int, where: str) -> None:
    """GantoolError when `count` bytes of decoded data pass the limit."""
    if count > MAX_BYTES:
        raise GantoolError(
            f"{where} would take {count / 2**30:,.1f} GiB of memory; the limit is {MAX_BYTES / 2**30:g} GiB.",
            "Use fewer or smaller images (a smaller --size).",
        )


def check_sides(height: int, width: int, where: str) -> None:
    if min(height, width) < MIN_SIDE:
        raise GantoolError(
            f"{where} is {width}×{height} pixels; each side needs at least {MIN_SIDE}.", "Use larger images."
        )


def check_finite(array: np.ndarray, where: str) -> None:
    """GantoolError with the count and the first row when `array` (N, …) holds NaN or infinity."""
    bad = ~np.isfinite(array)
    count = int(np.count_nonzero(bad))
    if count:
        row = int(bad.reshape(len(array), -1).any(axis=1).argmax())
        raise GantoolError(
            f"{where} holds {count} values that are NaN or infinite as float32, the first in row {row}.",
            "Drop those rows, or replace the values (np.nan_to_num).",
        )


def as_labels(array: np.ndarray, rows: int, where: str) -> np.ndarray:
    """int64 (rows,) from integers (rows,), all from 0; GantoolError otherwise."""
    if array.dtype.kind not in "iu":
        raise GantoolError(
            f"{where} has dtype {array.dtype}; labels are integers.", 'Convert them: labels.astype("int64").'
        )
    if array.ndim != 1:
        raise GantoolError(
            f"{where} has shape {array.shape}; labels have one axis, (N,).",
            "Use labels.reshape(-1), or labels.argmax(axis=1) when they are one-hot.",
        )
    if len(array) != rows:
        raise GantoolError(
            f"{where} has {len(array)} labels for {rows} images.",
            "Each image needs one label, in the same order.",
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= MAX_CLASSES:
        raise GantoolError(
            f"{where} has values from {low} to {high}; labels run from 0 to at most {MAX_CLASSES - 1}.",
            "Renumber them: labels = np.unique(labels, return_inverse=True)[1].",
        )
    return array.astype(np.int64)


def read_exactly(stream: IO[bytes], count: int) -> np.ndarray:
    """The next `count` bytes, uint8 (count,), read in pieces; EOFError when there are fewer."""
    data = np.empty(count, np.uint8)
    done = 0
    while done < count:
        piece = stream.read(min(_CHUNK, count - done))
        if not piece:
            raise EOFError(f"it ends after {done:,} of {count:,} bytes")
        data[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    return data
