"""Networks of `sngan`: residual blocks up to the image, and down from it under spectral normalisation.

Weights start as in the authors' code (https://github.com/pfnet-research/sngan_projection): Xavier uniform, with a
gain of √2 inside a block.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import gantool_dcgan.networks as dcgan
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import ParametrizationList, register_parametrization

from gantool.plugin import SampleSpec

SIDES = (16, 28, 32, 48, 64, 96, 128)
START = 15  # power iterations before the first use


pyramid = partial(dcgan.pyramid, sides=SIDES, maker="sngan")


def initialise(layer: nn.Linear | nn.Conv2d, gain: float = 1.0) -> None:
    """Xavier uniform weights, no bias."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class UpBlock(nn.Module):
    """(N, before, S, S) → (N, after, 2S, 2S): normalised, doubled by nearest neighbour, convolved twice, added."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1),
        )
        # doubling after it gives the same as doubling before it, at a quarter of the work
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1), nn.Upsample(scale_factor=2))
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                initialise(layer, 2**0.5)
        initialise(self.shortcut[0])  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = self.shortcut(maps) + self.layers(maps)
        return added


class Generator(nn.Module):
    """z (N, latent_dim) → image (N, C, S, S) in [-1, 1]."""

    def __init__(self, spec: SampleSpec, latent_dim: int, width: int, max_width: int) -> None:
        super().__init__()
        side, channels = pyramid(spec, width, max_width)
        self.first = (channels[0], side, side)
        self.project = nn.Linear(latent_dim, channels[0] * side * side)
        self.blocks = nn.Sequential(*(UpBlock(*pair) for pair in pairwise([channels[0], *channels])))
        self.last = nn.Sequential(
            nn.BatchNorm2d(channels[-1]), nn.ReLU(), nn.Conv2d(channels[-1], spec.channels, 3, padding=1), nn.Tanh()
        )
        initialise(self.project)
        initialise(self.last[2])  # type: ignore[arg-type]

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.last(self.blocks(self.project(z).unflatten(1, self.first)))
        return images


class HalvingConv2d(nn.Conv2d):
    """A 3×3 convolution and the mean of each 2×2 of its results, as one 4×4 convolution of stride 2.

    The same to the last bits (both are linear), at 4/9 of the work.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        spread = F.avg_pool2d(F.pad(self.weight, (1, 1, 1, 1)), 2, 1)
        return F.conv2d(input, spread, self.bias, stride=2, padding=1)


class DownBlock(nn.Module):
    """(N, before, S, S) → (N, after, S/2, S/2), or (N, after, S, S) without `halve`: convolved twice, added.

    `of_image`: the block that takes the image, which no ReLU must cut.
    """

    def __init__(self, before: int, after: int, *, halve: bool = True, of_image: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *([] if of_image else [nn.ReLU()]),
            _normalised(nn.Conv2d(before, after, 3, padding=1), 2**0.5),
            nn.ReLU(),
            _normalised(HalvingConv2d(after, after) if halve else nn.Conv2d(after, after, 3, padding=1), 2**0.5),
        )
        self.shortcut = nn.Sequential(
            *([nn.AvgPool2d(2)] if halve else []),
            *([_normalised(nn.Conv2d(before, after, 1))] if before != after or halve else []),
        )

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = self.shortcut(maps) + self.layers(maps)
        return added


class SpectralNorm(nn.Module):
    """Weight (rows, …) → the weight, as a matrix of those rows, divided by its largest singular value.

    The singular vectors that say how large it is are buffers, so that a checkpoint holds them. Unlike those of torch's
    own spectral norm they stay as they are in a forward: every pass of an iteration sees one and the same network, and
    a compiled backward what its forward saw. In float32 also where autocast computes in 16 bits.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.register_buffer("u", F.normalize(torch.randn(rows), dim=0))
        self.register_buffer("v", torch.zeros(columns))
        for _ in range(START):
            self.follow(weight)

    @torch.no_grad()
    def follow(self, weight: Tensor) -> None:
        """One power iteration: what a weight that has moved a little asks for (algorithm 1 of the paper)."""
        matrix = weight.flatten(1)
        self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return weight / (self.u @ (weight.flatten(1) @ self.v))


def normalised(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """The layer with its weight normalised. Initialise it first: what is set later is not what is divided."""
    return register_parametrization(layer, "weight", SpectralNorm(layer.weight))


def follow(network: nn.Module) -> None:
    """After each step of its optimizer: one power iteration for each normalised layer of the network."""
    for layer in network.modules():
        if isinstance(layer, ParametrizationList):
            for norm in layer:
                assert isinstance(norm, SpectralNorm)
                norm.follow(layer.original)


def _normalised(layer: nn.Linear | nn.Conv2d, gain: float = 1.0) -> nn.Module:
    initialise(layer, gain)
    return normalised(layer)


class Discriminator(nn.Module):
    """Image (N, C, S, S) → logit (N,): blocks, the sum over all places, one linear layer; no batch statistics."""

    def __init__(self, spec: SampleSpec, width: int, max_width: int) -> None:
        super().__init__()
        _, channels = pyramid(spec, width, max_width)
        channels = channels[::-1]
        self.blocks = nn.Sequential(
            DownBlock(spec.channels, channels[0], of_image=True),
            *(DownBlock(*pair) for pair in pairwise(channels)),
            DownBlock(channels[-1], channels[-1], halve=False),
            nn.ReLU(),
        )
        self.last = _normalised(nn.Linear(channels[-1], 1))

    def forward(self, image: Tensor) -> Tensor:
        logit: Tensor = self.last(self.blocks(image).sum((2, 3))).squeeze(1)
        return logit
