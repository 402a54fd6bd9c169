"""What every data source becomes: aligned arrays, one row a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from gantool.architecture import SampleSpec


@dataclass(frozen=True)
class Dataset:
    """Aligned arrays of N rows.

    `arrays["images"]`: uint8 (N, C, H, W), or float32 in [-1, 1]; `arrays["labels"]`, when known: int64
    (N,) in 0 … classes-1. A source may add arrays (a paired image, say) that a game's inputs name.
    """

    name: str
    source: str
    arrays: Mapping[str, np.ndarray]
    class_names: tuple[str, ...] = ()
    licence: str = ""
    notes: tuple[str, ...] = field(default=())

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
        classes = 0 if self.labels is None else max(len(self.class_names), int(self.labels.max()) + 1)
        return SampleSpec(tuple(self.images.shape[1:]), classes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, dtypes, shapes and values of all arrays: equal data, equal fingerprint."""
        digest = hashlib.sha256()
        for name in sorted(self.arrays):
            array = self.arrays[name]
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
