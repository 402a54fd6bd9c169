"""The engine `local`: processes of this machine, each with a session of its own on one thread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from gantool.errors import GantoolError
from gantool.shards.events import Again, Attempts, Part, Report
from gantool.shards.maker import Made, Maker
from gantool.shards.plan import ON_GPU, Plan, Shard
from gantool.system import nvml
from gantool.system.cores import usable_cores
from gantool.system.subprocesses import begin_as_helper, describe_exit, ignore_sigint

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PATIENCE = 10.0  # seconds that a worker without work may take to end


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    slot: int
    shard: Shard


def run(plan: Plan, artifact: Path, out: Path, todo: Sequence[Shard], workers: int | None, report: Report) -> None:
    """Make the shards `todo` of `plan` in `out`, and `report` as it goes on.

    `workers`: how many processes; None: one a core, or one a GPU. After any end no worker is left. GantoolError: one
    that a worker met, or a shard whose worker was lost again and again.
    """
    devices = nvml.visible_devices() if plan.provider in ON_GPU else []
    count = workers or len(devices) or (1 if plan.provider in ON_GPU else usable_cores())
    waiting, attempts = deque(todo), Attempts()
    running: list[_Worker] = []

    def start(slot: int) -> None:
        if waiting:
            device = devices[slot % len(devices)] if devices else None
            running.append(_start(plan, artifact, out, waiting.popleft(), slot, device))

    try:
        for slot in range(min(count, len(waiting))):
            start(slot)
        while running:
            ready = connection.wait([worker.pipe for worker in running])
            for worker in [worker for worker in running if worker.pipe in ready]:
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    running.remove(worker)
                    worker.process.join()
                    why = attempts.lost(worker.shard, describe_exit(worker.process.exitcode))
                    report(Again(worker.shard.number, why))
                    waiting.appendleft(worker.shard)
                    start(worker.slot)
                    continue
                if isinstance(message, GantoolError):
                    raise message
                report(message)
                if isinstance(message, Made):
                    if waiting:
                        worker.shard = waiting.popleft()
                        # a worker that is gone meanwhile is found at the next turn
                        with suppress(OSError):
                            worker.pipe.send(worker.shard)
                    else:
                        running.remove(worker)
                        _end(worker)
    finally:
        for worker in running:
            worker.process.kill()
        for worker in running:
            worker.process.join()
            worker.pipe.close()


def _start(plan: Plan, artifact: Path, out: Path, shard: Shard, slot: int, device: str | None) -> _Worker:
    context = get_context("spawn")  # a fork of a process that has threads may hang
    pipe, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, plan, artifact, out, device), daemon=True)
    with ignore_sigint():
        process.start()
    theirs.close()  # else its end would not be seen here
    worker = _Worker(process, pipe, slot, shard)
    with suppress(OSError):
        pipe.send(shard)
    return worker


def _end(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.join(_PATIENCE)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _work(pipe: Connection, plan: Plan, artifact: Path, out: Path, device: str | None) -> None:
    """A worker: shards come, parts and results go, until the pipe ends."""
    begin_as_helper()
    for name in _THREADS:
        os.environ[name] = "1"
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    maker = Maker(plan, artifact, out)
    with suppress(EOFError, ConnectionError):
        while True:
            shard: Shard = pipe.recv()
            try:
                made = maker.make(shard, lambda done, shard=shard: pipe.send(Part(shard.number, done)))  # type: ignore[misc]
            except GantoolError as error:
                pipe.send(error)
                return
            pipe.send(made)
