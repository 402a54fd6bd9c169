"""How an iteration is computed. All engines do the arithmetic of `step.move`; `eager` is that function itself."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import torch
from torch import Tensor

from gantool.errors import GantoolError
from gantool.plugin.game import Game
from gantool.training import layers, step
from gantool.training.step import Turn

if TYPE_CHECKING:
    from gantool.training.state import State

Name = Literal["auto", "eager", "rewritten", "compiled", "graph"]


class Engine(Protocol):
    """Runs the turns of one iteration, each on its batch."""

    name: str
    capturable: bool  # optimizers keep all of their state on the device

    def prepare(self, game: Game) -> None:
        """Once, when the modules are on the device."""

    def run(self, state: State, turns: Sequence[Turn], batches: Sequence[dict[str, Tensor]]) -> None: ...

    def reset(self) -> None:
        """Weights or optimizer states were replaced by other tensors."""


def choose(name: str, device: torch.device) -> str:
    """`auto` → `rewritten` on a CPU, which was measured; `graph` on CUDA, where small networks wait for launches."""
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
    """The engine called `name`, or GantoolError when `device` can't have it."""
    engines: dict[str, type[Engine]] = {
        "eager": Eager,
        "rewritten": Rewritten,
        "compiled": Compiled,
        "graph": Graph,
    }
    return engines[choose(name, device)]()


class Eager:
    """Every operation as the modules have it."""

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
    """Eager, with thin convolutions as matrix products and cheaper dropout masks: for CPUs."""

    name = "rewritten"

    def prepare(self, game: Game) -> None:
        for module in game.modules().values():
            layers.rewrite(module)


class Compiled(Eager):
    """Every turn's losses and their gradients through torch.compile."""

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
    """A captured iteration: the graph, where it reads its batches, and the players in the order of their moves."""

    graph: torch.cuda.CUDAGraph
    places: list[dict[str, Tensor]]
    players: list[str]


class Graph(Eager):
    """A whole iteration in one CUDA graph, for networks whose kernels are shorter than their launches.

    For each set of players that move together (`every`), the first iterations run eagerly on a side stream, as
    capturing asks for (lazy states, the plans of cuDNN); they count. Then one is captured, and replayed on batches
    copied in.
    Random numbers inside come from torch's default CUDA generator, which a replay advances as the eager step would.
    """

    name = "graph"
    capturable = True

    def __init__(self) -> None:
        self._runs: dict[tuple[int, ...], int] = {}
        self._captures: dict[tuple[int, ...], _Capture] = {}

    def reset(self) -> None:
        self._runs.clear()
        self._captures.clear()

    def run(self, state: State, turns: Sequence[Turn], batches: Sequence[dict[str, Tensor]]) -> None:
        key = tuple(id(turn) for turn in turns)
        with torch.cuda.device(state.device):  # streams and graphs are made on the current one
            if self._runs.setdefault(key, 0) < WARM_UP:
                self._runs[key] += 1
                self._warm_up(state, turns, batches)
                return
            if key not in self._captures:
                self._captures[key] = self._capture(state, turns, batches)
            capture = self._captures[key]
            _copy(batches, capture.places)
            capture.graph.replay()
        for player in capture.players:
            state.meter.count(player)

    def _warm_up(self, state: State, turns: Sequence[Turn], batches: Sequence[dict[str, Tensor]]) -> None:
        aside = torch.cuda.Stream(state.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(state.device))
        with torch.cuda.stream(aside):
            super().run(state, turns, batches)
        torch.cuda.current_stream(state.device).wait_stream(aside)

    def _capture(self, state: State, turns: Sequence[Turn], batches: Sequence[dict[str, Tensor]]) -> _Capture:
        places = _places(batches)
        graph = torch.cuda.CUDAGraph()
        try:
            # other threads (NCCL's watchdog) may speak to the device meanwhile
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                super().run(state, turns, places)
        except RuntimeError as error:
            # ending a capture that went wrong raises an error of its own, which hides why
            cause: BaseException = error
            while cause.__context__ is not None:
                cause = cause.__context__
            raise GantoolError(
                f"This architecture's step could not be captured in a CUDA graph: {str(cause).partition(chr(10))[0]}",
                "Use --engine eager.",
            ) from error
        players = [mover.player.name for turn in turns for mover in turn.movers]
        for player in players:
            state.meter.count(player, -1)  # capturing computed nothing
        return _Capture(graph, places, players)


def _places(batches: Sequence[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Tensors of their own in the shape of the batches; what is one tensor there is one here."""
    made: dict[int, Tensor] = {}
    return [
        {name: made.setdefault(id(tensor), torch.empty_like(tensor)) for name, tensor in batch.items()}
        for batch in batches
    ]


def _copy(batches: Sequence[dict[str, Tensor]], places: Sequence[dict[str, Tensor]]) -> None:
    done: set[int] = set()
    for batch, place in zip(batches, places, strict=True):
        for name, tensor in batch.items():
            if id(tensor) not in done:
                done.add(id(tensor))
                place[name].copy_(tensor)
