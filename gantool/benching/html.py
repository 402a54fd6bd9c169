"""A report as one HTML file: no script, no request, right on a phone, on paper and in the dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from gantool.benching import plots
from gantool.benching.answer import off_by
from gantool.benching.models import Names
from gantool.benching.plots import Dot, Series
from gantool.benching.tables import Table, baseline, cold, compare, failed, quality, warm
from gantool.system.files import write_bytes

STYLE = "report.css"
FEW = 5  # columns that need not be spread over the page
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_html(report: dict[str, Any], path: Path) -> None:
    write_bytes(path, page(report).encode())


def page(report: dict[str, Any]) -> str:
    """The whole page; whatever comes from files or the machine is escaped."""
    measured = [cell for cell in report["cells"] if cell["status"] == "measured"]
    # the same cell has the same colour in every plot: the fastest first
    ranked = sorted(measured, key=lambda cell: -_best(cell)["images_per_second"])
    title = "Bench of " + ", ".join(dict.fromkeys(c["file"]["architecture"] or c["file"]["name"] for c in measured))
    names = Names(report["models"])
    own = [(m["name"], [c for c in measured if c["file"].get("model") == m["model"]]) for m in report["models"]]
    parts = [
        f"<header><h1>{escape(title)}</h1>{_machine(report)}</header>",
        _answers(report["answer"]),
        _plots(ranked, names),
        *(_table(_of(model, make(cells, names), names)) for make in (warm, cold) for model, cells in own if cells),
        _table(compare(report.get("compare"))),
        _table(baseline(report.get("baseline"))),
        _table(quality(report.get("quality"))),
        _table(failed([cell for cell in report["cells"] if cell["status"] != "measured"], names)),
        _proofs(measured, names),
    ]
    style = files("gantool.benching").joinpath(STYLE).read_text(encoding="utf-8")
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
        f"{datetime.fromisoformat(report['created']):%Y-%m-%d %H:%M %Z}",
    ]
    return f"<p>{escape(' · '.join(words))}</p>"


def _of(model: str, table: Table, names: Names) -> Table:
    return replace(table, title=f"{table.title}, {model}") if names.several else table


def _answers(answer: dict[str, Any]) -> str:
    parts = []
    for model in answer["models"]:
        cards = []
        for words in model["words"]:
            question, _, found = words.partition(": ")
            cards.append(f"<li><b>{escape(question)}</b> {escape(found)}</li>")
        heading = f"<h2>{escape(model['name'])}</h2>" if len(answer["models"]) > 1 else ""
        parts.append(f'{heading}<ul class="answers">{"".join(cards)}</ul>')
    return "".join(parts)


def _plots(ranked: Sequence[dict[str, Any]], names: Names) -> str:
    def series(key: str) -> list[Series]:
        return [Series(names.cell(c), tuple((row["batch"], row[key]) for row in c["batches"])) for c in ranked]

    figures = [
        _figure(
            "Throughput", plots.lines(series("images_per_second"), "batch", "images/s", "Images a second by batch")
        ),
        _figure("Latency", plots.lines(series("p99_ms"), "batch", "p99, ms", "99th percentile of latency by batch")),
        *_fronts(ranked, names),
    ]
    legend = "".join(
        f'<li class="{plots.style(i)}"><svg viewBox="0 0 30 10"><polyline points="1,5 29,5"/><circle cx="15" cy="5" '
        f'r="3"/></svg><span>{escape(names.cell(c))}</span></li>'
        for i, c in enumerate(ranked[: plots.MOST])
    )
    note = f"<p>Drawn are the {plots.MOST} fastest of {len(ranked)} cells.</p>" if len(ranked) > plots.MOST else ""
    return f'<section><div class="plots">{"".join(figures)}</div><ul class="legend">{legend}</ul>{note}</section>'


def _fronts(ranked: Sequence[dict[str, Any]], names: Names) -> list[str]:
    """A figure a model that has several files: one is never better than another model's."""
    judged = [(i, c) for i, c in enumerate(ranked) if off_by(c) != float("inf")]
    groups: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for place, cell in judged:
        groups.setdefault(names.model(cell), []).append((place, cell))
    figures = []
    for model, own in groups.items():
        if len({c["file"]["path"] for _, c in own}) > 1:
            svg = plots.dots(
                _dots([c for _, c in own], names), "best images/s", "mean level off float32",
                "Quality by speed; area: size", [place for place, _ in own],
            )  # fmt: skip
            note = "The area is the file's size. The line joins what nothing else beats in all three."
            figures.append(_figure("Size, quality and speed", svg, f"{model}. {note}" if names.several else note))
    return figures


def _dots(cells: Sequence[dict[str, Any]], names: Names) -> list[Dot]:
    largest = max(c["file"]["bytes"] for c in cells)
    points = [(_best(c)["images_per_second"], _mean(c), c["file"]["bytes"]) for c in cells]

    def beaten(me: tuple[float, float, int]) -> bool:
        return any(p[0] >= me[0] and p[1] <= me[1] and p[2] <= me[2] and p != me for p in points)

    return [
        Dot(names.cell(c), point[0], point[1], point[2] / largest, not beaten(point))
        for c, point in zip(cells, points, strict=True)
    ]


def _proofs(cells: Sequence[dict[str, Any]], names: Names) -> str:
    parts = []
    for cell in cells:
        words = "".join(f"<p>{escape(word)}</p>" for word in cell["proof"]["words"])
        parts.append(f"<details><summary>{escape(names.cell(cell))}</summary>{words}</details>")
    return f"<section><h2>Proof</h2>{''.join(parts)}</section>"


def _figure(title: str, svg: str, note: str = "") -> str:
    below = f"<p>{escape(note)}</p>" if note else ""
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}{below}</figure>"


def _table(table: Table | None) -> str:
    """A group's name is a row of its own above its first."""
    if table is None:
        return ""

    def cell(place: int, text: str) -> str:
        kind = "" if place not in table.left or place == 0 else ' class="left"'
        # a long name of a file breaks after a dot
        return (
            f'<th scope="row">{escape(text).replace(".", ".<wbr>")}</th>'
            if place == 0
            else f"<td{kind}>{escape(text)}</td>"
        )

    head = "".join(
        f'<th scope="col"{" class=left" if i in table.left and i else ""}>{escape(text)}</th>'
        for i, text in enumerate(table.headings)
    )
    body = ""
    for place, row in enumerate(table.rows):
        if table.groups and (place == 0 or table.groups[place] != table.groups[place - 1]):
            name = f"<span>{escape(table.groups[place])}</span>"
            body += f'<tr class="group"><th scope="rowgroup" colspan="{len(table.headings)}">{name}</th></tr>'
        body += f"<tr>{''.join(cell(i, text) for i, text in enumerate(row))}</tr>"
    below = f"<p>{escape(table.note)}</p>" if table.note else ""
    kind = "grouped" if table.groups else "named"
    scroll = "scroll few" if len(table.headings) <= FEW else "scroll"
    return (
        f'<section><h2>{escape(table.title)}</h2><div class="{scroll}" tabindex="0"><table class="{kind}">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{below}</section>"
    )


def _best(cell: dict[str, Any]) -> dict[str, Any]:
    best: dict[str, Any] = max(cell["batches"], key=lambda row: row["images_per_second"])
    return best


def _mean(cell: dict[str, Any]) -> float:
    reference = cell["proof"]["reference"]
    return float(reference["mean_level"]) if reference else 0.0
