"""Several processes that train together, as torchrun would start them, but forked from one that has torch loaded."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

from gantool import cli
from gantool.plugin import registry
from gantool.plugin.train_options import TrainOptions
from gantool.run.rundir import RunDir, list_runs
from gantool.training import distributed, loop, session
from gantool.training.distributed import Group
from support import trainings

HANG = 60  # seconds; only a hang takes as long
# A server that has imported everything and has done nothing: torch's threads would not survive a fork.
SPAWN = multiprocessing.get_context("forkserver")
# torch imports _dynamo with the first step of an optimizer, which takes seconds
SPAWN.set_forkserver_preload(["torch._dynamo", "support.ranks", "gantool_mlp.networks", "gantool.api.session"])


@dataclass
class Ended:
    """How a process ended, and what it printed on both streams."""

    code: int | None
    text: str


class Ranks:
    """`size` processes that each do `work(*arguments)`; `absent` ones never start."""

    def __init__(
        self,
        size: int,
        folder: Path,
        work: Callable[..., object],
        *arguments: Any,
        absent: int | None = None,
        **env: str,
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.outputs = [folder / f"rank-{rank}.txt" for rank in range(size)]
        self.processes: dict[int, BaseProcess] = {}
        with mock.patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parents[1])):  # what it preloads, it finds there
            forkserver.ensure_running()
        for rank in range(size):
            if rank != absent:
                given = {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(size),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                    "GANTOOL_TIMEOUT": "30",
                    **env,
                }
                process = SPAWN.Process(target=_child, args=(given, folder, self.outputs[rank], work, arguments))
                process.start()
                self.processes[rank] = process

    def join(self) -> list[Ended]:
        """Wait for all; kills and fails when one hangs."""
        deadline = time.monotonic() + HANG
        ended = []
        for rank, process in self.processes.items():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                for other in self.processes.values():
                    other.kill()
                raise AssertionError(f"process {rank} hangs: {self.outputs[rank].read_text()}")
            ended.append(Ended(process.exitcode, self.outputs[rank].read_text()))
        return ended


def _child(env: dict[str, str], folder: Path, output: Path, work: Callable[..., object], arguments: Any) -> None:
    os.environ.update(env)
    os.chdir(folder)
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    try:
        work(*arguments)
    except SystemExit:
        raise
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def gantool(*arguments: object) -> None:
    """The command line."""
    sys.argv = ["gantool", *map(str, arguments)]
    cli.main()


def together(work: Callable[..., object], *arguments: Any) -> None:
    """`work(group, *arguments)` in the group."""
    with distributed.joined() as group:
        work(group, *arguments)


def train(group: Group, plugin: Any, given: dict[str, Any], common: dict[str, Any]) -> None:
    """A new run of `plugin` in runs/, to its end. `plugin`: a name, or a function that gives a plugin."""
    found = registry.find(plugin) if isinstance(plugin, str) else plugin()
    options = TrainOptions(**{"data": "noise.npz", "device": "cpu", "tick": 20, **common})
    opened = session.start(found, given, options, group=group)
    loop.train(opened.state, opened.run, opened.info, trainings.Silent())


def go_on(group: Group, run: Path, steps: int) -> None:
    """Resume a run, to its end."""
    opened = session.resume(RunDir(run), steps=steps, group=group)
    for note in opened.notes:
        print(note)
    loop.train(opened.state, opened.run, opened.info, trainings.Silent())


def only_run(folder: Path) -> RunDir:
    """The one run in `folder`/runs."""
    (run,) = list_runs(folder / "runs")
    return run
