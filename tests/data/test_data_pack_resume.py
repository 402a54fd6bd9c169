"""Packing that is interrupted at any moment, and disks that are full: never a half pack, and the same bytes at last."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from support import disks
from support.commands import TIMEOUT, gantool, start_gantool
from support.inprocess import Run

from gantool.data import image_files
from gantool.data.pack import writer
from gantool.data.pack.build import Options, Progress, pack
from gantool.errors import GantoolError

FILES = 600
COMMAND = ("data", "pack", "-o", "out", "--size", 16, "--skip-broken")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes, some of them broken."""
    root = tmp_path_factory.mktemp("source") / "in"
    for i in range(FILES):
        path = root / "ab"[i % 2] / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
        if i % 97 == 5:
            path.write_bytes(path.read_bytes()[:300])
    return root


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    pack(str(folder), out, OPTIONS, workers=1)
    return contents(out)


OPTIONS = Options(size=16, skip_broken=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "COMMIT", 40_000)


class Stop(BaseException):
    """As sudden as a signal, and as little expected."""


def stop_at(number: int) -> Any:
    def heard(progress: Progress) -> None:
        if progress.done >= number:
            raise Stop

    return heard


def test_what_was_done_is_not_done_again(
    folder: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, decoded = tmp_path / "out", 0
    decode = image_files.decode

    def counted(*arguments: Any) -> np.ndarray:
        nonlocal decoded
        decoded += 1
        return decode(*arguments)

    monkeypatch.setattr(image_files, "decode", counted)
    for share in (0.3, 0.6):
        with pytest.raises(Stop):
            pack(str(folder), out, OPTIONS, workers=1, on_progress=stop_at(int(share * FILES)))
        assert not out.exists()
    notes: list[str] = []
    done = pack(str(folder), out, OPTIONS, workers=1, on_note=notes.append)
    assert contents(out) == whole
    assert decoded < 1.4 * FILES
    assert done.done < 0.5 * FILES
    assert len(notes) == 1
    assert "Going on after number" in notes[0]


def test_another_process_that_finished_just_now(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire = FileLock.acquire

    def late(lock: FileLock, **options: Any) -> Any:
        taken = acquire(lock, **options)
        (tmp_path / "out" / "theirs").mkdir(parents=True)
        return taken

    monkeypatch.setattr(FileLock, "acquire", late)
    with pytest.raises(GantoolError, match=r"out exists"):
        pack(str(folder), tmp_path / "out", OPTIONS, workers=1)
    assert not (tmp_path / "out.partial").exists()


def test_files_that_make_few_rows_are_committed_by_the_clock(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "COMMIT", 2**40)
    for seconds, kept in ((3600.0, 0), (0.0, 1)):
        monkeypatch.setattr(writer, "COMMIT_EVERY", seconds)
        out = tmp_path / f"after-{seconds:g}"
        with pytest.raises(Stop):  # as a kill: nothing is put in order
            pack(str(folder), out, OPTIONS, workers=1, on_progress=stop_at(FILES // 2))
        assert len(list(tmp_path.glob(f"{out.name}.partial/progress.json"))) == kept


@pytest.mark.parametrize("what", ["a file", "an option"])
def test_other_data_or_options_start_anew(folder: Path, tmp_path: Path, what: str) -> None:
    source = Path(shutil.copytree(folder, tmp_path / "in"))
    out, notes = tmp_path / "out", []
    with pytest.raises(Stop):
        pack(str(source), out, OPTIONS, workers=1, on_progress=stop_at(FILES // 2))
    if what == "a file":
        Image.new("RGB", (20, 24)).save(source / "a" / "0000.png")
    options = OPTIONS if what == "a file" else Options(size=16, skip_broken=True, fit="stretch")
    pack(str(source), out, options, workers=1, on_note=notes.append)
    pack(str(source), tmp_path / "again", options, workers=1)
    assert contents(out) == contents(tmp_path / "again")
    assert len(notes) == 1
    assert "is of other data or options: starting anew" in notes[0]


@pytest.mark.parametrize("damage", ["progress", "plan", "rows", "rubbish"])
def test_a_journal_that_can_not_be_trusted_starts_anew(
    folder: Path, whole: dict[str, bytes], tmp_path: Path, damage: str
) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    with pytest.raises(Stop):
        pack(str(folder), out, OPTIONS, workers=1, on_progress=stop_at(FILES // 2))
    if damage == "rows":
        os.truncate(partial / "pack" / "images.npy", 1000)
    elif damage == "rubbish":  # rows beyond the mark
        for name in ("images.npy", "labels.npy", "files.jsonl", "broken.jsonl"):
            with (partial / "pack" / name).open("ab") as file:
                file.write(b"rubbish" * 99)
    else:
        (partial / f"{damage}.json").write_text('{"done": -')
    pack(str(folder), out, OPTIONS, workers=1)
    assert contents(out) == whole


def test_one_at_a_time(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        pack(str(folder), tmp_path / "out", OPTIONS, workers=1, on_progress=stop_at(FILES // 2))
    with FileLock(tmp_path / "out.partial" / "lock"):
        with pytest.raises(GantoolError, match="is being packed by another process"):
            pack(str(folder), tmp_path / "out", OPTIONS, workers=1)


def killed(folder: Path, out: Path, chance: random.Random) -> None:
    """Pack with two workers in a process of its own, and kill it at any moment."""
    process = start_gantool(*COMMAND, folder, "--workers", 2, cwd=out.parent)
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.2, 3))
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT)  # ends when nobody holds its pipes: when its workers are gone, too


@pytest.mark.slow
def test_sigkill_at_any_moment(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    chance = random.Random(0)
    for number in range(4):
        out = tmp_path / str(number) / "out"
        out.parent.mkdir()
        for _ in range(2):
            if not out.exists():
                killed(folder, out, chance)
        if not out.exists():
            done = gantool(*COMMAND, folder, cwd=out.parent)
            assert done.returncode == 0, done.stderr
        assert contents(out) == whole
        assert {path.name for path in out.parent.iterdir()} <= {"out", "out.partial"}


def test_sigkill_in_the_middle_of_sounds(tmp_path: Path) -> None:
    """Forked, as below: no kill leaves a pack, and the next call ends with the bytes of one that was not killed."""
    soundfile = pytest.importorskip("soundfile")
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    (tmp_path / "in").mkdir()
    for number in range(40):
        soundfile.write(tmp_path / "in" / f"{number:02}.wav", RNG.uniform(-0.9, 0.9, 2000), 8000, subtype="PCM_16")
    pack(str(tmp_path / "in"), tmp_path / "whole", Options(size=2048), workers=1)
    ends = []
    for number, left in enumerate((60, 160, 220)):
        out = tmp_path / str(number)
        pid = os.fork()
        if not pid:  # a fork must not go on as its parent
            try:
                _die_at_event(left)
                pack(str(tmp_path / "in"), out, Options(size=2048), workers=1)
                os._exit(0)
            finally:
                os._exit(1)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        assert not out.exists() or contents(out) == contents(tmp_path / "whole")
        if not out.exists():
            pack(str(tmp_path / "in"), out, Options(size=2048), workers=1)
        assert contents(out) == contents(tmp_path / "whole")
    assert ends.count(-signal.SIGKILL) >= 2


FILE_EVENTS = {"open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "shutil.rmtree"}


def test_sigkill_right_before_any_use_of_a_file(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Forked, so that it is fast; the parent goes on where the child was killed."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    chance, ends = random.Random(1), []
    for number in range(12):
        out = tmp_path / str(number) / "out"
        out.parent.mkdir()
        pid = os.fork()
        if not pid:  # a fork must not go on as its parent
            try:
                _die_at_event(chance.randrange(1, 200) if number % 2 else 700 + chance.randrange(0, 700))
                pack(str(folder), out, OPTIONS, workers=1)
                os._exit(0)
            finally:
                os._exit(1)
        chance.random()
        ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        if ends[-1]:
            assert not out.exists() or contents(out) == whole
        if not out.exists():
            pack(str(folder), out, OPTIONS, workers=1)
        assert contents(out) == whole
    assert ends.count(-signal.SIGKILL) >= 6


def _die_at_event(left: int) -> None:
    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in FILE_EVENTS:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def test_ctrl_c(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    process = start_gantool(*COMMAND, folder, "--workers", 2, cwd=tmp_path)
    try:
        deadline = time.monotonic() + TIMEOUT
        while not (tmp_path / "out.partial" / "plan.json").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    if process.returncode and "is whole" not in told:  # else it was done before
        assert process.returncode == 130, told
        assert "the same command continues" in told
        assert "Traceback" not in told
        done = gantool(*COMMAND, folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == whole


def test_ctrl_c_when_the_pack_is_in_place(
    folder: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Run
) -> None:
    out, remove, interrupted = tmp_path / "out", shutil.rmtree, []

    def once(path: Path, **options: Any) -> None:
        if out.exists() and not interrupted:
            interrupted.append(path)
            raise KeyboardInterrupt
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", once)
    monkeypatch.chdir(tmp_path)
    code, _, told = cli(*COMMAND, folder)
    assert interrupted
    assert (code, "out is whole" in told) == (130, True), told
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    with disks.file_limit(200_000):
        with pytest.raises(
            GantoolError, match=r"The disk is full: .* are free at .*out.partial .*File too large"
        ) as told:
            pack(str(folder), tmp_path / "out", OPTIONS, workers=1)
    assert "it goes on with what is there" in told.value.hint
    assert not (tmp_path / "out").exists()
    notes: list[str] = []
    pack(str(folder), tmp_path / "out", OPTIONS, workers=1, on_note=notes.append)
    assert "Going on after number" in notes[0]
    assert contents(tmp_path / "out") == whole


def test_a_worker_that_dies(folder: Path, tmp_path: Path) -> None:
    def kill(progress: Progress) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(GantoolError, match=r"One of 2 processes that decode was ended from outside.*--workers 1"):
        pack(str(folder), tmp_path / "out", OPTIONS, workers=2, on_progress=kill)
    assert not (tmp_path / "out").exists()
