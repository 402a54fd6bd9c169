"""What a report comes to: which cell to take for what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantool.bench.cell import label
from gantool.errors import GantoolError
from gantool.files import write_json

LEVEL = 1.0  # of 255: the eye finds no difference
CHOICE_SCHEMA = 1


@dataclass(frozen=True)
class Limits:
    """What the user can bear: `p99` milliseconds a call, `memory` megabytes, of the process and of the device each."""

    p99: float = 10.0
    memory: float | None = None


def answer(cells: Sequence[dict[str, Any]], limits: Limits) -> dict[str, Any]:
    """`best_throughput`, `best_within_p99`, `smallest_file`: each None when no cell will do; `words`: the same."""
    rows = [(cell, row) for cell, row in rows_of(cells) if fits(row, limits.memory)]
    quick = [(cell, row) for cell, row in rows if row["p99_ms"] <= limits.p99]
    small = [cell for cell in cells if cell["status"] == "measured" and off_by(cell) <= LEVEL]
    smallest = min(small, key=lambda cell: cell["file"]["bytes"], default=None)
    found: dict[str, Any] = {
        "limits": {"p99_ms": limits.p99, "memory_mb": limits.memory},
        "best_throughput": _picked(rows),
        "best_within_p99": _picked(quick),
        "smallest_file": smallest
        and {"file": smallest["file"]["path"], "name": smallest["file"]["name"], "bytes": smallest["file"]["bytes"]},
    }
    return {**found, "words": _words(found, limits)}


def rows_of(cells: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each measured cell with each of its batches."""
    for cell in cells:
        if cell["status"] == "measured":
            yield from ((cell, row) for row in cell["batches"])


def fits(row: dict[str, Any], memory: float | None) -> bool:
    used = [row[key] for key in ("peak_memory_mb", "device_memory_mb") if row[key] is not None]
    return memory is None or all(mb <= memory for mb in used)


def off_by(cell: dict[str, Any]) -> float:
    """Levels by which the cell's images are off the float32 file's; those of a float32 file by none that matters."""
    reference = cell["proof"]["reference"]
    if reference is not None:
        return float(reference["worst_level"])
    return 0.0 if cell["file"]["precision"] == "float32" else float("inf")


def choice(report: dict[str, Any], within_p99: bool) -> dict[str, Any]:
    """What `write_choice` writes: of the best throughput, or of the best within the report's p99.

    GantoolError when no cell is within it.
    """
    limits = report["answer"]["limits"]
    picked = report["answer"]["best_within_p99" if within_p99 else "best_throughput"]
    if picked is None:
        bound = f"{limits['p99_ms']:g} ms p99" if within_p99 else f"{limits['memory_mb']:g} MB"
        raise GantoolError(f"Nothing measured is within {bound}: there is no choice to write.", "Allow more.")
    cell = report["cells"][picked["cell"]]
    rows = [
        row
        for row in cell["batches"]
        if fits(row, limits["memory_mb"]) and (not within_p99 or row["p99_ms"] <= limits["p99_ms"])
    ]
    return {
        "schema_version": CHOICE_SCHEMA,
        "file": Path(cell["file"]["path"]).name,
        **{key: cell[key] for key in ("provider", "threads", "options", "settings")},
        **{key: picked[key] for key in ("batch", "images_per_second", "p99_ms")},
        "machine": report["machine"],
        # as in a report: what `gantool export --triton --bench` reads
        "batches": [{key: row[key] for key in ("batch", "images_per_second", "p99_ms")} for row in rows],
    }


def write_choice(report: dict[str, Any], within_p99: bool) -> Path:
    """Write the choice beside the file that it is of, as FILE.bench.json."""
    chosen = choice(report, within_p99)
    picked = report["answer"]["best_within_p99" if within_p99 else "best_throughput"]
    path = Path(report["cells"][picked["cell"]]["file"]["path"])
    path = path.with_name(path.name + ".bench.json")
    write_json(path, chosen)
    return path


def _picked(rows: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any] | None:
    """Of the most images a second."""
    best = max(rows, key=lambda pair: pair[1]["images_per_second"], default=None)
    if best is None:
        return None
    cell, row = best
    return {
        "cell": cell["number"],
        "file": cell["file"]["path"],
        "name": cell["file"]["name"],
        **{key: cell[key] for key in ("provider", "threads", "options")},
        **{key: row[key] for key in ("batch", "images_per_second", "p99_ms")},
    }


def _words(found: dict[str, Any], limits: Limits) -> list[str]:
    def said(picked: dict[str, Any] | None) -> str:
        if picked is None:
            return "nothing measured"
        return (
            f"{picked['name']} on {label(picked)}, batch {picked['batch']}: "
            f"{picked['images_per_second']:,.0f} images/s, p99 {picked['p99_ms']:.3g} ms"
        )

    within = f" within {limits.memory:g} MB" if limits.memory is not None else ""
    smallest = found["smallest_file"]
    small = f"{smallest['name']}, {smallest['bytes'] / 1e6:.3g} MB" if smallest else "nothing measured"
    return [
        f"Best throughput{within}: {said(found['best_throughput'])}.",
        f"Best under {limits.p99:g} ms p99{within}: {said(found['best_within_p99'])}.",
        f"Smallest file within {LEVEL:g} grey level: {small}.",
    ]
