"""The tables of a report, as text: what the terminal and the HTML page draw, each in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gantool.benching.models import Names

Cells = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Table:
    """`groups`: of each row, what it belongs to, where several share one. `left`: columns of words, not figures."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    groups: Sequence[str] = ()
    left: tuple[int, ...] = (0,)


def figure(value: float | None) -> str:
    """Three digits; "–" for what is not known."""
    if value is None:
        return "–"
    value = 0 if abs(value) < 1e-9 else value  # a hair of rounding
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def warm(cells: Cells, names: Names, without: Sequence[str] = ()) -> Table:
    """A row a cell and batch. Columns that no row has a figure for are left out, and those named."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "batch": lambda row: str(row["batch"]),
        "images/s": lambda row: f"{row['images_per_second']:,.0f}",
        **{f"{name} ms": _milliseconds(name) for name in ("p50", "p90", "p99", "max")},
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
    made = {name: [get(row) for _, row in pairs] for name, get in columns.items() if name not in without}
    kept = {name: column for name, column in made.items() if any(text != "–" for text in column)}
    notes = []
    if any(not row["settled"] for _, row in pairs):
        notes.append("* The time per run never settled within 5 %.")
    rates = {cell["gemm_gflops"] for cell in cells if cell.get("gemm_gflops") is not None}
    if "of GEMM" in kept and rates:
        said = figure(min(rates)) if len(rates) == 1 else f"{figure(min(rates))} to {figure(max(rates))}"
        notes.append(f"Of GEMM: of the rate of a float32 matrix product here, set as the cell is: {said} GFLOP/s.")
    return Table(
        "Warm: one call of Generator.sample",
        list(kept),
        [list(row) for row in zip(*kept.values(), strict=True)],
        " ".join(notes),
        [names.within(cell) for cell, _ in pairs],
        (),
    )


def cold(cells: Cells, names: Names) -> Table:
    """A row a cell: size, start, and how far its images are off."""
    parts = ("interpreter", "import", "session", "first_image", "total")
    reduced = any(cell.get("arithmetic") for cell in cells)
    rows = [
        [
            names.within(cell),
            f"{cell['file']['bytes'] / 1e6:.2f}",
            *(f"{cell['cold'][f'{part}_ms']:.0f}" for part in parts),
            *_levels(cell),
            _golden(cell["proof"]["golden"]),
            *([cell.get("arithmetic") or cell["file"]["precision"]] if reduced else []),
        ]
        for cell in cells
    ]
    headings = ["cell", "MB", "interpreter", "imports", "session", "first image", "in all"]
    headings += ["worst level", "mean level", "golden images", *(["arithmetic"] if reduced else [])]
    note = "A new process to its first image, in ms. Levels of 255, against the float32 file's images on the CPU."
    if reduced:
        note += " TF32 and fp16 keep 10 bits of a factor: there up to 8 levels pass."
    return Table("Size, cold start, quality", headings, rows, note, left=(0, 9, 10))


def compare(compared: dict[str, Any] | None) -> Table | None:
    if not compared:
        return None
    rows = [
        [who["name"], str(row["batch"]), f"{row['images_per_second']:,.0f}", f"{row['ratio']:.2f}", who["proof"]]
        for who in compared["contenders"]
        for row in who.get("batches", [])
    ]
    rows += [[who["name"], "", "", "", who["cause"]] for who in compared["contenders"] if "cause" in who]
    note = (
        f"{compared['file']}: seeds to uint8 images on {compared['device']}, medians of {compared['rounds']} "
        "interleaved rounds."
    )
    return Table("Through torch", ["", "batch", "images/s", "gantool by it", "images"], rows, note, left=(0, 4))


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
    headings, cells = ["batch", "now by then", "noise", "verdict"], [row["cell"] for row in compared["rows"]]
    return Table("Against the baseline", headings, rows, " ".join(compared["words"]), cells, (3,))


def quality(rows: Sequence[dict[str, Any]] | None) -> Table | None:
    if not rows:
        return None
    made = [[r["name"], *(figure(r[k]) for k in ("worst_level", "mean_level", "distance"))] for r in rows]
    note = f"{rows[0]['images']:,} images of each, on the CPU, against the float32 file's."
    return Table("Quality", ["file", "worst level", "mean level", rows[0]["label"]], made, note)


def failed(cells: Cells, names: Names) -> Table | None:
    rows = [[names.cell(c), c["status"], f"{c['cause']} {c['hint']}".strip()] for c in cells]
    return Table("Not measured", ["cell", "status", "cause"], rows, left=(0, 1, 2)) if rows else None


def _milliseconds(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: figure(row[f"{name}_ms"])


def _levels(cell: dict[str, Any]) -> list[str]:
    reference = cell["proof"]["reference"]
    return [figure(reference[key]) for key in ("worst_level", "mean_level")] if reference else ["–", "–"]


def _golden(golden: dict[str, Any] | None) -> str:
    if golden is None:
        return "none"
    return "byte for byte" if golden["exact"] else f"within {golden['worst_level']}"
