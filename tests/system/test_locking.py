"""Locks between processes: taken, refused with their holder's name, free when the holder is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gantool.system import locking

HOLD = """
import sys, time
from pathlib import Path
from gantool.system import locking
with locking.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
ME = f"pid {os.getpid()} on {socket.gethostname()}"


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds tmp_path/lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_of_another_process_is_busy_until_that_is_killed(other: subprocess.Popen[str], tmp_path: Path) -> None:
    path, named = tmp_path / "lock", f"pid {other.pid} on {socket.gethostname()}"
    for wait in (0.0, 0.1):  # the first refusal does not wipe out the name
        with pytest.raises(locking.Busy) as caught:
            locking.acquire(path, wait)
        assert caught.value.holder == named
    assert locking.holder(path) == named
    other.kill()
    other.wait()
    assert locking.holder(path) == ""
    with locking.hold(path):
        assert locking.holder(path) == ME
        assert path.read_text() == f"{ME}\n"
    assert locking.holder(path) == ""


def test_waiting_ends_when_the_lock_is_free(other: subprocess.Popen[str], tmp_path: Path) -> None:
    threading.Timer(0.2, other.kill).start()
    locking.acquire(tmp_path / "lock", wait=None).release()


def test_the_lock_is_released_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), locking.hold(tmp_path / "lock"):
        raise ValueError("inside")
    assert locking.holder(tmp_path / "lock") == ""


def test_a_second_lock_in_this_process_is_busy_unless_reentrant(tmp_path: Path) -> None:
    with locking.hold(tmp_path / "lock"), pytest.raises(locking.Busy) as caught:
        locking.acquire(tmp_path / "lock")
    assert caught.value.holder == ME
    one = locking.acquire(tmp_path / "lock", reentrant=True)
    assert locking.acquire(tmp_path / "lock", reentrant=True) is one
    del one  # the last reference
    locking.acquire(tmp_path / "lock").release()


def test_what_is_no_lock_file(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"\xff\xfe copied from another machine")
    locking.acquire(tmp_path / "lock").release()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        locking.acquire(tmp_path / "folder")
    assert locking.holder(tmp_path / "folder") == ""
    assert locking.holder(tmp_path / "none") == ""
    assert not (tmp_path / "none").exists()
