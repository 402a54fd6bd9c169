"""What mlp, dcgan and wgan promise beyond the common contract."""

from __future__ import annotations

import pytest
import torch
from gantool_dcgan import DCGANConfig
from gantool_dcgan.networks import SIDES
from gantool_mlp import MLPConfig
from gantool_wgan import WGANConfig
from pydantic import ValidationError
from torch import nn

from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Recipe, SampleSpec
from gantool.plugin.game import Game
from gantool.testing import check_architecture


def _build(name: str, spec: tuple[int, ...], **options: object) -> Game:
    architecture = registry.find(name).architecture
    assert architecture is not None
    return architecture.build(architecture.config(**options), SampleSpec(spec), Recipe())


@pytest.mark.parametrize("name", ["dcgan", "wgan"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", SIDES)
def test_every_promised_size(name: str, side: int, channels: int) -> None:
    game = _build(name, (channels, side, side), width=4, max_width=8)
    discriminator = game.players[0].modules["discriminator"]
    with torch.no_grad():
        image = game.generator(torch.randn(2, 100))
        assert image.shape == (2, channels, side, side)
        assert discriminator(image).shape == (2,)


@pytest.mark.parametrize("shape", [(1, 30, 30), (2, 32, 32), (1, 32, 64), (1, 512, 512), (1, 64), (1, 8, 16, 16)])
def test_a_size_that_convolutions_do_not_make_is_named_with_what_to_type(shape: tuple[int, ...]) -> None:
    with pytest.raises(GantoolError, match="×".join(map(str, shape))) as caught:
        _build("dcgan", shape)
    assert "--size" in caught.value.hint


def test_mlp_is_the_network_of_the_tutorials() -> None:
    game = _build("mlp", (1, 28, 28))
    sizes = [(m.in_features, m.out_features) for m in game.generator.modules() if isinstance(m, nn.Linear)]
    assert sizes == [(100, 256), (256, 512), (512, 1024), (1024, 784)]
    layers = list(game.players[0].modules["discriminator"].modules())
    sizes = [(m.in_features, m.out_features) for m in layers if isinstance(m, nn.Linear)]
    assert sizes == [(784, 1024), (1024, 512), (512, 256), (256, 1)]
    assert {m.p for m in layers if isinstance(m, nn.Dropout)} == {0.3}
    assert {m.negative_slope for m in layers if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize(("activation", "kind"), [("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU)])
def test_mlp_generator_activation(activation: str, kind: type[nn.Module]) -> None:
    generator = _build("mlp", (1, 8, 8), activation=activation).generator
    assert sum(isinstance(m, kind) for m in generator.modules()) == 3


def test_dcgan_weights_start_as_in_the_paper() -> None:
    torch.manual_seed(0)
    game = _build("dcgan", (3, 64, 64))
    for module in (game.generator, game.players[0].modules["discriminator"]):
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.weight.numel() > 10_000:
                weight = layer.weight.detach()
                assert abs(float(weight.std()) - 0.02) < 0.001
                assert abs(float(weight.mean())) < 0.001


def test_the_critic_has_no_batch_statistics() -> None:
    critic = _build("wgan", (1, 28, 28)).players[0].modules["discriminator"]
    images = torch.randn(4, 1, 28, 28)
    with torch.no_grad():
        assert torch.allclose(critic.train()(images)[:1], critic(images[:1]), atol=1e-6)


def test_wgan_recipes_are_the_papers() -> None:
    architecture = registry.find("wgan").architecture
    assert architecture is not None
    gp = architecture.recipe_for(WGANConfig())
    assert (gp.optimizer, gp.learning_rate, gp.betas, gp.discriminator_steps) == ("adam", 3e-4, (0.0, 0.9), 5)
    clip = architecture.recipe_for(WGANConfig(loss="clip"))
    assert (clip.optimizer, clip.learning_rate, clip.discriminator_steps) == ("rmsprop", 5e-5, 5)
    assert (WGANConfig().penalty, WGANConfig().clip) == (10.0, 0.01)


def test_clipping_bounds_the_critic() -> None:
    game = _build("wgan", (1, 16, 16), loss="clip", width=4)
    player = game.players[0]
    assert player.after_step is not None
    with torch.no_grad():
        player.after_step()
    assert max(float(p.detach().abs().max()) for p in player.parameters()) <= 0.01
    assert _build("wgan", (1, 16, 16), width=4).players[0].after_step is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("mlp", {"objective": kind, "widths": (8, 16)}) for kind in ("nonsaturating", "lsgan", "hinge")),
        *(("dcgan", {"objective": kind, "width": 4}) for kind in ("nonsaturating", "lsgan", "hinge")),
        ("wgan", {"loss": "clip", "width": 8}),
    ],
)
def test_every_objective_trains(name: str, options: dict[str, object]) -> None:
    architecture = registry.find(name).architecture
    assert architecture is not None
    check_architecture(architecture, architecture.config(**options), artifacts=False)


@pytest.mark.parametrize("config", [MLPConfig, DCGANConfig])
def test_label_smoothing_belongs_to_nonsaturating(config: type[MLPConfig] | type[DCGANConfig]) -> None:
    assert config(label_smoothing=0.1).label_smoothing == 0.1
    with pytest.raises(ValidationError, match="nonsaturating"):
        config(label_smoothing=0.1, objective="hinge")
