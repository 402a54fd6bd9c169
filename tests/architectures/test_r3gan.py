"""`r3gan`: its layers are the paper's formulas, its first state is the paper's, and its options do what they say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gantool_r3gan
import pytest
import torch
from gantool_r3gan.networks import SIDES, Block, Down, Up, stages
from support.trainings import SMALL, dataset
from torch.nn import functional as F

from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Architecture, SampleSpec
from gantool.plugin.game import Game
from gantool.plugin.options import resolve
from gantool.training.state import State
from gantool.training.step import iterate


def _architecture() -> Architecture:
    found = registry.find("r3gan").architecture
    assert found is not None
    return found


def _game(spec: SampleSpec, **given: Any) -> Game:
    torch.manual_seed(0)
    config, recipe = resolve(_architecture(), {**SMALL["r3gan"], **given})
    return _architecture().build(config, spec, recipe)


def test_every_side_has_a_gamma() -> None:
    assert tuple(gantool_r3gan.GAMMAS) == SIDES


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("classes", [0, 3])
def test_every_promised_size(side: int, classes: int) -> None:
    spec = SampleSpec((3, side, side), classes)
    game = _game(spec)
    inputs = [torch.randn(2, 5), *([torch.tensor([0, 2])] if classes else [])]
    samples = game.generator.eval()(*inputs)
    assert samples.shape == (2, 3, side, side)
    scores = game.players[0].modules["discriminator"](samples, *inputs[1:])
    assert scores.shape == (2,)
    samples.sum().backward()
    assert bool(samples.abs().max() <= 1)


@pytest.mark.parametrize("shape", [(1, 20, 20), (3, 32, 64), (2, 32, 32), (1, 512)])
def test_what_it_can_not_make_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GantoolError, match="r3gan can't make samples"):
        _game(SampleSpec(shape))


def test_widths_are_those_of_the_paper_at_its_sizes() -> None:
    config, _ = resolve(_architecture(), {"preset": "paper"})
    sizes = config.channel_base, config.max_width, config.group_width  # type: ignore[attr-defined]
    assert stages(SampleSpec((3, 32, 32)), *sizes) == [(side, 768) for side in (4, 8, 16, 32)]
    assert stages(SampleSpec((3, 256, 256)), *sizes)[-3:] == [(64, 384), (128, 192), (256, 96)]


def test_a_block_begins_as_the_identity_with_scaled_weights_inside() -> None:
    torch.manual_seed(0)
    block, maps = Block(64, 16, 16), torch.randn(2, 64, 4, 4)
    assert torch.equal(block(maps), maps)
    first, grouped = block.layers[0].weight, block.layers[2].weight
    gain = math.sqrt(2 / 1.04) / 2  # 16 blocks: 16 ** (-1 / 4)
    assert first.std().item() == pytest.approx(gain / math.sqrt(64), rel=0.05)
    assert grouped.std().item() == pytest.approx(gain / math.sqrt(16 * 9), rel=0.05)


def test_maps_are_doubled_by_the_filter_one_three_three_one() -> None:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
    plane = taps[:, None] * taps / 16
    maps = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    spread = torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    spread[:, :, ::2, ::2] = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    wanted = F.conv2d(spread, plane.expand(3, 1, 4, 4), groups=3)
    torch.testing.assert_close(Up(3, 3).double()(maps), wanted[:, :, :12, :12])


def test_doubling_leaves_no_grid() -> None:
    torch.manual_seed(0)
    doubled = Up(64, 64)(torch.randn(64, 64, 8, 8))[:, :, 2:-2, 2:-2]
    phases = [doubled[:, :, row::2, column::2].std().item() for row in (0, 1) for column in (0, 1)]
    assert max(phases) == pytest.approx(min(phases), rel=0.02)
    assert torch.equal(Up(4, 4)(torch.ones(1, 4, 8, 8)), torch.ones(1, 4, 16, 16))  # nor a dark border


def test_maps_are_halved_by_the_filter_one_two_one() -> None:
    taps = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)
    plane = taps[:, None] * taps
    maps = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    halved = F.conv2d(F.pad(maps, (1, 0, 1, 0)), (plane / 16).expand(3, 1, 3, 3), stride=2, groups=3)
    torch.testing.assert_close(Down(3, 3).double()(maps), halved)
    wider = Down(3, 5).double()
    assert wider.weight is not None
    torch.testing.assert_close(wider(maps), F.conv2d(halved, wider.weight))


def test_it_trains_with_both_penalties_and_labels() -> None:
    config, recipe = resolve(_architecture(), {**SMALL["r3gan"], "batch_size": 8, "steps": 4})
    data = dataset(shape=(1, 16, 16))
    state = State(_architecture(), config, recipe, data, seed=0, device=torch.device("cpu"), precision="fp32")
    for _ in range(4):
        iterate(state)
    means = state.meter.read()
    assert {"loss.discriminator.pairs", "loss.discriminator.r1", "loss.discriminator.r2"} <= means.keys()
    assert [item.name for item in state.game.inputs] == ["z", *(["label"] if data.labels is not None else [])]


def test_presets_change_sizes_and_recipe_and_yield_to_what_is_given(tmp_path: Path) -> None:
    config, recipe = resolve(_architecture(), {"preset": "small", "blocks": 1})
    assert (config.channel_base, config.blocks) == (2048, 1)  # type: ignore[attr-defined]
    assert recipe.steps == gantool_r3gan.SLOWER["steps"]
    assert resolve(_architecture(), {"preset": "tiny"}) == resolve(_architecture(), {})
