"""A report as CSV: a row a cell and batch, and one a cell that was not measured."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from gantool.system.files import write_bytes

CELL = ("provider", "threads", "options", "arithmetic", "status", "cause")
ROW = (
    "batch", "images_per_second", "p50_ms", "p90_ms", "p99_ms", "max_ms", "variation", "first_ms", "settled", "runs",
    "seconds", "gflops", "of_gemm", "peak_memory_mb", "device_memory_mb", "cpu_seconds_per_1000", "joules_per_1000",
)  # fmt: skip
COPIES = ("to_device_ms", "compute_ms", "to_host_ms")
COLD = ("interpreter_ms", "import_ms", "session_ms", "first_image_ms", "total_ms")
LEVELS = ("worst_level", "mean_level")
FILE = ("precision", "bytes", "model", "sha256")
COLUMNS = ("file", *FILE, *CELL, *ROW, *COPIES, *(f"cold_{name}" for name in COLD), *LEVELS)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


def write_csv(report: dict[str, Any], path: Path) -> None:
    """Write a table with COLUMNS; empty where nothing is known."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS)
    table.writeheader()
    for cell in report["cells"]:
        about = {
            "file": cell["file"]["path"],
            **{key: cell["file"].get(key) for key in FILE},
            **{key: cell.get(key) for key in CELL},
            "options": " ".join(cell["options"]),
        }
        for row in cell.get("batches", [{}]):
            table.writerow({key: _safe(value) for key, value in (about | _figures(cell, row)).items()})
    write_bytes(path, text.getvalue().encode())


def _figures(cell: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    if cell["status"] != "measured":
        return {}
    copies, reference = row["copies"] or {}, cell["proof"]["reference"] or {}
    return {
        **{key: row.get(key) for key in ROW},
        **{key: copies.get(key) for key in COPIES},
        **{f"cold_{key}": cell["cold"][key] for key in COLD},
        **{key: reference.get(key) for key in LEVELS},
    }


def _safe(value: Any) -> Any:
    """Text as text, also for a spreadsheet."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
