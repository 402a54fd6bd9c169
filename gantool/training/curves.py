"""curves.png: the losses and measures of a run, against its steps."""

from __future__ import annotations

from typing import Any

from gantool.files import replacing
from gantool.rundir import RunDir

PANELS = ("loss", "measure")


def draw(run: RunDir, records: list[dict[str, Any]]) -> None:
    """Losses in the upper panel; measures (accuracies, distances) in the lower, when there are any."""
    if not records:
        return
    # Figure, not pyplot: no window system, no state left behind
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # a player that moves rarely is not in every record
    known = dict.fromkeys(name for record in records for name in record)
    groups = {panel: [name for name in known if name.startswith(f"{panel}.")] for panel in PANELS}
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
