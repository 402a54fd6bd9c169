"""Tiny generators that make a picture of a picture, as third parties would write them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantool import exporting
from gantool.data import Dataset
from gantool.plugin.architecture import Input, SampleSpec
from gantool.plugin.game import Game

SIDE = 32
WITH_ALL_FILES = ("unet", "residual", "enlarging")
Z = Input("z", (4,), "normal")
STRENGTH = Input("strength", (), "value", default=1.0, low=0.0, high=1.5)


def photo(multiple: int, channels: int = 3, height: int = SIDE, width: int = SIDE) -> Input:
    return Input("photo", (channels, height, width), "data", multiple=multiple)


class UNet(nn.Module):
    """Picture (N, 3, H, W), z (N, 4), strength (N,) → picture: 3 halvings, with connections across."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        widths = (4, 8, 8)
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1) for before, after in zip((3, *widths), widths, strict=False)
        )
        self.norm = nn.InstanceNorm2d(8, affine=True)
        self.latent = nn.Linear(4, 8)
        self.up = nn.ModuleList(
            (nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ConvTranspose2d(16, 4, 4, 2, 1), nn.ConvTranspose2d(8, 3, 4, 2, 1))
        )

    def forward(self, photo: Tensor, z: Tensor, strength: Tensor) -> Tensor:
        one = F.leaky_relu(self.down[0](photo), 0.2)
        two = F.leaky_relu(self.norm(self.down[1](one)), 0.2)
        deep = F.relu(self.down[2](two) + self.latent(z)[:, :, None, None])
        deep = F.relu(self.up[0](deep))
        deep = F.relu(self.up[1](torch.cat([deep, two], 1)))
        made: Tensor = self.up[2](torch.cat([deep, one], 1)) * 3
        return (made * strength[:, None, None, None]).tanh()


class Residual(nn.Module):
    """Picture → picture, as CycleGAN's: reflected borders, InstanceNorm, a halving, bilinear upsampling. No latent."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)

        def normed(width: int) -> nn.Module:
            return nn.InstanceNorm2d(width) if norm else nn.Identity()

        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(3, 6, 3), normed(6), nn.ReLU(),
            nn.Conv2d(6, 8, 3, 2, 1), normed(8), nn.ReLU(),
            nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1), nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(6, 6, 4, 2, 1), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(6, 3, 3), nn.Tanh(),
        )  # fmt: skip

    def forward(self, photo: Tensor) -> Tensor:
        made: Tensor = self.layers(photo)
        return made


class Fixed(nn.Module):
    """Grey picture (N, 1, 32, 32) → (N, 3, 32, 32), one size only: each row has a factor of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.rows = nn.Parameter(torch.linspace(0.5, 3, SIDE)[:, None])

    def forward(self, photo: Tensor) -> Tensor:
        return (self.conv(photo) * self.rows).tanh()


class Enlarging(nn.Module):
    """Picture (N, 3, H, W) → (N, 1, 2 H, 2 W), without norms."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))

    def forward(self, photo: Tensor) -> Tensor:
        return F.pixel_shuffle(self.layers(photo) * 4, 2).tanh()


def data(channels: int = 3, side: int = SIDE, count: int = 8) -> Dataset:
    """Coloured waves, uint8 (count, channels, side, side)."""
    n, c, y, x = np.ogrid[:count, :channels, :side, :side]
    waves = np.sin(x / (3 + n) + c) * np.cos(y / (2 + n % 3) - c)
    return Dataset("waves", "waves", {"images": ((waves + 1) * 127.5).astype(np.uint8)})


def source(generator: nn.Module, *inputs: Input, shape: tuple[int, int, int] = (3, SIDE, SIDE)) -> exporting.Source:
    """What `gantool.exporting` takes, of the generator as it was made."""
    game = Game(generator, (), inputs, (), SampleSpec(shape))
    about = {"name": "translator", "plugin": "tests", "plugin_version": "1", "config": {}}
    taken = next(item for item in inputs if item.is_picture)
    return exporting.from_game(
        game,
        architecture=about,
        training={"run": "none", "step": 0},
        data={"name": "waves"},
        dataset=data(taken.shape[0], taken.shape[1]),
    )


def unet() -> exporting.Source:
    return source(UNet(), photo(8), Z, STRENGTH)


def residual() -> exporting.Source:
    return source(Residual(), photo(2))


def unnormed() -> exporting.Source:
    return source(Residual(norm=False), photo(2))


def fixed() -> exporting.Source:
    return source(Fixed(), photo(0, channels=1))


def enlarging() -> exporting.Source:
    return source(Enlarging(), photo(1), shape=(1, 2 * SIDE, 2 * SIDE))
