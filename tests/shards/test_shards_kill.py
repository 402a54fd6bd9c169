"""SIGKILL of the command or of a worker at any moment: nothing half-made, and in the end the bytes of an undisturbed
run. Ctrl-C: a clean end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.commands import TIMEOUT, gantool, start_gantool
from support.shards import digests, index

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="workers are found in Linux's /proc")
KILLS = 10
OPTIONS = ("--count", 3570, "--shard-size", 60, "--seed", 7, "--format", "png-tar")


@pytest.fixture(scope="module")
def whole(file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("whole")
    done = gantool("generate", file, *OPTIONS, "--workers", 1, "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return digests(folder / "out")


def children(process: subprocess.Popen[str]) -> list[int]:
    """The workers; the process beside them that cleans up after multiprocessing is none."""
    try:
        found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in found}
    except OSError:
        return []
    return [pid for pid, command in commands.items() if "spawn_main" in command]


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while any(Path(f"/proc/{pid}/stat").exists() and not zombie(pid) for pid in pids):
        assert time.monotonic() < deadline, f"workers {pids} outlive the command"
        time.sleep(0.01)


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for_shards(folder: Path, process: subprocess.Popen[str], count: int) -> None:
    deadline = time.monotonic() + TIMEOUT
    while len(list(folder.glob("shard-*"))) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_one_never_killed(
    file: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    chance, out, killed = random.Random(0), tmp_path / "out", 0
    command = ("generate", file, *OPTIONS, "--workers", 2, "--out", out)
    for number in range(KILLS):
        process = start_gantool(*command, cwd=tmp_path)
        before = len(list(out.glob("shard-*"))) if out.is_dir() else 0
        if number % 3:
            wait_for_shards(out, process, before + 1)
            time.sleep(chance.uniform(0, 0.04))
        else:  # while it starts
            time.sleep(chance.uniform(0.05, 0.8))
        workers = children(process)
        process.kill()
        process.communicate(timeout=TIMEOUT)
        killed += process.returncode == -signal.SIGKILL
        wait_until_gone(workers)
        if out.is_dir():
            names = {path.name for path in out.glob("shard-*")}
            assert {name: digest for name, digest in digests(out).items() if name in names} == {
                name: whole[name] for name in names
            }
    assert killed >= KILLS // 2
    done = gantool(*command, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 3570
    assert digests(out) == whole
    assert [path for path in out.iterdir() if path.is_dir()] == []


@pytest.mark.slow
def test_workers_killed_at_any_moment(file: Path, whole: dict[str, str], tmp_path: Path) -> None:
    chance, out = random.Random(1), tmp_path / "out"
    process = start_gantool("generate", file, *OPTIONS, "--workers", 2, "--out", out, "--json", cwd=tmp_path)
    killed = 0
    for made in (1, 11, 21, 31):
        wait_for_shards(out, process, made)
        time.sleep(chance.uniform(0, 0.05))
        workers = children(process)
        if workers and process.poll() is None:
            os.kill(workers[0], signal.SIGKILL)  # the older one: no shard can be met three times
            killed += 1
    output, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors
    summary = json.loads(output)
    assert killed >= 2
    assert 1 <= summary["lost"] <= killed  # one that was killed after its last shard is not missed
    assert errors.count("was killed by SIGKILL; the shard is made again") == summary["lost"]
    assert digests(out) == whole


def test_ctrl_c_ends_it_and_the_same_command_goes_on(file: Path, whole: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("generate", file, *OPTIONS, "--workers", 2, "--out", out)
    process = subprocess.Popen(
        [sys.executable, "-m", "gantool", *map(str, command)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C goes to a whole group: to the workers, too
    )
    wait_for_shards(out, process, 3)
    workers = children(process)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, errors
    assert output == ""
    assert "Traceback" not in errors
    made = {shard["name"] for shard in index(out)["shards"]}
    assert f"Stopped. The shards in {out} stay; the same command continues." in errors
    # each worker may have finished a shard that it could not report any more
    unreported = {path.name for path in out.glob("shard-*")} - made
    assert len(made) >= 1
    assert len(unreported) <= 2
    assert not [path for path in out.iterdir() if path.name.endswith(".tmp")]
    assert all(not Path(f"/proc/{pid}").exists() for pid in workers)
    done = gantool(*command, cwd=tmp_path)
    assert f"60 shards, {len(made)} were there" in done.stdout
    assert digests(out) == whole
