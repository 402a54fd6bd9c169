"""A cell's measurement in a fresh process, and its failures told."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from gantool.artifact.manifest import MAX_BATCH
from gantool.benching.cell import Request
from gantool.benching.child import Child, ended
from gantool.errors import GantoolError

WORKER = (sys.executable, "-P", "-m", "gantool.benching.worker")  # -P: the user's folder holds no module of ours


class CellError(GantoolError):
    """A cell without a measurement. `status`: refused (a reason of ours), crashed, hung, or dropped (no time)."""

    def __init__(self, status: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


def measure_cell(
    request: Request,
    timeout: float = 600.0,
    listener: Callable[[str], None] = lambda stage: None,
    limit: float | None = None,
) -> dict[str, Any]:
    """Measure in a new process without torch, and prove that what it made was right; a cell of a report.

    `timeout`: seconds of silence after which the process counts as hung. `limit`: seconds that it may take in all.
    `listener` hears the stages. CellError: provider missing or unable to run the whole graph, wrong or stale output,
    a crash, a hang, no time left.
    """
    spawned = time.perf_counter()
    with Child([*WORKER, json.dumps({**asdict(request), "spawned": spawned})]) as worker:
        stage = ""
        while True:
            left = None if limit is None else max(0.0, spawned + limit - time.perf_counter())
            try:
                message = worker.receive(timeout if left is None else min(timeout, left))
                code = worker.wait(timeout) if message is None else 0
            except TimeoutError as error:
                raise _silent(worker, timeout, limit if left is not None and left < timeout else None) from error
            if message is None:
                raise CellError(
                    "crashed",
                    f"The measured process {ended(code)}.{worker.last_words()}",
                    "Out of memory? Try smaller --batches." if code == -9 else "Try --provider cpu.",
                )
            if "error" in message:
                raise CellError("refused", message["error"], message["hint"])
            if "report" in message:
                report: dict[str, Any] = message["report"]
                return report
            if message["stage"] != stage:
                stage = message["stage"]
                listener(stage)


def check_batches(batches: Sequence[int]) -> tuple[int, ...]:
    """Ascending, each once; GantoolError for none, or for one that is too small or too large."""
    for batch in batches:
        if not 1 <= batch <= MAX_BATCH:
            raise GantoolError(f"A batch of {batch} was asked for.", f"Give 1 to {MAX_BATCH}.")
    if not batches:
        raise GantoolError("No batch was given.", "Give one or more, e.g. --batches 1,64")
    return tuple(sorted(set(batches)))


def _silent(worker: Child, timeout: float, limit: float | None) -> CellError:
    worker.stop()
    if limit is not None:
        return CellError("dropped", f"It was stopped after {limit:.0f} s: no time was left.")
    return CellError(
        "hung",
        f"The measured process was silent for {timeout:g} s and was stopped.{worker.last_words()}",
        "If one run of this generator takes that long, give a longer --timeout or smaller --batches.",
    )
