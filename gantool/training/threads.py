"""How many threads torch computes a step on. On a busy machine one thread is often faster than all.

With another number of threads torch cuts sums and matrix products into other parts, and rounds otherwise. So a run
keeps its number: checkpoints hold it, and a measurement of the speeds leaves the state as it was.
"""

from __future__ import annotations

import contextlib
import copy
import os
import time
from collections.abc import Iterator, Sequence

import torch

from gantool.run.rundir import RunInfo
from gantool.system.machine import usable_cores
from gantool.training.state import State
from gantool.training.step import Diverged, iterate

SHORT = 50  # steps of a run that are over before a measurement pays
ROUNDS, ROUND_SECONDS, LIMIT_SECONDS = 3, 0.15, 15.0  # of a measurement; each number in turn, because load changes
SLOWER = 0.5  # of the best speed so far: the numbers are measured again
FASTER = 1.05  # times as fast: worth more threads
SWITCH = 1.2  # times as fast: worth other rounding in the middle of a run


class Threads:
    """Chooses the number of threads of one training, and sets it."""

    def __init__(self, state: State, info: RunInfo) -> None:
        self.state, self.info, self.best = state, info, 0.0
        self.most = available()
        self.measures = (
            info.threads == "auto"
            and "OMP_NUM_THREADS" not in os.environ
            and self.most > 1
            and state.group.size == 1
            and state.device.type == "cpu"
            and state.engine.name != "compiled"  # it compiles anew for each number
        )

    def begin(self) -> str:
        """Set the number: as given, as recorded, or the best as measured; returns what to say of it, or ""."""
        info, said = self.info, ""
        if info.threads != "auto":
            info.threads_used = info.threads
        elif not info.threads_used and self.measures and info.steps - self.state.step >= SHORT:
            speeds = measure(self.state, sorted({1, self.most}))
            info.threads_used = min(n for n in speeds if speeds[n] * FASTER >= max(speeds.values()))
            said = self._words(speeds)
        torch.set_num_threads(info.threads_used or self.most)
        info.threads_used = torch.get_num_threads()
        return said

    def look_again(self, speed: float) -> str:
        """Measure again when `speed` (images/s) is half of the best so far; returns what to say of a change, or ""."""
        self.best = max(self.best, speed)
        if not self.measures or speed > SLOWER * self.best:
            return ""
        self.best, used = speed, self.info.threads_used
        speeds = measure(self.state, sorted({1, used, self.most}))
        fastest = max(speeds, key=lambda n: speeds[n])
        if speeds[fastest] >= SWITCH * speeds[used]:
            self.info.threads_used = fastest
        torch.set_num_threads(self.info.threads_used)
        return "" if self.info.threads_used == used else self._words(speeds)

    def _words(self, speeds: dict[int, float]) -> str:
        unit = f"{self.state.game.output.noun}s/s"
        rates = ", ".join(f"{speed:,.0f} {unit} with {count}" for count, speed in speeds.items())
        return f"computing on {self.info.threads_used} of {self.most} threads: {rates}"


def available() -> int:
    """The number that OMP_NUM_THREADS names, else torch's own choice or the cores of this process, if fewer."""
    count = torch.get_num_threads()
    return count if "OMP_NUM_THREADS" in os.environ else min(count, usable_cores())


def measure(state: State, counts: Sequence[int]) -> dict[int, float]:
    """Images a second with each number of threads. The state is then as it was."""
    saved = copy.deepcopy(state.state_dict())
    first = int(saved["step"])
    steps, seconds = dict.fromkeys(counts, 0), dict.fromkeys(counts, 0.0)
    limit = time.perf_counter() + LIMIT_SECONDS
    for turn in range(1 + ROUNDS):  # the first step with a number is slow, and not counted
        for count in counts:
            torch.set_num_threads(count)
            state.step = first  # some players move in some steps only: in the same ones with each number
            began = time.perf_counter()
            iterate(state)
            while turn and time.perf_counter() < began + ROUND_SECONDS:
                iterate(state)
            if turn:
                seconds[count] += time.perf_counter() - began
                steps[count] += state.step - first
        if turn and time.perf_counter() > limit:
            break
    state.load_state_dict(saved)
    with contextlib.suppress(Diverged):
        state.meter.read()  # starts it anew
    return {count: steps[count] * state.data_per_step() / seconds[count] for count in counts}


@contextlib.contextmanager
def computing_on(count: int | None = None) -> Iterator[None]:
    """Torch computes on so many threads inside (None: as before), and on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
