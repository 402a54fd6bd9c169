"""One iteration, eagerly: the readable reference that every other engine is checked against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gantool.plugin.game import Batch, Loss, Player, taking_gradients

if TYPE_CHECKING:
    from gantool.training.state import State


@dataclass(frozen=True)
class Mover:
    """A player with its optimizer and the number of moves it makes in one iteration."""

    player: Player
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    moves: int


@dataclass(frozen=True)
class Turn:
    """Players that move at the same weights and on the same batch: one alone, when updates alternate."""

    movers: tuple[Mover, ...]
    losses: Callable[[Batch], Mapping[str, Loss]]
    draws: tuple[str, ...]
    reuses: tuple[str, ...] = ()
    every: int = 1
    moves: int = 1

    def gradients(self) -> AbstractContextManager[None]:
        """Only these players' parameters take gradients: less work, and no loss needs a `detach`."""
        return taking_gradients(parameter for mover in self.movers for parameter in mover.parameters)


def alone(mover: Mover) -> Turn:
    """The turn of one player."""
    player = mover.player
    return Turn(
        (mover,),
        lambda batch: {player.name: player.loss(batch)},
        player.draws,
        player.reuses,
        player.every,
        mover.moves,
    )


def iterate(state: State) -> None:
    """One iteration: every player moves. Nothing here reads the device, prints or touches a file."""
    turns = [turn for turn in state.turns if state.step % turn.every == 0 for _ in range(turn.moves)]
    state.meter.at(state.step)
    state.engine.run(state, turns, _draw(state, turns))
    if state.ema:
        state.ema.update(state.game.generator, state.step)
    state.step += 1


def _draw(state: State, turns: Sequence[Turn]) -> list[dict[str, Tensor]]:
    """A batch for each turn; what a player reuses is what was last drawn in this iteration."""
    batches, last = [], dict[str, Tensor]()
    for turn in turns:
        kept = {name: last[name] for name in turn.reuses if name in last}
        drawn = state.sampler.draw(name for name in turn.draws if name not in kept)
        batches.append(kept | drawn)
        last |= drawn
    return batches


def move(state: State, turn: Turn, batch: Batch) -> None:
    """Losses, gradients, optimizer step."""
    with turn.gradients():
        with state.autocast():
            losses = turn.losses(batch)
        for mover in turn.movers:
            mover.optimizer.zero_grad(set_to_none=True)
        for mover in turn.movers:
            # several movers share one graph: each takes from it the gradients of its own parameters alone
            total(losses[mover.player.name]).backward(  # type: ignore[no-untyped-call]
                inputs=mover.parameters, retain_graph=mover is not turn.movers[-1]
            )
        for mover in turn.movers:
            state.group.average(mover.parameters)
            mover.optimizer.step()
            if mover.player.after_step:
                with torch.no_grad():
                    mover.player.after_step()
            state.meter.add(mover.player.name, losses[mover.player.name])


def total(loss: Loss) -> Tensor:
    """What is minimised: the sum of the terms, in float32 at least."""
    terms = torch.stack(list(loss.terms.values()))
    return terms.sum(dtype=torch.promote_types(terms.dtype, torch.float32))
