"""curves.png: the losses, measures and diversity of a run, against its steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gantool.run import metrics_log
from gantool.run.rundir import RunDir
from gantool.system.files import replacing

PANELS = ("loss", "measure", "diversity", "frechet")


def draw(run: RunDir, records: list[dict[str, Any]]) -> None:
    """A panel of the losses; below it, where there are any, of measures (accuracies, distances) and of each figure."""
    if not records:
        return
    # Figure, not pyplot: no window system, no state left behind
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # a player that moves rarely is not in every record
    known = dict.fromkeys(name for record in records for name in record)
    groups = {panel: [name for name in known if name == panel or name.startswith(f"{panel}.")] for panel in PANELS}
    panels = [(panel, names) for panel, names in groups.items() if names]
    figure = Figure(figsize=(8, 3 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (panel, names) in zip(axes, panels, strict=True):
        for name in names:
            rows = [record for record in records if name in record]
            marker = "o" if len(rows) < 30 else ""
            ax.plot(
                [r["step"] for r in rows],
                [r[name] for r in rows],
                label=name.removeprefix(f"{panel}."),
                marker=marker,
                markersize=3,
            )
        ax.set_ylabel(panel)
        ax.grid(alpha=0.3)
        ax.legend(fontsize="small")
    axes[0].set_title(run.name)
    axes[-1].set_xlabel("step")
    with replacing(run.curves) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def compare(runs: list[RunDir], path: Path) -> None:
    """A PNG: the newest sample grids of `runs` side by side, and below them every curve with a line a run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    records = [metrics_log.read_metrics(run) for run in runs]
    names = dict.fromkeys(name for lines in records for line in lines for name in line)
    curves = [name for name in names if name.partition(".")[0] in PANELS]
    columns = max(2, len(runs))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(4.5 * columns, 4.8 + 2.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
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
    for ax in axes:
        ax.set_visible(False)
    for ax, name in zip(axes, curves, strict=False):
        ax.set_visible(True)
        ax.set_title(name, fontsize="medium")
        ax.grid(alpha=0.3)
        for number, lines in enumerate(records):
            at = [line for line in lines if name in line]
            marker = "o" if len(at) < 30 else ""
            steps, values = [line["step"] for line in at], [line[name] for line in at]
            ax.plot(steps, values, f"C{number}", marker=marker, markersize=3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
