"""The machine: its description, and how many cores may be used (affinity, the quotas of cgroups)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gantool.system.machine import describe, keeping_freed_memory, usable_cores


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "250000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "10000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "6400000 100000\n"}, 8),
        # the tightest limit of its groups counts
        ({"proc/self/cgroup": "0::/a/b\n", f"{V2}/a/cpu.max": "300000 100000", f"{V2}/a/b/cpu.max": "max 100000"}, 3),
        ({"proc/self/cgroup": "0::/docker/1\n", f"{V2}/cpu.max": "400000 100000"}, 4),
        # version 1
        (
            {
                "proc/self/cgroup": "5:memory:/x\n3:cpu,cpuacct:/x\n0::/\n",
                f"{V1}/x/cpu.cfs_quota_us": "500000\n",
                f"{V1}/x/cpu.cfs_period_us": "100000\n",
            },
            5,
        ),
        ({"proc/self/cgroup": "1:cpu:/\n", f"{V2}/cpu/cpu.cfs_quota_us": "-1", f"{V2}/cpu/cpu.cfs_period_us": "9"}, 8),
        (
            {
                "proc/self/cgroup": "4:cpuacct,cpu:/\n",
                f"{V2}/cpu/cpu.cfs_quota_us": "20",
                f"{V2}/cpu/cpu.cfs_period_us": "10",
            },
            2,
        ),
        # what no kernel writes
        ({"proc/self/cgroup": "0::/../../etc\n:\n\nx", f"{V2}/cpu.max": "100000"}, 8),
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "100000 0"}, 8),
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "\xff\xfe 100000"}, 8),
    ],
)
def test_cores_by_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert usable_cores(written(tmp_path, files)) == count


def test_cores_without_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for count, found in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert usable_cores(tmp_path) == found


def test_cores_of_this_machine() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_the_machine_is_described() -> None:
    described = describe()
    assert set(described) == {"cpu", "cores", "system", "gpu"}
    assert described["cpu"]
    assert int(described["cores"] or 0) >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_serves_the_next_request() -> None:
    import resource

    def faults() -> int:
        """Pages that the system had to give for a block of 16 MB, taken and freed five times."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            assert len(bytearray(b"x") * 2**24) == 2**24
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with keeping_freed_memory():
        faults()
        assert faults() < 2**24 // os.sysconf("SC_PAGE_SIZE")
