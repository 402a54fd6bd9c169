"""Inversion: how many of a generator's own samples `gantool.invert` recovers, and how near it comes to real pictures.

python benchmarks/inversion.py RUN… --json benchmarks/results/inversion-cpu.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gantool
from gantool.data import load
from gantool.system import machine

COUNT, SEED = 100, 5
RECOVERED = 2.0  # grey levels, mean


def report(run: gantool.Run) -> dict[str, Any]:
    """Of 100 own samples, and of 20 pictures of its data."""
    made: dict[str, Any] = {"architecture": run.info.architecture, "step": run.step}
    data = load(*run.info.request())
    reals = np.ascontiguousarray(data.images[:: len(data) // 20][:20].transpose(0, 2, 3, 1))
    for name, given in (("own", [(SEED, index) for index in range(COUNT)]), ("real", reals)):
        begun = time.process_time()
        found = gantool.invert(given, run, progress=False)
        made[name] = {
            "pictures": len(found.levels),
            "share_within_2_levels": float((found.levels <= RECOVERED).mean()),
            "median_levels": round(float(np.median(found.levels)), 3),
            "worst_levels": round(float(found.levels.max()), 3),
            "cpu_seconds_a_picture": round((time.process_time() - begun) / len(found.levels), 2),
        }
        print(run.name, name, made[name], flush=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = [report(gantool.Run(path)) for path in given.runs]
    if given.json:
        given.json.write_text(json.dumps({"machine": machine.describe(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
