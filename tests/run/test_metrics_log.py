"""metrics.jsonl survives what a kill or a hand did to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gantool.run import metrics_log
from gantool.run.rundir import RunDir

GOOD = [{"step": step, "images": 8 * step} for step in (20, 40, 60, 80)]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = RunDir(tmp_path / "0001-tiny")
    made.path.mkdir()
    for record in GOOD:
        metrics_log.append(made, record)
    return made


@pytest.mark.parametrize(
    "line",
    [
        b"5",
        b"{}",
        b'{"step": "x"}',
        b'{"step": 50, "im',
        b"null",
        b"[]",
        b"\xff",
        b"[" * 9999,
        b'{"step": 1' + b"0" * 20 + b"}",
    ],
)
@pytest.mark.parametrize("position", [0, 2, 4])
def test_a_line_that_is_no_record_costs_no_other(run: RunDir, line: bytes, position: int) -> None:
    lines = run.metrics.read_bytes().splitlines()
    lines.insert(position, line)
    run.metrics.write_bytes(b"\n".join(lines))
    assert metrics_log.read_metrics(run) == GOOD
    assert metrics_log.read_events(run) == []
    metrics_log.forget_after(run, 60, 0)
    assert metrics_log.read_metrics(run) == GOOD[:3]
