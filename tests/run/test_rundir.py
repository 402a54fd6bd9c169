"""Runs on disk: numbered, found again, read back, and trained by one process at a time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from support.commands import TIMEOUT, start_gantool
from support.inprocess import Run
from support.trainings import run_until, save_npz, start

from gantool import exporting
from gantool.errors import GantoolError
from gantool.run import rundir
from gantool.run.rundir import RunDir
from gantool.training import session


def _run(runs: Path, label: str, checkpoint: bool = True) -> RunDir:
    run = rundir.create(runs, label)
    (run.path / "run.json").write_text("{}")
    if checkpoint:
        run.checkpoint(1).parent.mkdir()
        run.checkpoint(1).write_bytes(b"")
    return run


def test_runs_are_numbered_from_1_and_a_gap_is_not_filled(tmp_path: Path) -> None:
    runs = tmp_path / "deep" / "runs"
    assert [rundir.create(runs, "a").name, rundir.create(runs, "b").name] == ["0001-a", "0002-b"]
    (runs / "0001-a").rmdir()
    (runs / "0041-by-hand").mkdir()
    (runs / "not-a-run").mkdir()
    (runs / "0099-a-file").write_text("")
    assert rundir.create(runs, "c").name == "0042-c"
    assert [run.name for run in rundir.list_runs(runs)] == ["0002-b", "0041-by-hand", "0042-c"]
    (runs / "9999-d").mkdir()
    assert rundir.create(runs, "e").name == "10000-e"
    assert [run.number for run in rundir.list_runs(runs)] == [2, 41, 42, 9999, 10000]


@pytest.mark.parametrize("labels", [["same"] * 8, [f"label{i}" for i in range(8)]], ids=["one label", "many labels"])
def test_runs_that_start_at_once_get_numbers_of_their_own(labels: list[str], tmp_path: Path) -> None:
    for attempt in range(10):
        runs, together = tmp_path / str(attempt), Barrier(len(labels))

        def make(label: str, runs: Path = runs, together: Barrier = together) -> RunDir:
            together.wait()
            return rundir.create(runs, label)

        with ThreadPoolExecutor(len(labels)) as pool:
            made = list(pool.map(make, labels))
        numbers = [run.name.partition("-")[0] for run in made]
        assert len(set(numbers)) == len(labels)
        assert sorted(path.name for path in runs.iterdir()) == sorted(run.name for run in made)


@pytest.mark.parametrize("label", ["", "a/b", "../up", "-x", ".hidden", "a b", "x" * 101, "new\nline"])
def test_a_label_that_is_no_folder_name_is_refused(label: str, tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="can't be part of a folder's name"):
        rundir.create(tmp_path, label)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [(("mlp", "digits"), "mlp-digits"), (("mlp", "My pictures!"), "mlp-My-pictures"), (("…", "/"), "run")],
)
def test_labels_are_made_from_any_name(parts: tuple[str, ...], wanted: str) -> None:
    assert rundir.label(*parts) == wanted
    assert len(rundir.label("x" * 300)) == 80


def test_a_runs_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GantoolError, match=r"file/runs can't be written") as caught:
        rundir.create(tmp_path / "file" / "runs", "a")
    assert "--runs" in caught.value.hint


def test_a_run_is_found_by_number_name_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(tmp_path, "mlp-digits")
    for _ in range(10):
        _run(tmp_path, "other")
    for name in ("1", "0001", "0001-mlp-digits", str(run.path)):
        assert rundir.find(tmp_path, name).path == run.path
    monkeypatch.chdir(run.path)
    assert rundir.find(tmp_path, ".").path.resolve() == run.path.resolve()


@pytest.mark.parametrize("name", ["12", "mlp", "", "²", "-1", "0001", "no/such"])
def test_a_run_that_is_not_there_is_named_beside_those_that_are(name: str, tmp_path: Path) -> None:
    (tmp_path / "0002-half").mkdir()
    with pytest.raises(GantoolError, match="There is no run") as caught:
        rundir.find(tmp_path, name)
    assert "0002-half" in caught.value.hint


@pytest.mark.parametrize("ask", [rundir.list_runs, rundir.newest, lambda runs: rundir.find(runs, "1")])
def test_a_folder_that_may_not_be_searched_is_named(
    ask: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, stat = _run(tmp_path / "closed", "a"), Path.stat

    def refuse(path: Path, **options: bool) -> object:  # chmod would not stop root
        if path.parent.name == "closed" or path.name in ("run.json", "checkpoints"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(GantoolError, match=r"1(-a|/run\.json) can't be read: Permission denied"):
        ask(tmp_path / "closed")
    with pytest.raises(GantoolError, match="checkpoints can't be read: Permission denied"):
        run.checkpoints()


def test_a_name_too_long_for_a_file_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="can't be read: File name too long"):
        rundir.find(tmp_path, "x" * 5000)


def test_the_newest_run_is_the_newest_that_has_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="There is no trained run") as caught:
        rundir.newest(tmp_path / "none")
    assert "gantool train" in caught.value.hint
    trained = _run(tmp_path, "trained")
    _run(tmp_path, "died-young", checkpoint=False)
    assert rundir.newest(tmp_path).path == trained.path


def test_an_older_run_that_was_trained_on_is_the_newest(tmp_path: Path) -> None:
    first, second = _run(tmp_path, "first"), _run(tmp_path, "second")
    for run, seconds in ((first, 2000), (second, 1000)):
        os.utime(run.checkpoints()[-1], (seconds, seconds))
    assert rundir.newest(tmp_path).path == first.path


def test_a_run_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="0001-a has no checkpoint"):
        _run(tmp_path, "a", checkpoint=False).latest_checkpoint()


def test_run_json_comes_back_as_it_was(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path, steps=2, seed=7)
    run_until(opened)
    info = opened.run.read()
    opened.run.write(info)
    assert opened.run.read() == info
    assert (info.seed, info.steps, info.step, info.status) == (7, 2, 2, "finished")
    assert info.config["widths"] == [16, 24]
    assert info.data.count == 50
    assert info.data.shape == (1, 16, 16)


def _changed(run: RunDir, folder: Path, **changes: object) -> RunDir:
    text = (run.path / "run.json").read_text()
    (folder / "run.json").write_text(json.dumps({**json.loads(text), **changes}))
    return RunDir(folder)


def test_a_newer_schema_asks_for_an_upgrade(exported_run: RunDir, tmp_path: Path) -> None:
    # what a newer gantool wrote may look different altogether: the schema is read first
    run = _changed(exported_run, tmp_path, schema_version=rundir.SCHEMA + 1, status="new", more=1)
    with pytest.raises(GantoolError, match=r"run\.json has schema 3; this gantool reads up to 2") as caught:
        run.read()
    assert caught.value.hint == "Upgrade: pip install -U gantool"


@pytest.mark.parametrize("changes", [{"status": "lost"}, {"step": "many"}, {"unknown": 1}, {"data": None}])
def test_what_is_wrong_in_run_json_is_named(changes: dict[str, object], exported_run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=rf"run\.json is not a run's description: {next(iter(changes))}"):
        _changed(exported_run, tmp_path, **changes).read()


@pytest.mark.parametrize("text", ["", "[1, 2]", "null", '{"schema_version": "x"}', "{"])
def test_run_json_that_is_something_else_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(GantoolError, match=r"run\.json"):
        RunDir(tmp_path).read()


# --- the lock

HOLD = """
import sys, time
from pathlib import Path
from gantool.run.rundir import RunDir
held = RunDir(Path(sys.argv[1])).hold()
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
    one, two = run.hold(), RunDir(tmp_path).hold()
    assert one is two
    del one
    assert two.is_locked
    del two  # and with the last reference the lock
    process = _holder(run)
    for _ in range(2):  # the first refusal does not wipe out who holds it
        with pytest.raises(GantoolError) as caught:
            run.hold()
        message = f"{tmp_path} is being trained by another process (pid {process.pid} on {socket.gethostname()})"
        assert message in caught.value.message
        assert "then resume again" in caught.value.hint
    process.kill()
    process.communicate()
    held = run.hold()  # though the lock file is still there
    assert run.lock.read_text() == f"pid {os.getpid()} on {socket.gethostname()}\n"
    held.release()


def test_only_a_lock_that_can_be_had_is_one(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.write_bytes(b"\xff\xfe copied from another machine")
    assert RunDir(tmp_path).hold().is_locked
    lock.unlink()
    lock.mkdir()
    with pytest.raises(GantoolError, match=r"can't be written: its lock can't be taken") as caught:
        RunDir(tmp_path).hold()
    assert "Make the folder writable" in caught.value.hint


def test_a_session_holds_the_lock_from_its_start(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path, steps=1)
    assert opened.lock is not None
    assert opened.lock.is_locked
    run_until(opened)
    assert session.resume(opened.run, steps=2).lock is opened.lock


def test_a_training_run_can_be_exported_and_not_resumed(cli: Run, here: Path) -> None:
    save_npz(here / "noise.npz")
    options = ("--data", "noise.npz", "--widths", "8", "--batch-size", 8, "--device", "cpu", "--tick", 20)
    process = start_gantool("train", "mlp", *options, "--steps", 10**7, cwd=here)
    run = RunDir(here / "runs/0001-mlp-noise")
    deadline = time.monotonic() + TIMEOUT
    while not run.checkpoints() and time.monotonic() < deadline:
        time.sleep(0.01)
    code, _, errors = cli("train", "mlp", "--resume", 1)
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
    code, _, errors = cli("train", "mlp", "--resume", 1, "--steps", step + 20)
    assert code == 0, errors
    assert f"resumed at step {step} of {step + 20}" in errors
