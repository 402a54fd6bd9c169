"""`--keep-best METRIC`: which checkpoint is the best by a figure of its tick. No torch.

It is computed each time, from metrics.jsonl and the checkpoints that exist, and the best one is never pruned. So
neither a kill nor a resume nor a rollback can leave a wrong answer behind.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantool.errors import GantoolError
from gantool.run import metrics_log
from gantool.run.rundir import RunDir, RunInfo

_LARGEST = {"diversity": True, "frechet": False, "loss": False}  # whether more is better, by the first part of a key


@dataclass(frozen=True)
class Goal:
    """A key of metrics.jsonl, and whether its largest or its smallest value is the best."""

    key: str
    largest: bool


def parse(text: str) -> Goal:
    """Parse `diversity`, `frechet`, `loss.PLAYER.TERM` or `measure.PLAYER.NAME`, each with `:max` or `:min` if wanted.

    GantoolError for a measure without a direction, and for a key that no tick records.
    """
    key, colon, way = text.partition(":")
    kind = key.partition(".")[0]
    if kind not in (*_LARGEST, "measure"):
        raise GantoolError(
            f"--keep-best {text}: no tick records {key!r}.",
            "Use diversity, frechet, loss.PLAYER.TERM or measure.PLAYER.NAME:max (or :min).",
        )
    if colon and way not in ("max", "min"):
        raise GantoolError(f"--keep-best {text}: there is no direction {way!r}.", f"Use {key}:max or {key}:min.")
    if not colon and kind == "measure":
        raise GantoolError(
            f"--keep-best {text}: nothing says whether more of this measure is better.", f"Use {key}:max or {key}:min."
        )
    return Goal(key, way == "max" if colon else _LARGEST[kind])


def check_player(text: str, players: Collection[str]) -> None:
    """GantoolError when `text` names a player that the game does not have. Before a training no more is known."""
    kind, _, rest = parse(text).key.partition(".")
    if kind in ("loss", "measure") and rest.partition(".")[0] not in players:
        known = [f"{kind}.{player}.…" for kind in ("loss", "measure") for player in players]
        raise GantoolError(
            f"--keep-best {text}: this game has no player {rest.partition('.')[0]!r}.",
            f"It will record diversity, frechet, {', '.join(known)}",
        )


def check_record(text: str, record: Mapping[str, Any]) -> None:
    """GantoolError when no tick will record what `text` names: `record` does not, though its player moved."""
    key = parse(text).key
    moved = [name for name in record if name.rpartition(".")[0] == key.rpartition(".")[0] and "." in name]
    if key not in record and (moved or "." not in key):
        known = [name for name in record if name.partition(".")[0] in (*_LARGEST, "measure")]
        raise GantoolError(f"--keep-best {text}: this run does not record {key!r}.", f"It records {', '.join(known)}.")


def check_records(text: str, records: Sequence[Mapping[str, Any]]) -> None:
    """As `check_record`, for a run that is resumed: `frechet` may be new in it, other keys are in its last tick."""
    if records and parse(text).key != "frechet":
        check_record(text, records[-1])


def best(run: RunDir, info: RunInfo) -> int | None:
    """The step of the best checkpoint that exists, the first of equals; None without `--keep-best` or finite values."""
    if not info.keep_best:
        return None
    goal = parse(info.keep_best)
    steps = {run.step_of(path) for path in run.checkpoints()}
    records = [r for r in metrics_log.read_metrics(run) if r["step"] in steps]
    found = [(r["step"], v) for r in records if isinstance(v := r.get(goal.key), int | float) and math.isfinite(v)]
    return (max if goal.largest else min)(found, key=lambda pair: pair[1], default=(None, 0.0))[0]


def step_of(run: RunDir, wanted: str) -> int:
    """The step of the checkpoint `wanted`: a number, or `best`. GantoolError when there is none."""
    if wanted == "best":
        found = best(run, run.read())
        if found is None:
            raise GantoolError(
                f"No checkpoint of {run.path} is known as its best.",
                "Train with --keep-best METRIC (also on --resume), or name a step.",
            )
        return found
    steps = [run.step_of(path) for path in run.checkpoints()]
    if not wanted.isdecimal() or int(wanted) not in steps:
        names = [*map(str, steps), *(["best"] if run.read().keep_best else [])]
        raise GantoolError(
            f"The run {run.path} has no checkpoint {wanted!r}.", f"It has: {', '.join(names) or 'none'}."
        )
    return int(wanted)


def path_of(run: RunDir, wanted: str) -> Path:
    """The checkpoint `wanted`: a step, or `best`. GantoolError when there is none."""
    return run.checkpoint(step_of(run, wanted))
