"""Measure all cells, one after another in processes of their own: the report that docs/bench.md describes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gantool.artifact.manifest import MAX_BATCH
from gantool.benching import answer, matrix
from gantool.benching.matrix import Cell, Request, label, manifest_of
from gantool.errors import GantoolError, excerpt
from gantool.system import machine
from gantool.system.files import sha256_of
from gantool.system.subprocesses import JsonProcess

SCHEMA = 3
WORKER = (sys.executable, "-P", "-m", "gantool.benching.worker")  # -P: modules in the user's folder are not ours

Measure = Callable[..., dict[str, Any]]
Peak = Callable[[str, int | None, Mapping[str, str]], float | None]
Listen = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """`seconds`: of timed runs a batch; `timeout`: of silence, then a cell counts as hung; `minutes`: for them all."""

    batches: tuple[int, ...] = (1, 8, 64, 256)
    seconds: float = 2.0
    timeout: float = 600.0
    minutes: float | None = None
    limits: answer.Limits = field(default_factory=answer.Limits)


class CellError(GantoolError):
    """A cell without a measurement. `status`: refused (with a reason), crashed, hung, or dropped (no time)."""

    def __init__(self, status: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


def measure_cell(
    request: Request, timeout: float = 600.0, listener: Listen = lambda stage: None, limit: float | None = None
) -> dict[str, Any]:
    """Measure in a new process without torch, and prove that its images are right; a cell of a report.

    `timeout`: seconds of silence after which the process counts as hung. `limit`: seconds that it may take in all.
    `listener` is called with each stage. CellError: provider missing or unable to run the whole graph, wrong or stale
    output, a crash, a hang, no time left.
    """
    spawned = time.perf_counter()
    stage = ""
    with JsonProcess(WORKER) as worker:
        worker.send({**asdict(request), "spawned": spawned})
        while True:
            left = timeout if limit is None else spawned + limit - time.perf_counter()
            try:
                message = worker.receive(min(timeout, left))
            except TimeoutError:
                if limit is not None and left < timeout:
                    raise CellError("dropped", f"It was stopped after {limit:.0f} s: no time was left.") from None
                raise CellError(
                    "hung",
                    f"The measured process was silent for {timeout:g} s and was stopped.{worker.stderr_tail()}",
                    "If one run of this generator takes that long, give a longer --timeout or smaller --batches.",
                ) from None
            if message is None:
                raise CellError(
                    "crashed",
                    f"The measured process {worker.ending()} before its report.{worker.stderr_tail()}",
                    "Out of memory? Try smaller --batches." if worker.exit_code() == -9 else "Try --provider cpu.",
                )
            if "error" in message:
                raise CellError("refused", message["error"], message["hint"])
            if "report" in message:
                report: dict[str, Any] = message["report"]
                return report
            if message["stage"] != stage:
                stage = message["stage"]
                listener(stage)


def bench(
    cells: Sequence[Cell],
    settings: Settings,
    listener: Listen = lambda stage: None,
    *,
    otherwise: Sequence[Cell] = (),
    measure: Measure = measure_cell,
    absent: matrix.Absent = matrix.absent,
    peak: Peak | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Measure the cells in their order, and recommend; a report of schema 3.

    `otherwise`: cells to measure when none of the others would run.
    A cell that fails is a row as well: its `status` is not here (the machine has no such provider), refused, crashed,
    hung, or dropped (no time left), with its `cause`. GantoolError for settings that make no sense.
    """
    batches = check_batches(settings.batches)
    load, about = machine.load(), machine.describe()
    end = None if settings.minutes is None else clock() + settings.minutes * 60
    rows: list[dict[str, Any]] = []
    peaks: dict[tuple[object, ...], float | None] = {}  # by provider, threads and settings
    longest: dict[str, float] = {}  # seconds of a provider's slowest cell so far
    for number, cell in enumerate([*cells, *otherwise], start=1):
        if number > len(cells) and any(row["status"] == "measured" for row in rows):
            break
        if (cause := absent(cell.provider)) is not None:
            rows.append(_not_measured(cell, "not here", cause))
            continue
        start = clock()
        left = None if end is None else end - start
        # the first cell is always tried, so that a report has one
        if left is not None and rows and left < longest.get(cell.provider, 0.0) * 0.8:
            rows.append(_not_measured(cell, "dropped", f"no time left of {settings.minutes:g} minutes"))
            continue
        prefix = f"{Path(cell.path).name} on {label(cell.as_dict())}, "
        if len(cells) > 1:
            prefix = f"{number} of {len(cells)}: {prefix}"
        try:
            reference = matrix.reference_of(cell)
            request = Request(cell, batches, settings.seconds, str(reference) if reference else None)
            row = measure(request, settings.timeout, lambda stage, prefix=prefix: listener(prefix + stage), left)
            listener(prefix + "matrix product")
            rows.append(_with_work(row, cell, peak, peaks))
        except CellError as error:
            rows.append(_not_measured(cell, error.status, error.message, error.hint))
        longest[cell.provider] = max(longest.get(cell.provider, 0.0), clock() - start)
    _name_files(rows)
    models = list_models(rows)
    return {
        "schema_version": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": about,
        "load": load,
        "batches_asked": list(batches),
        "cells": rows,
        "models": models,
        "answer": answer.answer(rows, models, settings.limits),
        "warning": answer.warning(rows, load, machine.usable_cores()),
    }


def check_batches(batches: Sequence[int]) -> tuple[int, ...]:
    """Ascending, each once; GantoolError for none, or for one that is too small or too large."""
    for batch in batches:
        if not 1 <= batch <= MAX_BATCH:
            raise GantoolError(f"A batch of {batch} was asked for.", f"Give 1 to {MAX_BATCH}.")
    if not batches:
        raise GantoolError("No batch was given.", "Give one or more, e.g. --batches 1,64")
    return tuple(sorted(set(batches)))


def require_measured(report: dict[str, Any]) -> None:
    """GantoolError when no cell could be measured: the first cause, and its hint."""
    rows = report["cells"]
    first = {row["status"]: row for row in reversed(rows)}
    if "measured" in first:
        return
    for status in ("refused", "crashed", "hung"):
        if row := first.get(status):
            raise GantoolError(row["cause"], row["hint"])
    # before what is not here: with more time, a cell would have been measured
    if "dropped" in first or not rows:
        raise GantoolError("Nothing was measured: no time was left.", "Give more --minutes.")
    row = rows[0]
    raise GantoolError(f"The provider {row['provider']!r} is not here: {row['cause']}.", "Or: --provider cpu.")


def _not_measured(cell: Cell, status: str, cause: str, hint: str = "") -> dict[str, Any]:
    path = Path(cell.path)
    return {
        "file": {"path": cell.path, "bytes": path.stat().st_size if path.is_file() else None},
        **cell.as_dict(),
        "status": status,
        "cause": cause,
        "hint": hint,
    }


def _with_work(
    row: dict[str, Any], cell: Cell, measure_peak: Peak | None, peaks: dict[tuple[object, ...], float | None]
) -> dict[str, Any]:
    """`row` with what an image takes to compute, how fast that went, and its share of a matrix product's rate.

    There is no share of a rate in another arithmetic, and none above 1: a peak that is exceeded is no peak. `peaks`
    keeps the rates measured so far.
    """
    work, peak = None, None
    if find_spec("onnx"):  # it comes with training, not with generating
        from gantool.benching import roofline

        work = roofline.count(Path(cell.path))
    if work and work.flops:
        settings = {key: value for key, value in cell.settings.items() if key != "enable_cuda_graph"}
        key = cell.provider, cell.threads, *sorted(settings.items())
        if key not in peaks:
            peaks[key] = (measure_peak or roofline.peak_gflops)(cell.provider, cell.threads, settings)
        peak = peaks[key]
    precision = row["file"]["precision"]
    comparable = precision in ("float32", "half-weights") or (precision == "half" and cell.provider == "cpu")
    for batch in row["batches"]:
        batch["gflops"] = work and work.flops * batch["images_per_second"] / 1e9
        share = batch["gflops"] / peak if peak and comparable else None
        batch["of_gemm"] = share if share is not None and share <= 1 else None
    return {**row, "work": work and asdict(work), "gemm_gflops": peak}


def _name_files(rows: Sequence[dict[str, Any]]) -> None:
    """Number the cells, and give each its file's short name and digests."""
    paths = list(dict.fromkeys(row["file"]["path"] for row in rows))
    names, digests = shortest_ends(paths), {path: _digests(Path(path)) for path in paths}
    for number, row in enumerate(rows):
        path = row["file"]["path"]
        row["number"] = number
        row["file"] = {**digests[path], **row["file"], "name": names[path]}


def _digests(path: Path) -> dict[str, str | None]:
    """Of the file's bytes, its weights, its graph, and of the training that it was made from (`model`)."""
    manifest = manifest_of(path)
    return {
        "sha256": sha256_of(path) if manifest else None,
        **{key: getattr(manifest, key, None) for key in ("weights_sha256", "graph_sha256", "model")},
    }


def list_models(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The models of a report's cells, in their order: `model` (its digest), `name`, and the paths of its `files`."""
    models: dict[str | None, dict[str, Any]] = {}
    for row in rows:
        path, digest = row["file"]["path"], row["file"].get("model")
        if digest not in models:
            models[digest] = {"model": digest, "name": _model_name(Path(path)), "files": []}
        if path not in models[digest]["files"]:
            models[digest]["files"].append(path)
    names = [model["name"] for model in models.values()]
    for model in models.values():
        if names.count(model["name"]) > 1:
            model["name"] += f" ({(model['model'] or 'unknown')[:8]})"
    return list(models.values())


def _model_name(path: Path) -> str:
    """For example "mlp, run 0001-mlp-digits"."""
    manifest = manifest_of(path)
    if manifest is None:
        return path.name
    name, run = (excerpt(str(part)) for part in (manifest.architecture.get("name"), manifest.training.get("run")))
    return f"{name}, run {run}" if manifest.training.get("run") else name


def shortest_ends(paths: Iterable[str]) -> dict[str, str]:
    """Path → the shortest end that no other path has: mostly the file's name."""
    paths = list(paths)
    ends = {}
    for path in paths:
        parts = Path(path).parts
        lengths = range(1, len(parts) + 1)
        unique = (n for n in lengths if sum(Path(other).parts[-n:] == parts[-n:] for other in paths) == 1)
        ends[path] = str(Path(*parts[-next(unique, len(parts)) :]))
    return ends
