"""The engine `ray`, on a cluster of two nodes on this machine: a lost worker, a lost node, and the same bytes."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.commands import gantool
from support.shards import digests, plain

from gantool import shards
from gantool.errors import GantoolError
from gantool.shards import Progress
from gantool.shards.events import Again
from gantool.shards.maker import Made

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
    # a folder that the nodes do not share: to them, index.json is another one
    monkeypatch.setattr("gantool.shards.plan.Plan.to_dict", lambda plan: {"seed": plan.seed})
    with pytest.raises(GantoolError, match="is not the folder that it is") as error:
        shards.generate(file, tmp_path / "three", count=25, engine="ray")
    assert "all machines share" in error.value.hint


@pytest.mark.slow
def test_the_command_starts_a_cluster_where_there_is_none(ray: ModuleType, file: Path, tmp_path: Path) -> None:
    options = ("--count", 25, "--shard-size", 10, "--workers", 1, "--out", "out", "--json")
    done = gantool("generate", file, *options, "--engine", "ray", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["made"], summary["engine"], summary["lost"]) == (3, "ray", 0)
    again = gantool("generate", file, *options, cwd=tmp_path)  # any engine goes on with it
    assert json.loads(again.stdout)["made"] == 0


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
