"""metrics.jsonl: a line for each tick, and a line with `"event"` for each alarm, rollback and change of threads."""

from __future__ import annotations

import json
import os
from typing import Any

from gantool.run.rundir import RunDir
from gantool.system.files import bounded_int, write_bytes


def append(run: RunDir, record: dict[str, Any]) -> None:
    with run.metrics.open("a") as file:
        file.write(json.dumps(record) + "\n")


def read_metrics(run: RunDir) -> list[dict[str, Any]]:
    """The lines of the ticks, without those that a kill cut off or that are damaged."""
    return [record for record in _read(run) if "event" not in record]


def read_events(run: RunDir) -> list[dict[str, Any]]:
    """The lines of alarms and rollbacks, such as `{"event": "rollback", "step": 2000, …}`."""
    return [record for record in _read(run) if "event" in record]


def newest(run: RunDir, limit: int) -> list[dict[str, Any]]:
    """The lines of both kinds in the last `limit` bytes."""
    return _read(run, limit)


def forget_after(run: RunDir, step: int, rollbacks: int) -> None:
    """Drop the lines and samples that a killed run wrote after its checkpoint of `step`.

    `rollbacks`: how many the checkpoint counts. A later one was logged, but cut off by a kill, and happens again.
    """
    kept = [r for r in _read(run) if r["step"] <= step and r.get("rollbacks", 0) <= rollbacks]
    write_bytes(run.metrics, "".join(json.dumps(record) + "\n" for record in kept).encode())
    for path in run.sample(0).parent.glob("step-*"):
        if path.suffix in (".png", ".wav", ".json") and path.stem > run.sample(step).stem:
            path.unlink()


def _read(run: RunDir, limit: int | None = None) -> list[dict[str, Any]]:
    records = []
    if run.metrics.is_file():
        with run.metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - limit) if limit else 0)
            content = file.read(limit)
        for line in content.splitlines():
            try:
                record = json.loads(line, parse_int=bounded_int)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and type(record.get("step")) is int:
                records.append(record)
    return records
