"""The machine: its name, the cores that this process may use, and the memory that it used."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from gantool.system import nvml

MAX_THREADS = 1024
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt, in <malloc.h>
KEPT_BLOCK, KEPT_FREE = 2**28, 2**31 - 1  # bytes
USUAL_BLOCK = 2**25  # what glibc itself comes to by default in a program that frees large blocks
SPINS = "1000"  # turns of a loop before a waiting thread sleeps


def describe() -> dict[str, str | int | None]:
    """`cpu`: its name; `cores`: logical ones that this process may use; `system`: e.g. Linux x86_64; `gpu`: or None."""
    device = nvml.open_device()
    return {
        "cpu": _cpu(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": device.name() if device else None,
    }


def load() -> float | None:
    """Programs that wanted to run, on average over the last minute; None where the system does not count them."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def peak_memory_mb() -> float | None:
    """Most resident memory of this process so far, in megabytes (10^6 bytes); None where it can't be known."""
    # On Linux getrusage also counts what the parent held when it started this process: the kernel's own mark does not.
    for line in _text(Path("/proc/self/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def let_idle_threads_sleep() -> None:
    """Make the threads of OpenMP, which torch computes on, sleep soon when they wait; call it before torch is imported.

    By default GNU's OpenMP spins for milliseconds. Two trainings of two threads on two cores then take each other's
    time. Those that sleep at once are slow when they are alone: `benchmarks/threads.py`. An OMP_WAIT_POLICY or
    GOMP_SPINCOUNT that is set stays. Child processes inherit it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


@contextlib.contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Inside, glibc's malloc keeps blocks that are freed for the next request, up to 2 GB; afterwards it returns them.

    By default it returns every freed block of megabytes to the system, which clears its pages before it gives them out
    again: a step of training on a CPU allocates and frees thousands of them. Other C libraries: nothing happens.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        yield
        return
    assert libc is not None
    _set_malloc(libc, KEPT_BLOCK, KEPT_FREE)
    try:
        yield
    finally:
        _set_malloc(libc, USUAL_BLOCK, 2 * USUAL_BLOCK)
        libc.malloc_trim(0)


def _set_malloc(libc: ctypes.CDLL, block: int, free: int) -> None:
    """Blocks below `block` bytes come from the heap, of which at most `free` bytes stay when they are free."""
    for name, value in ((M_MMAP_THRESHOLD, block), (M_TRIM_THRESHOLD, free)):
        libc.mallopt(name, value)


def parse_threads(text: str) -> int | None:
    """`--threads N|auto`; None: auto. ValueError when it is neither."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:5]) <= MAX_THREADS):
        raise ValueError(f"{text!r} is no number of threads: give 1 to {MAX_THREADS}, or auto")
    return int(text)


def usable_cores(root: Path = Path("/")) -> int:
    """Logical cores by the affinity of this process and the CPU quota of its cgroups (a container's limit).

    A quota of 2.5 cores counts as 3. `root`: where /proc and /sys are, for tests.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The limits, in cores, of all cgroups (version 1 and 2) that this process is in."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        version_2 = not controllers
        if not version_2 and "cpu" not in controllers.split(","):
            continue
        base = mounted if version_2 else mounted / controllers
        if not version_2 and not base.is_dir():
            base = mounted / "cpu"
        # a container sees its own group at the root, whatever it is called outside
        place = path.strip("/")
        steps = place.split("/") if place and ".." not in place.split("/") else []
        for depth in range(len(steps) + 1):
            group = base.joinpath(*steps[:depth])
            if version_2:
                quota, period = (*_text(group / "cpu.max").split(), "", "")[:2]
            else:
                quota, period = (_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
            if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
                yield int(quota) / int(period)


def _cpu() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
