"""Where the time of a training iteration goes: its share of the matrix rate, and the share of each kind of work.

    python benchmarks/shares.py --json benchmarks/results/shares-cpu.json

Each case trains on pictures of noise in a process of its own, on one thread and on two. Times are processor time, which
other programs on the machine change little; threads that wait sleep, so that waiting costs none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import roofline  # beside this file
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gantool.plugin import SampleSpec, registry
from gantool.plugin.options import PRESET, resolve
from gantool.system import machine
from gantool.system.files import write_json
from gantool.testing import synthetic
from gantool.training.state import State
from gantool.training.step import iterate

CASES = {
    "mlp 28": ("mlp", "", (1, 28, 28)),
    "dcgan 32": ("dcgan", "", (1, 32, 32)),
    "r3gan tiny 32": ("r3gan", "tiny", (3, 32, 32)),
    "stylegan2 tiny 32": ("stylegan2", "tiny", (3, 32, 32)),
    "projected tiny 32": ("projected", "tiny", (3, 32, 32)),
}
WARM_UP, PERIODS, ITERATIONS = 3, 3, 40  # measured: so many periods of the lazy penalties, and iterations, at least
FORWARD, BACKWARD, NORM, POINTWISE = "products forward", "products backward", "normalisation", "element-wise, copies"
OPTIMIZER, DATA, OVERHEAD = "optimizer, average", "data", "dispatch, Python"
GROUPS = (FORWARD, BACKWARD, NORM, POINTWISE, OPTIMIZER, DATA, OVERHEAD)
PRODUCTS, NORMS, UPDATES = ("mm", "conv"), ("_norm", "var"), ("_fused_adam", "_foreach")


def state_of(case: str) -> State:
    """The case's training, warmed up."""
    name, preset, shape = CASES[case]
    architecture = registry.find(name).architecture
    assert architecture is not None
    config, recipe = resolve(architecture, {PRESET: preset})
    data = synthetic(SampleSpec(shape), 4 * recipe.batch_size)
    device = torch.device("cpu")
    state = State(architecture, config, recipe, data, seed=0, device=device, precision="fp32", engine="auto")
    for _ in range(WARM_UP):
        iterate(state)
    return state


def seconds(run: Callable[[], object]) -> float:
    """Processor time."""
    began = time.process_time()
    run()
    return time.process_time() - began


class Clock(TorchDispatchMode):
    """Adds up processor time by kind of operator. torch's profiler has wall time, in which other programs run, too."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = Counter[str]()
        self.drawing = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        began = time.thread_time()
        result = func(*args, **(kwargs or {}))
        self.seconds[self._kind(func)] += time.thread_time() - began
        return result

    def _kind(self, func: Any) -> str:
        name = func.overloadpacket.__name__
        if func.is_view:
            return OVERHEAD
        if self.drawing:
            return DATA
        if any(part in name for part in UPDATES):
            return OPTIMIZER
        if any(part in name for part in NORMS):
            return NORM
        if any(part in name for part in PRODUCTS):
            return FORWARD if torch._C._current_autograd_node() is None else BACKWARD
        return POINTWISE


def profile(state: State) -> dict[str, float]:
    """Seconds of an iteration by kind of operator: the least of each of several periods."""
    draw, periods = state.sampler.draw, []
    for _ in range(max(PERIODS, ITERATIONS // period(state))):
        with Clock() as clock:

            def drawn(names: list[str], clock: Clock = clock) -> Any:
                clock.drawing = True
                made = draw(names)
                clock.drawing = False
                return made

            state.sampler.draw = drawn
            for _ in range(period(state)):
                iterate(state)
        periods.append(clock.seconds)
    state.sampler.draw = draw
    return {group: min(p[group] for p in periods) / period(state) for group in GROUPS}


def period(state: State) -> int:
    return int(max(turn.every for turn in state.turns))


def measure(case: str, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    state = state_of(case)
    while state.step % period(state):
        iterate(state)
    flops = sum(roofline.count(lambda: iterate(state)).flops for _ in range(period(state))) / period(state)

    def several() -> None:
        for _ in range(period(state)):
            iterate(state)

    products, iterations, walls = [], [], []
    for _ in range(max(PERIODS, ITERATIONS // period(state))):
        products.append(seconds(lambda: a @ b))
        began = time.perf_counter()
        iterations.append(seconds(several) / period(state))
        walls.append((time.perf_counter() - began) / period(state))
    taken, rate = min(iterations), 2 * 1024**3 / min(products)
    found: dict[str, Any] = {
        "case": case,
        "threads": threads,
        "flops": flops,
        "milliseconds": round(1e3 * taken, 2),
        "milliseconds_median": round(1e3 * sorted(iterations)[len(iterations) // 2], 2),
        "wall_milliseconds": round(1e3 * min(walls), 2),
        "gflops_of_a_core": round(rate / 1e9, 1),
        "of_matrix_rate": round(flops / taken / rate, 3),
    }
    if threads == 1:
        groups = profile(state)
        groups[OVERHEAD] = max(0.0, taken - sum(groups[group] for group in GROUPS if group != OVERHEAD))
        found["shares"] = {group: round(groups[group] / sum(groups.values()), 3) for group in GROUPS}
        products_taken = groups[FORWARD] + groups[BACKWARD]
        found["products_of_matrix_rate"] = round(flops / products_taken / rate, 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        with machine.keeping_freed_memory():  # as in a training
            print(json.dumps(measure(given.cases[0], given.threads[0])))
        return
    rows = []
    for case in given.cases:
        for threads in given.threads:
            command = [sys.executable, __file__, "--one", "--cases", case, "--threads", str(threads)]
            environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
    if given.json:
        about = {"machine": machine.describe(), "load": machine.load(), "torch": torch.__version__}
        write_json(given.json, {**about, "rows": rows})


if __name__ == "__main__":
    main()
