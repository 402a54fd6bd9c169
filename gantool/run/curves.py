"""curves.png: the losses, measures and other figures of a run against its steps; and several runs in one picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gantool.run import metrics_log
from gantool.run.rundir import RunDir
from gantool.system.files import replacing

Item = TypeVar("Item")
PANELS = ("loss", "measure", "diversity", "frechet")
MAX_POINTS = 400  # of one line, and
MAX_LINES = 16  # of one panel, on a page: more can't be told apart


def draw(run: RunDir, records: list[dict[str, Any]]) -> None:
    """A panel for each kind of figure that the records have: losses, measures (accuracies, distances) and the rest."""
    # a player that moves rarely is not in every record
    known = dict.fromkeys(name for record in records for name in record)
    groups = {panel: [name for name in known if name == panel or name.startswith(f"{panel}.")] for panel in PANELS}
    panels = [(panel, names) for panel, names in groups.items() if names]
    if not panels:
        return
    with _figure(run.curves, 8, 3 * len(panels)) as figure:
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (panel, names) in zip(axes, panels, strict=True):
            for name in names:
                _plot(ax, records, name, label=name.removeprefix(f"{panel}."))
            ax.set_ylabel(panel)
            ax.grid(alpha=0.3)
            ax.legend(fontsize="small")
        axes[0].set_title(run.name)
        axes[-1].set_xlabel("step")


def compare(runs: list[RunDir], path: Path) -> None:
    """A PNG: the newest sample grids of `runs` side by side, and below them each figure with a curve for each run."""
    from PIL import Image

    records = [metrics_log.read_metrics(run) for run in runs]
    names = dict.fromkeys(name for lines in records for line in lines for name in line)
    curves = [name for name in names if name.partition(".")[0] in PANELS]
    columns = max(2, len(runs))
    rows = -(-len(curves) // columns)
    with _figure(path, 4.5 * columns, 4.8 + 2.8 * rows) as figure:
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(4.8, max(2.8 * rows, 0.1)))[:, 0]
        for number, (ax, run) in enumerate(zip(above.subplots(1, len(runs), squeeze=False)[0], runs, strict=True)):
            ax.axis("off")
            grids = sorted(run.sample(0).parent.glob("step-*.png"))
            step = f", step {int(grids[-1].stem[5:])}" if grids else ": no samples"
            ax.set_title(f"{run.name}{step}", color=f"C{number}")
            if grids:
                with Image.open(grids[-1]) as grid:
                    ax.imshow(grid.convert("RGB"))
        axes = list(below.subplots(rows, columns, squeeze=False).flat) if rows else []
        for ax in axes[len(curves) :]:
            ax.set_visible(False)
        for ax, name in zip(axes, curves, strict=False):
            ax.set_title(name, fontsize="medium")
            ax.grid(alpha=0.3)
            for number, lines in enumerate(records):
                _plot(ax, lines, name, color=f"C{number}")


def panels(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of pages by panel: [{name, lines: [{name, steps, values}]}], each line ≤ 400 points."""
    known = dict.fromkeys(name for record in records for name in record)
    panels = []
    for panel in PANELS:
        lines = []
        for name in (name for name in known if name == panel or name.startswith(f"{panel}.")):
            points = [(record["step"], record[name]) for record in records if _finite(record.get(name))]
            if points:
                thin = downsample(points, MAX_POINTS)
                steps, values = [step for step, _ in thin], [float(f"{value:.6g}") for _, value in thin]
                lines.append({"name": name.removeprefix(f"{panel}."), "steps": steps, "values": values})
        if lines:
            panels.append({"name": panel, "lines": lines[:MAX_LINES]})
    return panels


def downsample(points: Sequence[tuple[int, float]], limit: int) -> list[tuple[int, float]]:
    """At most `limit` (≥ 4) of the points, in order: the first, the last, and of each span its lowest and highest.

    A mean would hide the spikes, which are what one looks for in a GAN's losses.
    """
    if len(points) <= limit:
        return list(points)
    kept = {0, len(points) - 1}
    for part in np.array_split(np.arange(1, len(points) - 1), limit // 2 - 1):
        kept.add(int(min(part, key=lambda i: points[i][1])))
        kept.add(int(max(part, key=lambda i: points[i][1])))
    return [points[i] for i in sorted(kept)]


def spread(items: Sequence[Item], limit: int) -> list[Item]:
    """At most `limit` (≥ 2) items, evenly from the first to the last."""
    if len(items) <= limit:
        return list(items)
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Any]:
    """A figure to draw on, saved to `path` afterwards."""
    # Figure, not pyplot: no window system, no state left behind
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _plot(ax: Any, records: list[dict[str, Any]], name: str, **style: str) -> None:
    rows = [record for record in records if name in record]
    marker = "o" if len(rows) < 30 else ""
    ax.plot([r["step"] for r in rows], [r[name] for r in rows], marker=marker, markersize=3, **style)
