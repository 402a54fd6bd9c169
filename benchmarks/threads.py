"""Trainings side by side on one machine: on how many threads, and should threads that wait spin or sleep?

    python benchmarks/threads.py --json benchmarks/results/threads-cpu.json

Every way trains alone, then twice at the same time, each in a process of its own; the ways take turns, round by round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gantool.system import machine
from gantool.system.files import write_json
from gantool.system.subprocesses import JsonProcess, json_input, json_output

# environment variables; {}: the default of OpenMP
POLICIES = {"spin": {}, "sleep": {"OMP_WAIT_POLICY": "passive"}, "spin, then sleep": {"GOMP_SPINCOUNT": machine.SPINS}}
PATIENCE = 600.0  # seconds until a child has answered


def train() -> None:
    """A child: trains for the seconds that a line asks for, and answers with the images and its CPU seconds."""
    send = json_output()
    import torch

    from gantool.plugin import registry
    from gantool.plugin.train_options import TrainOptions
    from gantool.training import session
    from gantool.training.step import iterate

    asked = next(requests := json_input())
    torch.set_num_threads(asked["threads"])
    with tempfile.TemporaryDirectory() as folder:
        opened = session.start(registry.find(asked["architecture"]), {}, TrainOptions(runs=Path(folder)))
        state = opened.state
        for _ in range(3):
            iterate(state)
        send({"ready": True})
        seconds = next(requests)["seconds"]
        first, began, worked = state.step, time.perf_counter(), time.process_time()
        while time.perf_counter() < began + seconds:
            iterate(state)
        images = (state.step - first) * state.data_per_step()
        taken, cpu = time.perf_counter() - began, time.process_time() - worked
        send({"images_per_second": images / taken, "images_per_cpu_second": images / cpu})


def side_by_side(count: int, architecture: str, threads: int, policy: str, seconds: float) -> list[dict[str, float]]:
    """What `count` trainings at the same time reach."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        os.environ.pop(name, None)
    os.environ.update(POLICIES[policy])  # the children inherit it
    with ExitStack() as stack:
        children = [stack.enter_context(JsonProcess([sys.executable, __file__, "--child"])) for _ in range(count)]
        for child in children:
            child.send({"architecture": architecture, "threads": threads})
        for child in children:
            _answer(child)
        for child in children:
            child.send({"seconds": seconds})
        return [_answer(child) for child in children]


def _answer(child: JsonProcess) -> dict[str, Any]:
    answer = child.receive(PATIENCE)
    if answer is None:
        sys.exit(f"A training {child.ending()}.{child.stderr_tail()}")
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--architectures", default="mlp,dcgan")
    parser.add_argument("--threads", default=f"1,{machine.usable_cores()}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.child:
        train()
        return
    ways = [
        (count, architecture, int(threads), policy)
        for architecture in given.architectures.split(",")
        for count in (1, 2)
        for threads in given.threads.split(",")
        for policy in POLICIES
        if threads != "1" or policy == "spin"  # one thread waits for no other
    ]
    rounds: dict[Any, list[list[dict[str, float]]]] = {way: [] for way in ways}
    for _ in range(given.rounds):
        for way in ways:
            rounds[way].append(side_by_side(*way, seconds=given.seconds))
    cases = []
    for (count, architecture, threads, policy), made in rounds.items():
        rates = [sum(one["images_per_second"] for one in together) for together in made]
        per_cpu = [statistics.mean(one["images_per_cpu_second"] for one in together) for together in made]
        cases.append(
            {
                "architecture": architecture,
                "trainings": count,
                "threads": threads,
                "waiting": policy,
                "images_per_second": statistics.median(rates),
                "images_per_cpu_second": statistics.median(per_cpu),
                "rounds": rates,
            }
        )
        print(
            f"{architecture}: {count} training(s) of {threads} thread(s) that {policy}: "
            f"{statistics.median(rates):,.0f} images/s in all, {statistics.median(per_cpu):,.0f} a CPU second"
        )
    if given.json:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        write_json(given.json, {"machine": {**machine.describe(), "load": load}, "cases": cases})


if __name__ == "__main__":
    main()
