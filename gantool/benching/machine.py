"""The machine and the process that are measured. Standard library only."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

from gantool.system import nvml
from gantool.system.cores import usable_cores

MEGABYTE = 1e6


def describe() -> dict[str, str | int | None]:
    """`cpu`: its name; `cores`: logical ones that this process may use; `system`: e.g. Linux x86_64; `gpu`: or None."""
    device = nvml.open_device()
    return {
        "cpu": _cpu(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": device.name() if device else None,
    }


def peak_memory_mb() -> float | None:
    """Most resident memory of this process so far, in megabytes (10^6 bytes); None where it can't be known."""
    # On Linux getrusage also counts what the parent held when it started this process: the kernel's own mark does not.
    for line in _lines("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MEGABYTE
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / MEGABYTE


def commit() -> str | None:
    """The git commit of a gantool that runs from a checkout of its own; None for an installed one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _cpu() -> str:
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
