"""A kill before every system call that renames, links or unlinks: what is replaced is old or new, and the next command
finishes or tidies up. Where the system can swap two folders, where it can't, and where it has no hard links, either."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from support import killpoints

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not (shutil.which("cc") or shutil.which("gcc")),
    reason="a library that counts system calls is compiled for Linux",
)
MOST = int(os.environ.get("KILL_POINTS_MOST", "12"))  # of a command; 1000: all
SWAPS = ("kit", "export", "triton", "fetch")  # commands that replace more than one file


@pytest.mark.parametrize("way", killpoints.FLAGS)
@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] * (c != "files")) for c in killpoints.PRIMITIVES]
)
def test_every_point_of_each_way_to_write(case: str, way: str, tmp_path: Path) -> None:
    calls, points = killpoints.run(case, tmp_path, way)
    assert len(points) == calls >= 7
    check(points)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "way"),
    [(case, way) for case in killpoints.COMMANDS for way in killpoints.FLAGS if way == "exchange" or case in SWAPS],
)
def test_points_of_each_command(case: str, way: str, tmp_path: Path) -> None:
    check(killpoints.run(case, tmp_path, way, MOST)[1])


def check(points: list[dict[str, object]]) -> None:
    assert all(point["killed"] for point in points)
    assert [point for point in points if point["wrong"] or point["litter"]] == []
