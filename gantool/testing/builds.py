"""Check that a checkpoint holds all that a game draws while it is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.game import Batch, Game, Player
from gantool.training.state import State, build_game

ATTRIBUTES = ("_parameters", "_buffers", "_modules")  # where a module keeps what `named_buffers` and the like list
REMEDY = "register it as a buffer, self.register_buffer('name', tensor), or compute it without random numbers"


def check_builds(
    architecture: Architecture, config: BaseModel, spec: SampleSpec, recipe: Recipe, state: State, what: str
) -> None:
    """Check that two builds under different seeds are one game once they have the same weights.

    What differs then is in no checkpoint. A build with another recipe has to have the same modules. `state`: of the
    architecture's game, for inputs and batches.
    """
    one, two = (build_game(architecture, config, spec, recipe, seed) for seed in (0, 1))
    _check_recipe(architecture, config, spec, recipe, one, what)
    for name, module in two.modules().items():
        module.load_state_dict(one.modules()[name].state_dict())
    first, second = _tensors(one), _tensors(two)
    drawn = [name for name in first if first[name] != second.get(name)]
    assert not drawn, f"{what}: `build` draws {', '.join(drawn)}, which no checkpoint holds: {REMEDY}"
    for which in state.game.exports:
        inputs = state.fixed_inputs(3, state.classes, which)
        assert torch.equal(_samples(one.of(which), inputs), _samples(two.of(which), inputs)), (
            f"{what}: `build` draws something that changes the samples, and that no checkpoint holds: {REMEDY}"
        )
    for player, again in zip(one.players, two.players, strict=True):
        batch = state.sampler.draw(player.draws)
        assert _loss(player, batch) == _loss(again, batch), (
            f"{what}: `build` draws something that changes the loss of player {player.name}, and that no checkpoint "
            f"holds: {REMEDY}, in one of the player's modules"
        )


def _check_recipe(
    architecture: Architecture, config: BaseModel, spec: SampleSpec, recipe: Recipe, game: Game, what: str
) -> None:
    others = {"batch_size": 2 * recipe.batch_size, "steps": recipe.steps + 1, "learning_rate": recipe.learning_rate / 2}
    other = build_game(architecture, config, spec, recipe.model_copy(update=others), 0)
    first, second = (
        {f"{name}.{key}": tuple(t.shape) for name, m in made.modules().items() for key, t in m.state_dict().items()}
        for made in (game, other)
    )
    changed = sorted(dict(first.items() ^ second.items()))
    assert not changed, (
        f"{what}: with another recipe ({', '.join(others)}) `build` makes other tensors ({', '.join(changed[:3])}), "
        "and a run could not be resumed with other options: let modules depend on config and spec alone"
    )


def _tensors(game: Game) -> dict[str, bytes]:
    """The bytes of every tensor and array of the game's modules: parameters, buffers and what plain attributes hold."""
    found: dict[str, bytes] = {}
    for name, module in {"generator": game.generators, **game.modules()}.items():
        for path, part in module.named_modules(prefix=name):
            own = {**dict(part.named_parameters(recurse=False)), **dict(part.named_buffers(recurse=False))}
            plain = {key: value for key, value in vars(part).items() if key not in ATTRIBUTES}
            found |= dict(_held({**own, **plain}, path))
    return found


def _held(value: object, name: str) -> Iterator[tuple[str, bytes]]:
    if isinstance(value, Tensor):
        yield name, value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray):
        yield name, value.tobytes()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _held(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _held(item, f"{name}.{number}")


@torch.no_grad()
def _samples(game: Game, inputs: list[Tensor]) -> Tensor:
    game.generator.eval()
    samples: Tensor = game.generator(*inputs)
    game.generator.train()
    return samples


def _loss(player: Player, batch: Batch) -> list[float]:
    """The player's terms, whose own random numbers are always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [float(term.detach()) for term in player.loss(batch).terms.values()]
