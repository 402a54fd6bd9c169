"""Reports of `gantool bench` with any figures, as a measured process gives its cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gantool.benching.matrix import Cell
from gantool.benching.report import Settings, bench
from gantool.benching.timing import Timing


def report_of(
    cells: Sequence[Cell],
    measure: Callable[[Cell], dict[str, Any]],
    batches: tuple[int, ...] = (1,),
    peak: Any = None,
) -> dict[str, Any]:
    """A report of cells as `measure` gives them, on a machine that has every provider."""
    return bench(
        cells,
        Settings(batches),
        measure=lambda request, *more: measure(request.cell),
        absent=lambda provider: None,
        peak=peak,
    )


def row(batch: int, rates: Sequence[float], p99_ms: float | None = None, **changes: Any) -> dict[str, Any]:
    """`rates`: images a second of ten runs, one a window."""
    timing = Timing(0.01, 10, True, tuple(batch / rate for rate in rates))
    made = {
        "batch": batch,
        "plan": {"threads": 1, "rows": batch},
        **timing.row(batch),
        "copies": None,
        "peak_memory_mb": 80.0,
        "device_memory_mb": None,
        "cpu_seconds_per_1000": 0.5,
        "joules_per_1000": None,
    }
    return made | ({} if p99_ms is None else {"p99_ms": p99_ms}) | changes


def measured(
    cell: Cell, rows: Sequence[dict[str, Any]], *, size: int = 1_000_000, worst: float | None = 0.0, mean: float = 0.0
) -> dict[str, Any]:
    """`worst`: levels off the float32 file; None: no such file."""
    precision = next((p for p in ("half-weights", "half", "int8") if f".{p}." in cell.path), "float32")
    reference = {
        "file": "generator.onnx",
        "images": 8,
        "worst_level": worst,
        "mean_level": mean,
        "limits": {"worst": 8.0, "mean": 1.0},
    }
    return {
        "file": {
            "path": cell.path, "kind": "onnx", "precision": precision, "bytes": size, "architecture": "mlp",
            "output": [1, 8, 8],
        },
        **cell.as_dict(),
        "status": "measured",
        "placement": {"CPUExecutionProvider": 9},
        "settings": cell.settings,
        "cold": {f"{part}_ms": 10.0 for part in ("interpreter", "import", "session", "first_image", "total")},
        "batches": list(rows),
        "proof": {
            "golden": {"images": 12, "exact": True, "worst_level": 0},
            "reference": None if worst is None else reference,
            "one_at_a_time": {"batches": [1, 7], "images": 8, "worst_level": 0.0, "worst_share": 0.0},
            "fresh_images": 8,
            "repeated": 0,
            "words": ["It made 8 images of a seed it never had."],
        },
        "versions": {"gantool": "0", "onnxruntime": "1", "numpy": "2", "python": "3"},
        "torch_loaded": False,
    }  # fmt: skip
