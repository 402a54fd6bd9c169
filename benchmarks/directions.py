"""Directions: slant and thickness of digits, found by each method, for several architectures; what sliders cost.

    python benchmarks/directions.py --minutes 3 --json benchmarks/results/directions-cpu.json --pictures DIR

Each architecture is trained for the minutes given, of processor time, on one thread. SeFa and PCA find directions that
have no names: of 16 the one is taken along which the measure changes most. `examples` gets the 24 samples of 256 with
the largest measure and the 24 with the smallest, as a person would pick them. Then each is named, which measures its
bounds, and is judged on 200 other samples: by the mean of the measure at seven strengths, the share of the samples in
which it grows from the lowest to the highest strength, and the share that keeps its class at both bounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from budget import train_for  # beside this file

import gantool
from gantool import exporting
from gantool.control.measures import measured
from gantool.control.space import Space, space_of
from gantool.metrics.digits import Digits
from gantool.metrics.samples import gather
from gantool.run import directions as stored
from gantool.run.directions import Direction
from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.system import machine

ARCHITECTURES = ("mlp", "dcgan", "sngan", "r3gan", "stylegan2", "cgan")
METHODS = ("sefa", "pca", "measures", "examples")
WANTED = {"slant": "slant", "thickness": "brightness"}  # name → measure
JUDGED, SEED = 200, 99
PICKED, LOOKED_AT = 24, 256


def judged(space: Space, direction: Direction, measure: str) -> dict[str, Any]:
    """How the measure follows the strength, within the bounds, on samples that were not used to find it."""
    inputs = space.inputs(SEED, np.arange(JUDGED, dtype=np.int64))
    points, vector = space.points(inputs), torch.tensor(direction.vector)
    extractor = Digits(space.source.output, torch.device("cpu"))
    strengths = [*np.linspace(direction.low, 0, 3, endpoint=False), *np.linspace(0, direction.high, 4)]
    values, classes = [], []
    for strength in strengths:
        samples = torch.cat(list(space.batches(inputs, points + float(strength) * vector)))
        values.append(measured(samples, space.source.output)[measure])
        probabilities = gather(extractor, samples).probabilities
        assert probabilities is not None
        classes.append(probabilities.argmax(1))
    means = [float(value.mean()) for value in values]
    return {
        "bounds": [direction.low, direction.high],
        "means": [round(mean, 4) for mean in means],
        "monotone": means == sorted(means),
        "samples_that_grow": float((values[-1] > values[0]).float().mean()),
        "spread": float(values[3].std()),
        "class_kept": [round(float((classes[k] == classes[3]).float().mean()), 3) for k in (0, -1)],
    }


def strongest(space: Space, found: tuple[Direction, ...], measure: str) -> tuple[int, Direction]:
    """The number of the direction along which the measure changes most, turned so that it grows."""
    inputs = space.inputs(0, np.arange(LOOKED_AT, dtype=np.int64))
    points, best, number = space.points(inputs), 0.0, 0
    for k, direction in enumerate(found):
        vector = torch.tensor(direction.vector)
        ends = [torch.cat(list(space.batches(inputs, points + side * vector))) for side in (-1, 1)]
        low, high = (measured(samples, space.source.output)[measure].mean() for samples in ends)
        if abs(float(high - low)) > abs(best):
            best, number = float(high - low), k
    chosen = found[number]
    return number, chosen.model_copy(update={"vector": tuple(np.sign(best) * np.array(chosen.vector))})


def examples(space: Space, measure: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    inputs = space.inputs(0, np.arange(LOOKED_AT, dtype=np.int64))
    order = measured(torch.cat(list(space.batches(inputs))), space.source.output)[measure].argsort().tolist()
    return [(0, k) for k in order[-PICKED:]], [(0, k) for k in order[:PICKED]]


def directions_of(run: gantool.Run, pictures: Path | None) -> dict[str, Any]:
    space = space_of(exporting.source_of(RunDir(run.path)))
    report: dict[str, Any] = {"space": space.place or space.input.name, "step": run.step}
    for name, measure in WANTED.items():
        for by in METHODS:
            begun = time.perf_counter()
            given: dict[str, Any] = dict(zip(("these", "those"), examples(space, measure), strict=True))
            found = gantool.directions(run, by, n=16, progress=False, **(given if by == "examples" else {})).directions
            known = stored.read(RunDir(run.path))
            about = [d.about for d in found]
            number, chosen = (
                (about.index(measure), found[about.index(measure)])
                if measure in about
                else strongest(space, found, measure)
            )
            turned = (*found[:number], chosen, *found[number + 1 :])
            stored.write(RunDir(run.path), known.model_copy(update={"found": turned}))
            made = gantool.name_direction(number + 1, f"{name}_{by}", run, progress=False)
            if pictures:
                made.sheet.save(pictures / f"{run.name}-{name}-{by}.png")
            report[f"{name} by {by}"] = judged(space, made.directions[0], measure) | {
                "number": number + 1,
                "seconds": round(time.perf_counter() - begun, 1),
            }
            print(run.name, name, by, json.dumps(report[f"{name} by {by}"]), flush=True)
    return report


def cost(run: gantool.Run) -> float:
    """Time of one image with a slider, as a share of that without, at batch 1: the median of paired blocks."""
    folder = RunDir(run.path)
    known = stored.read(folder)
    paths = []
    for name, named in (("without", ()), ("with", known.named[:1])):
        stored.write(folder, known.model_copy(update={"named": named}))
        exporting.export_run(folder, ["onnx-seeded"], run.path / name)
        paths.append(run.path / name / "generator.seeded.onnx")
    stored.write(folder, known)
    plain, slider = (Generator(path, threads=1) for path in paths)
    assert np.array_equal(plain.sample(64, 5), slider.sample(64, 5))

    def block(generator: Generator) -> float:
        begun = time.perf_counter()
        for index in range(60):
            generator.sample(1, 3, index)
        return time.perf_counter() - begun

    block(plain), block(slider)
    return statistics.median(block(slider) / block(plain) for _ in range(40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0, help="of processor time, each")
    parser.add_argument("--architectures", default=",".join(ARCHITECTURES))
    parser.add_argument("--pictures", type=Path, help="folder of the sheets")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.pictures:
        given.pictures.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": machine.describe(), "minutes": given.minutes}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.architectures.split(","):
            run = train_for(given.minutes, name, Path(folder), name=name)
            report[name] = directions_of(run, given.pictures)
            report[name]["cost_at_batch_1"] = round(cost(run), 3)
            print(name, "cost", report[name]["cost_at_batch_1"], flush=True)
            if given.json:
                given.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
