"""Whether a conditional generator makes the class that it is asked for, judged by a classifier of real digits.

    python benchmarks/labels.py --json benchmarks/results/labels-cpu.json --pictures docs/images

Trains `cgan` on the built-in digits on each of its bodies with the default recipe (--steps shortens it), exports it,
and makes 100 images a class through the runtime's seeded file. The judge is the classifier of the extractor `digits`,
which is right about 99.4 % of digits that it never saw. Reported: the share of images that it calls what was asked for,
by class and overall. `--from RUN …` judges runs that are there instead.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantool import data, exporting
from gantool.artifact import pictures
from gantool.metrics.digits import Digits
from gantool.plugin import registry
from gantool.plugin.architecture import SampleSpec
from gantool.plugin.train_options import TrainOptions
from gantool.run import metrics_log, rundir
from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.system import machine
from gantool.system.files import write_json
from gantool.training import loop, session

BODIES = ("mlp", "dcgan")
EACH = 100
SEED = 1  # of the images; not that of the sample grids


class Told:
    """A listener that says at each tick how far it is."""

    def stepped(self, step: int) -> None:
        pass

    def ticked(self, record: dict[str, float]) -> None:
        print(f"  step {record['step']:,}: {record['seconds']:,.0f} s", file=sys.stderr, flush=True)

    def noted(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)


def trained(body: str, given: dict[str, Any], seed: int, runs: Path) -> RunDir:
    options = TrainOptions(seed=seed, device="cpu", runs=runs, name=f"cgan-{body}")
    opened = session.start(registry.find("cgan"), {"body": body, **given}, options)
    loop.train(opened.state, opened.run, opened.info, Told())
    return opened.run


def judged(path: Path, each: int) -> tuple[np.ndarray, np.ndarray]:
    """What the classifier says of `each` images of each class: counts (asked, said), and the share of reals it is right
    about, by class."""
    generator, digits = Generator(path), data.load("digits")
    assert digits.labels is not None
    judge = Digits(SampleSpec((1, *generator.shape[:2])), torch.device("cpu"))
    counts = np.zeros((10, 10), int)
    for label in range(10):
        counts[label] = _said(judge, np.moveaxis(generator.sample(each, SEED, labels=label), 3, 1))
    reals = [_said(judge, digits.images[digits.labels == label])[label] for label in range(10)]
    return counts, np.array(reals) / np.bincount(digits.labels)


def _said(judge: Digits, images: np.ndarray) -> np.ndarray:
    """How many of the images uint8 (N, C, H, W) are called by each of the ten names."""
    probabilities = judge.probabilities(torch.from_numpy(images.astype(np.float32) / 127.5 - 1))
    assert probabilities is not None
    return torch.bincount(probabilities.argmax(1), minlength=10).numpy()


def measure(run: RunDir, each: int, folder: Path | None) -> dict[str, Any]:
    info = run.read()
    (made,) = exporting.export_run(run, ["onnx-seeded"])
    path = made.path
    counts, reals = judged(path, each)
    shares = counts.diagonal() / each
    if folder is not None:
        generator, (rows, columns) = Generator(path), pictures.class_rows(10)
        grid = pictures.grid(*pictures.in_rows(generator.sample(rows * columns), rows), scale=1)
        pictures.save_png(grid, folder / f"cgan-{info.config['body']}.png")
    return {
        "body": info.config["body"],
        "steps": info.step,
        "seed": info.seed,
        "config": info.config,
        "recipe": info.recipe,
        "seconds": round(metrics_log.read_metrics(run)[-1]["seconds"], 1),
        "images_a_class": each,
        "agreement": round(float(shares.mean()), 4),
        "by_class": shares.round(4).tolist(),
        "asked_and_said": counts.tolist(),
        "classifier_on_reals": reals.round(4).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Does a conditional generator make the class asked for?")
    parser.add_argument("--bodies", nargs="+", choices=BODIES, default=BODIES)
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=EACH, help="images a class")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--from", nargs="+", dest="there", help="runs that are there: no training")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="a grid of each, a row a class")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    options = {} if given.steps is None else {"steps": given.steps}
    runs = [rundir.find(given.runs, name) for name in given.there or ()]
    for run in runs or (trained(body, options, given.seed, given.runs) for body in given.bodies):
        row = measure(run, given.each, given.pictures)
        rows.append(row)
        worst = int(np.argmin(row["by_class"]))
        print(
            f"{row['body']}, {row['steps']:,} steps: {row['agreement']:.1%} of {10 * given.each:,} images are what was "
            f"asked for; least often {worst}, {row['by_class'][worst]:.0%}",
            flush=True,
        )
    if given.json:
        about = {**machine.describe(), "threads": torch.get_num_threads(), "torch": torch.__version__}
        write_json(given.json, {"machine": about, "judge": Digits.score, "cases": rows})


if __name__ == "__main__":
    main()
