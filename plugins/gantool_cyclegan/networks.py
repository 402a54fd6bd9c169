"""Networks of `cyclegan`: a residual generator, what sees pixels one at a time, and the history of what a discriminator
was shown.
"""

from __future__ import annotations

import torch
from gantool_dcgan.networks import initialise
from gantool_pix2pix.networks import Enlarge, enlarging, norm
from torch import Tensor, nn

from gantool.plugin import GantoolError, SampleSpec

SMALLEST, LARGEST = 16, 512  # sides
MULTIPLE = 4  # two halvings
PIXEL_WIDTH = 32  # channels of what sees pixels one at a time


def check_sides(spec: SampleSpec) -> None:
    """GantoolError for pictures that the networks don't serve."""
    if not (spec.is_image and all(SMALLEST <= side <= LARGEST and side % MULTIPLE == 0 for side in spec.sides)):
        raise GantoolError(
            f"cyclegan can't make samples of shape {spec}.",
            f"It makes images of {SMALLEST} to {LARGEST} pixels a side, multiples of {MULTIPLE}: give --size 64, say.",
        )


class Block(nn.Module):
    """(N, C, H, W) → the same shape: two convolutions, added; borders are reflected."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            norm(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            norm(channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = maps + self.layers(maps)
        return added


class OfPixels(nn.Sequential):
    """Picture (N, C, H, W) → maps (N, `made`, H, W), each pixel from its own colour alone."""

    def __init__(self, channels: int, made: int) -> None:
        inner: list[nn.Module] = []
        for before in (channels, PIXEL_WIDTH):
            inner += [nn.Conv2d(before, PIXEL_WIDTH, 1), nn.LeakyReLU(0.2)]
        super().__init__(*inner, nn.Conv2d(PIXEL_WIDTH, made, 1))


class Generator(nn.Module):
    """Picture (N, C, H, W) → picture of the other domain, same shape, in [-1, 1]; H and W any multiples of MULTIPLE.

    `blocks` None: 9 from 256 pixels, 6 from 128, 4 below. `residual`: what the network makes is added to the picture;
    it begins as nothing. `colours`: so is a change of each pixel by its colour.
    """

    def __init__(
        self,
        spec: SampleSpec,
        width: int,
        blocks: int | None = None,
        enlarge: Enlarge = "nearest",
        residual: bool = False,
        colours: bool = False,
    ) -> None:
        super().__init__()
        side = min(spec.sides)
        blocks = blocks or (9 if side >= 256 else 6 if side >= 128 else 4)
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(spec.channels, width, 7, bias=False),
            norm(width),
            nn.ReLU(),
        ]
        for inner in (width, 2 * width):
            layers += [nn.Conv2d(inner, 2 * inner, 3, 2, 1, bias=False), norm(2 * inner), nn.ReLU()]
        layers += [Block(4 * width) for _ in range(blocks)]
        for inner in (4 * width, 2 * width):
            layers += [*enlarging(inner, inner // 2, enlarge, 3, bias=False), norm(inner // 2), nn.ReLU()]
        last = nn.Conv2d(width, spec.channels, 7)
        layers += [nn.ReflectionPad2d(3), last]
        # two names, so that neither takes the other's weights
        self.layers = None if residual else nn.Sequential(*layers, nn.Tanh())
        self.added = nn.Sequential(*layers) if residual else None
        initialise(self)
        self.colours = OfPixels(spec.channels, spec.channels) if residual and colours else None
        if residual:
            nn.init.zeros_(last.weight)
        if self.colours is not None:
            nn.init.zeros_(self.colours[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.colours[-1].bias)  # type: ignore[arg-type]

    def forward(self, picture: Tensor) -> Tensor:
        if self.added is not None:
            changed: Tensor = picture + self.added(picture)
            if self.colours is not None:
                changed = changed + self.colours(picture)
            return changed.clamp(-1, 1)
        assert self.layers is not None
        made: Tensor = self.layers(picture)
        return made


class History(nn.Module):
    """The last `size` results that a discriminator was shown (Shrivastava et al. 2017, arXiv:1612.07828).

    It is in buffers, so a checkpoint holds it. Of several processes each has its own, and from each checkpoint on that
    of the first. It has no `forward`: augmentation is for the discriminator's calls.
    """

    pictures: Tensor
    count: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("pictures", torch.zeros(size, *shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, made: Tensor) -> Tensor:
        """What to show in place of `made` (N, …): half of it at random is kept for later, and older ones come instead.

        Until the history is full all of it is shown and kept. Of more than `size` the rest is shown as it is.
        """
        if not self.size:
            return made
        new, rest = made[: self.size].to(self.pictures.dtype), made[self.size :]
        order = torch.arange(len(new), device=made.device)
        full = self.count >= self.size
        # places that differ: at random, or one after the other until all are taken
        random = torch.rand(self.size, device=made.device).argsort()[: len(new)]
        places = torch.where(full, random, (self.count + order) % self.size)
        coins = torch.rand(len(new), device=made.device) < 0.5
        kept = torch.where(full, coins, self.count + order < self.size)
        old = self.pictures[places]
        aside = (slice(None), *(None,) * (made.dim() - 1))
        shown = torch.where((full & coins)[aside], old, new)
        self.pictures.index_copy_(0, places, torch.where(kept[aside], new, old))
        self.count.copy_((self.count + len(new)).clamp(max=self.size))
        return torch.cat((shown.to(made.dtype), rest))
