"""Train for so much processor time, whatever else the machine does: for figures that compare architectures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gantool

WARM_UP = 10  # steps whose time decides how many there will be


def train_for(seconds: float, architecture: str, folder: Path, **options: Any) -> gantool.Run:
    """A run in `folder` of as many steps as fit into `seconds` of one core, on one thread; never fewer than 20.

    The first steps are trained twice before, to be timed. `options`: of `gantool.train`.
    """
    given = {**options, "device": "cpu", "threads": 1, "progress": False}
    aside = folder / "timed"
    times = []
    for steps in (WARM_UP, 2 * WARM_UP):  # the difference has no start in it
        began = time.process_time()
        gantool.train(architecture, **given, steps=steps, tick=steps, runs=aside)
        times.append(time.process_time() - began)
    each = max(times[1] - times[0], 1e-3) / WARM_UP
    steps = max(2 * WARM_UP, int(seconds / each))
    return gantool.train(architecture, **given, steps=steps, tick=max(1, steps // 4), keep=1, runs=folder)
