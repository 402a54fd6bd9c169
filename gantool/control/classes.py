"""A classifier of samples where the data has labels: linear, on any extractor's features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from gantool.metrics.extractors import Extractor, Outputs

RIDGE = 1e-2  # in shares of the variance within classes


class Linear(Extractor):
    """Tells the classes `names` by linear discriminant analysis of an extractor's features.

    It is fitted to `features` (N, D) of real samples and their `labels` int64 (N,). `right`: the share of the second
    half that it tells when it is fitted to the first: `features` are to be in no order.
    """

    def __init__(self, extractor: Extractor, features: Tensor, labels: Tensor, names: Sequence[str]) -> None:
        super().__init__(extractor.device)
        self.extractor, self.class_names = extractor, tuple(names)
        self.name, self.dimension = f"{extractor.name}, on the data's classes", extractor.dimension
        half = len(features) // 2
        self._fit(features[:half], labels[:half])
        guessed = self._scores(features[half:]).argmax(1)
        self.right = float((guessed == labels[half:]).float().mean())
        self._fit(features, labels)

    def _fit(self, features: Tensor, labels: Tensor) -> None:
        x, belongs = features.double(), F.one_hot(labels, len(self.class_names)).double()
        counts = belongs.sum(0)
        means = belongs.T @ x / counts[:, None].clamp(min=1)
        away = x - means[labels]
        within = away.T @ away / len(x)
        within += RIDGE * within.diagonal().mean().clamp(min=1e-12) * torch.eye(len(within), dtype=within.dtype)
        self.weights = torch.linalg.solve(within, means.T)
        self.offset = counts.log() - (means.T * self.weights).sum(0) / 2  # a class without samples: -inf, never told

    def _scores(self, features: Tensor) -> Tensor:
        scores: Tensor = features.double() @ self.weights + self.offset
        return scores

    def _outputs(self, samples: Tensor) -> Outputs:
        features = self.extractor.features(samples)
        return Outputs(features, self._scores(features).softmax(1).float())
