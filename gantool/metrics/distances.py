"""Distances between distributions of features, and the Inception Score."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics.extractors import Extractor
from gantool.metrics.samples import gather, pick

SUBSETS = 100  # of KID
SUBSET_SIZE = 1000
SPLITS = 10  # of the Inception Score


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
    """Squared Fréchet distance of the Gaussians fitted to features (N, D) and (M, D), in float64.

    (Heusel et al. 2017, arXiv:1706.08500.)
    """
    return between(Moments.of(features_a), Moments.of(features_b))


def between(a: Moments, b: Moments) -> float:
    """‖μ_a - μ_b‖² + Tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½).

    Tr (Σ_a Σ_b)^½ is the sum of the singular values of Σ_a^½ Σ_b^½: symmetric in a and b, and real even where fewer
    samples than dimensions make the covariances singular.
    """
    cross = torch.linalg.svdvals(_root(a.covariance) @ _root(b.covariance)).sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(0.0, float(distance))  # rounding may give a little less than 0 for equal distributions


class FrechetReference:
    """The distance to fixed reals, whose moments are computed once: for the training loop.

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


class _Features(nn.Module):
    """The “network” given to torchmetrics: its input are features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def require_torchmetrics() -> None:
    """GantoolError when torchmetrics is not installed."""
    try:
        import torchmetrics  # noqa: F401
    except ImportError as error:
        raise GantoolError(
            f"`gantool evaluate` needs torchmetrics: {error}.", "Type: pip install 'gantool[train]'"
        ) from error


def kernel_distance(reals: Tensor, fakes: Tensor, seed: int) -> tuple[float, float]:
    """KID of features (N, D) and (M, D), mean and deviation over 100 subsets (Bińkowski et al. 2018, arXiv:1801.01401).

    A subset is at most half of either side, for subsets that are the whole have no deviation.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(SUBSET_SIZE, max(2, min(len(reals), len(fakes)) // 2))
    with warnings.catch_warnings(), torch.random.fork_rng([]):
        warnings.simplefilter("ignore", UserWarning)  # it warns that it keeps all features in memory
        torch.manual_seed(seed)  # it draws its subsets from torch's default stream
        metric = KernelInceptionDistance(_Features(reals.shape[1]), subsets=SUBSETS, subset_size=size)
        metric.update(reals.double(), real=True)
        metric.update(fakes.double(), real=False)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def classifier_score(probabilities: Tensor, seed: int) -> tuple[float, float]:
    """Inception Score of class probabilities (N, classes), mean and deviation over 10 splits (Salimans et al. 2016,
    arXiv:1606.03498)."""
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng([]):
        warnings.simplefilter("ignore", UserWarning)
        torch.manual_seed(seed)
        metric = InceptionScore(_Features(probabilities.shape[1]), splits=SPLITS)
        metric.update(probabilities.double().log().clamp(min=-700))  # logits whose softmax is p
        mean, deviation = metric.compute()
    return float(mean), float(deviation)
