"""A disk that is full or that can't be written: a clear error, and the last checkpoint is as it was."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import disks
from support.inprocess import Run
from support.trainings import different, run_until, save_npz, start

from gantool import exporting
from gantool.errors import GantoolError
from gantool.run import checkpoint
from gantool.run.rundir import RunDir
from gantool.training import session

NOBODY = 65534


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    with disks.small_disk(tmp_path / "disk") as folder:
        yield folder


def _snapshot(run: RunDir) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (*run.checkpoints(), run.path / "run.json")}


def test_a_full_disk_stops_the_training_and_spares_the_last_checkpoint(
    small_disk: Path, tmp_path: Path, cli: Run
) -> None:
    data = save_npz(tmp_path / "noise.npz")
    runs = small_disk / "runs"
    options = ("--data", data, "--widths", 8, "--batch-size", 8, "--device", "cpu", "--tick", 5)
    code, _, errors = cli("train", "mlp", *options, "--steps", 5, "--runs", runs)
    assert code == 0, errors
    run = RunDir(runs / "0001-mlp-noise")
    ballast = small_disk / "ballast"
    free = shutil.disk_usage(small_disk).free
    ballast.write_bytes(bytes(max(0, free - run.checkpoint(5).stat().st_size // 2)))  # half a checkpoint fits

    code, _, errors = cli("train", "mlp", "--resume", run.path, "--steps", 10)
    assert code == 1
    assert "\nError: The checkpoint " in errors
    assert "step-00000010.pt can't be written: [Errno 28] No space left on device" in errors
    assert "free space" in errors
    assert run.checkpoints() == [run.checkpoint(5)]
    assert checkpoint.load(run.checkpoint(5))["step"] == 5
    assert not list(run.path.rglob("*.tmp"))

    ballast.write_bytes(bytes(ballast.stat().st_size + shutil.disk_usage(small_disk).free))  # not a byte is left
    before = _snapshot(run)
    code, _, errors = cli("train", "mlp", "--resume", run.path, "--steps", 10)
    assert code == 1
    assert f"The run {run.path} can't be written: [Errno 28] No space left on device" in errors
    assert _snapshot(run) == before

    ballast.unlink()
    code, _, errors = cli("train", "mlp", "--resume", run.path, "--steps", 10)
    assert code == 0, errors
    whole = start("mlp", tmp_path, widths=(8,), latent_dim=100, steps=10, tick=5)
    run_until(whole)
    assert different(checkpoint.load(whole.run.checkpoint(10)), checkpoint.load(run.checkpoint(10))) == []


@pytest.mark.parametrize("limit", [0, 100, 3000, 20_000])
def test_files_that_may_not_grow_are_a_clear_error_at_any_place(limit: int, tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for a disk that fills up while the run is saved; it needs no rights."""
    resource = pytest.importorskip("resource")
    opened = start("mlp", tmp_path, steps=40)
    run_until(opened, stop=20)
    wanted = checkpoint.load(opened.run.checkpoint(20))
    resumed = session.resume(opened.run)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(GantoolError, match=r"can't be written: .*File too large"):
            run_until(resumed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert different(wanted, checkpoint.load(opened.run.latest_checkpoint())) == []
    run_until(session.resume(opened.run))
    assert opened.run.read().status == "finished"


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """The run's folders can't be written, not even by root, who lays its rights down."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        try:
            os.seteuid(NOBODY)
        except OSError as error:
            pytest.skip(f"root can't lay its rights down here: {error}")
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in folders:
            path.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="folders are made read-only in the Unix way")
def test_a_read_only_run_is_refused_and_can_be_exported(cli: Run) -> None:
    # not tmp_path: its parents are root's alone
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        opened = start("mlp", folder, steps=20)
        run_until(opened)
        run, before = opened.run, _snapshot(opened.run)
        del opened  # its lock is held open
        with _read_only(run.path):
            code, _, errors = cli("train", "mlp", "--resume", run.path, "--steps", 40)
            assert code == 1
            assert f"The run {run.path} can't be written: its lock can't be taken: " in errors
            assert "Permission denied" in errors
            assert "Make the folder writable" in errors
            assert exporting.source_of(run).seedable  # all that an export reads
        assert _snapshot(run) == before
        run_until(session.resume(run, steps=40))
