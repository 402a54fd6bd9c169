"""The critic of `wgan`: stride-2 convolutions without normalisation, so that each score depends on one image alone."""

from __future__ import annotations

from gantool_dcgan.networks import pyramid
from torch import Tensor, nn

from gantool.plugin import SampleSpec


class Critic(nn.Module):
    """Image (N, C, S, S) → score (N,).

    PyTorch's default (uniform, fan-in) initialisation: without normalisation, N(0, 0.02) weights start with
    vanishing scores.
    """

    def __init__(self, spec: SampleSpec, width: int, max_width: int) -> None:
        super().__init__()
        side, channels = pyramid(spec, width, max_width)
        layers: list[nn.Module] = []
        before = spec.channels
        for after in reversed(channels):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, side))

    def forward(self, image: Tensor) -> Tensor:
        score: Tensor = self.layers(image).flatten()
        return score
