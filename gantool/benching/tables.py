"""The tables of a report as text, for the terminal and the HTML page, and all of it as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantool.benching.matrix import label
from gantool.benching.report import shortest_ends
from gantool.system.files import write_bytes

Cells = Sequence[dict[str, Any]]

COLD = ("interpreter_ms", "import_ms", "session_ms", "first_image_ms", "total_ms")
CSV_FILE = ("precision", "bytes", "model", "sha256")
CSV_CELL = ("provider", "threads", "options", "arithmetic", "status", "cause")
CSV_ROW = (
    "batch", "images_per_second", "p50_ms", "p90_ms", "p99_ms", "max_ms", "variation", "first_ms", "settled", "runs",
    "seconds", "gflops", "of_gemm", "peak_memory_mb", "device_memory_mb", "cpu_seconds_per_1000", "joules_per_1000",
)  # fmt: skip
CSV_COPIES = ("to_device_ms", "compute_ms", "to_host_ms")
CSV_LEVELS = ("worst_level", "mean_level")
CSV_COLUMNS = ("file", *CSV_FILE, *CSV_CELL, *CSV_ROW, *CSV_COPIES, *(f"cold_{name}" for name in COLD), *CSV_LEVELS)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


class Names:
    """What a report's cells are called. `models`: as in the report."""

    def __init__(self, models: Sequence[Mapping[str, Any]]) -> None:
        self.several = len(models) > 1
        self._files = {path: name for model in models for path, name in shortest_ends(model["files"]).items()}
        self._models = {str(path): str(model["name"]) for model in models for path in model["files"]}

    def model(self, cell: Mapping[str, Any]) -> str:
        return self._models.get(cell["file"]["path"], "")

    def within(self, cell: Mapping[str, Any]) -> str:
        """The name where the model is already known: "generator.onnx on cpu, 1 thread"."""
        file = cell["file"]
        return f"{self._files.get(file['path'], file['name'])} on {label(cell)}"

    def cell(self, cell: Mapping[str, Any]) -> str:
        """With the model's name before it where the report has several."""
        return f"{self.model(cell)}: {self.within(cell)}" if self.several else self.within(cell)


@dataclass(frozen=True)
class Table:
    """`groups`: what each row belongs to, where several rows share one. `left`: columns of words, not figures."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    groups: Sequence[str] = ()
    left: tuple[int, ...] = (0,)


def noun(cells: Cells) -> str:
    """What they make: image, sound, volume or point; of several sample."""
    found = {cell["file"].get("noun", "image") for cell in cells}
    return found.pop() if len(found) == 1 else "sample"


def figure(value: float | None) -> str:
    """Three digits; "–" for what is not known."""
    if value is None:
        return "–"
    value = 0 if abs(value) < 1e-9 else value  # rounding errors
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def warm(cells: Cells, names: Names, without: Sequence[str] = ()) -> Table:
    """A row a cell and batch, without the columns named and those that have no figures."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "batch": lambda row: str(row["batch"]),
        f"{noun(cells)}s/s": lambda row: f"{row['images_per_second']:,.0f}",
        "p50 ms": lambda row: figure(row["p50_ms"]),
        "p90 ms": lambda row: figure(row["p90_ms"]),
        "p99 ms": lambda row: figure(row["p99_ms"]),
        "max ms": lambda row: figure(row["max_ms"]),
        "var.": lambda row: f"{row['variation']:.0%}" + ("" if row["settled"] else " *"),
        "first ms": lambda row: figure(row["first_ms"]),
        "runs": lambda row: str(row["runs"]),
        "compute ms": lambda row: figure((row["copies"] or {}).get("compute_ms")),
        "to host ms": lambda row: figure((row["copies"] or {}).get("to_host_ms")),
        "GFLOP/s": lambda row: figure(row.get("gflops")),
        "of GEMM": lambda row: "–" if row.get("of_gemm") is None else f"{row['of_gemm']:.0%}",
        "CPU s/1000": lambda row: figure(row["cpu_seconds_per_1000"]),
        "J/1000": lambda row: figure(row["joules_per_1000"]),
        "peak MB": lambda row: figure(row["peak_memory_mb"]),
        "GPU MB": lambda row: figure(row["device_memory_mb"]),
    }
    pairs = [(cell, row) for cell in cells for row in cell["batches"]]
    texts = {name: [get(row) for _, row in pairs] for name, get in columns.items() if name not in without}
    kept = {name: column for name, column in texts.items() if any(text != "–" for text in column)}
    notes = []
    if any(not row["settled"] for _, row in pairs):
        notes.append("* The time per run never settled within 5 %.")
    peaks = {cell["gemm_gflops"] for cell in cells if cell.get("gemm_gflops") is not None}
    if "of GEMM" in kept and peaks:
        rates = figure(min(peaks)) if len(peaks) == 1 else f"{figure(min(peaks))} to {figure(max(peaks))}"
        notes.append(f"Of GEMM: share of {rates} GFLOP/s, the rate of float32 matrix products on the same cores.")
    if any(row.get("gflops") and row.get("of_gemm") is None for _, row in pairs) and peaks:
        notes.append("There is no share where a cell computes in integers or half precision, or beats that rate.")
    return Table(
        "Warm: one call of Generator.sample",
        list(kept),
        [list(row) for row in zip(*kept.values(), strict=True)],
        " ".join(notes),
        [names.within(cell) for cell, _ in pairs],
        (),
    )


def cold(cells: Cells, names: Names) -> Table:
    """A row a cell: size, cold start, and how far its images are off."""
    reduced = any(cell.get("arithmetic") for cell in cells)
    rows = []
    for cell in cells:
        reference, golden = cell["proof"]["reference"] or {}, cell["proof"]["golden"]
        row = [names.within(cell), f"{cell['file']['bytes'] / 1e6:.2f}", *(f"{cell['cold'][key]:.0f}" for key in COLD)]
        row += [figure(reference.get(key)) for key in CSV_LEVELS]
        exact = golden and ("byte for byte" if golden["exact"] else f"within {golden['worst_level']}")
        row.append(exact or "none")
        if reduced:
            row.append(cell.get("arithmetic") or cell["file"]["precision"])
        rows.append(row)
    headings = ["cell", "MB", "interpreter", "imports", "session", f"first {noun(cells)}", "in all"]
    headings += ["worst level", "mean level", f"golden {noun(cells)}s", *(["arithmetic"] if reduced else [])]
    note = (
        f"From the start of a process to its first {noun(cells)}, in ms. Levels of 255 off the float32 file on the CPU."
    )
    if reduced:
        note += " TF32 and fp16 keep 10 bits of a factor: up to 8 levels pass."
    return Table("Size, cold start, quality", headings, rows, note, left=(0, 9, 10))


def compare(compared: dict[str, Any] | None) -> Table | None:
    if not compared:
        return None
    rows = [
        [one["name"], str(row["batch"]), f"{row['images_per_second']:,.0f}", f"{row['ratio']:.2f}", one["proof"]]
        for one in compared["contenders"]
        for row in one.get("batches", [])
    ]
    rows += [[one["name"], "", "", "", one["cause"]] for one in compared["contenders"] if "cause" in one]
    note = (
        f"{compared['file']}: seeds to whole numbers on {compared['device']}, medians of {compared['rounds']} "
        "interleaved rounds."
    )
    return Table("Through torch", ["", "batch", "a second", "gantool / it", "samples"], rows, note, left=(0, 4))


def baseline(compared: dict[str, Any] | None) -> Table | None:
    if not compared:
        return None
    rows = [
        [
            str(row["batch"]),
            "–" if row["verdict"] == "lost" else f"{row['ratio']:.3f}",
            "–" if row["verdict"] == "lost" else f"±{row['noise']:.0%}",
            row["verdict"] + (": a regression" if row["regression"] else ""),
        ]
        for row in compared["rows"]
    ]
    headings, cells = ["batch", "now / then", "noise", "verdict"], [row["cell"] for row in compared["rows"]]
    return Table("Against the baseline", headings, rows, " ".join(compared["words"]), cells, (3,))


def quality(rows: Sequence[dict[str, Any]] | None) -> Table | None:
    if not rows:
        return None
    texts = [[r["name"], *(figure(r[k]) for k in (*CSV_LEVELS, "distance"))] for r in rows]
    note = f"{rows[0]['images']:,} of each on the CPU, against the float32 file's."
    return Table("Quality", ["file", "worst level", "mean level", rows[0]["label"]], texts, note)


def failed(cells: Cells, names: Names) -> Table | None:
    rows = [[names.cell(c), c["status"], f"{c['cause']} {c['hint']}".strip()] for c in cells]
    return Table("Not measured", ["cell", "status", "cause"], rows, left=(0, 1, 2)) if rows else None


def write_csv(report: dict[str, Any], path: Path) -> None:
    """CSV_COLUMNS: a row a cell and batch, and one a cell that was not measured; empty where nothing is known."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, CSV_COLUMNS)
    table.writeheader()
    for cell in report["cells"]:
        values = {
            "file": cell["file"]["path"],
            **{key: cell["file"].get(key) for key in CSV_FILE},
            **{key: cell.get(key) for key in CSV_CELL},
            "options": " ".join(cell["options"]),
        }
        if cell["status"] == "measured":
            values |= {f"cold_{key}": cell["cold"][key] for key in COLD}
            values |= {key: (cell["proof"]["reference"] or {}).get(key) for key in CSV_LEVELS}
        for row in cell.get("batches", [{}]):
            copies = row.get("copies") or {}
            figures = {key: row.get(key) for key in CSV_ROW} | {key: copies.get(key) for key in CSV_COPIES}
            table.writerow({key: _not_a_formula(value) for key, value in (values | figures).items()})
    write_bytes(path, text.getvalue().encode())


def _not_a_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
