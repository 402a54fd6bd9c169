"""Images by their index from any generator, and how two makings of them compare."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from gantool.artifact import latents
from gantool.artifact.manifest import InputInfo
from gantool.runtime import Generator
from gantool.runtime.generator import MAX_LEVELS, MAX_SHARE

Make = Callable[[], np.ndarray]
FEW = 8  # values: in one small image a single one is already more than 0.1 %


def maker(generator: Generator, seed: int, first: int, count: int) -> Make:
    """A call that makes images `first … first+count-1` of `seed`; what only feeds it is done here, untimed.

    Whatever a seed decides goes through `Generator.sample`, as in an app: uint8 (count, H, W, C), its latents drawn
    within the call. A generator that takes data (an image to translate) gets uniform noise in [-1, 1] made from
    (seed, index), and gives what its graph gives.
    """
    inputs = generator.manifest.inputs
    if generator.seeded or (generator.manifest.latents and all(i.distribution != "data" for i in inputs)):
        return partial(generator.sample, count, seed, first)
    index = np.arange(first, first + count, dtype=np.int64)
    normal = {i.name: i.shape for i in inputs if i.distribution == "normal"}
    feeds: dict[str, np.ndarray] = dict(latents.draw(normal, seed, index))
    feeds |= {i.name: _rows(i, seed, index) for i in inputs if i.distribution != "normal"}
    return partial(generator.run, feeds)


def digests(images: np.ndarray) -> list[bytes]:
    """One a image; equal digests mean equal bytes."""
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


@dataclass(frozen=True)
class Difference:
    """`worst` and `mean`: in levels of 255; `count`: of the `values` that differ by about one or more."""

    worst: float
    count: int
    values: int
    mean: float = 0.0

    @property
    def share(self) -> float:
        return self.count / max(1, self.values)

    @property
    def close(self) -> bool:
        """At most what another order of the same sums gives: 1 level on 0.1 % of the values, or on FEW of them."""
        return self.worst <= MAX_LEVELS and self.count <= max(FEW, MAX_SHARE * self.values)

    def within(self, tolerance: float) -> bool:
        """`close`, or, where a variant computes in fewer bits, at most `tolerance` levels anywhere."""
        return self.close or (tolerance > MAX_LEVELS and self.worst <= tolerance)


def difference(images: np.ndarray, wanted: np.ndarray) -> Difference:
    """Two makings of the same images, uint8 or float in [-1, 1]; other shapes, NaN and infinity are infinitely far."""
    if images.shape != wanted.shape:
        return Difference(math.inf, images.size, images.size, math.inf)
    levels = np.abs(_levels(images) - _levels(wanted))
    if not np.isfinite(levels).all():
        return Difference(math.inf, images.size, images.size, math.inf)
    # floats are not yet rounded: what would round to another level at most by chance is not counted as one
    mean = float(levels.mean()) if levels.size else 0.0
    return Difference(float(levels.max(initial=0)), int((levels > 0.5).sum()), levels.size, mean)


def _levels(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) * np.float32(1 if images.dtype == np.uint8 else 127.5)


def _rows(item: InputInfo, seed: int, index: np.ndarray) -> np.ndarray:
    if item.dtype == "int64":
        return np.broadcast_to(
            (index % max(1, item.classes)).reshape(-1, *[1] * len(item.shape)), (len(index), *item.shape)
        )
    rows = [np.random.default_rng((seed, int(i))).random(item.shape, np.float32) for i in index]
    return np.stack(rows) * np.float32(2) - np.float32(1)
