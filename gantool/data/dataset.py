"""A data set: aligned arrays, one row a sample. And the checks that all readers share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from gantool.errors import GantoolError
from gantool.plugin.architecture import SampleSpec

MAX_BYTES = 16 * 2**30  # of decoded data in memory
MAX_CLASSES = 65_536  # a larger label is an identifier, not a class
MIN_SIDE = 4  # pixels


@dataclass(frozen=True)
class Dataset:
    """Aligned arrays of N rows.

    `arrays["images"]`: the samples, images (N, C, H, W), audio (N, C, T) or volumes (N, C, D, H, W). They are uint8
    (0 … 255), int16 (±32767, of audio) or float32 in [-1, 1]. `arrays["labels"]`, when known: int64 (N,) in
    0 … classes-1. Other arrays (paired images, say) are inputs of games that name them. Arrays of a pack are read-only
    memory maps. `stored_fingerprint`: the fingerprint, where it is known without reading the arrays. `margin`: by how
    many pixels the sides of `images` exceed those of a sample, for which training crops them at random.
    """

    name: str
    source: str
    arrays: Mapping[str, np.ndarray]
    class_names: tuple[str, ...] = ()
    licence: str = ""
    notes: tuple[str, ...] = field(default=())
    stored_fingerprint: str = ""
    margin: int = 0
    rate: int = 0

    @property
    def images(self) -> np.ndarray:
        return self.arrays["images"]

    @property
    def labels(self) -> np.ndarray | None:
        return self.arrays.get("labels")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def spec(self) -> SampleSpec:
        shapes = {name: self.shape_of(name) for name in self.arrays if name != "labels"}
        return SampleSpec(shapes.pop("images"), len(self.class_counts), shapes, self.rate)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of a sample's row of an array, without the margin."""
        shape = self.arrays[name].shape[1:]
        margin = self.margin_of(name)
        return (shape[0], shape[1] - margin, shape[2] - margin) if margin else tuple(shape)

    def margin_of(self, name: str) -> int:
        """By how many pixels the sides of this array's pictures exceed those of a sample."""
        array = self.arrays[name]
        return self.margin * array.shape[3] // self.images.shape[3] if self.margin and array.ndim == 4 else 0

    @property
    def crop_steps(self) -> int:
        """In how many equal steps the margins of all pictures can be divided: a crop begins after 0 to so many."""
        return math.gcd(*map(self.margin_of, self.arrays))

    def centred(self) -> Dataset:
        """The same without the margin: the centres of all pictures."""
        if not self.margin:
            return self
        arrays = dict(self.arrays)
        for name, array in self.arrays.items():
            if margin := self.margin_of(name):
                low, side = self.crop_steps // 2 * (margin // self.crop_steps), array.shape[3] - margin
                arrays[name] = array[..., low : low + side, low : low + side]
        return replace(self, arrays=arrays, margin=0, stored_fingerprint=self.fingerprint)

    @cached_property
    def class_counts(self) -> tuple[int, ...]:
        """The number of rows of each class; () without labels."""
        if self.labels is None:
            return ()
        return tuple(np.bincount(self.labels, minlength=len(self.class_names)).tolist())

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """The classes without a row, by name (by number where they have none)."""
        names = self.class_names or tuple(map(str, range(len(self.class_counts))))
        return tuple(name for name, count in zip(names, self.class_counts, strict=True) if not count)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, dtypes, shapes and values of all arrays: equal data, equal fingerprint."""
        if self.stored_fingerprint:
            return self.stored_fingerprint
        digest = hashlib.sha256()
        for name in sorted(self.arrays):
            array = self.arrays[name]
            digest.update(fingerprint_header(name, array.dtype, array.shape))
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def fingerprint_header(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The bytes that a fingerprint hashes before the values of an array."""
    return f"{name} {dtype.str} {shape}\n".encode()


def check_size(size: int) -> None:
    if size < MIN_SIDE:
        raise GantoolError(f"A size of {size} is too small.", f"Give --size {MIN_SIDE} or more.")


def check_bytes(count: int, where: str) -> None:
    """GantoolError when `count` bytes of decoded data exceed MAX_BYTES."""
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
    """GantoolError, with the count and the first row, when `array` (N, …) holds NaN or infinity."""
    bad = ~np.isfinite(array)
    count = int(np.count_nonzero(bad))
    if count:
        row = int(bad.reshape(len(array), -1).any(axis=1).argmax())
        raise GantoolError(
            f"{where} holds {count} values that are NaN or infinite as float32, the first in row {row}.",
            "Drop those rows, or replace the values (np.nan_to_num).",
        )


def as_labels(array: np.ndarray, rows: int, where: str) -> np.ndarray:
    """int64 (rows,) from non-negative integers (rows,); GantoolError otherwise."""
    if array.dtype.kind in "iufb" and array.ndim != 1:
        raise GantoolError(
            f"{where} has shape {array.shape}; labels have one axis, (N,).",
            "Use labels.reshape(-1), or labels.argmax(axis=1) when they are one-hot.",
        )
    if array.dtype.kind not in "iu":
        numbers = array.dtype.kind in "fb"
        how = 'labels.astype("int64")' if numbers else "names, labels = np.unique(labels, return_inverse=True)"
        raise GantoolError(f"{where} has dtype {array.dtype}; labels are integers.", f"Convert them: {how}.")
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
