"""What `gantool bench` prints of a report."""

from __future__ import annotations

from typing import Any

from gantool.benching import tables
from gantool.benching.cell import label
from gantool.benching.models import Names
from gantool.benching.tables import Table
from gantool.system.terminal import console, megabytes, print_table

LONG = 30  # characters of a last column that may break its lines
BRIEF = ("p90 ms", "max ms", "first ms", "runs", "GFLOP/s")  # left out where there are many rows


def show(report: dict[str, Any]) -> None:
    """A report on a terminal: each model's cells and answer, then what concerns all."""
    out, machine = console(), report["machine"]
    names = Names(report["models"])
    measured = [cell for cell in report["cells"] if cell["status"] == "measured"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    out.print(f"{machine['cpu']}, {machine['cores']} cores{gpu}")
    out.print(", ".join(f"{name} {version}" for name, version in measured[0]["versions"].items()))
    for answer in report["answer"]["models"]:
        own = [cell for cell in measured if cell["file"].get("model") == answer["model"]]
        if names.several:
            out.print(f"\nModel: {answer['name']}", style="bold")
        if len(own) == 1:
            _one(own[0], names)
        elif own:
            _many(own, names)
        if names.several:
            out.print("\n".join(answer["words"]))
    _draw(tables.failed([cell for cell in report["cells"] if cell["status"] != "measured"], names))
    _draw(tables.quality(report.get("quality")))
    _draw(tables.compare(report.get("compare")))
    _draw(tables.baseline(report.get("baseline")))
    if not names.several:
        out.print("\n".join(report["answer"]["models"][0]["words"]))


def _one(cell: dict[str, Any], names: Names) -> None:
    out, file, cold = console(), cell["file"], cell["cold"]
    shape = "×".join(map(str, file["output"]))
    work = cell.get("work")
    out.print(
        f"{file['path']} ({file['architecture']}, {file['kind']}, {file['precision']}, {shape}, "
        f"{megabytes(file['bytes'])}"
        + (f", {tables.figure(work['flops'] / 1e6)} MFLOP an image" if work else "")
        + f") on {label(cell)}",
    )
    print_table(
        ["interpreter", "imports", "session", "first image", "in all"],
        [[f"{cold[f'{part}_ms']:.0f} ms" for part in ("interpreter", "import", "session", "first_image", "total")]],
        title="\nCold: a new process to its first image",
        right=(0, 1, 2, 3, 4),
    )
    _draw(tables.warm([cell], names), ungrouped=True)
    spread = [
        f"{row['batch']} as calls of {row['plan']['rows']} images on {row['plan']['threads']} thread"
        + ("s" if row["plan"]["threads"] > 1 else "")
        for row in cell["batches"]
        if row["plan"]["threads"] > 1 or row["plan"]["rows"] < row["batch"]
    ]
    if spread:
        out.print(f"Run as in an app: {'; '.join(spread)}.")
    out.print("Proof: " + "\n       ".join(cell["proof"]["words"]))


def _many(cells: list[dict[str, Any]], names: Names) -> None:
    _draw(tables.cold(cells, names))
    _draw(tables.warm(cells, names, BRIEF))


def _draw(table: Table | None, ungrouped: bool = False) -> None:
    if table is None:
        return
    headings, rows, left = list(table.headings), [list(row) for row in table.rows], table.left
    if table.groups and not ungrouped:
        headings = ["cell", *headings]
        rows = [[name, *row] for name, row in zip(table.groups, rows, strict=True)]
        left = (0, *(i + 1 for i in left))
    last = len(headings) - 1
    words = last in left and last > 0 and max((len(row[last]) for row in rows), default=0) > LONG
    print_table(
        headings,
        rows,
        title=f"\n{table.title}",
        right=tuple(i for i in range(len(headings)) if i not in left),
        wrap=None if words else (),
    )
    if table.note:
        console().print(table.note)
