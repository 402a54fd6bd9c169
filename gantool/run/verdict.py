"""What is plainly wrong with a training, as its metrics.jsonl shows it. No torch.

It is said at the end of every run and again at export. One line shows a blow-up, or samples that are nearly one. That a
discriminator has won takes a stretch of lines, as the alarms during a training do (`training/watch.py`): at one line,
and above all at the first ones, it is ahead in good trainings, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from gantool.run import metrics_log
from gantool.run.rundir import RunDir

Record = dict[str, Any]  # a line of metrics.jsonl

TICKS, STEPS = 4, 1000  # the shortest stretch: before it, trainings that will do well can look as bad
RECENT = 500  # iterations; a shorter stretch, for what no good training shows at any time
COLLAPSED = 0.08  # diversity; constant generators have 0, those against a 50 times too fast lsgan critic 0.03 to 0.07
PINNED = 0.995  # accuracy; mlp with lsgan has 1 and 1 once it makes nothing but ones
LOST = 10.0  # adversarial loss; 50 times too fast discriminators give 11 to 20
BLOWN = 1e6  # a loss; of the shipped architectures none exceeds 1,000


def at(run: RunDir, step: int) -> list[str]:
    """What is wrong at `step`, if a tick logged it."""
    records = [record for record in metrics_log.read_metrics(run) if record["step"] <= step]
    return of(records) if records and records[-1]["step"] == step else []


def of(records: list[Record]) -> list[str]:
    """A sentence for each thing that is wrong at the last line: a blow-up, a collapse, a discriminator that has won."""
    last = records[-1]
    if blown := _blown(last):  # its other figures mean nothing
        return [blown]
    victories = [
        f"the {won.name} has won (since step {won.since}): it is right about {won.right:.0%} or more of what it "
        f"judges, and the generator's adversarial loss is {won.loss:.3g}"
        for won in victories_of(records)
    ]
    return [text for text in (_collapsed(last), *victories) if text]


def _blown(record: Record) -> str:
    large = [key for key in record if key.startswith("loss.") and abs(record[key]) >= BLOWN]
    if not large:
        return ""
    return f"the training has blown up: {large[0]} is {record[large[0]]:.3g}; a smaller --learning-rate may help"


def _collapsed(record: Record) -> str:
    diversity = record.get("diversity", math.nan)
    if not diversity < COLLAPSED:  # NaN: never
        return ""
    return (
        f"the samples are nearly one: they differ by {diversity:.0%} of what reals do (mode collapse, or too few steps)"
    )


class Victory(NamedTuple):
    """A discriminator that the generator can't catch up with."""

    name: str  # of the discriminator
    since: int  # step
    right: float  # its least accuracy now
    loss: float  # the generator's adversarial loss now


def victories_of(records: list[Record]) -> Iterator[Victory]:
    """The discriminators that have won by the last line: right about everything, or far ahead, for a stretch.

    They are judged by their measures `accuracy_real` and `accuracy_fake`, or `accuracy` (of pairs, in a relativistic
    loss), and the generators' terms `adversarial`. A Wasserstein critic has no accuracy, and is meant to be ahead.
    """
    long, recent = stretch(records, STEPS), stretch(records, RECENT)
    for name in _judges(records[-1]) if recent else []:
        half = len(long) // 2
        rises = sum(map(_loss, long[half:])) * half >= sum(map(_loss, long[:half])) * (len(long) - half)
        pinned = long and rises and all(_right(record, name) >= PINNED for record in long)
        lost = all(_loss(record) >= LOST and _right(record, name) >= 0 for record in recent)
        if pinned or lost:
            since = (long if pinned else recent)[0]["step"]
            yield Victory(name, since, _right(records[-1], name), _loss(records[-1]))


def _judges(record: Record) -> list[str]:
    """The players whose accuracy was logged."""
    keys = [key.removeprefix("measure.") for key in record if key.startswith("measure.")]
    return [key.rpartition(".")[0] for key in keys if key.endswith((".accuracy", ".accuracy_real"))]


def _right(record: Record, judge: str) -> float:
    """Its accuracy: of reals or of fakes, whichever is smaller, else of pairs; NaN: unknown."""
    sides = [record.get(f"measure.{judge}.accuracy_{side}", math.nan) for side in ("real", "fake")]
    pairs: float = record.get(f"measure.{judge}.accuracy", math.nan)
    return pairs if math.isnan(sum(sides)) else min(sides)


def _loss(record: Record) -> float:
    """The largest adversarial loss of a generator; NaN: unknown."""
    keys = [key for key in record if key.startswith("loss.") and key.endswith(".adversarial")]
    return max((record[key] for key in keys), default=math.nan)


def stretch(records: list[Record], steps: int) -> list[Record]:
    """The newest records that are at least TICKS and cover `steps` iterations; [] when there are not enough."""
    for start in range(len(records) - TICKS, -1, -1):
        before = records[start - 1]["step"] if start else 0
        if records[-1]["step"] - before >= steps:
            return records[start:]
    return []
