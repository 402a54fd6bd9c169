"""A report against an earlier one: faster, slower or the same, by what both can tell apart from their noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gantool.benching.cell import label
from gantool.errors import GantoolError

TOLERANCE = 0.05
SIGMAS = 2.0
_HINT = "Make one: gantool bench --json > baseline.json"

# what a file of the same name as the baseline's may be; it is compared all the same: a generator that was trained
# again must not become slower either
_DIFFERS = {
    "weights": "other weights than the baseline's: another training, checkpoint or precision.",
    "graph": "the baseline's weights in another graph: exported anew, or rewritten.",
    "metadata": "the baseline's weights and graph in another file: what it says of itself differs.",
    "unknown": "whether it is the file of the baseline is not known: that has no digests.",
}

Key = tuple[str, str]


@dataclass(frozen=True)
class Compared:
    """One cell at one batch. `ratio`: of images a second, now by then; `noise`: how far from 1 it may be by chance.

    `verdict`: faster, slower, same, or lost (measured then, not now; `ratio` 0). `regression`: worse than tolerated.
    """

    cell: str
    batch: int
    ratio: float
    noise: float
    verdict: str
    regression: bool


@dataclass(frozen=True)
class Comparison:
    """`other_machine`: whether the two were measured on different ones, by name, cores and GPU.

    `files`: the name of each file that is not the one that was measured then → what differs: weights, graph (of the
    same weights), metadata, or unknown (the baseline has no digests).
    """

    tolerance: float
    other_machine: bool
    files: dict[str, str]
    rows: tuple[Compared, ...]

    @property
    def regressed(self) -> bool:
        return any(row.regression for row in self.rows)

    def words(self) -> list[str]:
        """What the ratios do not say."""
        said = [f"{name}: {_DIFFERS[what]}" for name, what in self.files.items()]
        return ["The baseline is of another machine.", *said] if self.other_machine else said

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "regressed": self.regressed, "words": self.words()}


def compare(report: Mapping[str, Any], before: Any, tolerance: float = TOLERANCE) -> Comparison:
    """`before`: an earlier report, as read from JSON. GantoolError for what is none, or has no cell of this one's.

    Cells are the same when name of the file, provider, threads and options are; whether the file is the same is told
    apart (`Comparison.files`). The noise of a rate is the spread of the consecutive windows that each
    report keeps, not divided by their number: on shared machines one run differs from the next by as much as its parts
    do.
    """
    now, then = _cells(report), _cells(before)
    tried = {k for k, cell in zip(_keys(report), report["cells"], strict=True) if cell["status"] != "dropped"}
    rows: list[Compared] = []
    for key, old in then.items():
        new = now.get(key, {})
        name = " on ".join(key)
        for batch, row in old.items():
            if batch in new:
                rows.append(_compared(name, batch, new[batch], row, tolerance))
            elif key in tried and batch in report["batches_asked"]:
                rows.append(Compared(name, batch, 0.0, 0.0, "lost", True))
    if not rows:
        raise GantoolError("The baseline has no cell and batch of this report.", _HINT)
    machines = [m.get("machine") for m in (report, before)]
    return Comparison(tolerance, machines[0] != machines[1], _changed(report, before, then.keys()), tuple(rows))


def _changed(report: Mapping[str, Any], before: Mapping[str, Any], keys: Collection[Key]) -> dict[str, str]:
    """As `Comparison.files`, of the files that both have a cell of."""
    then = {cell["file"]["name"]: cell["file"] for cell in before["cells"]}
    found: dict[str, str] = {}
    for key, cell in zip(_keys(report), report["cells"], strict=True):
        name, new = key[0], cell["file"]
        if key not in keys or name in found or new.get("sha256") is None:
            continue
        old = then[name]
        if old.get("sha256") is None:
            found[name] = "unknown"
        elif old["sha256"] != new["sha256"]:
            parts = {"weights": "weights_sha256", "graph": "graph_sha256"}
            found[name] = next((what for what, key in parts.items() if old.get(key) != new.get(key)), "metadata")
    return found


def _compared(name: str, batch: int, new: Mapping[str, Any], old: Mapping[str, Any], tolerance: float) -> Compared:
    try:
        ratio = float(new["images_per_second"]) / float(old["images_per_second"])
        noise = SIGMAS * math.hypot(_spread(new["windows"]), _spread(old["windows"]))
        change = math.log(ratio)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise GantoolError("The baseline is damaged: a batch has no images a second, or no windows.", _HINT) from error
    verdict = "same" if abs(change) <= noise else "faster" if change > 0 else "slower"
    return Compared(name, batch, ratio, math.expm1(noise), verdict, verdict == "slower" and ratio < 1 - tolerance)


def _spread(windows: Sequence[float]) -> float:
    """The standard deviation of the logarithms of rates."""
    return statistics.stdev(map(math.log, windows)) if len(windows) > 1 else 0.0


def _cells(report: Any) -> dict[Key, dict[int, Mapping[str, Any]]]:
    """What was measured: a cell's key → batch → its row."""
    keys = _keys(report)
    try:
        return {
            key: {int(row["batch"]): row for row in cell["batches"]}
            for key, cell in zip(keys, report["cells"], strict=True)
            if cell["status"] == "measured"
        }
    except (KeyError, TypeError, ValueError) as error:
        raise GantoolError("The baseline is damaged: a cell has no batches.", _HINT) from error


def _keys(report: Any) -> list[Key]:
    """Of all cells, in their order."""
    try:
        return [(cell["file"]["name"], label(cell)) for cell in report["cells"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise GantoolError("The baseline is no report of gantool bench of schema 2 or 3.", _HINT) from error
