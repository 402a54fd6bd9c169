"""A report as one HTML file: no script, no request, readable on a phone, on paper and in the dark."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantool.benching.answer import levels_off
from gantool.benching.tables import Names, Table, baseline, cold, compare, failed, noun, quality, warm
from gantool.errors import printable
from gantool.system.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.ticker import Locator

STYLE = "report.css"
NARROW = 5  # columns at most of a table that is not stretched over the page
POLICY = "default-src 'none'; style-src 'unsafe-inline'"

# matplotlib draws in these; in the page each becomes a variable of report.css, which follows light, dark and print
SERIES = ("#0072b2", "#c44e00", "#00805b", "#b0528a", "#9a6a00", "#5a5fd0")
TEXT, GRID = "#59636e", "#d1d9e0"
VARIABLES = {colour: f"--c{i}" for i, colour in enumerate(SERIES)} | {TEXT: "--quiet", GRID: "--line"}
DASHES = ("-", "--")
MAX_SERIES = len(SERIES) * len(DASHES)


def escape(text: str) -> str:
    """HTML that shows `text`, with control characters spelt out."""
    return html.escape(printable(text))


def write_html(report: dict[str, Any], path: Path) -> None:
    write_bytes(path, page(report).encode())


def page(report: dict[str, Any]) -> str:
    """The whole page; text from files and from the machine is escaped."""
    measured = [cell for cell in report["cells"] if cell["status"] == "measured"]
    # fastest first; a cell has the same colour in every plot
    ranked = sorted(measured, key=lambda cell: -_best(cell)["images_per_second"])
    title = "Bench of " + ", ".join(dict.fromkeys(c["file"]["architecture"] or c["file"]["name"] for c in measured))
    names = Names(report["models"])
    by_model = [(m["name"], [c for c in measured if c["file"].get("model") == m["model"]]) for m in report["models"]]

    def with_model(table: Table, model: str) -> Table:
        return replace(table, title=f"{table.title}, {model}") if names.several else table

    parts = [
        f"<header><h1>{escape(title)}</h1>{_machine(report)}</header>",
        _answers(report["answer"]),
        f"<p><strong>{escape(report['warning'])}</strong></p>" if report.get("warning") else "",
        _plots(ranked, names),
        *(_table(with_model(make(cells, names), model)) for make in (warm, cold) for model, cells in by_model if cells),
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
    facts = [
        f"{machine['cpu']}, {machine['cores']} cores" + (f", {machine['gpu']}" if machine["gpu"] else ""),
        str(machine["system"]),
        *(f"{name} {version}" for name, version in versions.items()),
        f"{datetime.fromisoformat(report['created']):%Y-%m-%d %H:%M %Z}",
    ]
    return f"<p>{escape(' · '.join(facts))}</p>"


def _answers(answer: dict[str, Any]) -> str:
    parts = []
    for model in answer["models"]:
        cards = []
        for sentence in model["words"]:
            question, _, found = sentence.partition(": ")
            cards.append(f"<li><b>{escape(question)}</b> {escape(found)}</li>")
        heading = f"<h2>{escape(model['name'])}</h2>" if len(answer["models"]) > 1 else ""
        parts.append(f'{heading}<ul class="answers">{"".join(cards)}</ul>')
    return "".join(parts)


# plots


def _plots(ranked: Sequence[dict[str, Any]], names: Names) -> str:
    figures = [
        _figure("Throughput", "batch", f"{noun(ranked)}s/s", _lines(ranked, "images_per_second")),
        _figure("Latency", "batch", "p99, ms", _lines(ranked, "p99_ms")),
        *_quality_plots(ranked, names),
    ]
    legend = "".join(
        f'<li><span class="key c{i % len(SERIES)} d{i // len(SERIES)}"></span>{escape(names.cell(cell))}</li>'
        for i, cell in enumerate(ranked[:MAX_SERIES])
    )
    note = f"<p>The {MAX_SERIES} fastest of {len(ranked)} cells are drawn.</p>" if len(ranked) > MAX_SERIES else ""
    return f'<section><div class="plots">{"".join(figures)}</div><ul class="legend">{legend}</ul>{note}</section>'


def _figure(title: str, x_label: str, y_label: str, draw: Callable[[Axes], None], note: str = "") -> str:
    """A captioned SVG in which `draw` drew, with the page's fonts and colours."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # not pyplot: no window system, no state left behind

    text = io.StringIO()
    # hashsalt: the ids of one plot are not those of another, and are the same each time
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": title + note, "font.size": 9, "grid.color": GRID}
    style |= {"axes.edgecolor": GRID, "axes.labelcolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT}
    with rc_context(style):
        figure = Figure(figsize=(4, 2.7), layout="constrained")
        axes = figure.subplots()
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        figure.savefig(text, format="svg", transparent=True)
    svg = re.sub("<metadata>.*?</metadata>", "", text.getvalue(), flags=re.DOTALL)
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(title)}: {y_label}"', 1)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    below = f"<p>{escape(note)}</p>" if note else ""
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}{below}</figure>"


def _lines(ranked: Sequence[dict[str, Any]], key: str) -> Callable[[Axes], None]:
    """Draws `key` by batch, a line a cell."""
    from matplotlib.ticker import FixedLocator

    def draw(axes: Axes) -> None:
        for i, cell in enumerate(ranked[:MAX_SERIES]):
            axes.plot(
                [row["batch"] for row in cell["batches"]],
                [row[key] for row in cell["batches"]],
                DASHES[i // len(SERIES)],
                color=SERIES[i % len(SERIES)],
                marker="o",
                markersize=4,
                gid=f"{key}-{i}",
            )
        rows = [row for cell in ranked for row in cell["batches"]]
        _logarithmic(axes.xaxis, FixedLocator(sorted({row["batch"] for row in rows}), nbins=7))
        _logarithmic(axes.yaxis, _locator([row[key] for row in rows]))

    return draw


def _quality_plots(ranked: Sequence[dict[str, Any]], names: Names) -> list[str]:
    """A plot for each model of several files: what one model's images are off says nothing of another's."""
    by_model: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for i, cell in enumerate(ranked[:MAX_SERIES]):
        if levels_off(cell) != float("inf"):
            by_model.setdefault(names.model(cell), []).append((i, cell))
    figures = []
    for model, numbered in by_model.items():
        if len({cell["file"]["path"] for _, cell in numbered}) > 1:
            note = "The area is the file's size. The line joins cells that no other beats in speed, quality and size."
            figures.append(
                _figure(
                    "Size, quality and speed",
                    f"best {noun([cell for _, cell in numbered])}s/s",
                    "mean level off float32",
                    _dots(numbered),
                    f"{model}. {note}" if names.several else note,
                )
            )
    return figures


def _dots(numbered: Sequence[tuple[int, dict[str, Any]]]) -> Callable[[Axes], None]:
    """Draws speed, quality and size: a dot a cell, numbered as in the legend."""
    points = [(_best(c)["images_per_second"], _mean_level(c), c["file"]["bytes"]) for _, c in numbered]
    largest = max(size for *_, size in points)

    def beaten(me: tuple[float, float, int]) -> bool:
        return any(p[0] >= me[0] and p[1] <= me[1] and p[2] <= me[2] and p != me for p in points)

    def draw(axes: Axes) -> None:
        front = sorted(point[:2] for point in points if not beaten(point))
        axes.plot(*zip(*front, strict=True), ":", color=TEXT, linewidth=1, gid="front")
        # small ones last, so that no large one hides them
        for (i, _), (speed, level, size) in sorted(zip(numbered, points, strict=True), key=lambda pair: -pair[1][2]):
            colour = SERIES[i % len(SERIES)]
            axes.scatter([speed], [level], 40 + 300 * size / largest, color=colour, alpha=0.55, gid=f"dot-{i}")
        axes.margins(0.15)
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        _logarithmic(axes.xaxis, _locator([speed for speed, *_ in points]))

    return draw


def _locator(values: Sequence[float]) -> Locator:
    """Ticks at 1, 2 and 5 times powers of ten, or at even steps where the values are close."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    return LogLocator(subs=(1, 2, 5)) if max(values) >= 5 * min(values) else MaxNLocator(4)


def _logarithmic(axis: XAxis | YAxis, ticks: Locator) -> None:
    """Plain numbers, and no minor ticks."""
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(ticks)
    axis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
    axis.set_minor_locator(NullLocator())


# tables


def _proofs(cells: Sequence[dict[str, Any]], names: Names) -> str:
    parts = []
    for cell in cells:
        sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in cell["proof"]["words"])
        parts.append(f"<details><summary>{escape(names.cell(cell))}</summary>{sentences}</details>")
    return f"<section><h2>Proof</h2>{''.join(parts)}</section>"


def _table(table: Table | None) -> str:
    """A group's name is a row of its own above its first."""
    if table is None:
        return ""

    def left(place: int) -> str:
        return ' class="left"' if place in table.left and place > 0 else ""

    head = "".join(f'<th scope="col"{left(i)}>{escape(text)}</th>' for i, text in enumerate(table.headings))
    body = ""
    for number, (first, *rest) in enumerate(table.rows):
        if table.groups and (number == 0 or table.groups[number] != table.groups[number - 1]):
            name = f"<span>{escape(table.groups[number])}</span>"
            body += f'<tr class="group"><th scope="rowgroup" colspan="{len(table.headings)}">{name}</th></tr>'
        # a long name of a file may break after a dot
        body += f'<tr><th scope="row">{escape(first).replace(".", ".<wbr>")}</th>'
        body += "".join(f"<td{left(i)}>{escape(text)}</td>" for i, text in enumerate(rest, start=1)) + "</tr>"
    below = f"<p>{escape(table.note)}</p>" if table.note else ""
    kind = "grouped" if table.groups else "named"
    scroll = "scroll narrow" if len(table.headings) <= NARROW else "scroll"
    return (
        f'<section><h2>{escape(table.title)}</h2><div class="{scroll}" tabindex="0"><table class="{kind}">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{below}</section>"
    )


def _best(cell: dict[str, Any]) -> dict[str, Any]:
    best: dict[str, Any] = max(cell["batches"], key=lambda row: row["images_per_second"])
    return best


def _mean_level(cell: dict[str, Any]) -> float:
    reference = cell["proof"]["reference"]
    return float(reference["mean_level"]) if reference else 0.0
