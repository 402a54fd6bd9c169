"""The engine `local`: worker processes on this machine, each with a session of its own on one thread."""

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
from gantool.shards.maker import Maker
from gantool.shards.plan import ON_GPU, Made, Part, Plan, Report, Shard, WorkerLost
from gantool.system import nvml
from gantool.system.machine import usable_cores
from gantool.system.subprocesses import begin_as_helper, describe_exit, ignore_sigint

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_END_SECONDS = 10.0  # that an idle worker may take to end


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    device: str | None
    shard: Shard


def run(plan: Plan, artifact: Path, out: Path, todo: Sequence[Shard], workers: int | None, report: Report) -> None:
    """Make the shards `todo` of `plan` in `out`, and `report` every event.

    `workers`: how many processes; None: one for each core or GPU. No worker outlives the call. GantoolError: a worker
    met one, or a shard lost its worker too often.
    """
    devices = nvml.visible_devices() if plan.provider in ON_GPU else []
    count = workers or len(devices) or (1 if plan.provider in ON_GPU else usable_cores())
    waiting = deque(todo)
    running: list[_Worker] = []

    def start(device: str | None) -> None:
        running.append(_start(plan, artifact, out, waiting.popleft(), device))

    try:
        for slot in range(min(count, len(waiting))):
            start(devices[slot % len(devices)] if devices else None)
        while running:
            ready = connection.wait([worker.pipe for worker in running])
            for worker in [worker for worker in running if worker.pipe in ready]:
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    running.remove(worker)
                    worker.process.join()
                    report(WorkerLost(worker.shard.number, describe_exit(worker.process.exitcode)))
                    waiting.appendleft(worker.shard)
                    start(worker.device)
                    continue
                if isinstance(message, GantoolError):
                    raise message
                report(message)
                if isinstance(message, Made):
                    if waiting:
                        worker.shard = waiting.popleft()
                        with suppress(OSError):  # of a worker that has died: the next turn notices
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


def _start(plan: Plan, artifact: Path, out: Path, shard: Shard, device: str | None) -> _Worker:
    context = get_context("spawn")  # forking a process that has threads may hang
    pipe, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, plan, artifact, out, device), daemon=True)
    with ignore_sigint():
        process.start()
    theirs.close()  # otherwise the pipe would not end with the worker
    with suppress(OSError):
        pipe.send(shard)
    return _Worker(process, pipe, device, shard)


def _end(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.join(_END_SECONDS)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _work(pipe: Connection, plan: Plan, artifact: Path, out: Path, device: str | None) -> None:
    """The worker process: receives shards, sends parts and results, until the pipe is closed."""
    begin_as_helper()
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    maker = Maker(plan, artifact, out)
    with suppress(EOFError, ConnectionError):
        while True:
            shard: Shard = pipe.recv()
            try:
                pipe.send(maker.make(shard, lambda done, shard=shard: pipe.send(Part(shard.number, done))))  # type: ignore[misc]
            except GantoolError as error:
                pipe.send(error)
                return
