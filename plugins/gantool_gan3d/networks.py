"""Networks of `gan3d`: (transposed) convolutions of kernel 4 and stride 2; batch normalisation in the generator."""

from __future__ import annotations

from itertools import pairwise

import torch
from gantool_wavegan.networks import SLOPE, Joined, Judge, scaled
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.plugin import GantoolError, SampleSpec

SIDES = (16, 32, 64)
SMALLEST = 4  # voxels a side of the smallest map


def widths(spec: SampleSpec, width: int) -> list[int]:
    """Channels of the maps of 4, 8, … voxels a side, but for the volume: `width`, then half as many each time.

    GantoolError for samples that aren't cubes with a side in SIDES.
    """
    if spec.kind != "volume" or len(set(spec.sides)) > 1 or spec.sides[0] not in SIDES:
        nearest = min(SIDES, key=lambda side: abs(side - max(spec.sides, default=0)))
        raise GantoolError(
            f"gan3d can't make samples of shape {spec}.",
            f"It makes cubes of {', '.join(map(str, SIDES))} voxels a side, of any number of channels: "
            + (f"give --size {nearest}." if spec.kind == "volume" else "give a folder of volumes."),
        )
    doublings = (spec.sides[0] // SMALLEST).bit_length() - 1
    return [max(1, width // 2**level) for level in range(doublings)]


class First(nn.Conv3d):
    """The convolution (kernel 4, stride 2, padding 1) next to the volume: (N, C, S, S, S) → (N, after, S/2, S/2, S/2).

    Computed at half the side, with the eight voxels of a block as channels, which gives the same: with one channel the
    usual way takes several times as long on a CPU.
    """

    def __init__(self, channels: int, after: int) -> None:
        super().__init__(8 * channels, after, 2)
        scaled(self, 64 * channels)

    def forward(self, volume: Tensor) -> Tensor:
        blocks = F.pad(volume, (1,) * 6)
        for axis in (2, 4, 6):
            blocks = torch.unflatten(blocks, axis, (-1, 2))
        return super().forward(blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4))


class Last(nn.Conv3d):
    """(N, before, S, S, S) → (N, C, 2S, 2S, 2S): the transposed convolution of `First`.

    It has a shift for each voxel of a block.
    """

    def __init__(self, before: int, channels: int) -> None:
        super().__init__(before, 8 * channels, 2, padding=1)
        self.channels = channels
        scaled(self, 8 * before, 1.0)

    def forward(self, maps: Tensor) -> Tensor:
        blocks = torch.unflatten(super().forward(maps), 1, (self.channels, 2, 2, 2)).permute(0, 1, 5, 2, 6, 3, 7, 4)
        for axis in (2, 3, 4):
            blocks = blocks.flatten(axis, axis + 1)
        return blocks[:, :, 1:-1, 1:-1, 1:-1]


class Generator(nn.Module):
    """z (N, latent_dim) [, label (N,)] → volume (N, C, S, S, S) in [-1, 1]."""

    def __init__(self, spec: SampleSpec, channels: list[int], latent_dim: int, embed: int) -> None:
        super().__init__()
        self.joined = Joined(spec.classes, latent_dim, embed)
        # the same map as a transposed convolution of one voxel, as one matrix product
        self.project = nn.Linear(self.joined.size, channels[0] * SMALLEST**3, bias=False)
        self.first = (channels[0], SMALLEST, SMALLEST, SMALLEST)
        layers: list[nn.Module] = [nn.BatchNorm3d(channels[0]), nn.ReLU()]
        for before, after in pairwise(channels):
            layer = scaled(nn.ConvTranspose3d(before, after, 4, 2, 1, bias=False), 8 * before)
            layers += [layer, nn.BatchNorm3d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, Last(channels[-1], spec.channels), nn.Tanh())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        volumes: Tensor = self.layers(self.project(self.joined(z, label)).unflatten(1, self.first))
        return volumes


class Discriminator(nn.Module):
    """Volume (N, C, S, S, S) [, label (N,)] → score (N,); no normalisation."""

    def __init__(self, spec: SampleSpec, channels: list[int], embed: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [First(spec.channels, channels[-1]), nn.LeakyReLU(SLOPE)]
        for before, after in pairwise(reversed(channels)):
            layers += [scaled(nn.Conv3d(before, after, 4, 2, 1), 64 * before), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers)
        self.judge = Judge(channels[0] * SMALLEST**3, spec.classes, embed)

    def forward(self, volume: Tensor, label: Tensor | None = None) -> Tensor:
        score: Tensor = self.judge(self.layers(volume).flatten(1), label)
        return score
