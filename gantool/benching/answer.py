"""What a report comes to: which cell to take for what, for each model of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantool.benching.cell import label
from gantool.benching.models import DIGESTS
from gantool.errors import GantoolError
from gantool.system.files import write_json

LEVEL = 1.0  # of 255: the eye finds no difference
CHOICE_SCHEMA = 2  # 1 did not say which file it was of


@dataclass(frozen=True)
class Limits:
    """What the user can bear: `p99` milliseconds a call, `memory` megabytes, of the process and of the device each."""

    p99: float = 10.0
    memory: float | None = None


def answer(
    cells: Sequence[dict[str, Any]], models: Sequence[Mapping[str, Any]], limits: Limits = Limits()
) -> dict[str, Any]:
    """`limits`, and of each of a report's `models`: `model`, `name`, `best_throughput`, `best_within_p99`,
    `smallest_file` (None when no cell will do) and `words`, the same in sentences. One is never compared with another.
    """
    return {
        "limits": {"p99_ms": limits.p99, "memory_mb": limits.memory},
        "models": [
            {
                "model": model["model"],
                "name": model["name"],
                **_of_one([cell for cell in cells if cell["file"].get("model") == model["model"]], limits),
            }
            for model in models
        ],
    }


def _of_one(cells: Sequence[dict[str, Any]], limits: Limits) -> dict[str, Any]:
    rows = [(cell, row) for cell, row in rows_of(cells) if fits(row, limits.memory)]
    quick = [(cell, row) for cell, row in rows if row["p99_ms"] <= limits.p99]
    small = [cell for cell in cells if cell["status"] == "measured" and off_by(cell) <= LEVEL]
    smallest = min(small, key=lambda cell: cell["file"]["bytes"], default=None)
    found: dict[str, Any] = {
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


def choices(report: dict[str, Any], within_p99: bool) -> dict[Path, dict[str, Any]]:
    """What `write_choices` writes, by path: for each model the best throughput, or the best within the report's p99.

    GantoolError when no cell of a model is within it.
    """
    return dict(_choice(report, of, within_p99) for of in report["answer"]["models"])


def _choice(report: dict[str, Any], of: dict[str, Any], within_p99: bool) -> tuple[Path, dict[str, Any]]:
    limits = report["answer"]["limits"]
    picked = of["best_within_p99" if within_p99 else "best_throughput"]
    if picked is None:
        bound = f"{limits['p99_ms']:g} ms p99" if within_p99 else f"{limits['memory_mb']:g} MB"
        raise GantoolError(
            f"Nothing measured of {of['name']} is within {bound}: there is no choice to write.", "Allow more."
        )
    cell = report["cells"][picked["cell"]]
    rows = [
        row
        for row in cell["batches"]
        if fits(row, limits["memory_mb"]) and (not within_p99 or row["p99_ms"] <= limits["p99_ms"])
    ]
    path = Path(cell["file"]["path"])
    made = {
        "schema_version": CHOICE_SCHEMA,
        "file": path.name,
        "architecture": cell["file"]["architecture"],
        **{key: cell["file"].get(key) for key in DIGESTS},
        **{key: cell[key] for key in ("provider", "threads", "options", "settings")},
        **{key: picked[key] for key in ("batch", "images_per_second", "p99_ms")},
        "machine": report["machine"],
        # as in a report: what `gantool export --triton --bench` reads
        "batches": [{key: row[key] for key in ("batch", "images_per_second", "p99_ms")} for row in rows],
    }
    return path.with_name(path.name + ".bench.json"), made


def write_choices(report: dict[str, Any], within_p99: bool) -> list[Path]:
    """Write the choice of each model beside the file that it is of, as FILE.bench.json; all, or none."""
    made = choices(report, within_p99)
    for path, chosen in made.items():
        write_json(path, chosen)
    return list(made)


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
        "of_gemm": row.get("of_gemm"),
    }


def _words(found: dict[str, Any], limits: Limits) -> list[str]:
    def said(picked: dict[str, Any] | None) -> str:
        if picked is None:
            return "nothing measured"
        share = "" if picked["of_gemm"] is None else f", {picked['of_gemm']:.0%} of this machine's float32 GEMM rate"
        return (
            f"{picked['name']} on {label(picked)}, batch {picked['batch']}: "
            f"{picked['images_per_second']:,.0f} images/s, p99 {picked['p99_ms']:.3g} ms{share}"
        )

    within = f" within {limits.memory:g} MB" if limits.memory is not None else ""
    smallest = found["smallest_file"]
    small = f"{smallest['name']}, {smallest['bytes'] / 1e6:.3g} MB" if smallest else "nothing measured"
    return [
        f"Best throughput{within}: {said(found['best_throughput'])}.",
        f"Best under {limits.p99:g} ms p99{within}: {said(found['best_within_p99'])}.",
        f"Smallest file within {LEVEL:g} grey level: {small}.",
    ]
