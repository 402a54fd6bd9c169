"""A task in a fresh process with a time limit: what it told, what it printed, how it ended."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any

WORKER = (sys.executable, "-P", "-m", "gantool.doctor.worker")  # -P: the user's folder holds no module of ours
MAX_BYTES = 1_000_000  # read of what a child printed
GRACE = 5.0  # seconds for a killed child to go: one that hangs inside a driver may never


@dataclass(frozen=True)
class Outcome:
    """`said`: its stderr. `ended`: how, where it did not end well ("crashed …", "hung …"), with the stage it was at."""

    result: dict[str, Any] | None = None
    probes: list[dict[str, Any]] = field(default_factory=list)
    said: str = ""
    ended: str | None = None


def run(task: str, timeout: float, worker: Sequence[str] = WORKER) -> Outcome:
    """Run `worker TASK` for at most `timeout` seconds. Nothing that the child does raises here."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        try:
            child = subprocess.Popen([*worker, task], stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
        except OSError as error:
            return Outcome(ended=f"could not be started: {error}")
        code: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = child.wait(timeout)
        finally:
            if child.poll() is None:
                child.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(GRACE)
        stage, result, probes = parse(_read(out))
        ended = None
        if code is None:
            ended = f"hung while {stage} and was stopped after {timeout:g} s"
        elif code < 0:
            ended = f"crashed while {stage} ({_signal(-code)})"
        elif code or result is None:
            ended = f"failed while {stage} (exit code {code})"
        return Outcome(result, probes, _read(errors), ended)


def parse(text: str) -> tuple[str, dict[str, Any] | None, list[dict[str, Any]]]:
    """The last stage, the result if it came, and the probes; lines that are none of ours are passed over."""
    stage, result, probes = "starting", None, []
    for line in text.splitlines():
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(message, dict):
            continue
        if isinstance(message.get("stage"), str):
            stage = message["stage"]
        if isinstance(message.get("probe"), dict):
            probes.append(message["probe"])
        if isinstance(message.get("result"), dict):
            result = message["result"]
    return stage, result, probes


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(MAX_BYTES).decode(errors="replace")
