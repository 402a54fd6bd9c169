"""The Fréchet distance between features (Heusel et al. 2017, arXiv:1706.08500), cheap enough for every tick."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics.extractors import Extractor
from gantool.metrics.samples import gather, pick


@dataclass(frozen=True)
class Moments:
    """Mean (D,) and unbiased covariance (D, D) of features, float64 on the CPU."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Of features (N, D), N ≥ 2."""
        if len(features) < 2:
            raise GantoolError(f"{len(features)} samples have no covariance.", "Take more samples.")
        features = features.cpu().double()
        return cls(features.mean(0), features.T.cov().reshape(features.shape[1], features.shape[1]))


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians fitted to features (N, D) and (M, D), in float64."""
    return between(Moments.of(features_a), Moments.of(features_b))


def between(a: Moments, b: Moments) -> float:
    """‖μ_a - μ_b‖² + Tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½).

    Tr (Σ_a Σ_b)^½ is the sum of the singular values of Σ_a^½ Σ_b^½: symmetric in a and b, and real even where fewer
    samples than dimensions make the covariances singular.
    """
    cross = torch.linalg.svdvals(_root(a.covariance) @ _root(b.covariance)).sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(0.0, float(distance))  # rounding leaves a hair below 0 for equal distributions


class FrechetReference:
    """The reals' side of the distance, computed once: for the training loop, tick by tick.

        reference = FrechetReference(load_extractor("digits", data.spec, device), data)
        reference.distance(images)           # images: float32 (N, C, H, W) in [-1, 1], on any device

    `count`: rows of `reals` to use, picked by `seed`; None: all, 10,000 at most.
    """

    def __init__(self, extractor: Extractor, reals: Dataset, count: int | None = None, seed: int = 0) -> None:
        self.extractor = extractor
        rows = pick(len(reals), min(count or 10_000, len(reals)), seed)
        self.count = len(rows)
        self.moments = Moments.of(gather(extractor, reals.images[rows]).features)

    @property
    def label(self) -> str:
        """What the distance is to be called."""
        return self.extractor.label

    def distance(self, samples: Tensor) -> float:
        """The distance of `samples` (N, *shape), N ≥ 2; comparable only between equal N."""
        return between(self.moments, Moments.of(gather(self.extractor, samples).features))


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a covariance."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
