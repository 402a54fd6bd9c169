"""The engine `ray`: workers are actors of a Ray cluster, one for each CPU or GPU.

Ray schedules the actors on its nodes and moves the bytes of shards made on a machine with a disk of its own. Its
restarts of actors are not used: a restarted actor waits for a node, and would keep its shard from the others.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import socket
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gantool.errors import GantoolError, cause
from gantool.shards.folder import TOKEN
from gantool.shards.maker import Maker, write_error
from gantool.shards.plan import MAX_RETRIES, ON_GPU, Made, Plan, Report, Shard, WorkerLost, optional_library
from gantool.system import files

POLL = 30.0  # seconds between two looks for new nodes
CLOSE_SECONDS = 5.0  # that an actor may take to remove its temporary folder

Result = tuple[Made, np.ndarray | None]


class Worker:
    """An actor. It does not import Ray. Methods return a GantoolError: Ray would wrap one that is raised."""

    def __init__(self, plan: Plan, name: str, artifact: bytes, out: Path, token: str) -> None:
        """`artifact`: the bytes of the exported file `name`. `token`: see `_token`."""
        self.out, self.token = out, token
        self._folder = tempfile.TemporaryDirectory(prefix="gantool-")
        self._own = Path(self._folder.name) / "made"  # apart from the artifact, whatever its name is
        path = Path(self._folder.name) / name
        path.write_bytes(artifact)
        self._maker = Maker(plan, path, out)

    def start(self, gather: bool | None) -> GantoolError | None:
        """Choose where shards are written. `gather`: as in `run`."""
        shared = (self.out / self.token).is_file()
        if gather is False and not shared:
            return GantoolError(
                f"{self.out} on {socket.gethostname()} is not the same folder as on the machine that began.",
                "Leave --no-gather out, or put --out on a file system that all machines share, under the same path.",
            )
        if gather or not shared:
            self._maker.out = self._own
        return None

    def make(self, shard: Shard) -> Result | GantoolError:
        """The finished shard and, when it is gathered, the bytes of its file."""
        for sent in self._own.glob("shard-*"):
            sent.unlink()
        try:
            made = self._maker.make(shard)
        except GantoolError as error:
            return error
        if self._maker.out == self.out:
            return made, None
        return made, np.asarray(np.memmap(self._own / shard.name, np.uint8, "r"))

    def close(self) -> None:
        self._folder.cleanup()


def run(
    plan: Plan,
    artifact: Path,
    out: Path,
    todo: Sequence[Shard],
    workers: int | None,
    report: Report,
    address: str | None = None,
    gather: bool | None = None,
) -> None:
    """Make the shards `todo` of `plan` in `out`, and `report` every event.

    `workers`: how many actors; None: one for each CPU or GPU of the cluster. `address`: of the cluster, as ray.init
    takes it; None: the one in RAY_ADDRESS, else a cluster started here. A connection that the program has is used.
    `gather`: whether actors send their shards here instead of writing to `out`; None: those on machines without that
    folder do; False: such a machine is an error. GantoolError as of the engine `local`.
    """
    ray = optional_library("ray", "ray")
    out = out.resolve()
    with _connected(ray, address), _token(out) as token:
        _Pool(ray, plan, artifact, out, workers, token, gather).make(todo, report)


class _Pool:
    """The actors, each with one call in flight; made shards wait in Ray's object store until they are written here."""

    def __init__(
        self, ray: Any, plan: Plan, artifact: Path, out: Path, workers: int | None, token: str, gather: bool | None
    ) -> None:
        self.ray, self.workers, self.out, self.gather = ray, workers, out, gather
        self.kind = "GPU" if plan.provider in ON_GPU else "CPU"
        needs: dict[str, float] = {"num_cpus": 1}
        if self.kind == "GPU":  # more workers than GPUs share them: encoding PNG takes longer than making images
            needs = {"num_gpus": 1 / math.ceil((workers or 1) / max(1, self._in_cluster())), "num_cpus": 0}
        self.actor = ray.remote(Worker).options(**needs, scheduling_strategy="SPREAD", max_restarts=0)
        self.arguments = (plan, artifact.name, ray.put(artifact.read_bytes()), out, token)
        self.calls: dict[Any, tuple[Any, Shard | None]] = {}  # by reference: the actor, its shard (None: it starts)
        self.failed_starts = 0  # since an actor last answered

    def make(self, todo: Sequence[Shard], report: Report) -> None:
        waiting = deque(todo)
        try:
            while waiting or any(shard is not None for _, shard in self.calls.values()):
                self._start_actors(len(waiting))
                ready, _ = self.ray.wait(list(self.calls), num_returns=1, timeout=POLL, fetch_local=False)
                for reference in ready:
                    actor, shard = self.calls[reference]
                    try:
                        made = self._finish(reference, shard)
                    except self.ray.exceptions.RayTaskError:  # a bug of ours
                        raise
                    except self.ray.exceptions.RayError as error:
                        del self.calls[reference]
                        self.ray.kill(actor)  # it may live on, out of reach
                        if shard is None:
                            self._check_starts(error)
                        else:
                            report(WorkerLost(shard.number, f"was gone ({cause(error)})"))
                            waiting.appendleft(shard)
                        continue
                    self.failed_starts = 0
                    if made is not None:
                        report(made)
                    elif shard is not None:
                        report(WorkerLost(shard.number, "sent another file than it had made"))
                        waiting.appendleft(shard)
                    del self.calls[reference]
                    if waiting:
                        shard = waiting.popleft()
                        self.calls[actor.make.remote(shard)] = actor, shard
                    else:
                        self.ray.wait([actor.close.remote()], timeout=CLOSE_SECONDS)
                        self.ray.kill(actor)
        finally:
            for actor, _ in self.calls.values():
                self.ray.kill(actor)

    def _finish(self, reference: Any, shard: Shard | None) -> Made | None:
        """The shard that a call made, now in `out`; None: the actor has started, or the bytes arrived damaged."""
        result: Result | GantoolError | None = self.ray.get(reference)
        if isinstance(result, GantoolError):
            raise result
        if result is None or shard is None:
            return None
        made, data = result
        if data is not None:
            if hashlib.sha256(data.data).hexdigest() != made.sha256:
                return None
            path = self.out / shard.name
            try:
                with files.replacing(path) as temporary, temporary.open("wb") as file:
                    file.write(data.data)
            except OSError as error:
                raise write_error(path, error) from error
        return made

    def _start_actors(self, waiting: int) -> None:
        """Ask for actors up to the cluster's CPUs or GPUs, which come and go with nodes.

        An actor gets its first shard when it runs: one that the cluster has no room for holds nothing up.
        """
        slots = self.workers or self._in_cluster()
        if not slots and not self.calls:
            raise GantoolError(f"The Ray cluster has no {self.kind}.", "Add a node, or take another --provider.")
        starting = sum(shard is None for _, shard in self.calls.values())
        for _ in range(min(slots - len(self.calls), waiting - starting)):
            actor = self.actor.remote(*self.arguments)
            self.calls[actor.start.remote(self.gather)] = actor, None

    def _check_starts(self, error: Exception) -> None:
        """Nodes may be lost while actors start on them; where none ever starts, something is wrong."""
        self.failed_starts += 1
        if self.failed_starts > MAX_RETRIES * (self.workers or self._in_cluster()):
            raise GantoolError(
                f"No worker starts on the Ray cluster: {str(error).strip().splitlines()[-1]}",
                "Install gantool, of the same version, on every node.",
            )

    def _in_cluster(self) -> int:
        return int(self.ray.cluster_resources().get(self.kind, 0))


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connected to a cluster; disconnected afterwards, unless the program was connected before."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster started here sends no usage reports
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise GantoolError(
            f"There is no connection to the Ray cluster {address or 'here'}: {cause(error)}.",
            "Start one with: ray start --head; then: --address auto",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _token(out: Path) -> Iterator[str]:
    """The name of a new file in `out`: unique, so that a worker which sees it shares this folder."""
    # index.json would not do: a machine may have one of an earlier run
    path = out / f"{TOKEN}{secrets.token_hex(8)}"
    try:
        path.touch()
    except OSError as error:
        raise write_error(path, error) from error
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)
