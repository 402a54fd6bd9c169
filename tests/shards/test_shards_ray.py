"""The engine `ray`, on a cluster of two nodes on this machine: a lost worker, a lost node, and the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.commands import gantool
from support.shards import digests, plain

from gantool import shards
from gantool.artifact import onnxfile
from gantool.errors import GantoolError
from gantool.shards import Progress
from gantool.shards.events import Again
from gantool.shards.gathering import Gathering
from gantool.shards.maker import Made, manifest_digest, versions
from gantool.shards.plan import Plan, Shard
from gantool.shards.ray_worker import Worker

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def ray() -> ModuleType:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    module: ModuleType = pytest.importorskip("ray", reason="ray is not installed")
    return module


@pytest.fixture
def cluster(ray: ModuleType) -> Iterator[Any]:
    """Two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        made.add_node(**NODE)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain(tmp_path_factory.mktemp("plain"))


@pytest.mark.slow
def test_a_worker_and_a_node_are_lost_and_the_bytes_are_those_of_one_process(
    cluster: Any, ray: ModuleType, file: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"count": 28_100, "shard_size": 700, "seed": 7, "first": 2**40, "format": "png-tar"}
    pids: set[int] = set()
    heard: list[Again] = []
    killed = removed = False

    def disturb(progress: Progress) -> None:
        nonlocal killed, removed
        event = progress.event
        if isinstance(event, Again):
            heard.append(event)
        if isinstance(event, Made):
            pids.add(event.pid)
        if len(pids) == 2 and not killed and isinstance(event, Made):
            (other,) = pids - {event.pid}  # it is at a shard
            os.kill(other, signal.SIGKILL)
            killed = True
        elif len(pids) == 3 and not removed:  # the killed one's successor works
            cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
            removed = True

    done = shards.generate(file, tmp_path / "ray", engine="ray", address=cluster.address, on_progress=disturb, **asked)
    assert killed
    assert removed
    assert done.lost == len(heard) == 2
    assert len(pids) >= 3
    assert not ray.is_initialized()  # as it was before
    shards.generate(file, tmp_path / "alone", workers=1, **asked)
    assert digests(tmp_path / "ray") == digests(tmp_path / "alone")


@pytest.mark.slow
def test_a_connection_of_the_program_is_used_and_kept_and_errors_come_through(
    cluster: Any, ray: ModuleType, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.init(address=cluster.address, log_to_driver=False)
    done = shards.generate(file, tmp_path / "one", count=25, shard_size=10, engine="ray")
    assert done.made == 3
    assert ray.is_initialized()
    assert shards.generate(file, tmp_path / "one", count=25, shard_size=10, engine="ray").made == 0
    with pytest.raises(GantoolError, match="OpenVINO narrows them"):
        shards.generate(file, tmp_path / "two", count=25, provider="openvino", engine="ray")
    with pytest.raises(GantoolError, match="The Ray cluster has no GPU"):
        shards.generate(file, tmp_path / "two", count=25, provider="cuda", engine="ray")
    # a folder that the nodes do not share: what is there alone is not to be seen
    monkeypatch.setattr("gantool.shards.on_ray._token", lambda out: nullcontext("elsewhere"))
    with pytest.raises(GantoolError, match="is not the folder that it is") as error:
        shards.generate(file, tmp_path / "three", count=25, engine="ray", gather=False)
    assert "all machines share" in error.value.hint


# what a machine of its own has: under the name of the folder it finds another one, with an index.json of the same plan
ANOTHER_DISK = """
from pathlib import Path
from gantool.shards import ray_worker

init = ray_worker.Worker.__init__


def on_another_disk(self, plan, name, artifact, out, token):
    init(self, plan, name, artifact, Path({folder!r}), token)


ray_worker.Worker.__init__ = on_another_disk
"""


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True], ids=["whole", "a node is lost"])
def test_shards_of_a_machine_with_a_disk_of_its_own_are_sent(
    ray: ModuleType, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: bool
) -> None:
    from ray.cluster_utils import Cluster

    monkeypatch.setattr("gantool.shards.on_ray.AT_ONCE", 1)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(ANOTHER_DISK.format(folder=str(theirs)))
    asked: dict[str, Any] = {"count": 28_100, "shard_size": 700, "seed": 7, "format": "png-tar"}
    shards.generate(file, tmp_path / "alone", workers=1, **asked)
    (theirs / "index.json").write_bytes((tmp_path / "alone" / "index.json").read_bytes())
    before = digests(theirs)
    by: set[int] = set()
    removed = False
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        other = made.add_node(**NODE, env_vars={"PYTHONPATH": str(tmp_path / "hook")})

        def disturb(progress: Progress) -> None:
            nonlocal removed
            if isinstance(progress.event, Made):
                by.add(progress.event.pid)
            if kill and len(by) == 2 and not removed:
                made.remove_node(other, allow_graceful=False)
                removed = True

        done = shards.generate(file, tmp_path / "ray", engine="ray", address=made.address, on_progress=disturb, **asked)
    finally:
        ray.shutdown()
        made.shutdown()
    assert len(by) >= 2
    assert done.lost == int(kill)
    assert digests(tmp_path / "ray") == digests(tmp_path / "alone")
    assert digests(theirs) == before  # nothing was written where it would have been lost


def test_what_arrives_damaged_is_not_put_in_place(tmp_path: Path) -> None:
    shard = Shard(0, 0, 1, "shard-000000.npy")
    for pieces, sound in (((b"ab", b"c"), True), ((b"ab", b"x"), False), ((b"ab",), False)):
        made = Made(0, 3, hashlib.sha256(b"abc").hexdigest(), 1)
        gathering = Gathering(shard, made, tmp_path)
        for piece in pieces:
            gathering.take(piece)
        assert not (tmp_path / shard.name).exists()
        assert gathering.finish() is sound
        assert [path.name for path in tmp_path.iterdir()] == ([shard.name] if sound else [])
        (tmp_path / shard.name).unlink(missing_ok=True)
    given_up = Gathering(shard, made, tmp_path)
    given_up.take(b"ab")
    given_up.abandon()
    assert not list(tmp_path.iterdir())


def test_an_artifact_of_any_name_is_sent_for(file: Path, tmp_path: Path) -> None:
    """An actor tidies up what it has sent, and not the file that it makes images from."""
    manifest = onnxfile.described(onnxfile.read_bytes(file), file)[1]
    plan = Plan(manifest_digest(manifest), 7, 0, 9, 4, "npy", (8, 8, 1), (), "cpu", False, versions("npy"))
    worker = Worker(plan, "shard-1.onnx", file.read_bytes(), tmp_path, "no such token")
    assert worker.look(None) is True
    for shard in plan.shards():
        made = worker.make(shard)
        assert isinstance(made, Made)
        sent = worker.read(shard, 0)
        assert isinstance(sent, bytes)
        assert hashlib.sha256(sent).hexdigest() == made.sha256
    assert not list(tmp_path.iterdir())
    worker.close()


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
    with pytest.raises(GantoolError, match="The engine ray needs ray, which") as error:
        shards.generate(file, tmp_path, count=5, engine="ray")
    assert error.value.hint == "pip install 'gantool[ray]'"


def test_without_pyarrow(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(GantoolError, match="The format parquet needs pyarrow, which") as error:
        shards.generate(file, tmp_path / "out", count=5, format="parquet")
    assert error.value.hint == "pip install 'gantool[parquet]'"
    assert not (tmp_path / "out").exists()
