"""Turns of the players, and the means of what they return with the first step that was not finite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support import tiny_r1
from support.trainings import TinyGenerator, tiny_game, tiny_state
from torch import nn

from gantool.plugin.architecture import Recipe, SampleSpec
from gantool.plugin.game import Batch, Game, Loss, Player
from gantool.training.step import Diverged, Meter, alone, iterate, move


class Weight(nn.Module):
    """One weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))


def _game_of(spec: SampleSpec, moved: list[str], **changes: dict[str, int]) -> Game:
    """A game whose players note their moves, and check that only their own weights take gradients."""
    generator, other = TinyGenerator(spec), Weight()

    def note(name: str, module: nn.Module) -> Callable[[Batch], Loss]:
        def loss(batch: Batch) -> Loss:
            moved.append(name)
            assert all(p.requires_grad for p in module.parameters())
            frozen = other if module is generator else generator
            assert not any(p.requires_grad for p in frozen.parameters())
            return Loss({"x": sum((p.square().sum() for p in module.parameters()), torch.zeros(()))})

        return loss

    game = tiny_game(spec)
    players = (
        Player("judge", "discriminator", {"m": other}, note("judge", other), ("real",), **changes.get("judge", {})),
        Player("maker", "generator", {"m": generator}, note("maker", generator), ("z",), **changes.get("maker", {})),
    )
    return Game(generator, players, game.inputs, game.data, game.output)


@pytest.mark.parametrize(
    ("changes", "recipe_steps", "wanted"),
    [
        ({}, 1, "judge maker judge maker judge maker judge maker"),
        ({}, 2, "judge judge maker judge judge maker judge judge maker judge judge maker"),
        ({"judge": {"steps": 1}}, 5, "judge maker judge maker judge maker judge maker"),
        ({"judge": {"every": 3}}, 1, "judge maker maker maker judge maker"),
        ({"maker": {"steps": 2, "every": 2}}, 1, "judge maker maker judge judge maker maker judge"),
    ],
)
def test_players_move_in_turn_as_often_as_they_say(
    changes: dict[str, dict[str, int]], recipe_steps: int, wanted: str
) -> None:
    moved: list[str] = []
    state = tiny_state(build=lambda spec: _game_of(spec, moved, **changes), discriminator_steps=recipe_steps)
    for _ in range(4):
        iterate(state)
    assert " ".join(moved) == wanted
    assert state.step == 4


def _moved_by_r1(gamma: float, shares: bool = True) -> float:
    """How far a lazy R1 of that weight takes the discriminator from where it goes without, in one iteration."""

    def weights(weight: float) -> torch.Tensor:
        config = tiny_r1.Config(gamma=weight, shares=shares)
        state = tiny_state(build=lambda spec: tiny_r1.build(config, spec, Recipe()), betas=(0.0, 0.99))
        iterate(state)
        return torch.cat([p.detach().flatten() for p in state.movers[0].parameters])

    return float((weights(gamma) - weights(0.0)).norm())


def test_a_lazy_regulariser_that_shares_an_optimizer_moves_the_weights_by_its_weight() -> None:
    moved = [_moved_by_r1(gamma) / gamma for gamma in (1e-5, 1e-4, 1e-3)]
    assert moved == pytest.approx([moved[0]] * 3, rel=0.1)
    assert moved[0] > 0
    own = [_moved_by_r1(gamma, shares=False) for gamma in (1e-2, 1.0)]
    assert own[1] == pytest.approx(own[0], rel=0.1)  # with an Adam of its own the weight cancels


def test_a_parameter_that_a_loss_does_not_reach_moves_by_its_momentum() -> None:
    """As in compiled code, which gives it a gradient of zeros: R1 does not reach the last bias, of which Adam knows."""
    config = tiny_r1.Config(gamma=1e-4, every=1)
    state = tiny_state(build=lambda spec: tiny_r1.build(config, spec, Recipe()), betas=(0.5, 0.9))
    judge, _, regulariser = state.movers
    (bias,) = [p for p in judge.parameters if p.shape == (1,)]
    iterate(state)
    momentum, before = judge.optimizer.state[bias]["exp_avg"].clone(), bias.detach().clone()
    batch = state.sampler.draw(regulariser.player.draws)
    move(state, alone(regulariser), batch)
    torch.testing.assert_close(judge.optimizer.state[bias]["exp_avg"], 0.5 * momentum)
    assert bias.item() != before.item()


def _loss(*values: float, measure: float | None = None) -> Loss:
    terms = {name: torch.tensor(value) for name, value in zip("xyz", values, strict=False)}
    return Loss(terms, {} if measure is None else {"m": torch.tensor(measure)})


def test_a_glance_at_the_means_changes_nothing() -> None:
    meter = Meter(torch.device("cpu"))
    assert meter.glance() == {}
    for value in (1.0, 3.0):
        meter.add("critic", Loss({"real": torch.tensor(value)}, {"accuracy": torch.tensor(0.5)}))
    means = {"loss.critic.real": 2.0, "measure.critic.accuracy": 0.5}
    assert [meter.glance(), meter.glance(), meter.read()] == [means] * 3
    assert meter.glance() == {}


def test_a_meter_gives_means_since_the_last_read() -> None:
    meter = Meter(torch.device("cpu"))
    for step, value in enumerate((1.0, 2.0, 6.0)):
        meter.at(step)
        meter.add("a", _loss(value, -value, measure=0.5))
    meter.add("b", Loss({"x": torch.tensor(4.0, dtype=torch.bfloat16, requires_grad=True)}))
    wanted = {"loss.a.x": 3.0, "loss.a.y": -3.0, "measure.a.m": 0.5, "loss.b.x": 4.0}
    assert meter.read() == pytest.approx(wanted)
    meter.add("a", _loss(10.0, 20.0, measure=1.0))
    assert meter.read() == pytest.approx({"loss.a.x": 10.0, "loss.a.y": 20.0, "measure.a.m": 1.0})
    assert meter.read() == {}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_the_first_value_that_is_not_finite_is_named_with_its_step_and_then_forgotten(bad: float) -> None:
    meter = Meter(torch.device("cpu"))
    for step in range(10):
        meter.at(step)
        meter.add("a", _loss(1.0, bad if step >= 7 else 1.0))
        meter.add("b", _loss(bad if step == 4 else 1.0))
    with pytest.raises(Diverged, match=r"^loss\.b\.x became NaN or infinite at step 5$"):
        meter.read()
    meter.add("a", _loss(1.0, 1.0))
    assert meter.read() == {"loss.a.x": 1.0, "loss.a.y": 1.0}
    meter.add("c", _loss(1.0, measure=bad))
    with pytest.raises(Diverged, match=r"measure\.c\.m became"):
        meter.read()
