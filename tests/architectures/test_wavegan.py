"""`wavegan`: lengths, the paper's layers, phase shuffle, the learned filter, labels and losses."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from gantool_wavegan import WaveGANConfig
from gantool_wavegan.networks import LENGTHS, PhaseShuffle
from torch import nn

from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Recipe, SampleSpec
from gantool.plugin.game import Game

SMALL: dict[str, Any] = {"width": 1, "max_width": 8, "latent_dim": 5, "embed_dim": 3}


def build(shape: tuple[int, ...], classes: int = 0, **options: Any) -> Game:
    architecture = registry.find("wavegan").architecture
    assert architecture is not None
    config = WaveGANConfig(**{**SMALL, **options})
    game: Game = architecture.build(config, SampleSpec(shape, classes), architecture.recipe_for(config))
    return game


def critic(game: Game) -> nn.Module:
    return game.players[0].modules["discriminator"]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_is_made_and_judged(length: int, channels: int) -> None:
    game = build((channels, length))
    with torch.no_grad():
        made = game.generator(torch.randn(2, 5))
        assert made.shape == (2, channels, length)
        assert critic(game)(made).shape == (2,)


@pytest.mark.parametrize("shape", [(1, 5000), (3, 4096), (1, 2048), (1, 131_072), (1, 32, 32), (1, 16, 16, 16)])
def test_other_shapes_are_refused_with_the_lengths_there_are(shape: tuple[int, ...]) -> None:
    with pytest.raises(GantoolError, match="×".join(map(str, shape))) as caught:
        build(shape)
    assert "4,096, 8,192, 16,384, 32,768, 65,536 samples: " in caught.value.hint
    assert ("--size" in caught.value.hint) == (len(shape) == 2 and shape[0] < 3)
    assert ("--channels 1" in caught.value.hint) == (shape[0] == 3)


def test_the_layers_are_the_paper_s() -> None:
    """Tables 3 and 4 of the paper, for 16,384 samples."""
    d = 4
    game = build((1, 16_384), width=d, max_width=2048)
    up = [m for m in game.generator.modules() if isinstance(m, nn.ConvTranspose1d)]
    down = [m for m in critic(game).modules() if isinstance(m, nn.Conv1d)]
    channels = [16 * d, 8 * d, 4 * d, 2 * d, d, 1]
    assert [(m.in_channels, m.out_channels) for m in up] == list(pairwise(channels))
    assert [(m.in_channels, m.out_channels) for m in down] == list(pairwise(channels[::-1]))
    assert {(m.kernel_size, m.stride) for m in (*up, *down)} == {((25,), (4,))}
    assert len([m for m in critic(game).modules() if isinstance(m, PhaseShuffle)]) == 4


def test_phase_shuffle_shifts_each_sound_alone_and_reflects_its_ends() -> None:
    torch.manual_seed(0)
    maps = torch.arange(10.0).expand(200, 3, 10)
    shifted = PhaseShuffle(2)(maps)
    assert torch.equal(shifted[:, 0], shifted[:, 2])  # all maps of a sound alike
    wanted = {
        (2, 1, 0, 1, 2, 3, 4, 5, 6, 7),
        (1, 0, 1, 2, 3, 4, 5, 6, 7, 8),
        (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 8),
        (2, 3, 4, 5, 6, 7, 8, 9, 8, 7),
    }
    assert {tuple(row.int().tolist()) for row in shifted[:, 0]} == wanted


def test_phase_shuffle_is_random_while_training_alone() -> None:
    game, sounds = build((1, 4096)), torch.rand(3, 1, 4096)
    judge = critic(game)
    with torch.no_grad():
        assert not torch.equal(judge(sounds), judge(sounds))
        judge.eval()
        assert torch.equal(judge(sounds), judge(sounds))
        steady = critic(build((1, 4096), phase_shuffle=0))
        assert torch.equal(steady(sounds), steady(sounds))
    assert not [m for m in game.generator.modules() if isinstance(m, PhaseShuffle)]


def test_scores_have_the_same_seconds_and_slopes_in_one_pass_or_alone() -> None:
    """No sound's score depends on the others of its batch."""
    judge, sounds = critic(build((2, 4096))).eval(), torch.randn(4, 2, 4096)
    with torch.no_grad():
        assert torch.allclose(judge(sounds)[:1], judge(sounds[:1]), atol=1e-5)


def test_the_learned_filter_begins_as_the_identity_and_stays_in_range() -> None:
    torch.manual_seed(0)
    game = build((2, 4096), post_filter=True)
    z = torch.randn(2, 5)
    with torch.no_grad():
        before = game.generator.eval()(z)
        bare = game.generator.body(game.generator.project(z).unflatten(1, game.generator.first))
        assert torch.allclose(before, bare, atol=1e-6)
        game.generator.filter.weight.mul_(50)
        assert game.generator(z).abs().max() == 1
        assert game.generator.train()(z).abs().max() > 1  # gradients pass
    assert game.generator.filter.weight.shape == (2, 1, 512)


def test_with_labels_both_networks_depend_on_them() -> None:
    game = build((1, 4096), classes=3)
    z, labels = torch.randn(1, 5).expand(3, -1), torch.arange(3)
    with torch.no_grad():
        sounds = game.generator(z, labels)
        assert not torch.allclose(sounds[0], sounds[1])
        scores = critic(game).eval()(sounds[:1].expand(3, -1, -1), labels)
    assert scores.unique().numel() == 3
    assert [item.name for item in game.inputs] == ["z", "label"]


def test_the_preset_paper_is_the_paper_s_recipe() -> None:
    architecture = registry.find("wavegan").architecture
    assert architecture is not None
    preset = dict(architecture.presets["paper"])
    config = WaveGANConfig(**{name: preset.pop(name) for name in list(preset) if name in WaveGANConfig.model_fields})
    recipe = architecture.recipe_for(config).model_copy(update=preset)
    assert (config.width, config.latent_dim, config.phase_shuffle, config.penalty) == (64, 100, 2, 10.0)
    assert (recipe.learning_rate, recipe.betas, recipe.discriminator_steps) == (1e-4, (0.5, 0.9), 5)
    assert recipe.batch_size == 64


@pytest.mark.parametrize(
    ("loss", "terms"), [("r3", {"pairs", "r1", "r2"}), ("wgan-gp", {"real", "fake", "gradient_penalty"})]
)
def test_both_losses_have_their_terms(loss: str, terms: set[str]) -> None:
    player = build((1, 4096), loss=loss).players[0]
    batch = {"z": torch.randn(2, 5), "real": torch.rand(2, 1, 4096), "progress": torch.tensor(0.5)}
    assert player.loss(batch).terms.keys() == terms


def test_the_penalty_follows_length_and_batch_size() -> None:
    """γ doubles with the length and with half the batch, and falls to a tenth."""
    torch.manual_seed(0)

    def penalty(batch_size: int, progress: float) -> float:
        architecture = registry.find("wavegan").architecture
        assert architecture is not None
        torch.manual_seed(0)
        recipe = Recipe(batch_size=batch_size, schedule="cosine")
        config = WaveGANConfig(**SMALL, phase_shuffle=0)
        player = architecture.build(config, SampleSpec((1, 4096)), recipe).players[0]
        real = torch.linspace(-1, 1, 4096).expand(2, 1, -1)
        batch = {"z": torch.ones(2, 5), "real": real, "progress": torch.tensor(progress)}
        return float(player.loss(batch).terms["r1"].detach())

    assert penalty(32, 0.0) == pytest.approx(2 * penalty(64, 0.0), rel=1e-4)
    assert penalty(32, 1.0) == pytest.approx(0.1 * penalty(32, 0.0), rel=1e-4)
