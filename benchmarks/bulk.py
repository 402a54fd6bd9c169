"""Many samples at once: every architecture's seeded file in gantool's runtime against OpenVINO, default and streams.

    python benchmarks/bulk.py --json benchmarks/results/bulk-cpu.json

The rules are those of benchmarks/throughput.py: each way has a process of its own, they take turns, and a ratio is
taken within its round. Rates are by processor time of all threads, which other programs on the machine change little.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from contenders import Worker  # beside this file

from gantool.system import machine
from gantool.system.files import write_json

# architecture, preset, shape, classes, rate of sounds
CASES: dict[str, tuple[str, str, tuple[int, ...], int, int]] = {
    "mlp 28": ("mlp", "", (1, 28, 28), 0, 0),
    "cgan 28": ("cgan", "", (1, 28, 28), 10, 0),
    "dcgan 32": ("dcgan", "", (3, 32, 32), 0, 0),
    "wgan 32": ("wgan", "", (3, 32, 32), 0, 0),
    "sngan 32": ("sngan", "", (3, 32, 32), 0, 0),
    "r3gan tiny 32": ("r3gan", "tiny", (3, 32, 32), 0, 0),
    "projected tiny 32": ("projected", "tiny", (3, 32, 32), 0, 0),
    "stylegan2 tiny 32": ("stylegan2", "tiny", (3, 32, 32), 0, 0),
    "wavegan 8192": ("wavegan", "", (1, 8192), 0, 16_000),
    "gan3d 32": ("gan3d", "", (1, 32, 32, 32), 0, 0),
}
OURS, DEFAULT, STREAMS = "gantool, seeded", "OpenVINO", "OpenVINO, streams"
WAYS: dict[str, dict[str, Any]] = {
    OURS: {"way": "runtime", "file": "generator.seeded.onnx"},
    DEFAULT: {"way": "openvino", "streams": False},
    STREAMS: {"way": "openvino", "streams": True, "chunks": (16, 64, 256)},
}
ORDER, RIVALS = tuple(WAYS), (DEFAULT, STREAMS)
LEVELS, SHARE = 1, 0.001  # of the values of 16 samples, by which the ways may differ


def export(case: str, folder: Path) -> None:
    """The files of a generator with weights of seed 0."""
    from gantool.exporting import from_game, write
    from gantool.plugin import SampleSpec, registry
    from gantool.plugin.architecture import Recipe
    from gantool.plugin.options import PRESET, resolve
    from gantool.training.state import build_game

    name, preset, shape, classes, hertz = CASES[case]
    found = registry.find(name).architecture
    assert found is not None
    config, _ = resolve(found, {PRESET: preset})
    game = build_game(found, config, SampleSpec(shape, classes, rate=hertz), Recipe(), seed=0)
    about: dict[str, object] = {"name": name, "plugin": "gantool", "plugin_version": "", "config": {}}
    write(from_game(game, architecture=about, training={}, data={}), ["onnx", "onnx-seeded"], folder)


def compare(case: str, folder: Path, batch: int, rounds: int, seconds: float) -> dict[str, Any]:
    shared = {"folder": str(folder), "threads": machine.usable_cores(), "device": "cpu"}
    workers = {way: Worker(**request, **shared) for way, request in WAYS.items()}
    try:
        wanted = np.array(workers[OURS].ask(check=16))
        for way in RIVALS:
            off = np.abs(np.array(workers[way].ask(check=16)) - wanted)
            if off.max() > LEVELS and (off > LEVELS).mean() > SHARE:
                sys.exit(f"{case}: {way} makes other samples, by up to {off.max()} levels.")
        for worker in workers.values():
            worker.ask(batch=batch, seconds=0.0)
        speeds: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in ORDER[number % 3 :] + ORDER[: number % 3]:
                speeds[way].append(workers[way].ask(batch=batch, seconds=seconds, clock="processor"))
    finally:
        for worker in workers.values():
            worker.kill()
    medians = {way: statistics.median(found) for way, found in speeds.items()}
    rival = max(RIVALS, key=lambda way: medians[way])
    ratios = sorted(ours / theirs for ours, theirs in zip(speeds[OURS], speeds[rival], strict=True))
    return {
        "case": case,
        "batch": batch,
        "per_cpu_second": {way: round(value, 1) for way, value in medians.items()},
        "rival": rival,
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(ratios[0], 3),
        "highest": round(ratios[-1], 3),
        "rounds": speeds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of processor time of each way in each round")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    given = parser.parse_args()
    rows = []
    print("| generator | " + " | ".join(WAYS) + " | ratio to the better |\n|---|---:|---:|---:|---:|", flush=True)
    for case in given.cases:
        with tempfile.TemporaryDirectory() as folder:
            export(case, Path(folder))
            row = compare(case, Path(folder), given.batch, given.rounds, given.seconds)
        rows.append(row)
        cells = " | ".join(f"{row['per_cpu_second'][way]:,.0f}" for way in WAYS)
        print(f"| {case} | {cells} | **{row['ratio']:.2f}** ({row['lowest']:.2f}–{row['highest']:.2f}) |", flush=True)
        if given.json:
            about = {"machine": machine.describe(), "load": machine.load(), "batch": given.batch}
            write_json(given.json, {**about, "rows": rows})


if __name__ == "__main__":
    main()
