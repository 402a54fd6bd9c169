"""Which cell to take: the best of each model of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gantool.benching.matrix import label

INVISIBLE = 1.0  # level of 255: no eye sees it

Cells = Sequence[dict[str, Any]]


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
    size = f"{smallest['name']}, {smallest['bytes'] / 1e6:.3g} MB" if smallest else "nothing measured"
    return {
        "best_throughput": throughput,
        "best_within_p99": within,
        "smallest_file": smallest and {"file": smallest["path"], "name": smallest["name"], "bytes": smallest["bytes"]},
        "words": [
            f"Best throughput{memory}: {_in_words(throughput)}.",
            f"Best under {limits.p99:g} ms p99{memory}: {_in_words(within)}.",
            f"Smallest file within {INVISIBLE:g} grey level: {size}.",
        ],
    }


def _fits(row: dict[str, Any], limits: Limits) -> bool:
    used = [row[key] for key in ("peak_memory_mb", "device_memory_mb") if row[key] is not None]
    return limits.memory is None or all(mb <= limits.memory for mb in used)


def _fastest(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any] | None:
    if not pairs:
        return None
    cell, row = max(pairs, key=lambda pair: float(pair[1]["images_per_second"]))
    return {
        "cell": cell["number"],
        "file": cell["file"]["path"],
        "name": cell["file"]["name"],
        **{key: cell[key] for key in ("provider", "threads", "options")},
        **{key: row[key] for key in ("batch", "images_per_second", "p99_ms")},
        "of_gemm": row.get("of_gemm"),
    }


def _in_words(best: dict[str, Any] | None) -> str:
    if best is None:
        return "nothing measured"
    share = "" if best["of_gemm"] is None else f", {best['of_gemm']:.0%} of this machine's float32 GEMM rate"
    return (
        f"{best['name']} on {label(best)}, batch {best['batch']}: "
        f"{best['images_per_second']:,.0f} images/s, p99 {best['p99_ms']:.3g} ms{share}"
    )
