"""The figures that torchmetrics computes, on features that are there already."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from gantool.errors import GantoolError

SUBSETS = 100  # of KID
SUBSET_SIZE = 1000
SPLITS = 10  # of the Inception Score


class Given(nn.Module):
    """The “network” that torchmetrics is told to use: it gets features, and hands them on."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def require() -> None:
    """GantoolError when torchmetrics is not installed."""
    try:
        import torchmetrics  # noqa: F401
    except ImportError as error:
        raise GantoolError(
            f"`gantool evaluate` needs torchmetrics: {error}.", "Type: pip install 'gantool[evaluate]'"
        ) from error


def frechet(reals: Tensor, fakes: Tensor) -> float:
    """Fréchet distance of features (N, D) and (M, D) (Heusel et al. 2017, arXiv:1706.08500)."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(Given(reals.shape[1]))
    metric.update(reals.double(), real=True)
    metric.update(fakes.double(), real=False)
    return max(0.0, float(metric.compute()))


def kernel(reals: Tensor, fakes: Tensor, seed: int) -> tuple[float, float]:
    """KID of features (N, D) and (M, D), mean and deviation over 100 subsets (Bińkowski et al. 2018, arXiv:1801.01401).

    A subset is at most half of either side: subsets that are the whole say nothing of a deviation.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(SUBSET_SIZE, max(2, min(len(reals), len(fakes)) // 2))
    with warnings.catch_warnings(), torch.random.fork_rng([]):
        warnings.simplefilter("ignore", UserWarning)  # it says that it keeps all features: they are here anyway
        torch.manual_seed(seed)  # it draws its subsets from torch's default stream
        metric = KernelInceptionDistance(Given(reals.shape[1]), subsets=SUBSETS, subset_size=size)
        metric.update(reals.double(), real=True)
        metric.update(fakes.double(), real=False)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def score(probabilities: Tensor, seed: int) -> tuple[float, float]:
    """Inception Score of class probabilities (N, classes), mean and deviation over 10 splits (Salimans et al. 2016,
    arXiv:1606.03498)."""
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng([]):
        warnings.simplefilter("ignore", UserWarning)
        torch.manual_seed(seed)
        metric = InceptionScore(Given(probabilities.shape[1]), splits=SPLITS)
        metric.update(probabilities.double().log().clamp(min=-700))  # it takes the softmax of logits: of these, again p
        mean, deviation = metric.compute()
    return float(mean), float(deviation)
