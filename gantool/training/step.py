"""One iteration, eagerly: the reference that every other engine is checked against, and the losses that it adds up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gantool.plugin.game import Batch, Loss, Player, taking_gradients
from gantool.training.distributed import ALONE, Group

if TYPE_CHECKING:
    from gantool.training.state import State


class Diverged(Exception):
    """A loss or a weight is NaN or infinite. The text says which, and when."""


@dataclass(frozen=True)
class Mover:
    """A player with the optimizer that it moves with and the number of moves it makes in one iteration."""

    player: Player
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    moves: int


@dataclass(frozen=True)
class Turn:
    """Players that move at the same weights and on the same batch: a single one, when updates alternate."""

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
    turns = turns_at(state.turns, state.step)
    state.follow_schedule()
    state.meter.at(state.step)
    state.engine.run(state, turns, _draw(state, turns))
    if state.ema:
        state.ema.update(state.generators, state.step)
    if state.ada:
        state.ada.adapt(state.step)
    state.step += 1


def turns_at(turns: Sequence[Turn], step: int) -> list[Turn]:
    """The turns of iteration `step`, each as often as it moves."""
    return [turn for turn in turns if step % turn.every == 0 for _ in range(turn.moves)]


def drawn_by(turns: Sequence[Turn]) -> list[list[str]]:
    """What each turn of an iteration draws anew. What a player reuses is what was drawn last in this iteration."""
    drawn, before = [], set[str]()
    for turn in turns:
        drawn.append([name for name in turn.draws if name not in turn.reuses or name not in before])
        before.update(drawn[-1])
    return drawn


def _draw(state: State, turns: Sequence[Turn]) -> list[dict[str, Tensor]]:
    """A batch for each turn."""
    batches, last = [], dict[str, Tensor]()
    for turn, names in zip(turns, drawn_by(turns), strict=True):
        last |= state.sampler.draw(names)
        batches.append({name: last[name] for name in turn.draws})
    return batches


def move(state: State, turn: Turn, batch: Batch) -> None:
    """Losses, gradients, optimizer steps."""
    with turn.gradients():
        with state.autocast():
            losses = turn.losses(batch)
        for mover in turn.movers:
            mover.optimizer.zero_grad(set_to_none=True)
        for mover in turn.movers:
            # several movers share one graph: each takes only the gradients of its own parameters from it
            total(losses[mover.player.name]).backward(  # type: ignore[no-untyped-call]
                inputs=mover.parameters, retain_graph=mover is not turn.movers[-1]
            )
        for mover in turn.movers:
            for parameter in mover.parameters:
                if parameter.grad is None:  # compiled code gives zeros, which Adam does not pass over
                    parameter.grad = torch.zeros_like(parameter)
            state.group.average(mover.parameters)
            mover.optimizer.step()
            if mover.player.after_step:
                with torch.no_grad():
                    mover.player.after_step()
            loss = losses[mover.player.name]
            if state.ada:
                loss = state.ada.measure(mover.player, loss)
            state.meter.add(mover.player.name, loss)


def total(loss: Loss) -> Tensor:
    """The sum of the terms, which the optimizer minimises; float32 at least."""
    terms = torch.stack(list(loss.terms.values()))
    return terms.sum(dtype=torch.promote_types(terms.dtype, torch.float32))


class Meter:
    """Means of every player's loss terms and measures since the last `read`, added up on the device.

    The sums and the step are tensors that stay the same, so that a CUDA graph can contain `add`. The means are those of
    the global batches: all processes of `group` read together and get the same.
    """

    def __init__(self, device: torch.device, group: Group = ALONE) -> None:
        self._group = group
        self._step = torch.zeros((), device=device)
        self._names: dict[str, list[str]] = {}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._bad: dict[str, Tensor] = {}  # the first step at which each value was not finite; inf: none
        self._copied: tuple[torch.cuda.Event, dict[str, Tensor], dict[str, int]] | None = None  # by `glance`
        self._glanced: dict[str, float] = {}

    def at(self, step: int) -> None:
        """What is added from now on belongs to `step`: 0, 1, …"""
        self._step.fill_(step)

    def add(self, player: str, loss: Loss) -> None:
        values = torch.stack([v.detach().float() for v in (*loss.terms.values(), *loss.measures.values())])
        if player not in self._sums:
            self._names[player] = [
                *(f"loss.{player}.{name}" for name in loss.terms),
                *(f"measure.{player}.{name}" for name in loss.measures),
            ]
            self._sums[player] = torch.zeros_like(values)
            self._bad[player] = torch.full_like(values, torch.inf)
        self._sums[player] += values
        self._bad[player].copy_(torch.minimum(self._bad[player], torch.where(values.isfinite(), torch.inf, self._step)))
        self.count(player)

    def count(self, player: str, times: int = 1) -> None:
        """`add` was done so many times; a CUDA graph repeats its work, but not this count."""
        self._counts[player] = self._counts.get(player, 0) + times

    def glance(self) -> dict[str, float]:
        """What `read` would give now, of this process alone. Changes nothing and never waits for the device.

        On a GPU the sums are copied meanwhile, so the means are those of the glance before; {} at the first.
        """
        if self._step.device.type != "cuda":
            return self._means(self._sums, self._counts)
        if self._copied and not self._copied[0].query():  # type: ignore[no-untyped-call]
            return self._glanced
        if self._copied:
            self._glanced = self._means(*self._copied[1:])
        copies = {
            player: torch.empty_like(sums, device="cpu", pin_memory=True).copy_(sums, non_blocking=True)
            for player, sums in self._sums.items()
        }
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._copied = event, copies, dict(self._counts)
        return self._glanced

    def _means(self, sums: dict[str, Tensor], counts: dict[str, int]) -> dict[str, float]:
        return {
            name: total / counts[player]
            for player, values in sums.items()
            if counts.get(player)
            for name, total in zip(self._names[player], values.tolist(), strict=True)
        }

    def read(self) -> dict[str, float]:
        """`loss.PLAYER.TERM` and `measure.PLAYER.NAME` → mean; then start anew. Waits for the device.

        Raises Diverged for the earliest value that was not finite.
        """
        means: dict[str, float] = {}
        worst: tuple[float, str] | None = None
        for player, sums in self._sums.items():
            count = self._counts[player] * self._group.size
            if not count:
                continue
            self._group.sum(sums)
            self._group.least(self._bad[player])
            rows = zip(self._names[player], sums.tolist(), self._bad[player].tolist(), strict=True)
            for name, total, bad in rows:
                if bad != torch.inf and (worst is None or bad < worst[0]):
                    worst = (bad, name)
                means[name] = total / count
            self._counts[player] = 0
            sums.zero_()
            self._bad[player].fill_(torch.inf)
        if worst:  # people count steps from 1
            raise Diverged(f"{worst[1]} became NaN or infinite at step {int(worst[0]) + 1}")
        return means
