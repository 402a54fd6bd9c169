"""`--keep-best METRIC`: which checkpoint was the best by a figure of its tick.

Nothing is written down for it: the best is what metrics.jsonl says of the checkpoints that are there, and the best of
those is never pruned. So a kill, a resume and a rollback can't leave a wrong answer behind. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantool.errors import GantoolError
from gantool.run import metrics_log
from gantool.run.rundir import RunDir, RunInfo

_LARGEST = {"diversity": True, "frechet": False, "loss": False}  # which way is better, by the first part of a key


@dataclass(frozen=True)
class Goal:
    """A key of metrics.jsonl, and whether its largest value is the best."""

    key: str
    largest: bool


def parse(text: str) -> Goal:
    """`diversity`, `frechet`, `loss.…`, or any key with `:max` or `:min` → the goal.

    GantoolError for a measure without a direction, and for what no tick records.
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
    """GantoolError when `text` is of a player that the game does not have: all that is known before a training."""
    kind, _, rest = parse(text).key.partition(".")
    if kind in ("loss", "measure") and rest.partition(".")[0] not in players:
        known = [f"{kind}.{player}.…" for kind in ("loss", "measure") for player in players]
        raise GantoolError(
            f"--keep-best {text}: this game has no player {rest.partition('.')[0]!r}.",
            f"It will record diversity, frechet, {', '.join(known)}",
        )


def check_record(text: str, record: Mapping[str, Any]) -> None:
    """GantoolError when a tick did not record what `text` names, and its player moved, so that it never will."""
    key = parse(text).key
    mine = [name for name in record if name.rpartition(".")[0] == key.rpartition(".")[0] and "." in name]
    if key not in record and (mine or "." not in key):
        known = [name for name in record if name.partition(".")[0] in (*_LARGEST, "measure")]
        raise GantoolError(f"--keep-best {text}: this run does not record {key!r}.", f"It records {', '.join(known)}.")


def check_records(text: str, records: Sequence[Mapping[str, Any]]) -> None:
    """As `check_record`, of a run that has ticked: only `frechet` can be new in one that is resumed."""
    if records and parse(text).key != "frechet":
        check_record(text, records[-1])


def best(run: RunDir, info: RunInfo) -> int | None:
    """The step of the best checkpoint that there is; None when `--keep-best` was not given, or none has a value.

    The first of equals. Values that are not finite count as none.
    """
    if not info.keep_best:
        return None
    goal = parse(info.keep_best)
    there = {run.step_of(path) for path in run.checkpoints()}
    found = [(record["step"], record[goal.key]) for record in _having(goal.key, metrics_log.read_metrics(run))]
    found = [(step, value) for step, value in found if step in there]
    return (max if goal.largest else min)(found, key=lambda pair: pair[1], default=(None, 0.0))[0]


def step_of(run: RunDir, wanted: str) -> int:
    """The step of a checkpoint that `wanted` names: its number, or `best`. GantoolError when there is none."""
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
    """As `step_of`: the checkpoint."""
    return run.checkpoint(step_of(run, wanted))


def _having(key: str, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for r in records if isinstance(value := r.get(key), int | float) and math.isfinite(value)]
