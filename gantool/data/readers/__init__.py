"""Readers of data, one file a format; and bounded reading, which they share."""

from __future__ import annotations

from typing import IO

import numpy as np

_CHUNK = 4 * 2**20


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
