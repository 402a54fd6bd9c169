"""`stylegan2`: its layers are the paper's formulas, and its lazy regularisers and optimizers the paper's rules."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from gantool_dcgan.networks import SIDES
from gantool_stylegan2 import networks
from gantool_stylegan2.networks import (
    Convolution,
    Doubling,
    Down,
    Filter,
    Generator,
    MinibatchDeviation,
    PathLength,
    Styled,
    Upsample,
    noise_shapes,
    stages,
)
from support.trainings import SMALL, dataset
from torch import Tensor
from torch.nn import functional as F

from gantool.errors import GantoolError
from gantool.plugin import objectives, registry
from gantool.plugin.architecture import Architecture, Input, Optimizer, SampleSpec
from gantool.plugin.game import Game, Player
from gantool.plugin.options import resolve
from gantool.training.state import State
from gantool.training.step import iterate

SPEC = SampleSpec((1, 16, 16))


def _architecture() -> Architecture:
    found = registry.find("stylegan2").architecture
    assert found is not None
    return found


def _game(spec: SampleSpec = SPEC, **given: Any) -> Game:
    torch.manual_seed(0)
    config, recipe = resolve(_architecture(), {**SMALL["stylegan2"], **given})
    return _architecture().build(config, spec, recipe)


def _player(game: Game, name: str) -> Player:
    return next(player for player in game.players if player.name == name)


def _generator(spec: SampleSpec = SPEC, **given: Any) -> Generator:
    generator = _game(spec, **given).generator
    assert isinstance(generator, Generator)
    return generator


def _inputs(game: Game, count: int) -> list[Tensor]:
    def made(item: Input) -> Tensor:
        if item.distribution == "label":
            return torch.arange(count) % item.classes
        return torch.ones(count) if item.distribution == "value" else torch.randn(count, *item.shape)

    return [made(item) for item in game.inputs]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_promised_size(side: int, classes: int, channels: int) -> None:
    game = _game(SampleSpec((channels, side, side), classes))
    inputs = _inputs(game, 2)
    samples = game.generator.eval()(*inputs)
    assert samples.shape == (2, channels, side, side)
    assert bool(samples.abs().max() <= 1)
    scores = game.players[0].modules["discriminator"](samples, *inputs[1 : 1 + bool(classes)])
    assert scores.shape == (2,)


@pytest.mark.parametrize("shape", [(1, 20, 20), (3, 32, 64), (2, 32, 32), (1, 512, 512), (1, 512)])
def test_what_it_can_not_make_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GantoolError, match="stylegan2 can't make samples") as caught:
        _game(SampleSpec(shape))
    assert "--size" in caught.value.hint


def test_widths_and_layers_are_those_of_the_paper_at_its_size() -> None:
    config, _ = resolve(_architecture(), {"preset": "paper"})
    layout = stages(SampleSpec((3, 256, 256)), config.channel_base, config.max_width)  # type: ignore[attr-defined]
    assert layout == [(4, 512), (8, 512), (16, 512), (32, 512), (64, 256), (128, 128), (256, 64)]
    shapes = noise_shapes(layout)
    assert len(shapes) == 13
    assert list(shapes)[:3] == ["noise_4_1", "noise_8_1", "noise_8_2"]
    assert shapes["noise_256_2"] == (1, 256, 256)
    assert config.latent_dim + sum(math.prod(shape) for shape in shapes.values()) <= 262_144  # type: ignore[attr-defined]


def _smoothed(maps: Tensor, before: int, after: int, gain: float) -> Tensor:
    """The maps with zeros around them, filtered by [1, 3, 3, 1] along both axes."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=maps.dtype) / 8
    padded = F.pad(maps, (before, after, before, after)).flatten(0, 1)[:, None]
    filtered = F.conv2d(padded, gain * torch.outer(line, line)[None, None])
    return filtered.unflatten(0, maps.shape[:2]).squeeze(2)


def test_resampling_is_by_the_papers_filter() -> None:
    maps = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    spread = torch.zeros(2, 3, 12, 12, dtype=torch.float64)
    spread[:, :, ::2, ::2] = maps
    torch.testing.assert_close(Upsample().double()(maps), _smoothed(spread, 2, 1, 4.0))
    halved = Filter(padding=1, stride=2).double()(maps)
    torch.testing.assert_close(halved, _smoothed(maps, 1, 1, 1.0)[:, :, ::2, ::2])
    constant = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(Upsample().double()(constant)[:, :, 2:-2, 2:-2], torch.ones(1, 1, 12, 12).double())


@pytest.mark.parametrize("up", [False, True])
def test_styles_on_maps_are_styles_on_weights(up: bool) -> None:
    """As in the paper: the weights of each sample scaled by its style, and divided by their norm."""
    torch.manual_seed(0)
    layer = Styled(3, 5, 4, up=up).double()
    torch.nn.init.normal_(layer.noise)
    torch.nn.init.normal_(layer.bias)
    maps, w = torch.randn(2, 3, 6, 6, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    noise = torch.randn(2, 1, *[12 if up else 6] * 2, dtype=torch.float64)
    made = []
    for sample, style, grain in zip(maps, layer.style(w), noise, strict=True):
        scale = layer.convolution.scale
        assert isinstance(scale, float)
        weight = layer.convolution.weight * scale  # (after, before, 3, 3), or (before, after, 3, 3)
        weight = weight.transpose(0, 1) if up else weight
        weight = weight * style[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            values = _smoothed(F.conv_transpose2d(sample[None], weight.transpose(0, 1), stride=2), 1, 1, 4.0)
        else:
            values = F.conv2d(sample[None], weight, padding=1)
        values = values + layer.noise * grain + layer.bias
        made.append(math.sqrt(2) * F.leaky_relu(values, 0.2))
    torch.testing.assert_close(layer(maps, w, noise), torch.cat(made))


def test_the_discriminators_blocks_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    block, maps = Down(3, 5).double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    weights = [p for name, p in block.named_parameters() if name.endswith("weight")]
    for bias in (p for name, p in block.named_parameters() if name.endswith("bias")):
        torch.nn.init.normal_(bias)
    biases = dict(block.named_parameters())
    first = F.conv2d(maps, weights[0] / math.sqrt(27), biases["layers.0.bias"], padding=1)
    first = math.sqrt(2) * F.leaky_relu(first, 0.2)
    second = F.conv2d(_smoothed(first, 2, 2, 1.0), weights[1] / math.sqrt(27), biases["layers.3.bias"], 2)
    second = math.sqrt(2) * F.leaky_relu(second, 0.2)
    skipped = F.conv2d(_smoothed(maps, 1, 1, 1.0)[:, :, ::2, ::2], weights[2] / math.sqrt(3))
    torch.testing.assert_close(block(maps), (second + skipped) / math.sqrt(2))


@pytest.mark.parametrize("kind", [Convolution, Doubling])
def test_weights_begin_at_one_and_are_scaled_where_they_are_used(kind: type[Convolution] | type[Doubling]) -> None:
    torch.manual_seed(0)
    layer = Convolution(64, 64, 3) if kind is Convolution else Doubling(64, 64)
    assert layer.weight.std().item() == pytest.approx(1, rel=0.02)
    made = layer(torch.randn(4, 64, 16, 16))
    inside = made[:, :, 2:-2, 2:-2]
    assert inside.std().item() == pytest.approx(1 if kind is Convolution else 0.7, rel=0.2)


def test_the_mapping_network_learns_a_hundredth_as_fast_and_keeps_the_deviation() -> None:
    torch.manual_seed(0)
    fast, slow = networks.Linear(64, 64), networks.Linear(64, 64, rate=0.01)
    assert slow.weight.std().item() == pytest.approx(100, rel=0.05)
    z, moved = torch.randn(512, 64), list[float]()
    for layer in (fast, slow):
        assert layer(z).std().item() == pytest.approx(1, rel=0.05)
        before = layer(z).detach()
        optimizer = torch.optim.Adam(layer.parameters(), 1e-3)
        layer(z).square().mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        moved.append(float((layer(z).detach() - before).abs().mean()))
    assert moved[1] == pytest.approx(moved[0] / 100, rel=0.05)
    generator = _generator(latent_dim=64, mapping_layers=8)
    assert generator.mapping(100 * z).detach() == pytest.approx(generator.mapping(z).detach(), rel=1e-3, abs=1e-3)
    assert 0.5 < float(generator.mapping(z).detach().square().mean().sqrt()) < 2


@pytest.mark.parametrize("count", range(1, 13))
def test_the_minibatch_deviation_is_that_of_groups_of_nearly_equal_size(count: int) -> None:
    maps = torch.randn(count, 3, 4, 4, dtype=torch.float64)
    made = MinibatchDeviation()(maps)
    assert made.shape == (count, 4, 4, 4)
    assert torch.equal(made[:, :3], maps)
    groups = torch.tensor_split(maps, -(-count // 4))  # sizes differ by one at most
    assert max(map(len, groups)) <= 4
    wanted = torch.cat([(g.var(0, unbiased=False) + 1e-8).sqrt().mean().expand(len(g)) for g in groups])
    torch.testing.assert_close(made[:, 3], wanted[:, None, None].expand(-1, 4, 4))


def test_reals_and_fakes_are_in_groups_of_their_own() -> None:
    game = _game()
    discriminator, seen = game.players[0].modules["discriminator"], list[int]()
    discriminator.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    batch = {item.name: value for item, value in zip(game.inputs, _inputs(game, 6), strict=True)}
    game.players[0].loss({**batch, "real": torch.randn(6, *SPEC.shape)})
    assert seen == [6, 6]


def test_the_mean_of_w_follows_in_training_alone() -> None:
    game = _game()
    generator = _generator()
    inputs = _inputs(game, 8)
    w = generator.mapping(inputs[0]).detach()
    generator.eval()(*inputs)
    assert not generator.w_avg.any()
    generator.train()(*inputs)
    torch.testing.assert_close(generator.w_avg, 0.005 * w.mean(0))
    assert "w_avg" in generator.state_dict()


def test_mixing_gives_the_later_layers_another_style() -> None:
    z = torch.randn(400, 5)
    plain = _generator(mixing=0.0)
    w = plain.mapping(z)
    layers = plain.synthesis.layers
    assert layers == 6
    assert torch.equal(plain.styles(z), w[:, None].expand(-1, layers, -1))
    for share in (1.0, 0.5):
        styles = _generator(mixing=share).styles(z)
        own = (styles == w[:, None]).all(2)
        assert bool(own[:, 0].all())
        begins = own.long().sum(1)
        assert torch.equal(own, torch.arange(layers) < begins[:, None])  # one change at most
        assert float((begins < layers).float().mean()) == pytest.approx(share, abs=0.1)
        counts = torch.bincount(begins[begins < layers], minlength=layers)
        assert counts[0] == 0
        assert counts[1:].min() > 0.5 * share * 400 / (layers - 1)  # each layer is as likely


def test_noise_is_a_part_of_the_image() -> None:
    game = _game()
    for layer in game.generator.modules():
        if isinstance(layer, Styled):
            torch.nn.init.ones_(layer.noise)
    generator, inputs = game.generator.eval(), _inputs(game, 2)
    image = generator(*inputs)
    assert torch.equal(image, generator(*inputs))
    assert [item.distribution for item in game.inputs] == ["normal"] * 6 + ["value"]
    for number in range(1, 6):
        other = [torch.randn_like(value) if i == number else value for i, value in enumerate(inputs)]
        assert not torch.equal(image, generator(*other))


def test_truncation_draws_w_to_its_mean_in_eval_mode_alone() -> None:
    game = _game()
    generator, (z, *others, _) = game.generator, _inputs(game, 4)
    assert isinstance(generator, Generator)
    assert game.inputs[-1] == Input("truncation", (), "value", default=1.0, low=0.0, high=1.0)
    half, trained = torch.full((4,), 0.5), generator(z, *others, torch.ones(4))
    assert torch.equal(trained, generator(z, *others, torch.zeros(4)))
    torch.nn.init.normal_(generator.w_avg)
    generator.eval()
    w = generator.mapping(z)
    torch.testing.assert_close(generator(z, *others, torch.ones(4)), trained.clamp(-1, 1))
    between = [generator.w_avg + 0.5 * (w - generator.w_avg)] * generator.layers
    torch.testing.assert_close(generator(z, *others, half), generator.synthesis(between, others).clamp(-1, 1))
    same = [value[:1].expand(4, -1, -1, -1) for value in others]
    means = generator(z, *same, torch.zeros(4))  # of every z the same image
    torch.testing.assert_close(means, means[:1].expand(4, -1, -1, -1))
    mixed = generator(z, *others, torch.tensor([1.0, 0.5, 0.0, 1.0]))  # each sample has its own
    torch.testing.assert_close(mixed[:2], torch.stack((trained.clamp(-1, 1)[0], generator(z, *others, half)[1])))


def test_path_lengths_are_norms_of_the_jacobian_in_a_random_direction() -> None:
    generator, lengths = _generator().double(), PathLength().double()
    z, *others = (value.double() for value in _inputs(_game(), 3))
    noises = others[:-1]
    drawn = torch.randn(3, *SPEC.shape, dtype=torch.float64)
    penalty, length = lengths(generator, drawn, z, *others)
    direction, wanted = drawn / 16, []
    for i in range(3):
        styles = generator.styles(z[i : i + 1]).detach()

        def image(styles: Tensor, i: int = i) -> Tensor:
            made: Tensor = generator.synthesis(styles.unbind(1), [noise[i : i + 1] for noise in noises])
            return made

        jacobian = torch.autograd.functional.jacobian(image, styles)[0, :, :, :, 0]  # type: ignore[no-untyped-call]
        moved = torch.einsum("chw,chwld->ld", direction[i], jacobian)
        wanted.append(moved.square().sum(1).mean().sqrt())
    expected = torch.stack(wanted)
    torch.testing.assert_close(length, expected.mean())
    assert lengths.mean == 0
    lengths.update()
    torch.testing.assert_close(lengths.mean, 0.01 * expected.mean())
    torch.testing.assert_close(penalty, (expected - 0.01 * expected.mean()).square().mean())


def test_the_path_lengths_gradient_is_that_of_differences() -> None:
    generator = _generator().double()
    inputs = [torch.randn(3, *SPEC.shape).double(), *(value.double() for value in _inputs(_game(), 3))]

    def penalty() -> Tensor:
        value: Tensor = PathLength().double()(generator, *inputs)[0]
        return value

    penalty().backward()  # type: ignore[no-untyped-call]
    reached = 0
    for name, parameter in generator.named_parameters():
        if parameter.grad is None:
            assert "bias" in name or "noise" in name, name
            continue
        index = parameter.grad.abs().flatten().argmax()
        values, ends = parameter.data.view(-1), list[Tensor]()
        value = float(values[index])
        size = 1e-7 * max(1.0, abs(value))  # small: LeakyReLU has kinks
        for step in (size, -size):
            values[index] = value + step
            ends.append(penalty().detach())
        values[index] = value
        slope = (ends[0] - ends[1]) / (2 * size)
        torch.testing.assert_close(slope, parameter.grad.view(-1)[index], rtol=1e-4, atol=1e-8)
        reached += 1
    assert reached > 20


def test_regularisers_are_lazy_weighted_by_their_interval_and_share_their_players_optimizer() -> None:
    game = _game(batch_size=8)
    assert [player.name for player in game.players] == ["discriminator", "r1", "generator", "path"]
    r1, path = _player(game, "r1"), _player(game, "path")
    assert (r1.every, r1.shares, path.every, path.shares) == (16, "discriminator", 4, "generator")
    assert game.players[0].optimizer == Optimizer(2.5e-3 * 16 / 17, "adam", (0.0, 0.99 ** (16 / 17)))
    assert game.players[2].optimizer == Optimizer(2.5e-3 * 4 / 5, "adam", (0.0, 0.99**0.8))
    real = torch.randn(8, *SPEC.shape)
    gamma = 0.0002 * 256 / 8
    slope = objectives.r1(r1.modules["discriminator"], real)
    torch.testing.assert_close(r1.loss({"real": real}).terms["r1"], 16 * gamma * slope)
    batch = {"direction": torch.randn(8, *SPEC.shape)}
    batch |= {item.name: value for item, value in zip(game.inputs, _inputs(game, 8), strict=True)}
    term = path.loss(batch).terms["path_length"]
    half = [value[:4] for value in batch.values()]
    torch.testing.assert_close(term, 4 * 2.0 * PathLength()(game.generator, *half)[0])  # type: ignore[arg-type]


def test_without_regularisers_the_recipes_optimizer_is_kept() -> None:
    game = _game(gamma=0.0, path_weight=0.0)
    assert [(player.name, player.optimizer) for player in game.players] == [
        ("discriminator", None),
        ("generator", None),
    ]
    assert [player.name for player in _game(gamma=1.0, path_weight=0.0).players][:2] == ["discriminator", "r1"]


def test_what_the_regularisers_log_is_finite_and_r1_limits_the_slope() -> None:
    config, recipe = resolve(_architecture(), {**SMALL["stylegan2"], "batch_size": 8, "mixing": 0.9, "r1_every": 2})
    data = dataset(shape=(1, 16, 16))
    state = State(_architecture(), config, recipe, data, seed=0, device=torch.device("cpu"), precision="fp32")
    for _ in range(8):
        iterate(state)
    means = state.meter.read()
    assert {"loss.r1.r1", "loss.path.path_length", "measure.path.length"} <= means.keys()
    assert all(math.isfinite(value) for value in means.values())
    assert float(state.game.modules()["path.lengths"].state_dict()["mean"]) > 0


def test_presets_change_sizes_and_yield_to_what_is_given() -> None:
    config, recipe = resolve(_architecture(), {"preset": "paper", "mapping_layers": 3})
    assert (config.latent_dim, config.mapping_layers, config.mixing) == (512, 3, 0.9)  # type: ignore[attr-defined]
    assert recipe.batch_size == 64
    assert resolve(_architecture(), {"preset": "tiny"}) == resolve(_architecture(), {})
