"""The engine `ray`: one actor a CPU or GPU slot of a Ray cluster. Ray is imported only when asked for."""

from __future__ import annotations

import math
import os
import socket
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gantool.errors import GantoolError, excerpt
from gantool.files import read_json
from gantool.shards.events import MAX_AGAIN, Again, Attempts, Report
from gantool.shards.folder import INDEX
from gantool.shards.maker import Made, Maker
from gantool.shards.optional import library
from gantool.shards.plan import ON_GPU, Plan, Shard

_POLL = 30.0  # seconds between two looks for new nodes


class Worker:
    """What runs in an actor. Its methods return a GantoolError: raised, it would come wrapped in one of Ray's."""

    def __init__(self, plan: Plan, name: str, artifact: bytes, out: Path) -> None:
        self.plan, self.out = plan, out
        self._folder = tempfile.TemporaryDirectory(prefix="gantool-")
        path = Path(self._folder.name) / name
        path.write_bytes(artifact)
        self._maker = Maker(plan, path, out)

    def look(self) -> GantoolError | None:
        """Whether `out` is here the folder that it is where the command was typed."""
        try:
            index = read_json(self.out / INDEX)
        except GantoolError:
            index = None
        if isinstance(index, dict) and index.get("plan") == self.plan.to_dict():
            return None
        return GantoolError(
            f"{self.out} on {socket.gethostname()} is not the folder that it is on the machine that began.",
            "Put --out on a file system that all machines share, under the same path.",
        )

    def make(self, shard: Shard) -> Made | GantoolError:
        try:
            return self._maker.make(shard)
        except GantoolError as error:
            return error


def run(
    plan: Plan,
    artifact: Path,
    out: Path,
    todo: Sequence[Shard],
    workers: int | None,
    report: Report,
    address: str | None = None,
) -> None:
    """Make the shards `todo` of `plan` in `out`, which every node sees under this path, and `report` as it goes on.

    `workers`: how many actors; None: as many as the cluster has CPUs, or GPUs. `address`: of the cluster, as ray.init
    takes it; None: the one in RAY_ADDRESS, or else one started here. A Ray that the program has started is used as it
    is. One shard an actor is in flight. GantoolError as of the engine `local`.
    """
    ray = library("ray", "ray", "The engine ray")
    with _connected(ray, address):
        _Pool(ray, plan, artifact, out.resolve(), workers).make(todo, report)


class _Pool:
    """Actors, and what each is at: a reference of Ray to the shard that it makes, or None while it starts."""

    def __init__(self, ray: Any, plan: Plan, artifact: Path, out: Path, workers: int | None) -> None:
        self.ray, self.workers = ray, workers
        self.kind = "GPU" if plan.provider in ON_GPU else "CPU"
        needs: dict[str, float] = {"num_cpus": 1}
        if self.kind == "GPU":  # more workers than GPUs share them: PNG files take longer than images
            sharing = math.ceil((workers or 1) / max(1, self._there()))
            needs = {"num_gpus": 1 / sharing, "num_cpus": 0}
        # restarts are ours: a restarted actor would have to be asked again anyway
        options = {**needs, "scheduling_strategy": "SPREAD", "max_restarts": 0}
        self.actor = ray.remote(Worker).options(**options)
        self.arguments = (plan, artifact.name, ray.put(artifact.read_bytes()), out)
        self.at: dict[Any, tuple[Any, Shard | None]] = {}
        self.stillborn = 0  # actors lost before they made anything, since the last one that did

    def make(self, todo: Sequence[Shard], report: Report) -> None:
        waiting, attempts = deque(todo), Attempts()
        try:
            while waiting or any(shard for _, shard in self.at.values()):
                self._grow(len(waiting))
                ready, _ = self.ray.wait(list(self.at), num_returns=1, timeout=_POLL)
                for reference in ready:
                    actor, shard = self.at.pop(reference)
                    try:
                        result = self.ray.get(reference)
                    except self.ray.exceptions.RayTaskError:  # a bug of ours
                        raise
                    except self.ray.exceptions.RayError as error:
                        self.ray.kill(actor)  # one that can't be reached just now may still live
                        if shard is None:
                            self._stillborn(error)
                        else:
                            why = f"was gone ({_first_line(error)})"
                            report(Again(shard.number, attempts.lost(shard, why)))
                            waiting.appendleft(shard)
                        continue
                    if isinstance(result, GantoolError):
                        raise result
                    self.stillborn = 0
                    if isinstance(result, Made):
                        report(result)
                    if waiting:
                        shard = waiting.popleft()
                        self.at[actor.make.remote(shard)] = actor, shard
                    else:
                        self.ray.kill(actor)
        finally:
            for actor, _ in self.at.values():
                self.ray.kill(actor)

    def _stillborn(self, error: Exception) -> None:
        """Nodes may be lost while actors start on them; but where none ever starts, something is wrong."""
        self.stillborn += 1
        if self.stillborn > MAX_AGAIN * self._slots():
            raise GantoolError(
                f"No worker starts on the Ray cluster: {str(error).strip().splitlines()[-1]}",
                "Install gantool, of the same version, on every node.",
            )

    def _slots(self) -> int:
        return self.workers or self._there()

    def _there(self) -> int:
        return int(self.ray.cluster_resources().get(self.kind, 0))

    def _grow(self, waiting: int) -> None:
        """Ask for actors up to the cluster's slots, which come and go with its nodes; they get work when they run."""
        slots = self._slots()
        starting = sum(shard is None for _, shard in self.at.values())
        if not slots and not self.at:
            raise GantoolError(f"The Ray cluster has no {self.kind}.", "Add a node, or take another --provider.")
        for _ in range(min(slots - len(self.at), waiting - starting)):
            actor = self.actor.remote(*self.arguments)
            self.at[actor.look.remote()] = actor, None


def _first_line(error: Exception) -> str:
    return excerpt(str(error).strip().partition("\n")[0], 200)


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connected to a cluster inside; disconnected after it, unless the program was connected before."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster started here tells nobody
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise GantoolError(
            f"There is no connection to the Ray cluster {address or 'here'}: {_first_line(error)}",
            "Start one with: ray start --head; then: --address auto",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
