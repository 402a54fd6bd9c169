"""Networks of `pix2pix`: a U-Net whose dropout is an input, and a discriminator of patches.

Where source and target differ in size, by a whole factor, the source is first enlarged (nearest) or averaged to the
target's sides: networks and skip connections are then those of equal sizes, and a picture of any size keeps the factor.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from gantool_dcgan.networks import initialise
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.plugin import GantoolError, SampleSpec

Enlarge = Literal["nearest", "transposed"]

SMALLEST, LARGEST = 16, 512  # sides of a target
MOST_LEVELS = 8  # halvings; the paper's 256 pixels become one
GROWTH = 8  # most channels, as a multiple of the width
DROPPED = 3  # layers of the decoder with dropout
SLOPE = 0.2


def ratio(source: SampleSpec, target: SampleSpec) -> float:
    """The target's sides as a multiple of the source's: a whole number, or one divided by a whole number."""
    return target.sides[0] / source.sides[0]


def check_sides(source: SampleSpec, target: SampleSpec) -> None:
    """GantoolError for shapes that the networks don't serve; it names both and what to do."""
    what = f"pix2pix can't make pictures of shape {target} from sources of shape {source}."
    times = target.sides[0] / source.sides[0] if source.is_image and target.is_image else 1.0
    whole = int(times) if times.is_integer() else 1  # such as 3 of --pairs small:3
    halves = f"Their sides are 16 to 512 pixels and multiples of 8: give --size {nearest(target, whole)}."
    if not (source.is_image and target.is_image):
        raise GantoolError(what, "Both are images: channels×height×width.")
    if max(source.channels, target.channels) > 4:
        raise GantoolError(what, "Pictures have 1 to 4 channels.")
    if not all(SMALLEST <= side <= LARGEST and side % 8 == 0 for side in target.sides):
        raise GantoolError(what, halves)
    factors = {max(t, s) / min(t, s) for s, t in zip(source.sides, target.sides, strict=True)}
    wider = {t >= s for s, t in zip(source.sides, target.sides, strict=True)}
    if len(factors) > 1 or len(wider) > 1 or not next(iter(factors)).is_integer():
        raise GantoolError(what, "The sides of one are the other's times a whole number: resize the sources.")


def nearest(spec: SampleSpec, factor: int = 1) -> int:
    """The side that the networks serve which is nearest to that of `spec`, and a multiple of `factor`."""
    step = math.lcm(8, factor)
    return step * min(max(round(min(spec.sides) / step), -(-SMALLEST // step)), LARGEST // step)


def levels_of(spec: SampleSpec) -> int:
    """How often the sides can be halved, down to one pixel: at most MOST_LEVELS."""
    return min(MOST_LEVELS, *(int(math.log2(side & -side)) for side in spec.sides))


def fitted(source: Tensor, scale: float) -> Tensor:
    """The source (N, C, H, W) with `scale` times its sides."""
    if scale > 1:
        return F.interpolate(source, scale_factor=scale, mode="nearest")
    return source if scale == 1 else F.avg_pool2d(source, round(1 / scale))


def norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


def enlarging(before: int, after: int, how: Enlarge, kernel: int, bias: bool = True) -> tuple[nn.Module, ...]:
    """Layers that double the sides: nearest, then a 3×3 convolution; or a transposed one with a `kernel` of 3 or 4.

    The papers' transposed convolutions leave a grid of every second pixel, which takes many epochs to go (Odena et al.
    2016, doi:10.23915/distill.00003).
    """
    if how == "transposed":
        return (nn.ConvTranspose2d(before, after, kernel, 2, 1, output_padding=kernel % 2, bias=bias),)
    return nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1, bias=bias)


class Generator(nn.Module):
    """Source (N, C', H', W'), z (N, ·), variety (N,) → picture (N, C, H, W) in [-1, 1].

    z decides which channels of the decoder's first layers are dropped: those where it is not above 0; the others are
    doubled. `variety` is how much of that dropout there is: 1 as in training, 0 none. Sides may be any that `multiple`
    divides.
    """

    def __init__(
        self, source: SampleSpec, target: SampleSpec, width: int, levels: int, enlarge: Enlarge = "nearest"
    ) -> None:
        super().__init__()
        if any(side % 2**levels for side in target.sides):
            raise GantoolError(
                f"--levels {levels} halves the sides so often, which pictures of shape {target} don't allow.",
                f"Give --levels {levels_of(target)} or less, or a --size that is a multiple of {2**levels}.",
            )
        self.scale = ratio(source, target)
        widths = [min(width * 2**level, width * GROWTH) for level in range(levels)]
        smallest = min(side // 2**levels for side in target.sides)
        self.down = nn.ModuleList([nn.Conv2d(source.channels, widths[0], 4, 2, 1)])
        for number, (before, after) in enumerate(pairwise(widths), 2):
            bare = number == levels and smallest == 1  # one pixel would become zero (errata of the paper)
            conv = nn.Conv2d(before, after, 4, 2, 1, bias=bare)
            self.down.append(nn.Sequential(nn.LeakyReLU(SLOPE), conv, nn.Identity() if bare else norm(after)))
        self.up = nn.ModuleList()
        inner = widths[-1]
        for after in reversed(widths[:-1]):
            self.up.append(nn.Sequential(nn.ReLU(), *enlarging(inner, after, enlarge, 4, bias=False), norm(after)))
            inner = 2 * after  # joined with the map of the encoder
        self.last = nn.Sequential(nn.ReLU(), *enlarging(inner, target.channels, enlarge, 4), nn.Tanh())
        self.dropped = list(reversed(widths[:-1]))[: max(1, min(DROPPED, levels - 2))]
        whole = 2**levels  # divides the sides of the target
        self.multiple = max(1, whole // math.gcd(whole, round(self.scale))) if self.scale >= 1 else 0
        if self.scale < 1:
            self.multiple = whole * round(1 / self.scale)
        initialise(self)

    def forward(self, source: Tensor, z: Tensor, variety: Tensor) -> Tensor:
        # a factor for each channel: 2 or 0, or nearer to 1 by the variety
        factors = 1 + variety[:, None] * (2 * (z > 0).to(z.dtype) - 1)
        kept = torch.split(factors, self.dropped, 1)
        maps, skips = fitted(source, self.scale), []
        for down in self.down:
            maps = down(maps)
            skips.append(maps)
        skips.pop()
        for number, up in enumerate(self.up):
            maps = up(maps)
            if number < len(kept):
                maps = maps * kept[number][:, :, None, None]
            maps = torch.cat((maps, skips.pop()), 1)
        picture: Tensor = self.last(maps)
        return picture


class PatchDiscriminator(nn.Module):
    """Pictures of `channels` in all, given one or several at a time (N, …, H, W) → a score of each patch (N, patches).

    `layers` strided ones: 3 judge patches of 70 pixels (as in the paper, for 256 and more), 2 of 34, 1 of 16; None: by
    the sides of `spec`.
    """

    def __init__(self, channels: int, spec: SampleSpec, width: int, layers: int | None = None) -> None:
        super().__init__()
        side = min(spec.sides)
        layers = layers or (3 if side >= 256 else 2 if side >= 64 else 1)
        if side // 2**layers < 4:
            raise GantoolError(
                f"--patch-layers {layers} leave nothing of pictures of shape {spec}.",
                "Give fewer, or leave the option out.",
            )
        widths = [min(width * 2**level, width * GROWTH) for level in range(layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(SLOPE)]
        for number, (before, after) in enumerate(pairwise(widths), 1):
            stride = 1 if number == layers else 2
            parts += [nn.Conv2d(before, after, 4, stride, 1, bias=False), norm(after), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        initialise(self)

    def forward(self, *pictures: Tensor) -> Tensor:
        scores: Tensor = self.layers(torch.cat(pictures, 1)).flatten(1)
        return scores
