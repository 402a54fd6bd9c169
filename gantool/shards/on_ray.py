"""The engine `ray`: one actor a CPU or GPU slot of a Ray cluster. Ray is imported only when asked for."""

from __future__ import annotations

import math
import os
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gantool.errors import GantoolError, excerpt
from gantool.shards.events import MAX_AGAIN, Again, Attempts, Report
from gantool.shards.gathering import AT_ONCE, Gathering
from gantool.shards.maker import Made, unwritten
from gantool.shards.optional import library
from gantool.shards.plan import ON_GPU, Plan, Shard
from gantool.shards.ray_worker import Worker

_POLL = 30.0  # seconds between two looks for new nodes
_PATIENCE = 5.0  # seconds that an actor may take to tidy up


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
    """Make the shards `todo` of `plan` in `out`, and `report` as it goes on.

    `workers`: how many actors; None: as many as the cluster has CPUs, or GPUs. `address`: of the cluster, as ray.init
    takes it; None: the one in RAY_ADDRESS, or else one started here. A Ray that the program has started is used as it
    is. One shard an actor is in flight.
    `gather`: None: an actor that has the folder `out` writes there; that of any other machine sends its shards. True:
    all send. False: one without the folder is an error. GantoolError as of the engine `local`.
    """
    ray = library("ray", "ray", "The engine ray")
    out = out.resolve()
    with _connected(ray, address), _token(out) as token:
        _Pool(ray, plan, artifact, out, workers, token, gather).make(todo, report)


@contextmanager
def _token(out: Path) -> Iterator[str]:
    """The name of a file that is in `out`, and in no other folder of the world: who sees it sees this folder."""
    # index.json would not do: a machine may have one of an earlier run
    path = out / f".shard-token-{secrets.token_hex(8)}.tmp"  # swept up after a kill, as unfinished shards are
    try:
        path.touch()
    except OSError as error:
        raise unwritten(path, error) from error
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)


class _Actor:
    """`handle`: Ray's; `gathers`: whether its shards have to be sent, None: it has not looked yet; `shard`: at which it
    is; `gathering`: the one that is on its way from it."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.gathers: bool | None = None
        self.shard: Shard | None = None
        self.gathering: Gathering | None = None


class _Pool:
    """Actors, by the reference of Ray to what each is at."""

    def __init__(
        self, ray: Any, plan: Plan, artifact: Path, out: Path, workers: int | None, token: str, gather: bool | None
    ) -> None:
        self.ray, self.workers, self.out, self.gather = ray, workers, out, gather
        self.kind = "GPU" if plan.provider in ON_GPU else "CPU"
        needs: dict[str, float] = {"num_cpus": 1}
        if self.kind == "GPU":  # more workers than GPUs share them: PNG files take longer than images
            sharing = math.ceil((workers or 1) / max(1, self._there()))
            needs = {"num_gpus": 1 / sharing, "num_cpus": 0}
        # restarts are ours: a restarted actor would have to be asked again anyway
        options = {**needs, "scheduling_strategy": "SPREAD", "max_restarts": 0}
        self.actor = ray.remote(Worker).options(**options)
        self.arguments = (plan, artifact.name, ray.put(artifact.read_bytes()), out, token)
        self.at: dict[Any, _Actor] = {}
        self.queue: deque[tuple[_Actor, Made]] = deque()  # made, and not yet on their way
        self.stillborn = 0  # actors lost before they made anything, since the last one that did

    def make(self, todo: Sequence[Shard], report: Report) -> None:
        waiting, attempts = deque(todo), Attempts()
        try:
            while waiting or self.queue or any(actor.shard for actor in self.at.values()):
                self._grow(len(waiting))
                self._fetch()
                ready, _ = self.ray.wait(list(self.at), num_returns=1, timeout=_POLL)
                for reference in ready:
                    actor = self.at.pop(reference)
                    try:
                        result = self.ray.get(reference)
                    except self.ray.exceptions.RayTaskError:  # a bug of ours
                        raise
                    except self.ray.exceptions.RayError as error:
                        self._lost(actor, error, waiting, attempts, report)
                        continue
                    if isinstance(result, GantoolError):
                        raise result
                    self.stillborn = 0
                    self._heard(actor, result, waiting, attempts, report)
        finally:
            self._end()

    def _heard(
        self, actor: _Actor, result: bool | Made | bytes, waiting: deque[Shard], attempts: Attempts, report: Report
    ) -> None:
        """What an actor told: whether it gathers, that a shard is made, or a piece of one. Then it gets more work."""
        if isinstance(result, bool):
            actor.gathers = result
        elif isinstance(result, Made) and actor.gathers:
            self.queue.append((actor, result))
            return
        elif isinstance(result, Made):
            report(result)
        else:
            gathering, shard = actor.gathering, actor.shard
            assert gathering is not None
            assert shard is not None
            gathering.take(result)
            if result and not gathering.whole:
                self._read(actor)
                return
            actor.gathering = None
            if gathering.finish():
                report(gathering.made)
            else:
                report(Again(shard.number, attempts.lost(shard, "sent another file than it had made")))
                waiting.appendleft(shard)
        actor.shard = None
        if waiting:
            actor.shard = waiting.popleft()
            self.at[actor.handle.make.remote(actor.shard)] = actor
        else:
            self._dismiss(actor)

    def _fetch(self) -> None:
        """Let made shards come, a few at a time: what waits is on the disks of those who made it, who wait, too."""
        while self.queue and sum(actor.gathering is not None for actor in self.at.values()) < AT_ONCE:
            actor, made = self.queue.popleft()
            assert actor.shard is not None
            actor.gathering = Gathering(actor.shard, made, self.out)
            self._read(actor)

    def _read(self, actor: _Actor) -> None:
        assert actor.gathering is not None
        self.at[actor.handle.read.remote(actor.shard, actor.gathering.taken)] = actor

    def _lost(self, actor: _Actor, error: Exception, waiting: deque[Shard], attempts: Attempts, report: Report) -> None:
        self.ray.kill(actor.handle)  # one that can't be reached just now may still live
        if actor.gathering is not None:
            actor.gathering.abandon()
        if actor.shard is None:
            self._stillborn(error)
            return
        report(Again(actor.shard.number, attempts.lost(actor.shard, f"was gone ({_first_line(error)})")))
        waiting.appendleft(actor.shard)

    def _dismiss(self, actor: _Actor) -> None:
        self.ray.wait([actor.handle.close.remote()], timeout=_PATIENCE)  # else its folder would stay
        self.ray.kill(actor.handle)

    def _end(self) -> None:
        """No actor is left, and no file half-written."""
        for actor in (*self.at.values(), *(actor for actor, _ in self.queue)):
            if actor.gathering is not None:
                actor.gathering.abandon()
            self.ray.kill(actor.handle)

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
        slots, there = self._slots(), len(self.at) + len(self.queue)
        starting = sum(actor.shard is None for actor in self.at.values())
        if not slots and not there:
            raise GantoolError(f"The Ray cluster has no {self.kind}.", "Add a node, or take another --provider.")
        for _ in range(min(slots - there, waiting - starting)):
            actor = _Actor(self.actor.remote(*self.arguments))
            self.at[actor.handle.look.remote(self.gather)] = actor


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
