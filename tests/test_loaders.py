"""Damaged and forged files of every kind give a result or an error of ours: no other exception, no hang, no bomb.

More inputs: python -m support.fuzz TARGET COUNT SEED, in this folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import environment
from support.fuzz import TARGETS

TESTS = Path(__file__).parent


@pytest.mark.parametrize("count", [8, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutants_are_read_or_refused(count: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "support.fuzz", "all", str(count), "--keep", str(tmp_path)],
        env=environment(TESTS, *map(Path, filter(None, sys.path))),
        capture_output=True,
        text=True,
        timeout=1200,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"after {len(found)} targets:\n{done.stderr[-3000:]}"
    assert [one["target"] for one in found] == list(TARGETS)
    for one in found:
        assert one["faults"] == {}, one
        assert one["read"] + one["refused"] == count
    assert sum(one["read"] for one in found) > 0
    assert sum(one["refused"] for one in found) > 0
