"""Check what an architecture declares: its arrays, the players' optimizers, and its schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from pydantic import BaseModel

from gantool.errors import GantoolError, cause
from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.game import Game
from gantool.training.state import State
from gantool.training.step import alone

PROGRESS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a training


def built(build: Callable[[], Game], what: str) -> Game:
    """The game; AssertionError when its parts do not fit together, such as a player that shares with nobody."""
    try:
        return build()
    except ValueError as error:
        if isinstance(error, GantoolError):
            raise
        raise AssertionError(f"{what}: {cause(error)}") from error


def check_arrays(game: Game, spec: SampleSpec, what: str) -> None:
    """Check that the arrays of the example are those that the inputs of the game take, in the same shapes."""
    shapes = {"images": spec.shape, **spec.arrays, **({"labels": ()} if spec.classes else {})}
    taken = {item.array: item for item in game.draws.values() if item.distribution == "data"}
    for array, item in taken.items():
        assert array in shapes, (
            f"{what}: the input {item.name!r} takes the array {array!r}, which the example does not have: declare it, "
            + (
                "SampleSpec(shape, classes=N)"
                if array == "labels"
                else f"SampleSpec(shape, arrays={{{array!r}: {item.shape}}})"
            )
        )
        assert shapes[array] == item.shape, (
            f"{what}: the input {item.name!r} has the shape {item.shape}, its array {array!r} {shapes[array]}: "
            "take the shape from the spec"
        )
    unused = sorted(spec.arrays.keys() - taken)
    assert not unused, (
        f"{what}: no input takes the array {', '.join(unused)} of the example: Input(name, shape, 'data', array=…), "
        "or leave it out"
    )


def check_without_arrays(
    architecture: Architecture, config: BaseModel, spec: SampleSpec, recipe: Recipe, what: str
) -> None:
    """Check that data without the example's arrays, or without its labels, is an error that a person understands."""
    for lacking, name in ((replace(spec, arrays={}), "arrays"), (replace(spec, classes=0), "classes")):
        if lacking == spec:
            continue
        try:
            architecture.build(config, lacking, recipe)
        except GantoolError:
            continue
        except Exception as error:
            raise AssertionError(
                f"{what}: for data without its {name} `build` raises {type(error).__name__}: {cause(error)}. "
                f"Look at spec.{name} first: raise GantoolError(message, hint), or build a game that needs none"
            ) from error


def check_optimizers(game: Game, what: str) -> None:
    """Check that what a player does after its moves is also done after those of the players that share with it."""
    owners = {player.name: player for player in game.players}
    for player in game.players:
        owner = owners[player.shares or player.name]
        assert player.after_step or not owner.after_step, (
            f"{what}: player {player.name} moves parameters of player {owner.name}, whose after_step is not run then: "
            "give both the same after_step"
        )


def check_schedules(state: State, recipe: Recipe, what: str) -> None:
    """Check that the losses are finite from beginning to end of a training, and that progress changes them."""
    progressing = [name for name, item in state.game.draws.items() if item.distribution == "progress"]
    for mover in state.movers:
        name = f"{what}: player {mover.player.name}"
        drawn = [input_name for input_name in mover.player.draws if input_name in progressing]
        if not drawn:
            continue
        batch, values = state.sampler.draw(mover.player.draws), []
        for progress in PROGRESS:
            at = {**batch, **{input_name: torch.tensor(progress) for input_name in drawn}}
            with torch.random.fork_rng(devices=[]), alone(mover).gradients():
                torch.manual_seed(0)
                terms = mover.player.loss(at).terms
            for term, value in terms.items():
                assert bool(value.isfinite()), (
                    f"{name}: {term} is {float(value.detach())} when {progress:.0%} of the training is over: "
                    "look for a division by the progress, and for a root or log of it"
                )
            values.append([float(value.detach()) for value in terms.values()])
        assert recipe.schedule == "constant" or any(one != values[0] for one in values), (
            f"{name}: its loss is the same from beginning to end of a training: use batch[{drawn[0]!r}] "
            f"(objectives.scheduled), or take {drawn[0]!r} from its draws"
        )
