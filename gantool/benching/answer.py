"""What a report says: the best cells of each model, and what is faster or slower than in an earlier report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gantool.benching.matrix import label
from gantool.benching.timing import UNSTEADY, spread
from gantool.errors import GantoolError

BUSY = 1.5  # programs that want to run, a core
INVISIBLE = 1.0  # level of 255: no eye sees it
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

Cells = Sequence[dict[str, Any]]
Key = tuple[str, str]  # the file's name, and the cell's label


@dataclass(frozen=True)
class Limits:
    """What the user accepts: `p99` milliseconds a call, and `memory` megabytes of RAM and of the GPU, each."""

    p99: float = 10.0
    memory: float | None = None


def answer(cells: Cells, models: Sequence[Mapping[str, Any]], limits: Limits = Limits()) -> dict[str, Any]:
    """`limits`, and for each of a report's `models`: `model`, `name`, `best_throughput`, `best_within_p99`,
    `smallest_file` (None when no cell will do), and `words`, the same in sentences.
    """
    found = []
    for model in models:
        own = [cell for cell in cells if cell["file"].get("model") == model["model"]]
        found.append({"model": model["model"], "name": model["name"], **_recommend(own, limits)})
    return {"limits": {"p99_ms": limits.p99, "memory_mb": limits.memory}, "models": found}


def warning(cells: Cells, load: float | None, cores: int) -> str | None:
    """Why the figures mean little, if they do: parts of a batch's runs that differ, or a machine that is busy.

    `load`: how many programs wanted to run in the minute before, on average; None: not known.
    """
    spreads = [spread(row["windows"]) for cell in cells for row in cell.get("batches", ())]
    unsteady = [each for each in spreads if each > UNSTEADY]
    busy = load is not None and load > BUSY * cores
    if not unsteady and not busy:
        return None
    words = []
    if unsteady:
        words.append(
            f"Unsteady: {len(unsteady)} of {len(spreads)} batches, measured twice, still vary by up to "
            f"{math.expm1(max(unsteady)):.0%} from moment to moment."
        )
    if busy:
        words.append(f"Busy: {load:.1f} programs wanted to run on {cores} cores before the measuring began.")
    return " ".join([*words, "These figures mean little: close other programs and measure again, with more --seconds."])


def levels_off(cell: dict[str, Any]) -> float:
    """Levels of 255 by which a cell's images are off the float32 file's at worst; inf when they were not compared."""
    reference = cell["proof"]["reference"]
    if reference is not None:
        return float(reference["worst_level"])
    return 0.0 if cell["file"]["precision"] == "float32" else float("inf")


def _recommend(cells: Cells, limits: Limits) -> dict[str, Any]:
    measured = [cell for cell in cells if cell["status"] == "measured"]
    pairs = [(cell, row) for cell in measured for row in cell["batches"] if _fits(row, limits)]
    throughput = _fastest(pairs)
    within = _fastest([(cell, row) for cell, row in pairs if row["p99_ms"] <= limits.p99])
    alike = [cell["file"] for cell in measured if levels_off(cell) <= INVISIBLE]
    smallest = min(alike, key=lambda file: int(file["bytes"]), default=None)
    memory = f" within {limits.memory:g} MB" if limits.memory is not None else ""
    words = []  # nothing is said of what no cell is
    if throughput:
        words.append(f"Best throughput{memory}: {_in_words(throughput)}.")
    if within:
        words.append(f"Best under {limits.p99:g} ms p99{memory}: {_in_words(within)}.")
    if smallest:
        size = f"{smallest['name']}, {smallest['bytes'] / 1e6:.3g} MB"
        words.append(f"Smallest file within {INVISIBLE:g} level of 255: {size}.")
    return {
        "best_throughput": throughput,
        "best_within_p99": within,
        "smallest_file": smallest and {"file": smallest["path"], "name": smallest["name"], "bytes": smallest["bytes"]},
        "words": words,
    }


def _fits(row: dict[str, Any], limits: Limits) -> bool:
    used = [row[key] for key in ("peak_memory_mb", "device_memory_mb") if row[key] is not None]
    return limits.memory is None or all(mb <= limits.memory for mb in used)


def _fastest(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any] | None:
    if not pairs:
        return None
    cell, row = max(pairs, key=lambda pair: float(pair[1]["images_per_second"]))
    seconds = cell["file"].get("seconds")  # of a sound
    return {
        "cell": cell["number"],
        "file": cell["file"]["path"],
        "name": cell["file"]["name"],
        **{key: cell[key] for key in ("provider", "threads", "options")},
        **{key: row[key] for key in ("batch", "images_per_second", "p99_ms")},
        "noun": cell["file"].get("noun", "image"),
        "of_gemm": row.get("of_gemm"),
        "real_time": seconds and seconds * row["images_per_second"],
    }


def _in_words(best: dict[str, Any]) -> str:
    share = "" if best["of_gemm"] is None else f", {best['of_gemm']:.0%} of this machine's float32 GEMM rate"
    real = f" ({best['real_time']:,.0f} times real time)" if best["real_time"] else ""
    return (
        f"{best['name']} on {label(best)}, batch {best['batch']}: "
        f"{best['images_per_second']:,.0f} {best['noun']}s/s{real}, p99 {best['p99_ms']:.3g} ms{share}"
    )


# against an earlier report


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
        chance = SIGMAS * math.hypot(spread(new["windows"]), spread(old["windows"]))
        change, noise = math.log(ratio), math.expm1(chance)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise GantoolError("The baseline is damaged: a batch has no rate, or no windows.", _HINT) from error
    verdict = "same" if abs(change) <= chance else "faster" if change > 0 else "slower"
    regression = verdict == "slower" and ratio < 1 - tolerance
    return {"ratio": ratio, "noise": noise, "verdict": verdict, "regression": regression}


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
