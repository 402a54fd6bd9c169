"""One process trains a run at a time, and a dead one holds nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.commands import TIMEOUT, start_gantool
from support.inprocess import runner
from support.trainings import run_until, save_npz, start

from gantool import exporting
from gantool.errors import GantoolError
from gantool.run import lock
from gantool.run.rundir import RunDir
from gantool.training import session

HOLD = """
import sys, time
from pathlib import Path
from gantool.run.rundir import RunDir
from gantool.run import lock
held = lock.take(RunDir(Path(sys.argv[1])))
print("held", flush=True)
time.sleep(600)
"""


def _holder(run: RunDir) -> subprocess.Popen[str]:
    """A process that holds the lock of `run`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_run_that_another_process_holds_is_refused_until_that_is_killed(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    process = _holder(run)
    for _ in range(2):  # the first refusal does not wipe out who holds it
        with pytest.raises(GantoolError) as caught:
            lock.take(run)
        message = f"{tmp_path} is being trained by another process (pid {process.pid} on {socket.gethostname()})"
        assert message in caught.value.message
        assert "then resume again" in caught.value.hint
    process.kill()
    process.communicate()
    held = lock.take(run)  # though the lock file is still there
    assert run.lock.read_text() == f"pid {os.getpid()} on {socket.gethostname()}\n"
    held.release()


def test_a_process_can_take_its_own_lock_again_and_lets_go_of_it_with_the_last_session(tmp_path: Path) -> None:
    one = lock.take(RunDir(tmp_path))
    two = lock.take(RunDir(tmp_path))
    assert one is two
    del one
    assert two.is_locked
    del two
    process = _holder(RunDir(tmp_path))
    process.kill()
    process.communicate()


def test_a_lock_file_of_nobody_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"\xff\xfe copied from another machine")
    assert lock.take(RunDir(tmp_path)).is_locked


def test_a_lock_that_can_not_be_had_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(GantoolError, match=r"can't be written: its lock can't be taken") as caught:
        lock.take(RunDir(tmp_path))
    assert "Make the folder writable" in caught.value.hint


def test_a_training_run_can_be_exported_and_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_npz(tmp_path / "noise.npz")
    options = ("--data", "noise.npz", "--widths", "8", "--batch-size", 8, "--device", "cpu", "--tick", 20)
    process = start_gantool("train", "mlp", *options, "--steps", 10**7, cwd=tmp_path)
    run = RunDir(tmp_path / "runs/0001-mlp-noise")
    deadline = time.monotonic() + TIMEOUT
    while not run.checkpoints() and time.monotonic() < deadline:
        time.sleep(0.01)
    monkeypatch.chdir(tmp_path)
    gantool = runner(monkeypatch, capsys)
    code, _, errors = gantool("train", "mlp", "--resume", 1)
    assert code == 1
    assert f"0001-mlp-noise is being trained by another process (pid {process.pid} on " in errors
    (made,) = exporting.export_run(run, ["onnx"])
    assert made.path.is_file()
    lines = len(run.metrics.read_text().splitlines())
    while len(run.metrics.read_text().splitlines()) < lines + 2 and time.monotonic() < deadline:
        time.sleep(0.01)  # the training was not disturbed
    assert process.poll() is None

    process.send_signal(signal.SIGKILL)
    process.communicate()
    step = run.step_of(run.latest_checkpoint())
    code, output, errors = gantool("train", "mlp", "--resume", 1, "--steps", step + 20)
    assert code == 0, errors
    assert f"resumed at step {step} of {step + 20}" in output


def test_a_session_holds_the_lock_from_its_start(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path, steps=1)
    assert opened.lock.is_locked
    run_until(opened)
    assert session.resume(opened.run, steps=2).lock is opened.lock
