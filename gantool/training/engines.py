"""Engines: ways to compute an iteration. All do the arithmetic of `step.move`; `eager` is that function itself."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import torch
from torch import Tensor

from gantool.errors import GantoolError, cause
from gantool.plugin.game import Game
from gantool.training import layers, step
from gantool.training.step import Turn

if TYPE_CHECKING:
    from gantool.training.state import State

Name = Literal["auto", "eager", "rewritten", "compiled", "graph"]


class Engine(Protocol):
    """Runs the turns of one iteration, each on its batch."""

    name: str
    capturable: bool  # optimizers must keep all of their state on the device

    def prepare(self, game: Game) -> None:
        """Called once, when the modules are on the device."""

    def run(self, state: State, turns: Sequence[Turn], batches: Sequence[dict[str, Tensor]]) -> None: ...

    def reset(self) -> None:
        """Called when weights or optimizer states were replaced by other tensors, and before the group ends."""


def choose(name: str, device: torch.device) -> str:
    """Resolve `auto`: `rewritten` on a CPU, `graph` on CUDA. GantoolError when `device` can't have the engine."""
    if name not in get_args(Name):
        raise GantoolError(f"There is no engine {name!r}.", f"Use {', '.join(get_args(Name))}.")
    if name == "auto":
        return "graph" if device.type == "cuda" else "rewritten"
    if name == "graph" and device.type != "cuda":
        raise GantoolError("The engine 'graph' captures CUDA graphs, so it needs a CUDA device.", "Use --engine auto.")
    if name == "compiled" and device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "cl"))):
        raise GantoolError("The engine 'compiled' needs a C++ compiler (g++) on a CPU.", "Use --engine auto.")
    return name


def make(name: str, device: torch.device) -> Engine:
    """The engine called `name`; GantoolError when `device` can't have it."""
    engines: dict[str, type[Engine]] = {
        "eager": Eager,
        "rewritten": Rewritten,
        "compiled": Compiled,
        "graph": Graph,
    }
    return engines[choose(name, device)]()


class Eager:
    """Runs the modules as they are."""

    name = "eager"
    capturable = False

    def prepare(self, game: Game) -> None:
        pass

    def run(self, state: State, turns: Sequence[Turn], batches: Sequence[dict[str, Tensor]]) -> None:
        for turn, batch in zip(turns, batches, strict=True):
            step.move(state, turn, batch)

    def reset(self) -> None:
        pass


class Rewritten(Eager):
    """Eager, after convolutions of few channels became matrix products and dropout masks cheaper: for CPUs."""

    name = "rewritten"

    def prepare(self, game: Game) -> None:
        for module in game.modules().values():
            layers.rewrite(module)


class Compiled(Eager):
    """Compiles each turn's losses and their gradients by torch.compile."""

    name = "compiled"

    def __init__(self) -> None:
        self._compiled: dict[int, Turn] = {}

    def run(self, state: State, turns: Sequence[Turn], batches: Sequence[dict[str, Tensor]]) -> None:
        for turn, batch in zip(turns, batches, strict=True):
            if id(turn) not in self._compiled:
                self._compiled[id(turn)] = replace(turn, losses=torch.compile(turn.losses))
            step.move(state, self._compiled[id(turn)], batch)


WARM_UP = 3


@dataclass(frozen=True)
class _Capture:
    """A captured iteration: its graph, the buffers that it reads its batches from, and the players that move."""

    graph: torch.cuda.CUDAGraph
    buffers: list[dict[str, Tensor]]
    players: list[str]


class Graph(Eager):
    """Runs a whole iteration as one CUDA graph, for networks whose kernels take less time than their launches.

    The first iterations of each set of turns (`every` makes several sets) run eagerly on a side stream, as capturing
    needs it (lazy states, cuDNN's plans); they are normal iterations. Then one is captured, and replayed on batches
    copied into its buffers. Random numbers in it come from torch's default CUDA generator, which a replay advances as
    an eager step would.
    """

    name = "graph"
    capturable = True

    def __init__(self) -> None:
        self._runs: dict[tuple[int, ...], int] = {}
        self._captures: dict[tuple[int, ...], _Capture] = {}
        self._aside: torch.cuda.Stream | None = None  # one for all: memory freed on one stream serves no other

    def reset(self) -> None:
        if self._captures:
            torch.cuda.synchronize()  # no graph may go while it runs
        self._runs.clear()
        self._captures.clear()

    def run(self, state: State, turns: Sequence[Turn], batches: Sequence[dict[str, Tensor]]) -> None:
        key = tuple(id(turn) for turn in turns)
        with torch.cuda.device(state.device):  # streams and graphs are made on the current device
            if self._runs.setdefault(key, 0) < WARM_UP:
                self._runs[key] += 1
                self._warm_up(state, turns, batches)
                return
            if key not in self._captures:
                self._captures[key] = self._capture(state, turns, batches)
            capture = self._captures[key]
            fill(capture.buffers, batches)
            capture.graph.replay()
        for player in capture.players:
            state.meter.count(player)

    def _warm_up(self, state: State, turns: Sequence[Turn], batches: Sequence[dict[str, Tensor]]) -> None:
        if self._aside is None:
            self._aside = torch.cuda.Stream(state.device)  # type: ignore[no-untyped-call]
        aside = self._aside
        aside.wait_stream(torch.cuda.current_stream(state.device))
        with torch.cuda.stream(aside):
            super().run(state, turns, batches)
        torch.cuda.current_stream(state.device).wait_stream(aside)

    def _capture(self, state: State, turns: Sequence[Turn], batches: Sequence[dict[str, Tensor]]) -> _Capture:
        buffers = buffers_like(batches)
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: other threads (NCCL's watchdog) may use the device meanwhile
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                super().run(state, turns, buffers)
        except RuntimeError as error:
            # the end of a failed capture raises an error of its own; the first one says why
            first: BaseException = error
            while first.__context__ is not None:
                first = first.__context__
            raise GantoolError(
                f"This architecture's step could not be captured in a CUDA graph: {cause(first)}.",
                "Use --engine eager.",
            ) from error
        players = [mover.player.name for turn in turns for mover in turn.movers]
        for player in players:
            state.meter.count(player, -1)  # capturing computes nothing
        return _Capture(graph, buffers, players)


def buffers_like(batches: Sequence[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """New tensors in the shapes of the batches. A tensor that several batches share stays shared."""
    made: dict[int, Tensor] = {}
    return [
        {name: made.setdefault(id(tensor), torch.empty_like(tensor)) for name, tensor in batch.items()}
        for batch in batches
    ]


def fill(buffers: Sequence[dict[str, Tensor]], batches: Sequence[dict[str, Tensor]]) -> None:
    """Copy the batches into buffers made by `buffers_like`; each shared tensor once."""
    pairs = {
        id(tensor): (buffer[name], tensor)
        for buffer, batch in zip(buffers, batches, strict=True)
        for name, tensor in batch.items()
    }
    for target, tensor in pairs.values():
        target.copy_(tensor)
