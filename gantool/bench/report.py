"""All cells, one after another, and what they say together: the report that docs/bench.md describes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gantool.bench import answer, machine, matrix
from gantool.bench.cell import Cell, Request, label
from gantool.bench.runner import CellError, check_batches, measure_cell
from gantool.errors import GantoolError

SCHEMA = 2
BATCHES = (1, 8, 64, 256)

Clock = Callable[[], float]
Measure = Callable[..., dict[str, Any]]
Listen = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """`seconds`: of timed runs a batch; `timeout`: of silence, then a cell counts as hung; `minutes`: for them all."""

    batches: tuple[int, ...] = BATCHES
    seconds: float = 2.0
    timeout: float = 600.0
    minutes: float | None = None
    limits: answer.Limits = field(default_factory=answer.Limits)


def bench(
    cells: Sequence[Cell],
    settings: Settings,
    listener: Listen = lambda stage: None,
    *,
    otherwise: Sequence[Cell] = (),
    measure: Measure = measure_cell,
    absent: matrix.Absent = matrix.absent,
    clock: Clock = time.monotonic,
) -> dict[str, Any]:
    """Measure the cells in their order, and answer; a report of schema 2. `otherwise`: cells for when none would run.

    What fails is a row of its own: `status` not here (no such provider on this machine), refused, crashed, hung, or
    dropped (no time left), with its `cause`. GantoolError for settings that make no sense.
    """
    batches = check_batches(settings.batches)
    end = None if settings.minutes is None else clock() + settings.minutes * 60
    rows: list[dict[str, Any]] = []
    dearest: dict[str, float] = {}  # seconds of a provider's dearest cell so far
    for number, cell in enumerate([*cells, *otherwise], start=1):
        if number > len(cells) and any(row["status"] == "measured" for row in rows):
            break
        why = absent(cell.provider)
        if why is not None:
            rows.append(failed(cell, "not here", why))
            continue
        start = clock()
        left = None if end is None else end - start
        # the first cell is always tried: a report has to say something
        if left is not None and rows and left < dearest.get(cell.provider, 0.0) * 0.8:
            rows.append(failed(cell, "dropped", f"no time left of {settings.minutes:g} minutes"))
            continue
        where = f"{Path(cell.path).name} on {label(cell.as_dict())}"
        prefix = f"{number} of {len(cells)}: {where}, " if len(cells) > 1 else ""
        try:
            reference = matrix.reference_of(cell)
            request = Request(cell, batches, settings.seconds, str(reference) if reference else None)
            rows.append(measure(request, settings.timeout, lambda stage, prefix=prefix: listener(prefix + stage), left))
        except CellError as error:
            rows.append(failed(cell, error.status, error.message, error.hint))
        dearest[cell.provider] = max(dearest.get(cell.provider, 0.0), clock() - start)
    report: dict[str, Any] = {
        "schema_version": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "commit": machine.commit(),
        "batches_asked": list(batches),
        "cells": rows,
    }
    names = told_apart(dict.fromkeys(row["file"]["path"] for row in rows))
    for number, row in enumerate(rows):
        row["number"] = number
        row["file"]["name"] = names[row["file"]["path"]]
    report["answer"] = answer.answer(rows, settings.limits)
    return report


def told_apart(paths: Iterable[str]) -> dict[str, str]:
    """Path → as much of its end as no other has: mostly the file's name."""
    paths = list(paths)
    found = {}
    for path in paths:
        parts = Path(path).parts
        for length in range(1, len(parts) + 1):
            end = parts[-length:]
            if sum(Path(other).parts[-length:] == end for other in paths) == 1:
                break
        found[path] = str(Path(*end))
    return found


def failed(cell: Cell, status: str, cause: str, hint: str = "") -> dict[str, Any]:
    """The row of a cell that was not measured."""
    path = Path(cell.path)
    return {
        "file": {"path": cell.path, "bytes": path.stat().st_size if path.is_file() else None},
        **cell.as_dict(),
        "status": status,
        "cause": cause,
        "hint": hint,
    }


def demand_one(report: dict[str, Any]) -> None:
    """GantoolError when nothing could be measured: the first cause, and its hint."""
    rows = report["cells"]
    if any(row["status"] == "measured" for row in rows):
        return
    for row in rows:
        if row["status"] != "dropped":
            cause, hint = row["cause"], row["hint"]
            if row["status"] == "not here":
                cause, hint = f"The provider {row['provider']!r} is not here: {cause}.", "Or: --provider cpu."
            raise GantoolError(cause, hint)
    raise GantoolError("Nothing was measured.", "Give more --minutes.")
