"""The command line in a process of its own, for what only a process shows: exit codes, signals, what is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TIMEOUT = 120  # seconds; only a hang takes as long


def environment(*paths: Path) -> dict[str, str]:
    """This process's environment with `paths` on PYTHONPATH, and no terminal width to wrap messages at."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "COLUMNS": "200", "PYTHONUTF8": "1"}


def gantool(*arguments: object, cwd: Path, paths: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run `gantool ARGUMENTS` to its end."""
    return subprocess.run(
        _command(arguments),
        cwd=cwd,
        env=environment(*paths),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT,
    )


def start_gantool(*arguments: object, cwd: Path, paths: tuple[Path, ...] = ()) -> subprocess.Popen[str]:
    """Start `gantool ARGUMENTS`; its output is read through pipes."""
    return subprocess.Popen(
        _command(arguments),
        cwd=cwd,
        env=environment(*paths),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def _command(arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "gantool", *map(str, arguments)]
