"""Networks of `projected`: FastGAN's generator, and small discriminators on mixed features of EfficientNet-Lite0."""

from __future__ import annotations

from itertools import pairwise

import gantool_dcgan.networks as dcgan
import torch
from gantool_sngan.networks import normalised
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.metrics.efficientnet import SCALES, load_network
from gantool.plugin import SampleSpec

SIDES = (16, 28, 32, 48, 64, 96, 128, 256)
SMALLEST_VIEW = 64  # pixels: the coarsest features are 1/32 of them
WIDTHS = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5}  # FastGAN's: side of a map → multiple of its channels


class UpBlock(nn.Module):
    """(N, before, S, S) → (N, after, 2S, 2S): doubled by nearest neighbour, then one or two gated convolutions."""

    def __init__(self, before: int, after: int, convolutions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Upsample(scale_factor=2)]
        for inputs in [before, after][:convolutions]:
            convolution = _normal(nn.Conv2d(inputs, 2 * after, 3, padding=1, bias=False))
            layers += [convolution, nn.BatchNorm2d(2 * after), nn.GLU(1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        doubled: Tensor = self.layers(maps)
        return doubled


class Excitation(nn.Module):
    """Skip-layer excitation: a coarse map (N, before, S, S) says how strong each channel of a fine one is."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            _normal(nn.Conv2d(before, after, 4, bias=False)),
            nn.SiLU(),
            _normal(nn.Conv2d(after, after, 1, bias=False)),
            nn.Sigmoid(),
        )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        scaled: Tensor = fine * self.layers(coarse)
        return scaled


class Generator(nn.Module):
    """z (N, latent_dim) → image (N, C, S, S) in [-1, 1].

    A map of 1/16 of the side (but at least the first) excites that of 16 times its own side, as in FastGAN; images
    below 64 pixels have one excitation, of the last map by the first.
    """

    def __init__(self, spec: SampleSpec, latent_dim: int, width: int) -> None:
        super().__init__()
        first, channels = maps(spec, width)
        self.first = (channels[0], first, first)
        self.project = nn.Sequential(
            _normal(nn.Linear(latent_dim, 2 * channels[0] * first * first, bias=False)),
            nn.Unflatten(1, (2 * channels[0], first, first)),
            nn.BatchNorm2d(2 * channels[0]),
            nn.GLU(1),
        )
        self.blocks = nn.ModuleList(
            UpBlock(*pair, convolutions=2 - number % 2) for number, pair in enumerate(pairwise(channels))
        )
        last = len(channels) - 1
        # from map → to map
        self.skips = {0: last} if last < 4 else {number: number + 4 for number in range(last - 3)}
        self.excitations = nn.ModuleList(Excitation(channels[a], channels[b]) for a, b in self.skips.items())
        self.last = nn.Sequential(_normal(nn.Conv2d(channels[-1], spec.channels, 3, padding=1)), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        made = [self.project(z)]
        for number, block in enumerate(self.blocks, start=1):
            new = block(made[-1])
            for (source, target), excitation in zip(self.skips.items(), self.excitations, strict=True):
                if target == number:
                    new = excitation(made[source], new)
            made.append(new)
        image: Tensor = self.last(made[-1])
        return image


def maps(spec: SampleSpec, width: int) -> tuple[int, list[int]]:
    """Side of the first map, and the channels of each from it to the image's size."""
    first, halved = dcgan.pyramid(spec, 1, 1, sides=SIDES, maker="projected")
    return first, [max(1, round(width * WIDTHS[4 * 2**level] / 2)) for level in range(len(halved) + 1)]


class Mixed(nn.Module):
    """Images (N, C, S, S) in [-1, 1] → four maps, from fine to coarse, of 1/2 to 1/16 of `view`.

    Features of the trained network are mixed across channels by a random 1×1 convolution each, and across scales by
    adding, from the coarsest up, what a random 1×1 convolution makes of the sum. Nothing here is trained: the network
    is not saved, the random weights are.
    """

    def __init__(self, view: int, width: int) -> None:
        super().__init__()
        self.view = view
        self.network = load_network()
        mixed = [width, 2 * width, 4 * width, 8 * width]
        self.channels = [width, width, 2 * width, 4 * width]
        self.across_channels = nn.ModuleList(
            _random(before, after) for before, after in zip(SCALES.values(), mixed, strict=True)
        )
        self.across_scales = nn.ModuleList(_random(*pair) for pair in zip(mixed, self.channels, strict=True))

    def forward(self, image: Tensor) -> list[Tensor]:
        image = image.expand(-1, 3, -1, -1)
        if image.shape[-1] != self.view:
            image = F.interpolate(image, (self.view, self.view), mode="bilinear", antialias=image.shape[-1] > self.view)
        features = [mix(one) for mix, one in zip(self.across_channels, self.network.scales(image), strict=True)]
        found: list[Tensor] = []
        total = torch.zeros_like(features[-1])
        for feature, mix in zip(reversed(features), reversed(self.across_scales), strict=True):
            total = F.interpolate(mix(total + feature), scale_factor=2, mode="bilinear", align_corners=True)
            found.insert(0, total)
        return found


class Judge(nn.Module):
    """One map (N, channels, S, S) → logit (N, 1): halved to at most 4×4, then one convolution as wide as the map."""

    def __init__(self, channels: int, side: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        halves = side > 4
        while not layers or side > 4:
            side = side // 2 if halves else side
            after = width * max(2, min(8, 32 // side))  # the paper's widths rise likewise
            convolution = nn.Conv2d(channels, after, *((4, 2, 1) if halves else (3, 1, 1)), bias=False)
            layers += [normalised(convolution), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
            channels = after
        self.layers = nn.Sequential(*layers, normalised(nn.Conv2d(channels, 1, side, bias=False)))

    def forward(self, features: Tensor) -> Tensor:
        logit: Tensor = self.layers(features).flatten(1)
        return logit


class Discriminator(nn.Module):
    """Image (N, C, S, S) → logits (N, 4), one of each scale."""

    def __init__(self, spec: SampleSpec, width: int, view: int | None) -> None:
        super().__init__()
        dcgan.pyramid(spec, 1, 1, sides=SIDES, maker="projected")
        self.features = Mixed(view or max(SMALLEST_VIEW, spec.sides[0]), width)
        self.judges = nn.ModuleList(
            Judge(channels, self.features.view // scale, width)
            for channels, scale in zip(self.features.channels, (2, 4, 8, 16), strict=True)
        )

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([judge(one) for judge, one in zip(self.judges, self.features(image), strict=True)], 1)


def _random(before: int, after: int) -> nn.Conv2d:
    """A 1×1 convolution with random weights, which are never trained."""
    layer = nn.Conv2d(before, after, 1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer.requires_grad_(False)


def _normal(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """N(0, 0.02) weights, as FastGAN's."""
    dcgan.initialise(layer)
    return layer
