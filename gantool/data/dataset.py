"""What every data source becomes: aligned arrays, one row a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from gantool.plugin.architecture import SampleSpec


@dataclass(frozen=True)
class Dataset:
    """Aligned arrays of N rows.

    `arrays["images"]`: uint8 (N, C, H, W), or float32 in [-1, 1]; `arrays["labels"]`, when known: int64
    (N,) in 0 … classes-1. A source may add arrays (a paired image, say) that a game's inputs name. Arrays of a
    pack are read-only memory maps. `stored_fingerprint`: the fingerprint, where it is known without reading them.
    """

    name: str
    source: str
    arrays: Mapping[str, np.ndarray]
    class_names: tuple[str, ...] = ()
    licence: str = ""
    notes: tuple[str, ...] = field(default=())
    stored_fingerprint: str = ""

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
        return SampleSpec(tuple(self.images.shape[1:]), len(self.class_counts))

    @cached_property
    def class_counts(self) -> tuple[int, ...]:
        """How many rows each class has, by its number; () without labels."""
        if self.labels is None:
            return ()
        return tuple(np.bincount(self.labels, minlength=len(self.class_names)).tolist())

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
    """What a fingerprint takes in before the values of an array."""
    return f"{name} {dtype.str} {shape}\n".encode()
