"""Prepare samples for an extractor: pick rows, scale to [-1, 1], run in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gantool.errors import GantoolError
from gantool.metrics.extractors import Extractor, Outputs

BATCH = 256


def pick(rows: int, count: int, seed: int) -> np.ndarray:
    """`count` of `rows` row numbers without repetition, decided by `seed`; ascending, so that reads are in order."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])


def halves(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint halves of the row numbers, equally many in each, decided by `seed`."""
    order = np.random.default_rng(seed).permutation(rows)
    return order[: rows // 2], order[rows // 2 : 2 * (rows // 2)]


def uniform(shape: tuple[int, ...], seed: int) -> Callable[[int, int], np.ndarray]:
    """Samples of uniform noise: (start, n) → float32 (n, *shape) in [-1, 1], whatever the batches."""

    def draw(start: int, count: int) -> np.ndarray:
        each = [np.random.default_rng([seed, start + i]).random(shape, np.float32) for i in range(count)]
        return np.stack(each) * 2 - 1

    return draw


def as_samples(samples: np.ndarray | Tensor) -> Tensor:
    """uint8 0…255, int16 ±32767 or floats in [-1, 1] → float32 in [-1, 1]; images and volumes are rounded to 8 bits.

    Reals are stored in 8 bits, so unrounded fakes would differ by the rounding alone.
    """
    # contiguous, because torch takes no negative strides
    values = samples if isinstance(samples, Tensor) else torch.from_numpy(np.ascontiguousarray(samples))
    if values.dtype == torch.int16:
        return values.float().mul(1 / 32767).clamp(min=-1)
    if values.dtype != torch.uint8:
        values = values.float()
        if not values.isfinite().all():
            raise GantoolError("The samples hold NaN or infinity: they have no distance to anything.")
        if values.dim() < 4:
            return values
        values = values.mul(127.5).add(128).clamp(0, 255).floor()  # as `latents.pixels`
    return values.float().mul(1 / 127.5).sub(1)


def gather(
    extractor: Extractor,
    samples: np.ndarray | Tensor,
    batch: int = BATCH,
    advance: Callable[[int], None] = lambda count: None,
) -> Outputs:
    """The extractor's outputs of all samples (N, *shape), on the CPU. `advance` is told of each batch's size."""
    parts = []
    for start in range(0, len(samples), batch):
        part = extractor.outputs(as_samples(samples[start : start + batch]))
        parts.append(Outputs(part.features.cpu(), None if part.probabilities is None else part.probabilities.cpu()))
        advance(len(part.features))
    return joined(parts)


def joined(parts: Sequence[Outputs]) -> Outputs:
    probabilities = [p.probabilities for p in parts if p.probabilities is not None]
    return Outputs(torch.cat([p.features for p in parts]), torch.cat(probabilities) if probabilities else None)
