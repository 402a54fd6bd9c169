"""What is plainly wrong with a training, as one line of metrics.jsonl shows it. No torch.

It is said at the end of every run and again at export. The alarms during a training (`training/watch.py`) wait for
longer stretches, because a good training can look like this for a while.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gantool.run import metrics_log
from gantool.run.rundir import RunDir

COLLAPSED = 0.08  # diversity; constant generators have 0, those against a 50 times too fast lsgan critic 0.03 to 0.07
PINNED = 0.995  # accuracy on reals and on fakes; mlp with lsgan has 1 and 1 once it makes nothing but ones
LOST = 10.0  # adversarial loss; 50 times too fast discriminators give 11 to 20
BLOWN = 1e6  # a loss; of the shipped architectures none exceeds 1,000


def at(run: RunDir, step: int) -> list[str]:
    """What is wrong at `step`, if a tick logged it."""
    records = [record for record in metrics_log.read_metrics(run) if record["step"] == step]
    return of(records[-1]) if records else []


def of(record: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing that is wrong: a blow-up, a collapse, a discriminator that has won."""
    if blown := _blown(record):  # its other figures mean nothing
        return [blown]
    return [text for text in (_collapsed(record), *_won(record)) if text]


def _blown(record: Mapping[str, Any]) -> str:
    large = [key for key in record if key.startswith("loss.") and abs(record[key]) >= BLOWN]
    if not large:
        return ""
    return f"the training has blown up: {large[0]} is {record[large[0]]:.3g}; a smaller --learning-rate may help"


def _collapsed(record: Mapping[str, Any]) -> str:
    diversity = record.get("diversity", math.nan)
    if not diversity < COLLAPSED:  # NaN: never
        return ""
    return (
        f"the samples are nearly one: they differ by {diversity:.0%} of what reals do (mode collapse, or too few steps)"
    )


def _won(record: Mapping[str, Any]) -> list[str]:
    """Only with accuracies: a Wasserstein critic has none, and is meant to be ahead."""
    ending = ".accuracy_real"
    names = [key.removeprefix("measure.").removesuffix(ending) for key in record if key.endswith(ending)]
    losses = [value for key, value in record.items() if key.startswith("loss.") and key.endswith(".adversarial")]
    found = []
    for name in names:
        real, fake = (record.get(f"measure.{name}.accuracy_{side}", math.nan) for side in ("real", "fake"))
        if min(real, fake) >= PINNED or (real + fake >= 0 and max(losses, default=0.0) >= LOST):
            found.append(
                f"the {name} has won: it is right about {real:.0%} of reals and {fake:.0%} of fakes, "
                f"and the generator's adversarial loss is {max(losses, default=math.nan):.3g}"
            )
    return found
