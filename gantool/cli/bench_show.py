"""What `gantool bench` prints of a report."""

from __future__ import annotations

from typing import Any

from gantool.bench.cell import label
from gantool.cli.show import console, megabytes, print_table


def show(report: dict[str, Any]) -> None:
    out, machine = console(), report["machine"]
    measured = [cell for cell in report["cells"] if cell["status"] == "measured"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    out.print(f"{machine['cpu']}, {machine['cores']} cores{gpu}", markup=False)
    out.print(", ".join(f"{name} {version}" for name, version in measured[0]["versions"].items()), markup=False)
    if len(measured) == 1:
        _one(measured[0])
    else:
        _many(measured)
    _failed([cell for cell in report["cells"] if cell["status"] != "measured"])
    _quality(report.get("quality", []))
    _compare(report.get("compare"))
    _baseline(report.get("baseline"))
    out.print("\n".join(report["answer"]["words"]), markup=False)


def _one(cell: dict[str, Any]) -> None:
    out, file, cold = console(), cell["file"], cell["cold"]
    shape = "×".join(map(str, file["output"]))
    out.print(
        f"{file['path']} ({file['architecture']}, {file['kind']}, {file['precision']}, {shape}, "
        f"{megabytes(file['bytes'])}) on {label(cell)}",
        markup=False,
    )
    print_table(
        ["interpreter", "imports", "session", "first image", "in all"],
        [[f"{cold[f'{part}_ms']:.0f} ms" for part in ("interpreter", "import", "session", "first_image", "total")]],
        title="\nCold: a new process to its first image",
        right=(0, 1, 2, 3, 4),
    )
    headings, rows = _warm([cell])
    print_table(
        headings[1:],
        [row[1:] for row in rows],
        title="Warm: one call of Generator.sample",
        right=tuple(range(len(headings) - 1)),
    )
    spread = [
        f"{row['batch']} as calls of {row['plan']['rows']} images on {row['plan']['threads']} thread"
        + ("s" if row["plan"]["threads"] > 1 else "")
        for row in cell["batches"]
        if row["plan"]["threads"] > 1 or row["plan"]["rows"] < row["batch"]
    ]
    if spread:
        out.print(f"Run as in an app: {'; '.join(spread)}.")
    _unsettled([cell])
    out.print("Proof: " + "\n       ".join(cell["proof"]["words"]), markup=False)


def _many(cells: list[dict[str, Any]]) -> None:
    print_table(
        ["cell", "size", "to first image", "session", "worst level", "mean level", "golden images"],
        [
            [
                _name(cell),
                megabytes(cell["file"]["bytes"]),
                f"{cell['cold']['total_ms']:.0f} ms",
                f"{cell['cold']['session_ms']:.0f} ms",
                *_levels(cell),
                _golden(cell["proof"]["golden"]),
            ]
            for cell in cells
        ],
        title="\nCells: size, cold start, and images against the float32 file's on the CPU",
        right=(1, 2, 3, 4, 5),
        wrap=(),
    )
    headings, rows = _warm(cells, ("p90 ms", "max ms", "first ms", "runs"))
    print_table(
        headings, rows, title="Warm: one call of Generator.sample", right=tuple(range(1, len(headings))), wrap=()
    )
    _unsettled(cells)


def _warm(cells: list[dict[str, Any]], without: tuple[str, ...] = ()) -> tuple[list[str], list[list[str]]]:
    """Columns that no row has a figure for are left out, and those named."""
    headings = [
        "cell", "batch", "images/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "var. %", "first ms", "runs",
        "compute ms", "to host ms", "CPU s/1000", "J/1000", "peak MB", "GPU MB",
    ]  # fmt: skip
    rows = []
    for cell in cells:
        for row in cell["batches"]:
            copies = row["copies"] or {}
            rows.append(
                [
                    _name(cell),
                    str(row["batch"]),
                    f"{row['images_per_second']:,.0f}",
                    *(_figure(row[f"{name}_ms"]) for name in ("p50", "p90", "p99", "max")),
                    f"{row['variation'] * 100:.0f}",
                    _figure(row["first_ms"]),
                    str(row["runs"]),
                    _figure(copies.get("compute_ms")),
                    _figure(copies.get("to_host_ms")),
                    _figure(row["cpu_seconds_per_1000"]),
                    _figure(row["joules_per_1000"]),
                    _figure(row["peak_memory_mb"]),
                    _figure(row["device_memory_mb"]),
                ]
            )
    kept = [i for i, name in enumerate(headings) if name not in without and any(row[i] != "–" for row in rows)]
    return [headings[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _unsettled(cells: list[dict[str, Any]]) -> None:
    rows = [(cell, row) for cell in cells for row in cell["batches"] if not row["settled"]]
    if rows:
        named = "; ".join(f"{_name(cell)}, batch {row['batch']}" for cell, row in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        console().print(f"The time per run never settled within 5 %: {named}{more}.", markup=False)


def _failed(cells: list[dict[str, Any]]) -> None:
    if cells:
        print_table(
            ["not measured", "", "cause"],
            [[_name(cell), cell["status"], f"{cell['cause']} {cell['hint']}".strip()] for cell in cells],
        )


def _quality(rows: list[dict[str, Any]]) -> None:
    if rows:
        print_table(
            ["file", "worst level", "mean level", rows[0]["label"]],
            [[row["name"], *(_figure(row[k]) for k in ("worst_level", "mean_level", "distance"))] for row in rows],
            title=f"{rows[0]['images']} images of each file on the CPU against the float32 file's",
            right=(1, 2, 3),
        )


def _compare(compared: dict[str, Any] | None) -> None:
    if compared:
        rows = [
            [who["name"], str(row["batch"]), f"{row['images_per_second']:,.0f}", f"{row['ratio']:.2f}", who["proof"]]
            for who in compared["contenders"]
            for row in who.get("batches", [])
        ]
        rows += [[who["name"], "", "", "", who["cause"]] for who in compared["contenders"] if "cause" in who]
        print_table(
            ["", "batch", "images/s", "gantool by it", "images"],
            rows,
            title=f"{compared['file']}: seeds to uint8 images on {compared['device']}, medians of interleaved rounds",
            right=(1, 2, 3),
        )


def _baseline(compared: dict[str, Any] | None) -> None:
    if compared:
        rows = [
            [
                row["cell"],
                str(row["batch"]),
                f"{row['ratio']:.3f}",
                f"±{row['noise'] * 100:.0f} %",
                row["verdict"] + (": a regression" if row["regression"] else ""),
            ]
            for row in compared["rows"]
        ]
        other = ", on another machine" if compared["other_machine"] else ""
        print_table(
            ["cell", "batch", "now by then", "noise", ""],
            rows,
            title=f"Against the baseline{other}",
            right=(1, 2, 3),
            wrap=(),
        )


def _name(cell: dict[str, Any]) -> str:
    return f"{cell['file']['name']} on {label(cell)}"


def _levels(cell: dict[str, Any]) -> list[str]:
    reference = cell["proof"]["reference"]
    return [f"{reference[key]:.2g}" for key in ("worst_level", "mean_level")] if reference else ["–", "–"]


def _golden(golden: dict[str, Any] | None) -> str:
    if golden is None:
        return "none"
    return "byte for byte" if golden["exact"] else f"within {golden['worst_level']}"


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    value = 0 if abs(value) < 1e-9 else value  # a hair of rounding
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
