"""Networks of `r3gan`: residual blocks of grouped convolutions without normalisation, up to the image and down from it.

Weights start as in Fixup (Zhang, Dauphin & Ma 2019, arXiv:1901.09321): those inside a block are scaled by the number of
blocks, and its last convolution is zero, so that every block begins as the identity.
"""

from __future__ import annotations

import math
from itertools import pairwise

import gantool_dcgan.networks as dcgan
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.plugin import SampleSpec

SIDES = (16, 28, 32, 48, 64, 96, 128, 256)
EXPANSION = 2  # channels inside a block, as a multiple of those outside
SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # of a LeakyReLU's input that keeps the variance


def stages(spec: SampleSpec, channel_base: int, max_width: int, group_width: int) -> list[tuple[int, int]]:
    """(side, channels) of every stage, from the smallest map to the image; GantoolError for a spec that isn't served.

    A map of side s has channel_base / s channels, at most `max_width`, as in StyleGAN2; whole groups inside a block.
    """
    side, halvings = dcgan.pyramid(spec, 1, 1, sides=SIDES, maker="r3gan")
    sides = [side * 2**level for level in range(len(halvings) + 1)]
    unit = math.lcm(group_width, EXPANSION) // EXPANSION
    return [(s, unit * max(1, round(min(channel_base / s, max_width) / unit))) for s in sides]


def _normal(layer: nn.Linear | nn.Conv2d, gain: float = 1.0) -> nn.Module:
    """The layer with weights N(0, gain² / inputs of a value), and no shift."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """(N, channels, S, S) → the same shape: 1×1, grouped 3×3 and 1×1 convolution, added. `blocks`: of the network."""

    def __init__(self, channels: int, group_width: int, blocks: int) -> None:
        super().__init__()
        inner, gain = EXPANSION * channels, GAIN * blocks**-0.25
        self.layers = nn.Sequential(
            _normal(nn.Conv2d(channels, inner, 1), gain),
            nn.LeakyReLU(SLOPE),
            _normal(nn.Conv2d(inner, inner, 3, padding=1, groups=inner // group_width), gain),
            nn.LeakyReLU(SLOPE),
            _normal(nn.Conv2d(inner, channels, 1, bias=False), 0.0),
        )

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = maps + self.layers(maps)
        return added


class Up(nn.Module):
    """(N, before, S, S) → (N, after, 2S, 2S): a 1×1 convolution where the width changes, then the filter [1, 3, 3, 1].

    That of StyleGAN2. The paper's, [1, 2, 1], copies every second value and averages the others: in small networks the
    images had a grid of every second line, which the discriminator's first filter does not let through.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        narrowed = before != after
        self.narrow = _normal(nn.Conv2d(before, after, 1, bias=False)) if narrowed else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        return F.interpolate(self.narrow(maps), scale_factor=2, mode="bilinear")


class Down(nn.Module):
    """(N, before, S, S) → (N, after, S/2, S/2): the filter [1, 2, 1], then a 1×1 convolution where the width changes.

    Computed as one convolution of stride 2, which gives the same.
    """

    taps: Tensor

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        taps = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("taps", taps[:, None] * taps, persistent=False)
        drawn = torch.randn(after, before, 1, 1) / math.sqrt(before)
        self.weight = nn.Parameter(drawn) if before != after else None

    def forward(self, maps: Tensor) -> Tensor:
        if self.weight is not None:
            return F.conv2d(maps, self.weight * self.taps, None, 2, 1)
        return F.conv2d(maps, self.taps.expand(maps.shape[1], 1, 3, 3), None, 2, 1, 1, maps.shape[1])


def _body(widths: list[int], between: type[nn.Module], blocks: int, group_width: int) -> nn.Sequential:
    """Stages of `blocks` blocks each, with `between` from one to the next."""
    count = blocks * len(widths)
    layers: list[nn.Module] = [Block(widths[0], group_width, count) for _ in range(blocks)]
    for before, after in pairwise(widths):
        layers.append(between(before, after))
        layers += [Block(after, group_width, count) for _ in range(blocks)]
    return nn.Sequential(*layers)


class Generator(nn.Module):
    """z (N, latent_dim) [, label (N,)] → image (N, C, S, S); in [-1, 1] in eval mode, where it is clamped.

    The smallest map is a learned basis, weighted by a linear layer of z (and of the class, embedded beside it).
    """

    def __init__(
        self,
        spec: SampleSpec,
        layout: list[tuple[int, int]],
        blocks: int,
        group_width: int,
        latent_dim: int,
        embed: int,
    ) -> None:
        super().__init__()
        (side, first), widths = layout[0], [width for _, width in layout]
        self.embed = _embedding(spec.classes, embed)
        self.basis = nn.Parameter(torch.randn(first, side, side))
        self.weigh = _normal(nn.Linear(latent_dim + (embed if spec.classes else 0), first, bias=False))
        self.body = _body(widths, Up, blocks, group_width)
        self.image = _normal(nn.Conv2d(widths[-1], spec.channels, 1, bias=False))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            z = torch.cat((z, self.embed(label)), 1)
        images: Tensor = self.image(self.body(self.weigh(z)[:, :, None, None] * self.basis))
        return images if self.training else images.clamp(-1, 1)


class Discriminator(nn.Module):
    """Image (N, C, S, S) [, label (N,)] → score (N,); no batch statistics.

    With classes the score is the inner product of the features with an embedding of the class (Miyato & Koyama 2018,
    arXiv:1802.05637).
    """

    def __init__(
        self, spec: SampleSpec, layout: list[tuple[int, int]], blocks: int, group_width: int, embed: int
    ) -> None:
        super().__init__()
        (side, last), widths = layout[0], [width for _, width in reversed(layout)]
        self.extract = _normal(nn.Conv2d(spec.channels, widths[0], 1, bias=False))
        self.body = _body(widths, Down, blocks, group_width)
        self.basis = _normal(nn.Conv2d(last, last, side, groups=last, bias=False))
        self.judge = _normal(nn.Linear(last, embed if spec.classes else 1, bias=False))
        self.embed = _embedding(spec.classes, embed, 1 / math.sqrt(embed))

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        features = self.judge(self.basis(self.body(self.extract(image))).flatten(1))
        scores: Tensor = (features if self.embed is None else features * self.embed(label)).sum(1)
        return scores


def _embedding(classes: int, size: int, deviation: float = 1.0) -> nn.Embedding | None:
    """N(0, deviation²) for each class; None without classes."""
    if not classes:
        return None
    table = nn.Embedding(classes, size)
    nn.init.normal_(table.weight, 0.0, deviation)
    return table
