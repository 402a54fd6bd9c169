"""All cells, one after another, and what they say together: the report that docs/bench.md describes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gantool.benching import answer, machine, matrix, models
from gantool.benching.cell import Cell, Request, label
from gantool.benching.gemm import gemm_gflops
from gantool.benching.runner import CellError, check_batches, measure_cell
from gantool.errors import GantoolError

SCHEMA = 3
BATCHES = (1, 8, 64, 256)

Clock = Callable[[], float]
Measure = Callable[..., dict[str, Any]]
Peak = Callable[[str, int | None, Mapping[str, str]], float | None]
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
    peak: Peak = gemm_gflops,
    clock: Clock = time.monotonic,
) -> dict[str, Any]:
    """Measure the cells in their order, and answer; a report of schema 3. `otherwise`: cells for when none would run.

    What fails is a row of its own: `status` not here (no such provider on this machine), refused, crashed, hung, or
    dropped (no time left), with its `cause`. GantoolError for settings that make no sense.
    """
    batches = check_batches(settings.batches)
    end = None if settings.minutes is None else clock() + settings.minutes * 60
    rows: list[dict[str, Any]] = []
    peaks = _Peaks(peak)
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
            row = measure(request, settings.timeout, lambda stage, prefix=prefix: listener(prefix + stage), left)
            listener(prefix + "matrix product")
            rows.append(_with_work(row, cell, peaks))
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
    paths = list(dict.fromkeys(row["file"]["path"] for row in rows))
    names, found = models.told_apart(paths), {path: models.digests(Path(path)) for path in paths}
    for number, row in enumerate(rows):
        path = row["file"]["path"]
        row["number"] = number
        row["file"] = {**found[path], **row["file"], "name": names[path]}
    report["models"] = models.listed(rows)
    report["answer"] = answer.answer(rows, report["models"], settings.limits)
    return report


class _Peaks:
    """The rate of a matrix product for every setting of a provider, measured once, beside the first cell of it."""

    def __init__(self, peak: Peak) -> None:
        self.peak = peak
        self._found: dict[tuple[str, int | None, tuple[tuple[str, str], ...]], float | None] = {}

    def __call__(self, cell: Cell) -> float | None:
        settings = {key: value for key, value in cell.settings.items() if key != "enable_cuda_graph"}
        key = cell.provider, cell.threads, tuple(sorted(settings.items()))
        if key not in self._found:
            self._found[key] = self.peak(cell.provider, cell.threads, settings)
        return self._found[key]


def _with_work(row: dict[str, Any], cell: Cell, peaks: _Peaks) -> dict[str, Any]:
    """`row` with what an image takes to compute, and how fast that went, beside a matrix product's rate."""
    from gantool.benching import work  # loads onnx

    counted = work.count(Path(cell.path))
    peak = peaks(cell) if counted and counted.flops else None
    for batch in row["batches"]:
        batch["gflops"] = counted and counted.flops * batch["images_per_second"] / 1e9
        batch["of_gemm"] = batch["gflops"] / peak if peak else None
    return {**row, "work": counted and asdict(counted), "gemm_gflops": peak}


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
    told = {row["status"]: row for row in reversed(rows)}  # the first of each
    if "measured" in told:
        return
    for status in ("refused", "crashed", "hung"):
        if row := told.get(status):
            raise GantoolError(row["cause"], row["hint"])
    # before what is not here: with more time, something would have been measured
    if "dropped" in told or not rows:
        raise GantoolError("Nothing was measured: no time was left.", "Give more --minutes.")
    row = rows[0]
    raise GantoolError(f"The provider {row['provider']!r} is not here: {row['cause']}.", "Or: --provider cpu.")
