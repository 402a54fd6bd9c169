"""The engine `ray`: its own logic with a stand-in for Ray; then, where Ray is installed, clusters of two nodes here."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.commands import gantool
from support.shards import digests

from gantool import shards
from gantool.errors import GantoolError
from gantool.shards import Progress, WorkerLost
from gantool.shards.plan import Made

OPTIONS: dict[str, Any] = {"count": 45, "shard_size": 10, "seed": 7, "engine": "ray"}


class RayError(Exception): ...


class RayTaskError(RayError): ...


class StandIn(ModuleType):
    """The part of Ray's API that gantool calls. Actors are objects in this process, and their calls run at once.

    `disk`: the folder that actors find under the name of --out; None: the same one. `fault`: gets the method of each
    call and how many there were before; it may raise RayError. `spoil`: the calls of `make` whose bytes are changed.
    """

    def __init__(self) -> None:
        super().__init__("ray")
        self.resources = {"CPU": 2.0, "GPU": 0.0}
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.disk: Path | None = None
        self.fault: Callable[[str, int], None] = lambda method, before: None
        self.spoil: tuple[int, ...] = ()
        self.options: dict[str, Any] = {}
        self.calls: list[str] = []
        self.actors: list[Any] = []
        self.connected = False
        self.is_initialized = lambda: self.connected
        self.cluster_resources = lambda: self.resources
        self.put = lambda value: value
        self.kill = self.actors.remove

    def init(self, **_: object) -> None:
        self.connected = True

    def shutdown(self) -> None:
        self.connected = False

    def remote(self, actor: type) -> Any:
        def create(plan: Any, name: str, artifact: bytes, out: Path, token: str) -> Any:
            made = actor(*pickle.loads(pickle.dumps((plan, name, artifact, self.disk or out, token))))
            methods = {
                name: SimpleNamespace(remote=partial(self.call, made, name)) for name in ("start", "make", "close")
            }
            self.actors.append(SimpleNamespace(**methods))
            return self.actors[-1]

        def options(**given: Any) -> Any:
            self.options = given
            return SimpleNamespace(remote=create)

        return SimpleNamespace(options=options)

    def call(self, actor: Any, method: str, *arguments: Any) -> Callable[[], Any]:
        before = self.calls.count(method)
        self.calls.append(method)
        try:
            self.fault(method, before)
        except RayError as error:
            return partial(raise_, error)
        result = pickle.loads(pickle.dumps(getattr(actor, method)(*arguments)))
        if method == "make" and before in self.spoil:
            result = (result[0], np.zeros_like(result[1]))
        return lambda: result

    def wait(self, references: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        return references[-1:], references[:-1]

    def get(self, reference: Callable[[], Any]) -> Any:
        return reference()


def raise_(error: Exception) -> None:
    raise error


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    ray = StandIn()
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


@pytest.fixture(scope="module")
def alone(file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The shards that one local process makes."""
    folder = tmp_path_factory.mktemp("alone")
    shards.generate(file, folder, **OPTIONS | {"engine": "local", "workers": 1})
    return digests(folder)


def lose(method: str, *numbers: int) -> Callable[[str, int], None]:
    """The actor is lost in these calls of a method."""

    def fault(called: str, before: int) -> None:
        if called == method and before in numbers:
            raise RayError("The actor died.\nMore of it.")

    return fault


@pytest.mark.parametrize("gather", [None, True])
def test_lost_actors(stand_in: StandIn, alone: dict[str, str], file: Path, tmp_path: Path, gather: bool | None) -> None:
    artifact = tmp_path / "shard-1.onnx"  # a name as of a shard, which an actor removes when it was sent
    artifact.write_bytes(file.read_bytes())
    events: list[object] = []
    stand_in.fault = lose("make", 1, 2)
    out = tmp_path / "out"
    done = shards.generate(artifact, out, gather=gather, on_progress=lambda p: events.append(p.event), **OPTIONS)
    assert done.lost == 2
    assert [e.why for e in events if isinstance(e, WorkerLost)] == ["was gone (The actor died)"] * 2
    assert digests(out) == alone
    assert not stand_in.actors
    assert not stand_in.connected


def test_a_shard_that_loses_every_actor_is_given_up(stand_in: StandIn, file: Path, tmp_path: Path) -> None:
    stand_in.fault = lose("make", *range(9))
    with pytest.raises(GantoolError, match=r"shard-000000\.npy .* was tried 3 times"):
        shards.generate(file, tmp_path, workers=1, **OPTIONS)
    assert set(digests(tmp_path)) == {"index.json"}
    assert not stand_in.actors


def test_a_machine_with_a_disk_of_its_own_sends_its_shards(
    stand_in: StandIn, alone: dict[str, str], file: Path, tmp_path: Path
) -> None:
    stand_in.disk = tmp_path / "theirs"
    stand_in.disk.mkdir()
    (stand_in.disk / "index.json").touch()  # of an earlier run
    stand_in.spoil = (2,)
    done = shards.generate(file, tmp_path / "out", **OPTIONS)
    assert done.lost == 1  # a shard that arrives damaged is made again
    assert digests(tmp_path / "out") == alone
    assert [path.name for path in stand_in.disk.iterdir()] == ["index.json"]
    with pytest.raises(GantoolError, match="is not the same folder") as error:
        shards.generate(file, tmp_path / "other", gather=False, **OPTIONS)
    assert "all machines share" in error.value.hint
    assert not stand_in.actors


def test_actors_that_never_start(stand_in: StandIn, file: Path, tmp_path: Path) -> None:
    stand_in.fault = lose("start", *range(99))
    with pytest.raises(GantoolError, match="No worker starts on the Ray cluster: More of it"):
        shards.generate(file, tmp_path, **OPTIONS)
    stand_in.fault = lose("start", *range(99, 103))  # some may be lost
    stand_in.calls += ["start"] * (99 - stand_in.calls.count("start"))
    assert shards.generate(file, tmp_path, **OPTIONS).made == 5


def test_an_interrupt_leaves_no_actor_and_no_file(stand_in: StandIn, file: Path, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.generate(file, tmp_path, workers=2, on_progress=interrupt, **OPTIONS)
    assert set(digests(tmp_path)) == {"index.json", "shard-000000.npy"}
    assert not stand_in.actors


def test_a_connection_of_the_program_is_used_and_kept(stand_in: StandIn, file: Path, tmp_path: Path) -> None:
    stand_in.connected = True
    assert shards.generate(file, tmp_path, **OPTIONS).made == 5
    assert shards.generate(file, tmp_path, **OPTIONS).made == 0
    assert stand_in.connected
    with pytest.raises(GantoolError, match="OpenVINO narrows them"):  # an error of an actor
        shards.generate(file, tmp_path / "two", provider="openvino", **OPTIONS)


def test_more_workers_than_gpus_share_them(stand_in: StandIn, file: Path, tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="The Ray cluster has no GPU"):
        shards.generate(file, tmp_path, provider="cuda", **OPTIONS)
    stand_in.resources["GPU"] = 2.0
    stand_in.fault = lose("start", *range(99))
    with pytest.raises(GantoolError, match="No worker starts"):
        shards.generate(file, tmp_path, provider="cuda", workers=4, **OPTIONS)
    assert stand_in.options["num_gpus"] == 0.5


NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def ray() -> ModuleType:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    module: ModuleType = pytest.importorskip("ray", reason="ray is not installed")
    return module


# a machine with a disk of its own: it finds another folder under the name of --out, with an index.json of the same plan
ANOTHER_DISK = """
from pathlib import Path
from gantool.shards import ray_cluster

init = ray_cluster.Worker.__init__


def on_another_disk(self, plan, name, artifact, out, token):
    init(self, plan, name, artifact, Path({folder!r}), token)


ray_cluster.Worker.__init__ = on_another_disk
"""


@pytest.mark.slow
@pytest.mark.parametrize("own_disk", [False, True], ids=["shared disk", "own disk"])
def test_a_worker_and_a_node_are_lost_and_the_bytes_are_those_of_one_process(
    ray: ModuleType, file: Path, tmp_path: Path, own_disk: bool
) -> None:
    """A cluster of two nodes of one CPU each; with `own_disk` the second one does not share --out."""
    from ray.cluster_utils import Cluster

    options: dict[str, Any] = {"count": 28_100, "shard_size": 700, "seed": 7, "first": 2**40, "format": "png-tar"}
    shards.generate(file, tmp_path / "alone", workers=1, **options)
    theirs, hook = tmp_path / "theirs", tmp_path / "hook"
    for folder in (theirs, hook):
        folder.mkdir()
    (theirs / "index.json").write_bytes((tmp_path / "alone" / "index.json").read_bytes())
    before = digests(theirs)
    environment = {}
    if own_disk:
        (hook / "sitecustomize.py").write_text(ANOTHER_DISK.format(folder=str(theirs)))
        environment = {"env_vars": {"PYTHONPATH": str(hook)}}
    pids: set[int] = set()
    killed = removed = False
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        second = cluster.add_node(**NODE, **environment)

        def disturb(progress: Progress) -> None:
            nonlocal killed, removed
            if not isinstance(progress.event, Made):
                return
            pids.add(progress.event.pid)
            if len(pids) == 2 and not killed:
                (other,) = pids - {progress.event.pid}  # it is making a shard
                os.kill(other, signal.SIGKILL)
                killed = True
            elif len(pids) == 3 and not removed:  # the killed one's successor works
                cluster.remove_node(second, allow_graceful=False)
                removed = True

        done = shards.generate(
            file, tmp_path / "ray", engine="ray", address=cluster.address, on_progress=disturb, **options
        )
        assert not ray.is_initialized()  # as it was before
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert killed
    assert removed
    assert done.lost == 2
    assert digests(tmp_path / "ray") == digests(tmp_path / "alone")
    assert digests(theirs) == before  # no shard was written where it would have been lost


@pytest.mark.slow
def test_the_command_starts_a_cluster_where_there_is_none(ray: ModuleType, file: Path, tmp_path: Path) -> None:
    options = ("--count", 25, "--shard-size", 10, "--workers", 1, "--out", "out", "--json")
    done = gantool("generate", file, *options, "--engine", "ray", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["made"], summary["engine"], summary["lost"]) == (3, "ray", 0)
    again = gantool("generate", file, *options, cwd=tmp_path)  # any engine goes on with it
    assert json.loads(again.stdout)["made"] == 0


def test_gathering_is_for_ray(file: Path, tmp_path: Path) -> None:
    done = gantool("generate", file, "--count", 5, "--no-gather", cwd=tmp_path)
    assert done.returncode == 1
    assert "--gather is for the engine ray." in done.stderr


def test_no_cluster_there(ray: ModuleType, file: Path, tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="no connection to the Ray cluster"):
        shards.generate(file, tmp_path, count=5, engine="ray", address="auto")


def test_without_ray(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GantoolError, match="ray can't be imported") as error:
        shards.generate(file, tmp_path, count=5, engine="ray")
    assert error.value.hint == "pip install 'gantool[ray]'"


def test_without_pyarrow(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(GantoolError, match="pyarrow can't be imported") as error:
        shards.generate(file, tmp_path / "out", count=5, format="parquet")
    assert error.value.hint == "pip install 'gantool[parquet]'"
    assert not (tmp_path / "out").exists()
