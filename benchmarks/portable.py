"""What a portable file costs: its time by the seeded file's, of the same images, and by its latents alone.

    python benchmarks/portable.py --json benchmarks/results/portable-cpu.json

Both are opened in one process, on one thread, and called in turn, round by round; a ratio is of neighbouring calls, and
the table has the median and the quartiles. Weights are the first ones: they don't change the time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import contenders
import numpy as np

from gantool.exporting import from_game, write
from gantool.runtime import Generator
from gantool.system import machine

CASES = ("mlp 28", "dcgan 32", "dcgan 64")
BATCHES = (1, 16, 64)


def compare(name: str, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Of one architecture, at each batch: milliseconds of both files, and their ratio."""
    about = {"name": name, "plugin": "", "plugin_version": "", "config": {}}
    source = from_game(contenders.game(name), architecture=about, training={}, data={})
    seeded, portable = (
        Generator(made.path, threads=1) for made in write(source, ["onnx-seeded", "onnx-portable"], folder)
    )
    np.testing.assert_array_equal(seeded.sample(70, 7), portable.sample(70, 7))
    rows = []
    for batch in BATCHES:
        spent: list[list[float]] = [[], []]
        for turn in range(rounds + 3):
            for one, generator in enumerate((seeded, portable)):
                begun = time.perf_counter()
                generator.sample(batch, 1, turn * batch)
                if turn >= 3:
                    spent[one].append(1000 * (time.perf_counter() - begun))
        ratio = np.array(spent[1]) / np.array(spent[0])
        low, median, high = np.quantile(ratio, (0.25, 0.5, 0.75))
        ms = {
            file: round(float(np.median(times)), 4) for file, times in zip(("seeded", "portable"), spent, strict=True)
        }
        rows.append(
            {"case": name, "batch": batch, "ms": ms, "ratio": [round(float(r), 3) for r in (low, median, high)]}
        )
        print(f"| {name} | {batch} | {ms['seeded']:.3f} | {ms['portable']:.3f} | {median:.2f} ({low:.2f}–{high:.2f}) |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    print("| | at | seeded, ms | portable, ms | ratio |\n|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="gantool-") as folder:
        rows = [row for name in given.cases for row in compare(name, Path(folder) / name, given.rounds)]
    if given.json:
        versions = {name: version(name) for name in ("onnxruntime", "numpy")}
        report = {"rounds": given.rounds, "machine": machine.describe(), "versions": versions, "results": rows}
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
