"""Compare a report with an earlier one: faster, slower or the same, beyond the noise of both."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gantool.benching.matrix import label
from gantool.errors import GantoolError

TOLERANCE = 0.05
SIGMAS = 2.0
_HINT = "Make one: gantool bench --json > baseline.json"

# how a file may differ from the baseline's of the same name; it is compared all the same: a generator that was trained
# again must not become slower either
_DIFFERENCES = {
    "weights": "other weights than the baseline's: another training, checkpoint or precision.",
    "graph": "the baseline's weights in another graph: exported again, or rewritten.",
    "metadata": "the baseline's weights and graph, with other metadata.",
    "unknown": "the baseline has no digests: it may be another file.",
}

Key = tuple[str, str]  # the file's name, and the cell's label


def compare(report: Mapping[str, Any], before: Any, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """`before`: an earlier report, as read from JSON. GantoolError when it is none, or has no cell of this one's.

    Cells are paired by name of the file, provider, threads and options. The noise of a rate is the spread of the
    consecutive windows that each report keeps, not divided by their number: on shared machines two runs differ as much
    as parts of one do.

    Returns `tolerance`, `other_machine`, `files` (the name of each file that is not the one measured then → what
    differs), `rows`, `regressed` and `words`. A row has `cell`, `batch`, `ratio` (of images a second, now by then),
    `noise` (how far from 1 that may be by chance), `verdict` (faster, slower, same; lost: not measured now) and
    `regression`.
    """
    now, then = _cells(report), _cells(before)
    rows: list[dict[str, Any]] = []
    for key, old in then.items():
        new = now.get(key)
        if old["status"] != "measured" or new is None or new["status"] == "dropped":
            continue
        measured = _batches(new) if new["status"] == "measured" else {}
        for batch, row in _batches(old).items():
            where = {"cell": " on ".join(key), "batch": batch}
            if batch in measured:
                rows.append(where | _compare(measured[batch], row, tolerance))
            elif batch in report["batches_asked"]:
                rows.append(where | {"ratio": 0.0, "noise": 0.0, "verdict": "lost", "regression": True})
    if not rows:
        raise GantoolError("The baseline has no cell and batch of this report.", _HINT)
    files = {
        key[0]: what
        for key, cell in now.items()
        if key in then and (what := _file_difference(cell["file"], then[key]["file"]))
    }
    other_machine = report.get("machine") != before.get("machine")
    return {
        "tolerance": tolerance,
        "other_machine": other_machine,
        "files": files,
        "rows": rows,
        "regressed": any(row["regression"] for row in rows),
        "words": (["The baseline is of another machine."] if other_machine else [])
        + [f"{name}: {_DIFFERENCES[what]}" for name, what in files.items()],
    }


def _file_difference(new: Mapping[str, Any], old: Mapping[str, Any]) -> str | None:
    """None where there is none, or where the file measured now has no digests."""
    if new.get("sha256") is None or new["sha256"] == old.get("sha256"):
        return None
    if old.get("sha256") is None:
        return "unknown"
    parts = {"weights": "weights_sha256", "graph": "graph_sha256"}
    return next((what for what, key in parts.items() if old.get(key) != new.get(key)), "metadata")


def _compare(new: Mapping[str, Any], old: Mapping[str, Any], tolerance: float) -> dict[str, Any]:
    try:
        ratio = float(new["images_per_second"]) / float(old["images_per_second"])
        noise = SIGMAS * math.hypot(_spread(new["windows"]), _spread(old["windows"]))
        change = math.log(ratio)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise GantoolError("The baseline is damaged: a batch has no images a second, or no windows.", _HINT) from error
    verdict = "same" if abs(change) <= noise else "faster" if change > 0 else "slower"
    regression = verdict == "slower" and ratio < 1 - tolerance
    return {"ratio": ratio, "noise": math.expm1(noise), "verdict": verdict, "regression": regression}


def _spread(windows: Sequence[float]) -> float:
    """The standard deviation of the logarithms of rates."""
    return statistics.stdev(map(math.log, windows)) if len(windows) > 1 else 0.0


def _cells(report: Any) -> dict[Key, Mapping[str, Any]]:
    try:
        return {(cell["file"]["name"], label(cell)): cell for cell in report["cells"] if cell["status"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise GantoolError("The baseline is no report of gantool bench of schema 2 or 3.", _HINT) from error


def _batches(cell: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    try:
        return {int(row["batch"]): row for row in cell["batches"]}
    except (KeyError, TypeError, ValueError) as error:
        raise GantoolError("The baseline is damaged: a cell has no batches.", _HINT) from error
