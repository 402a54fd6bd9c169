"""SIGKILL at any moment, also in the middle of a checkpoint: the run can be resumed, and ends with the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import killed
from support.commands import TIMEOUT, environment
from support.trainings import different, run_until, start

from gantool.run import checkpoint, metrics_log
from gantool.run.rundir import RunDir

KILLS = 50


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the trainings are forks of one process")
def test_a_run_killed_50_times_ends_with_the_weights_of_one_never_killed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, killed.__file__, str(tmp_path), str(KILLS), "0"],
        env=environment(Path(killed.__file__).parents[1]),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder, *lines, last = done.stdout.splitlines()
    run, kills = RunDir(Path(folder)), [json.loads(line) for line in lines]
    assert len(kills) == KILLS
    steps = [kill["step"] for kill in kills]
    assert steps == sorted(steps)  # nothing that was saved is lost
    assert all(kill["half"] for kill in kills if kill["way"] == "in_a_checkpoint")
    assert run.read().status == "finished"
    assert not list(run.path.rglob("*.tmp")), "the resume sweeps up"

    whole = start("mlp", tmp_path, steps=int(last), tick=10**6, **killed.TINY)
    run_until(whole)
    wanted, got = (checkpoint.load(one.checkpoint(int(last))) for one in (whole.run, run))
    assert different(wanted, got) == []
    wanted_steps = list(range(1, int(last) + 1))
    assert [record["step"] for record in metrics_log.read_metrics(run)] == wanted_steps
    assert sorted(path.stem for path in run.sample(0).parent.iterdir()) == [f"step-{n:08d}" for n in wanted_steps]
