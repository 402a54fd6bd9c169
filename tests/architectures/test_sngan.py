"""What `sngan` promises beyond the common contract: sizes, a discriminator that stays Lipschitz, the paper's blocks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from gantool_sngan import SNGANConfig
from gantool_sngan.networks import SIDES, DownBlock, HalvingConv2d, SpectralNorm, UpBlock, pyramid
from pydantic import ValidationError
from support.commands import gantool
from support.trainings import SMALL, dataset, different, run_until, save_npz, start
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.game import Game
from gantool.plugin.options import resolve
from gantool.run import checkpoint
from gantool.run.rundir import RunDir
from gantool.testing import check_architecture
from gantool.training.state import State
from gantool.training.step import iterate


def _architecture() -> Architecture:
    architecture = registry.find("sngan").architecture
    assert architecture is not None
    return architecture


def _build(shape: tuple[int, ...], **options: Any) -> Game:
    torch.manual_seed(0)
    return _architecture().build(SNGANConfig(**options), SampleSpec(shape), Recipe())


def _judge(game: Game) -> nn.Module:
    return game.players[0].modules["discriminator"]


def _state(precision: str = "fp32", engine: str = "eager", **given: Any) -> State:
    config, recipe = resolve(_architecture(), {"batch_size": 6, **SMALL["sngan"], **given})
    cpu = torch.device("cpu")
    return State(_architecture(), config, recipe, dataset(), seed=0, device=cpu, precision=precision, engine=engine)


def _weights(judge: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that the discriminator computes with, by layer; looking at them moves no buffer."""
    judge = copy.deepcopy(judge).eval()
    layers = {name: m for name, m in judge.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    return {name: layer.weight.detach().flatten(1) for name, layer in layers.items()}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", SIDES)
def test_every_promised_size(side: int, channels: int) -> None:
    game = _build((channels, side, side), width=4, max_width=8)
    with torch.no_grad():
        image = game.generator(torch.randn(2, 128))
        assert image.shape == (2, channels, side, side)
        assert _judge(game)(image).shape == (2,)


def test_the_maps_halve_to_four_six_or_seven_pixels() -> None:
    sizes = {side: pyramid(SampleSpec((3, side, side)), 8, 32) for side in SIDES}
    assert {side: smallest for side, (smallest, _) in sizes.items()} == {
        **{16: 4, 28: 7, 32: 4, 48: 6},
        **{64: 4, 96: 6, 128: 4},
    }
    assert sizes[48][1] == [32, 16, 8]
    assert sizes[128][1] == [32, 32, 32, 16, 8]
    assert all(smallest * 2 ** len(channels) == side for side, (smallest, channels) in sizes.items())


@pytest.mark.parametrize("shape", [(1, 30, 30), (2, 32, 32), (3, 32, 64), (3, 256, 256), (1, 64), (1, 8, 16, 16)])
def test_another_size_is_named_with_those_that_it_makes(shape: tuple[int, ...]) -> None:
    with pytest.raises(GantoolError, match="×".join(map(str, shape))) as caught:
        _build(shape)
    assert "16, 28, 32, 48, 64, 96, 128" in caught.value.hint
    assert "--size" in caught.value.hint


def test_every_layer_of_the_discriminator_is_normalised_and_none_of_the_generator() -> None:
    game = _build((3, 32, 32), width=4)
    layers = [m for m in _judge(game).modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(layers) == 3 * 3 + 2 + 1  # three blocks with a shortcut, one without, and the linear layer
    assert all(parametrize.is_parametrized(layer, "weight") for layer in layers)
    assert not any(map(parametrize.is_parametrized, game.generator.modules()))
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in _judge(game).modules())


def test_weights_are_divided_by_their_largest_singular_value_from_the_start() -> None:
    for name, weight in _weights(_judge(_build((1, 32, 32)))).items():
        assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1, abs=0.1), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_they_stay_so_while_their_originals_move(precision: str) -> None:
    state = _state(precision, learning_rate=0.01)
    judge = _judge(state.game)
    for _ in range(30):
        iterate(state)
    originals = {name: p.detach().flatten(1) for name, p in judge.named_parameters() if name.endswith("original")}
    assert max(float(torch.linalg.matrix_norm(p, 2)) for p in originals.values()) > 1.5  # what they would be without
    for name, weight in _weights(judge).items():
        assert weight.dtype == torch.float32
        assert 0.9 < float(torch.linalg.matrix_norm(weight, 2)) < 1.15, name


def test_a_forward_changes_nothing_in_either_mode() -> None:
    judge, images = _judge(_build((1, 16, 16), width=4)), torch.randn(3, 1, 16, 16)
    before = {name: tensor.clone() for name, tensor in judge.state_dict().items()}
    with torch.no_grad():
        assert torch.equal(judge.train()(images), judge.eval()(images))
    assert all(torch.equal(before[name], tensor) for name, tensor in judge.state_dict().items())


def test_only_the_discriminators_step_takes_a_power_iteration_of_every_layer() -> None:
    state, seen = _state(), []
    vectors = {name: buffer for name, buffer in _judge(state.game).named_buffers() if name.endswith(".u")}
    for turn in state.turns:
        before = {name: vector.clone() for name, vector in vectors.items()}
        state.engine.run(state, [turn], [state.sampler.draw(turn.draws)])
        seen.append({name for name, vector in vectors.items() if not torch.equal(before[name], vector)})
    # a sum has one row: there is nothing to find
    assert seen == [{name for name, vector in vectors.items() if len(vector) > 1}, set()]


def test_a_power_iteration_finds_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 3, 3, 3)
    norm = SpectralNorm(weight)
    for _ in range(500):
        norm.follow(weight)
    wanted = weight / torch.linalg.matrix_norm(weight.flatten(1), 2)
    torch.testing.assert_close(norm(weight), wanted, rtol=1e-4, atol=0)


def test_sixteen_bits_do_not_reach_the_norm() -> None:
    norm, weight = SpectralNorm(torch.randn(4, 6)), torch.randn(4, 6)
    with torch.autocast("cpu", torch.bfloat16):
        made = norm(weight)
    assert made.dtype == torch.float32
    assert torch.equal(made, norm(weight))


def test_convolution_and_mean_as_one_convolution() -> None:
    torch.manual_seed(0)
    layer = HalvingConv2d(3, 5).double()
    images = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    plain = F.avg_pool2d(F.conv2d(images, layer.weight, layer.bias, padding=1), 2)
    torch.testing.assert_close(layer(images), plain, rtol=0, atol=1e-12)


def test_blocks_are_the_papers() -> None:
    """Shortcuts and halving in the order of the paper give what the cheaper order gives."""
    torch.manual_seed(0)
    up = UpBlock(6, 4).double().eval()
    maps = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    larger = F.interpolate(maps, scale_factor=2)
    torch.testing.assert_close(up(maps), up.shortcut[0](larger) + up.layers(maps), rtol=0, atol=1e-12)
    for of_image in (True, False):
        down = DownBlock(3, 5, of_image=of_image).double().eval()
        images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
        first, second = (m for m in down.layers if isinstance(m, nn.Conv2d))
        inside = first(images if of_image else images.relu()).relu()
        inside = F.conv2d(inside, second.weight, second.bias, padding=1)
        wanted = F.avg_pool2d(inside + down.shortcut[1](images), 2)
        torch.testing.assert_close(down(images), wanted, rtol=0, atol=1e-12)


def test_weights_start_as_in_the_authors_code() -> None:
    game = _build((1, 32, 32), width=64)
    for name, weight in game.generator.named_parameters():
        if weight.dim() > 1 and weight.numel() > 10_000:
            gain = 2**0.5 if ".layers." in name else 1
            fans = sum(weight.shape[:2]) * weight[0, 0].numel()
            bound = gain * (6 / fans) ** 0.5
            assert 0.99 * bound < float(weight.detach().abs().max()) <= bound, name


def test_the_loss_is_hinge_unless_told() -> None:
    assert SNGANConfig().objective == "hinge"
    with pytest.raises(ValidationError, match="nonsaturating"):
        SNGANConfig(label_smoothing=0.1)
    for objective in ("nonsaturating", "lsgan"):
        small = SNGANConfig(objective=objective, width=4, max_width=8)
        check_architecture(_architecture(), small, artifacts=False)


def test_updates_at_once_give_finite_weights(tmp_path: Path) -> None:
    opened = start("sngan", tmp_path, steps=4, updates="simultaneous", discriminator_steps=1)
    assert run_until(opened) == "finished"
    assert opened.state.broken_weights() is None


@pytest.mark.slow  # test_resume.py does so in one process
def test_the_command_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """Weights, power iterations and all, through files and processes."""
    save_npz(tmp_path / "noise.npz", side=28)
    given = ("--data", "noise.npz", "--width", 4, "--max-width", 8, "--batch-size", 8, "--device", "cpu", "--tick", 3)
    for steps, runs in ((6, "whole"), (3, "half")):
        done = gantool("train", "sngan", *given, "--steps", steps, "--runs", runs, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = gantool("train", "sngan", "--resume", 1, "--steps", 6, "--runs", "half", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one, two = (
        checkpoint.load(RunDir(tmp_path / runs / "0001-sngan-noise").checkpoint(6)) for runs in ("whole", "half")
    )
    assert any(name.endswith(".u") for name in one["modules"]["discriminator.discriminator"])
    assert different(one, two) == []
