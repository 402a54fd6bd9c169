"""Networks of `mlp`: z → widths → pixels with tanh, and the mirrored discriminator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from gantool.plugin import SampleSpec

if TYPE_CHECKING:
    from gantool_mlp import MLPConfig


class Generator(nn.Module):
    """z (N, latent_dim) → sample (N, *spec.shape) in [-1, 1]."""

    def __init__(self, config: MLPConfig, spec: SampleSpec) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = config.latent_dim
        for width in config.widths:
            layers += [
                nn.Linear(before, width),
                nn.ReLU() if config.activation == "relu" else nn.LeakyReLU(0.2),
            ]
            before = width
        self.layers = nn.Sequential(*layers, nn.Linear(before, spec.elements), nn.Tanh())
        self.shape = spec.shape

    def forward(self, z: Tensor) -> Tensor:
        samples: Tensor = self.layers(z).unflatten(1, self.shape)
        return samples


class Discriminator(nn.Module):
    """Sample (N, *spec.shape) → logit (N,)."""

    def __init__(self, config: MLPConfig, spec: SampleSpec) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        before = spec.elements
        for width in reversed(config.widths):
            layers += [nn.Linear(before, width), nn.LeakyReLU(0.2), nn.Dropout(config.dropout)]
            before = width
        self.layers = nn.Sequential(*layers, nn.Linear(before, 1))
        self.width = before

    def features(self, sample: Tensor) -> Tensor:
        """What the last layer judges: (N, width)."""
        for layer in list(self.layers)[:-1]:
            sample = layer(sample)
        return sample

    def judge(self, features: Tensor) -> Tensor:
        logit: Tensor = self.layers[-1](features).squeeze(1)
        return logit

    def forward(self, sample: Tensor) -> Tensor:
        return self.judge(self.features(sample))
