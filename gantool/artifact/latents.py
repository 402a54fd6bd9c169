"""Latents of the random generator `squares32-table16/1`, bit-equal to those that an exported graph makes; and pixels.

The generator is "Squares" (Widynski 2020, arXiv:2004.06278): counter-based, so each latent is made by itself.
Its integers pick normals from a table of quantiles: no logarithm or cosine, hence the same bits on every host.
`gantool.exporting.onnx_files.seeds` writes the same arithmetic as ONNX; a change of one number here is a new RNG_NAME.
"""

from __future__ import annotations

import functools
import hashlib
import math
import operator
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gantool.errors import ArgumentError, GantoolError

RNG_NAME = "squares32-table16/1"

HASH_KEY = 0xC58EFD154CE32F6D  # the first key of Widynski's key.h: odd, its hexadecimal digits irregular
STRIDE = 1 << 16  # counters of one index, where they are enough: a latent can't run into the next one's
MAX_STRIDE = 1 << 17
MAX_INDEX = 1 << 47  # index * MAX_STRIDE stays below 2**64
MAX_SIZE = 2 * MAX_STRIDE  # a counter gives two normals

FINENESS = {"int16": 257}  # steps of audio in a level of 255: limits of precision are in levels
FILLED = 128  # from this level on a voxel is filled

_LEVELS = 1 << 16
_TABLE_SHA256 = "8babbcaf96568f10165a1eab530c0e5c92d04de96761b6dbb3dadfa94baba37f"
_BLOCK = 1 << 15  # counters at a time: the temporaries stay in cache, whatever the batch

_U32 = np.uint64(32)
_U16 = np.uint32(16)


def key_from_seed(seed: int) -> np.uint64:
    """The odd key of a seed in [-2**63, 2**63), or GantoolError; a negative one counts from 2**64 down.

    It is Widynski's squares64 (five rounds) of counter `seed`, its last xor an addition, which graphs have on
    every provider.
    """
    number = operator.index(seed)
    if not -(2**63) <= number < 2**63:
        raise ArgumentError(f"seed {number} does not fit 64 bits.", "Take one from -2**63 to 2**63 - 1.")
    mask = 2**64 - 1

    def swap(x: int) -> int:
        return (x >> 32 | x << 32) & mask

    y = number * HASH_KEY & mask
    z = y + HASH_KEY
    x = swap(y * y + y & mask)
    x = swap(x * x + z & mask)
    x = swap(x * x + y & mask)
    t = x * x + z & mask
    x = swap(t)
    h = t + ((x * x + y & mask) >> 32) & mask
    return np.uint64(h // 2 * 2 + 1)


def integers(seed: int, index: ArrayLike, count: int) -> NDArray[np.uint32]:
    """squares32 (four rounds) at counters `index * stride(count) + j`, j < count: (n,) integers → uint32 (n, count).

    Raises GantoolError unless 0 ≤ index < 2**47 and 0 ≤ count ≤ 131072.
    """
    if not 0 <= count <= MAX_STRIDE:
        raise ArgumentError(f"{count} numbers an index were asked for.", f"An index has {MAX_STRIDE} of them.")
    rows = check_index(index)
    out = np.empty((len(rows), count), np.uint32)
    for block, bits in _draws(seed, rows, count):
        out[block] = bits
    return out


def normals(seed: int, index: ArrayLike, size: int) -> NDArray[np.float32]:
    """Standard normals, |z| < 4.33: index (n,) integers → float32 (n, size).

    Row i depends on seed and index[i] alone. A shorter row is not the start of a longer one.
    Raises GantoolError unless 0 ≤ index < 2**47 and 1 ≤ size ≤ 262144.
    """
    count = counters(size)
    rows = check_index(index)
    quantiles = table()
    out = np.empty((len(rows), size), np.float32)
    for block, bits in _draws(seed, rows, count):
        out[block, :count] = quantiles[bits >> _U16]
        out[block, count:] = quantiles[bits[:, : size - count] & np.uint32(_LEVELS - 1)]
    return out


def draw(shapes: Mapping[str, tuple[int, ...]], seed: int, index: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """All normal inputs of a generator, name → (n, *shape): rows of `normals`, split in order."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    if not sizes:
        return {}
    row = normals(seed, index, sum(sizes))
    columns = np.split(row, np.cumsum(sizes)[:-1], axis=1)
    return {
        name: np.ascontiguousarray(part).reshape(len(index), *shape)
        for (name, shape), part in zip(shapes.items(), columns, strict=True)
    }


def limbs(numbers: ArrayLike) -> NDArray[np.float32]:
    """Integers (n,) modulo 2**64 in four limbs of 16 bits, the lowest first, as a portable file takes them.

    float32 (n, 4): 1, 2**16, 2**32 and 2**48 times them add up to the number.
    """
    rows = np.asarray(numbers).astype(np.uint64)[:, None]
    return (rows >> np.arange(0, 64, 16, dtype=np.uint64) & np.uint64(_LEVELS - 1)).astype(np.float32)


def check_index(index: ArrayLike) -> NDArray[np.int64]:
    """Numbers of images as int64 (n,); GantoolError for another shape, other numbers, or one out of range."""
    rows: NDArray[Any] = np.asarray(index)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise ArgumentError(f"index is {rows.dtype} of shape {rows.shape}.", "Give integers of shape (n,).")
    if rows.size and (int(rows.min()) < 0 or int(rows.max()) >= MAX_INDEX):
        wrong = int(rows.min()) if int(rows.min()) < 0 else int(rows.max())
        raise ArgumentError(f"index {wrong} is out of range.", "Take one from 0 to 2**47 - 1.")
    return rows.astype(np.int64, copy=False)


def counters(size: int) -> int:
    """How many counters `size` normals take; GantoolError unless 1 ≤ size ≤ 262144."""
    if not 1 <= size <= MAX_SIZE:
        raise GantoolError(
            f"A latent of {size} numbers can't be drawn from a seed.",
            f"One index gives 1 to {MAX_SIZE} of them: make the generator's normal inputs smaller.",
        )
    return (size + 1) // 2


def stride(count: int) -> int:
    """From the first counter of an index to that of the next, when each takes `count`: 65536, or 131072 for more."""
    return STRIDE if count <= STRIDE else MAX_STRIDE


@functools.cache
def table() -> NDArray[np.float32]:
    """Normal quantiles at (k + 0.5) / 65536, scaled to unit variance: float32 (65536,), read-only.

    Raises GantoolError where the platform's arithmetic gives other bits than everywhere else.
    """
    half = _LEVELS // 2
    quantile = NormalDist().inv_cdf
    upper = [quantile((k + 0.5) / _LEVELS) for k in range(half, _LEVELS)]
    scale = 1 / math.sqrt(math.fsum(z * z for z in upper) / half)
    rounded = np.array([z * scale for z in upper], np.float32)
    quantiles = np.concatenate([-rounded[::-1], rounded])
    digest = hashlib.sha256(quantiles.astype("<f4").tobytes()).hexdigest()
    if digest != _TABLE_SHA256:
        raise GantoolError(
            f"The table of {RNG_NAME} came out different on this machine (SHA-256 {digest[:12]}…).",
            "Its arithmetic is not IEEE 754 double precision: seeds would give other samples here.",
        )
    quantiles.flags.writeable = False
    return quantiles


def levels(x: NDArray[np.float32]) -> NDArray[Any]:
    """Finite samples float32 (N, C, …) in [-1, 1] → whole numbers, channels last: those of a seeded file.

    Audio (N, C, T) becomes int16 (N, T, C); images and volumes become uint8 (N, H, W, C) and (N, D, H, W, C).
    """
    return steps(x) if x.ndim == 3 else pixels(x)


def steps(x: NDArray[np.float32]) -> NDArray[np.int16]:
    """Finite audio float32 (N, C, T) → int16 (N, T, C): [-1, 1] to ±32767, rounded half up, clipped."""
    scaled = np.floor(np.asarray(x, np.float32) * np.float32(32767) + np.float32(0.5))
    clipped = np.clip(scaled, np.float32(-32767), np.float32(32767))
    return np.ascontiguousarray(clipped.transpose(0, 2, 1).astype(np.int16))


def pixels(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Finite images float32 (N, C, H, W) → uint8 (N, H, W, C): [-1, 1] to 0…255, rounded half up, clipped.

    Volumes (N, C, D, H, W) in the same way.
    """
    # 127.5 to move the range and 0.5 to round, for the cast cuts
    scaled = np.asarray(x, np.float32) * np.float32(127.5) + np.float32(128)
    clipped = np.clip(scaled, np.float32(0), np.float32(255))
    return np.ascontiguousarray(np.moveaxis(clipped, 1, -1).astype(np.uint8))


def floats(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Samples in whole numbers (N, …, C), as `levels` gives them → float32 (N, C, …) in [-1, 1].

    A seeded file does it with the pictures that it takes. Floats are returned as they are.
    """
    if samples.dtype == np.int16:
        scaled = samples.astype(np.float32) / np.float32(32767)
    elif samples.dtype == np.uint8:
        scaled = samples.astype(np.float32) / np.float32(127.5) - np.float32(1)
    else:
        return samples
    return np.ascontiguousarray(np.moveaxis(scaled, -1, 1))


def _draws(seed: int, rows: NDArray[np.int64], count: int) -> Iterator[tuple[slice, NDArray[np.uint32]]]:
    """Slices of the rows, each with its numbers; counter * key = index * stride * key + j * key."""
    key = key_from_seed(seed)
    starts = (rows.astype(np.uint64) * np.uint64(stride(count)) * key)[:, None]
    offsets = np.arange(count, dtype=np.uint64) * key
    step = max(1, _BLOCK // max(1, count))
    for first in range(0, len(rows), step):
        block = slice(first, first + step)
        yield block, _squares32(starts[block] + offsets, key)


def _squares32(y: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint32]:
    z = y + key
    x = _swap(y * y + y)
    x = _swap(x * x + z)
    x = _swap(x * x + y)
    return ((x * x + z) >> _U32).astype(np.uint32)


def _swap(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Rotate by 32 bits."""
    return (x >> _U32) | (x << _U32)
