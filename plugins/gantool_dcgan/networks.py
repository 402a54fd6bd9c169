"""Networks of `dcgan`: stride-2 (transposed) convolutions with batch normalisation, N(0, 0.02) weights."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from gantool.plugin import GantoolError, SampleSpec

SIDES = (16, 28, 32, 64, 128, 256)
SMALLEST = 4  # side of a map that is not halved further


def pyramid(
    spec: SampleSpec,
    width: int,
    max_width: int,
    *,
    sides: tuple[int, ...] = SIDES,
    maker: str = "A convolutional generator",
) -> tuple[int, list[int]]:
    """Side of the smallest map, and channels from it towards the image: 32 px → 4, [256, 128, 64].

    Sides are halved while they are even and at least SMALLEST remains: 48 px → 6. GantoolError, about `maker`, for
    samples that aren't square images with a side in `sides` and 1 or 3 channels.
    """
    if not spec.is_image or spec.sides[0] != spec.sides[1] or spec.sides[0] not in sides or spec.channels not in (1, 3):
        wanted = min(spec.sides) if spec.is_image else 32
        nearest = min(sides, key=lambda side: (abs(side - wanted), -side))
        raise GantoolError(
            f"{maker} can't make samples of shape {spec}.",
            f"It makes square images with 1 or 3 channels and {', '.join(map(str, sides))} pixels a side: "
            f"give --size {nearest}.",
        )
    side, depth = spec.sides[0], 0
    while side % 2 == 0 and side // 2 >= SMALLEST:
        side, depth = side // 2, depth + 1
    return side, [min(width * 2**level, max_width) for level in reversed(range(depth))]


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) weights, N(1, 0.02) scales of normalisations, zero shifts (section 3 of the paper)."""
    for child in module.modules():
        if isinstance(child, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(child.weight, 0.0, 0.02)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.BatchNorm2d):
            nn.init.normal_(child.weight, 1.0, 0.02)
            nn.init.zeros_(child.bias)


class Generator(nn.Module):
    """z (N, latent_dim) → image (N, C, S, S) in [-1, 1]."""

    def __init__(self, spec: SampleSpec, latent_dim: int, width: int, max_width: int) -> None:
        super().__init__()
        side, channels = pyramid(spec, width, max_width)
        # the same map as a transposed convolution of a 1×1 input, as one matrix product
        self.project = nn.Linear(latent_dim, channels[0] * side * side, bias=False)
        self.first = (channels[0], side, side)
        layers: list[nn.Module] = [nn.BatchNorm2d(channels[0]), nn.ReLU()]
        for before, after in pairwise(channels):
            layers += [
                nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(channels[-1], spec.channels, 4, 2, 1), nn.Tanh())
        initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.layers(self.project(z).unflatten(1, self.first))
        return images


class Discriminator(nn.Module):
    """Image (N, C, S, S) → logit (N,); batch normalisation in all layers but the first and the last."""

    def __init__(self, spec: SampleSpec, width: int, max_width: int) -> None:
        super().__init__()
        side, channels = pyramid(spec, width, max_width)
        channels = channels[::-1]
        layers: list[nn.Module] = [nn.Conv2d(spec.channels, channels[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for before, after in pairwise(channels):
            layers += [
                nn.Conv2d(before, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, side))
        self.width = channels[-1] * side * side
        initialise(self)

    def features(self, image: Tensor) -> Tensor:
        """What the last layer judges: a map (N, channels, side, side) of `width` values."""
        for layer in list(self.layers)[:-1]:
            image = layer(image)
        return image

    def judge(self, features: Tensor) -> Tensor:
        logit: Tensor = self.layers[-1](features).flatten()
        return logit

    def forward(self, image: Tensor) -> Tensor:
        return self.judge(self.features(image))
