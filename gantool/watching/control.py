"""Stop the process that trains a run, or start one that resumes it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

from gantool.errors import GantoolError, excerpt
from gantool.plugin import registry
from gantool.run.rundir import RunDir
from gantool.system.subprocesses import describe_exit

LOG = "train.log"  # in the run: what trainings print that the page began
TAIL = 2000  # bytes of it that a failure shows
_ELSEWHERE = "Press Ctrl-C where it runs."
_HOLDER = re.compile(r"pid (\d{1,10}) on (.{1,255})")


def stop(run: RunDir) -> int:
    """Let the training end its step and save, as one Ctrl-C does; returns its process id.

    The signal goes to a process only if it holds the run's lock, as the kernel says. GantoolError when none does, when
    it is on another machine, and where the system can't tell (other than Linux).
    """
    who = run.holder()
    if not who:
        raise GantoolError("Nothing trains this run now.")
    found = _HOLDER.fullmatch(who)
    if not found or found[2] != socket.gethostname():
        raise GantoolError(f"The run is trained by {excerpt(who)}, not here.", _ELSEWHERE)
    pid = int(found[1])
    if sys.platform != "linux":
        raise GantoolError("A training can be stopped from here on Linux only.", _ELSEWHERE)
    try:
        # opened before the look at its locks: its number may be given to another process meanwhile
        process = os.pidfd_open(pid)
        try:
            if not _holds(pid, run.lock):
                raise GantoolError(f"Process {pid} does not hold the run's lock.", _ELSEWHERE)
            signal.pidfd_send_signal(process, signal.SIGINT)
        finally:
            os.close(process)
    except OSError as error:
        raise GantoolError(f"Process {pid} can't be stopped: {error.strerror}.", _ELSEWHERE) from error
    return pid


def _holds(pid: int, lock: Path) -> bool:
    """Whether the process has the file open, and a lock on it."""
    wanted = lock.stat()
    for opened in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if (
                os.path.samestat(opened.stat(), wanted)
                and "\nlock:" in Path(f"/proc/{pid}/fdinfo/{opened.name}").read_text()
            ):
                return True
    return False


class Resumed:
    """A training that the page began. It outlives the page, in a session of its own."""

    def __init__(self, run: RunDir) -> None:
        """Type `gantool train … --resume` in the folder of the page; GantoolError when it can't be started."""
        if who := run.holder():
            raise GantoolError(f"The run is being trained ({excerpt(who)}).")
        name = registry.find(run.read().architecture).name  # a word of run.json: none that is an option
        self.log = run.path / LOG
        command = [sys.executable, "-P", "-m", "gantool", "train", name, "--resume", str(run.path.resolve())]
        with run.writing(), self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def failure(self) -> str:
        """How it ended and what it printed last, when it failed; else ""."""
        code = self._process.poll()
        if code in (None, 0, 130):  # 130: stopped
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL))
            tail = log.read(TAIL).decode(errors="replace")
        return f"The training {describe_exit(code)}. The end of {self.log}:\n{tail}"
