"""`gan3d`: sides, labels, layers without the usual convolutions, and a discriminator without batch statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gantool_gan3d import GAN3DConfig
from gantool_gan3d.networks import SIDES, First, Last, widths
from torch import nn
from torch.nn import functional as F

from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Recipe, SampleSpec
from gantool.plugin.game import Game

SMALL: dict[str, Any] = {"width": 8, "latent_dim": 5, "embed_dim": 3}


def build(shape: tuple[int, ...], classes: int = 0, **options: Any) -> Game:
    architecture = registry.find("gan3d").architecture
    assert architecture is not None
    game: Game = architecture.build(GAN3DConfig(**{**SMALL, **options}), SampleSpec(shape, classes), Recipe())
    return game


def judge(game: Game) -> nn.Module:
    return game.players[0].modules["discriminator"]


@pytest.mark.parametrize(("side", "channels"), [*((side, 1) for side in SIDES), (16, 4)])
def test_every_side_is_made_and_judged(side: int, channels: int) -> None:
    game = build((channels, side, side, side))
    with torch.no_grad():
        made = game.generator(torch.randn(2, 5))
        assert made.shape == (2, channels, side, side, side)
        assert made.abs().max() <= 1
        assert judge(game)(made).shape == (2,)


@pytest.mark.parametrize("shape", [(1, 20, 20, 20), (1, 16, 16, 32), (1, 128, 128, 128), (1, 32, 32), (1, 4096)])
def test_other_shapes_are_refused_with_the_sides_there_are(shape: tuple[int, ...]) -> None:
    with pytest.raises(GantoolError, match="×".join(map(str, shape))) as caught:
        build(shape)
    assert "16, 32, 64 voxels" in caught.value.hint
    assert ("--size" in caught.value.hint) == (len(shape) == 4)


def test_the_first_layer_is_the_convolution_of_the_paper() -> None:
    layer, volume = First(2, 5), torch.randn(3, 2, 8, 8, 8)
    blocks = layer.weight.unflatten(1, (2, 2, 2, 2))  # the kernel's numbers: 2 · block + voxel in it
    kernel = blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(5, 2, 4, 4, 4)
    assert torch.allclose(layer(volume), F.conv3d(volume, kernel, layer.bias, 2, 1), atol=1e-5)


def test_the_last_layer_is_the_transposed_convolution_of_the_paper() -> None:
    layer, maps = Last(5, 2), torch.randn(3, 5, 4, 4, 4)
    blocks = layer.weight.unflatten(0, (2, 2, 2, 2)).permute(4, 0, 5, 1, 6, 2, 7, 3)
    kernel = blocks.flip(2, 4, 6).reshape(5, 2, 4, 4, 4)
    assert torch.allclose(layer(maps), F.conv_transpose3d(maps, kernel, None, 2, 1), atol=1e-5)


def test_sizes_of_the_preset_paper() -> None:
    architecture = registry.find("gan3d").architecture
    assert architecture is not None
    wide = GAN3DConfig(width=architecture.presets["paper"]["width"])
    assert widths(SampleSpec((1, 64, 64, 64)), wide.width) == [512, 256, 128, 64]
    game = build((1, 64, 64, 64), width=32)
    up = [m for m in game.generator.modules() if isinstance(m, nn.ConvTranspose3d | Last)]
    assert [m.in_channels for m in up] == [32, 16, 8, 4]
    down = [m for m in judge(game).modules() if isinstance(m, nn.Conv3d)]
    assert [m.out_channels for m in down] == [4, 8, 16, 32]


def test_a_score_depends_on_one_volume() -> None:
    discriminator, volumes = judge(build((1, 16, 16, 16))), torch.randn(4, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.allclose(discriminator.train()(volumes)[:1], discriminator(volumes[:1]), atol=1e-5)


def test_with_labels_both_networks_depend_on_them() -> None:
    game = build((1, 16, 16, 16), classes=3)
    z, labels = torch.randn(1, 5).expand(3, -1), torch.arange(3)
    with torch.no_grad():
        made = game.generator.eval()(z, labels)
        assert not torch.allclose(made[0], made[1])
        assert judge(game)(made[:1].expand(3, -1, -1, -1, -1), labels).unique().numel() == 3
