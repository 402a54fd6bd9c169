"""A report as one HTML file: no script, no request, right on a phone, on paper and in the dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from gantool.bench import plots
from gantool.bench.answer import off_by
from gantool.bench.cell import label
from gantool.bench.plots import Dot, Series, number
from gantool.files import write_bytes

STYLE = "report.css"
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_html(report: dict[str, Any], path: Path) -> None:
    write_bytes(path, page(report).encode())


def page(report: dict[str, Any]) -> str:
    """The whole page; whatever comes from files or the machine is escaped."""
    measured = [cell for cell in report["cells"] if cell["status"] == "measured"]
    # the same cell has the same colour in every plot: the fastest first
    ranked = sorted(measured, key=lambda cell: -_best(cell)["images_per_second"])
    title = "Bench of " + ", ".join(dict.fromkeys(c["file"]["architecture"] or c["file"]["name"] for c in measured))
    parts = [
        f"<header><h1>{escape(title)}</h1>{_machine(report)}</header>",
        _answers(report["answer"]),
        _plots(ranked),
        _warm(measured),
        _cold(measured),
        _compare(report.get("compare")),
        _baseline(report.get("baseline")),
        _quality(report.get("quality")),
        _failed([cell for cell in report["cells"] if cell["status"] != "measured"]),
        _proofs(measured),
    ]
    style = files("gantool.bench").joinpath(STYLE).read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{escape(title)}</title><style>\n{style}</style></head><body>'
        + "\n".join(part for part in parts if part)
        + "</body></html>\n"
    )


def _machine(report: dict[str, Any]) -> str:
    machine = report["machine"]
    versions: dict[str, str] = next((c["versions"] for c in report["cells"] if c["status"] == "measured"), {})
    words = [
        f"{machine['cpu']}, {machine['cores']} cores" + (f", {machine['gpu']}" if machine["gpu"] else ""),
        str(machine["system"]),
        *(f"{name} {version}" for name, version in versions.items()),
        *([f"commit {report['commit'][:12]}"] if report["commit"] else []),
        str(report["created"]),
    ]
    return f"<p>{escape(' · '.join(words))}</p>"


def _answers(answer: dict[str, Any]) -> str:
    cards = []
    for words in answer["words"]:
        question, _, found = words.partition(": ")
        cards.append(f"<li><b>{escape(question)}</b> {escape(found)}</li>")
    return f'<ul class="answers">{"".join(cards)}</ul>'


def _plots(ranked: Sequence[dict[str, Any]]) -> str:
    def series(key: str) -> list[Series]:
        return [Series(_name(c), tuple((row["batch"], row[key]) for row in c["batches"])) for c in ranked]

    figures = [
        _figure(
            "Throughput", plots.lines(series("images_per_second"), "batch", "images/s", "Images a second by batch")
        ),
        _figure("Latency", plots.lines(series("p99_ms"), "batch", "p99, ms", "99th percentile of latency by batch")),
    ]
    judged = [c for c in ranked if off_by(c) != float("inf")]
    if len({c["file"]["path"] for c in judged}) > 1:
        figures.append(
            _figure(
                "Size, quality and speed",
                plots.dots(_dots(judged), "best images/s", "mean level off float32", "Quality by speed; area: size"),
                "The area is the file's size. The line joins what nothing else beats in all three.",
            )
        )
    legend = "".join(
        f'<li class="{plots.style(i)}"><svg viewBox="0 0 30 10"><polyline points="1,5 29,5"/><circle cx="15" cy="5" '
        f'r="3"/></svg>{escape(_name(c))}</li>'
        for i, c in enumerate(ranked[: plots.MOST])
    )
    note = f"<p>Drawn are the {plots.MOST} fastest of {len(ranked)} cells.</p>" if len(ranked) > plots.MOST else ""
    return f'<section><div class="plots">{"".join(figures)}</div><ul class="legend">{legend}</ul>{note}</section>'


def _dots(cells: Sequence[dict[str, Any]]) -> list[Dot]:
    largest = max(c["file"]["bytes"] for c in cells)
    points = [(_best(c)["images_per_second"], _mean(c), c["file"]["bytes"]) for c in cells]

    def beaten(me: tuple[float, float, int]) -> bool:
        return any(p[0] >= me[0] and p[1] <= me[1] and p[2] <= me[2] and p != me for p in points)

    return [
        Dot(_name(c), point[0], point[1], point[2] / largest, not beaten(point))
        for c, point in zip(cells, points, strict=True)
    ]


def _warm(cells: Sequence[dict[str, Any]]) -> str:
    headings = ["batch", "images/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "variation", "first ms"]
    extra: dict[str, Callable[[dict[str, Any]], float | None]] = {
        "compute ms": lambda row: (row["copies"] or {}).get("compute_ms"),
        "to host ms": lambda row: (row["copies"] or {}).get("to_host_ms"),
        "CPU s/1000": lambda row: row["cpu_seconds_per_1000"],
        "J/1000": lambda row: row["joules_per_1000"],
        "peak MB": lambda row: row["peak_memory_mb"],
        "GPU MB": lambda row: row["device_memory_mb"],
    }
    pairs = [(cell, row) for cell in cells for row in cell["batches"]]
    kept = {name: get for name, get in extra.items() if any(get(row) is not None for _, row in pairs)}
    rows = [
        [
            str(row["batch"]),
            f"{row['images_per_second']:,.0f}",
            *(_number(row[f"{key}_ms"]) for key in ("p50", "p90", "p99", "max")),
            f"{row['variation']:.0%}" + ("" if row["settled"] else " *"),
            _number(row["first_ms"]),
            *(_number(get(row)) for get in kept.values()),
        ]
        for _, row in pairs
    ]
    note = "" if all(row["settled"] for _, row in pairs) else "* The time per run never settled within 5 %."
    groups = [_name(cell) for cell, _ in pairs]
    return _table("Warm: one call of Generator.sample", [*headings, *kept], rows, note, groups=groups)


def _cold(cells: Sequence[dict[str, Any]]) -> str:
    parts = ("interpreter", "import", "session", "first_image", "total")
    rows = [
        [
            _name(cell),
            f"{cell['file']['bytes'] / 1e6:.2f}",
            *(f"{cell['cold'][f'{part}_ms']:.0f}" for part in parts),
            *_levels(cell),
        ]
        for cell in cells
    ]
    headings = ["cell", "MB", "interpreter ms", "imports ms", "session ms", "first image ms", "in all ms"]
    return _table(
        "Size, cold start, quality",
        [*headings, "worst level", "mean level"],
        rows,
        "Levels of 255, against the images of the float32 file on the CPU.",
    )


def _compare(compared: dict[str, Any] | None) -> str:
    if not compared:
        return ""
    rows = [
        [who["name"], str(row["batch"]), f"{row['images_per_second']:,.0f}", f"{row['ratio']:.2f}", who["proof"]]
        for who in compared["contenders"]
        for row in who.get("batches", [])
    ]
    rows += [[who["name"], "", "", "", who["cause"]] for who in compared["contenders"] if "cause" in who]
    note = f"{compared['file']}: from seeds to images, medians of {compared['rounds']} interleaved rounds."
    return _table("Through torch", ["", "batch", "images/s", "gantool by it", "images"], rows, note)


def _baseline(compared: dict[str, Any] | None) -> str:
    if not compared:
        return ""
    rows = [
        [
            row["cell"],
            str(row["batch"]),
            f"{row['ratio']:.3f}",
            f"±{row['noise']:.0%}",
            row["verdict"] + (": a regression" if row["regression"] else ""),
        ]
        for row in compared["rows"]
    ]
    note = "The baseline is of another machine." if compared["other_machine"] else ""
    return _table("Against the baseline", ["cell", "batch", "now by then", "noise", "verdict"], rows, note)


def _quality(rows: Sequence[dict[str, Any]] | None) -> str:
    if not rows:
        return ""
    cells = [[r["name"], *(_number(r[k]) for k in ("worst_level", "mean_level", "distance"))] for r in rows]
    note = f"{rows[0]['images']} images of each, on the CPU, against the float32 file's."
    return _table("Quality", ["file", "worst level", "mean level", rows[0]["label"]], cells, note)


def _failed(cells: Sequence[dict[str, Any]]) -> str:
    rows = [[_name(cell), cell["status"], f"{cell['cause']} {cell['hint']}".strip()] for cell in cells]
    return _table("Not measured", ["cell", "status", "cause"], rows, kind="named words") if rows else ""


def _proofs(cells: Sequence[dict[str, Any]]) -> str:
    parts = []
    for cell in cells:
        words = "".join(f"<p>{escape(word)}</p>" for word in cell["proof"]["words"])
        parts.append(f"<details><summary>{escape(_name(cell))}</summary>{words}</details>")
    return f"<section><h2>Proof</h2>{''.join(parts)}</section>"


def _figure(title: str, svg: str, note: str = "") -> str:
    below = f"<p>{escape(note)}</p>" if note else ""
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}{below}</figure>"


def _table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    note: str = "",
    kind: str = "",
    groups: Sequence[str] = (),
) -> str:
    """`groups`: the name of each row's group, a row of its own above the first."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    body = ""
    for place, row in enumerate(rows):
        if groups and (place == 0 or groups[place] != groups[place - 1]):
            name = f"<span>{escape(groups[place])}</span>"
            body += f'<tr class="group"><th scope="rowgroup" colspan="{len(headings)}">{name}</th></tr>'
        data = "".join(f"<td>{escape(text)}</td>" for text in row[1:])
        body += f'<tr><th scope="row">{escape(row[0])}</th>{data}</tr>'
    below = f"<p>{escape(note)}</p>" if note else ""
    kind = kind or ("grouped" if groups else "named")
    return (
        f'<section><h2>{escape(title)}</h2><div class="scroll" tabindex="0"><table class="{kind}">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{below}</section>"
    )


def _best(cell: dict[str, Any]) -> dict[str, Any]:
    best: dict[str, Any] = max(cell["batches"], key=lambda row: row["images_per_second"])
    return best


def _mean(cell: dict[str, Any]) -> float:
    reference = cell["proof"]["reference"]
    return float(reference["mean_level"]) if reference else 0.0


def _levels(cell: dict[str, Any]) -> list[str]:
    reference = cell["proof"]["reference"]
    return [_number(reference[key]) for key in ("worst_level", "mean_level")] if reference else ["–", "–"]


def _name(cell: dict[str, Any]) -> str:
    return f"{cell['file']['name']} on {label(cell)}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    value = 0 if abs(value) < 1e-9 else value  # a hair of rounding
    return number(value) if value >= 1e6 else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
