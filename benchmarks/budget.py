"""Train for so much processor time, whatever else the machine does: for figures that compare architectures."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gantool
from gantool.training import loop


def train_for(minutes: float, architecture: str, folder: Path, **options: Any) -> gantool.Run:
    """A run in `folder` that takes so many minutes of one core, on one thread. `options`: of `gantool.train`."""
    usual = loop.time
    loop.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    try:
        return gantool.train(
            architecture, **options, minutes=minutes, device="cpu", threads=1, keep=1, progress=False, runs=folder
        )
    finally:
        loop.time = usual
