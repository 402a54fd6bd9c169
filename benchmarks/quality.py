"""Quality against time: gantool's loop and recipe, and the loop that people copy from tutorials, on the same networks.

    python benchmarks/quality.py --json benchmarks/results/quality-cpu.json --plot docs/images/quality.png

Both train on the built-in digits, one after the other, for the same number of iterations, and are asked at equal steps
for the Fréchet distance (digits) of their samples: gantool's averaged generator as it would be exported, the tutorial's
in train mode as tutorials sample it. The clock stops while a distance is measured. Reported for each seed: the
tutorial's distance at its end, the share of its time in which gantool reached that, and gantool's when it was over.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from train import CASES, Sample, gantool, tutorial  # beside this file

from gantool import data
from gantool.metrics import load_extractor
from gantool.metrics.distances import FrechetReference
from gantool.system import machine
from gantool.system.files import write_json
from gantool.training.state import pick_device

ITERATIONS = {"mlp 28": 7_000, "dcgan 32": 1_500, "wgan gp 32": 400, "dcgan 64": 400}

Curve = list[dict[str, float]]


def follow(
    loop: Iterator[Sample],
    iterations: int,
    every: int,
    distance: Callable[[Tensor], float],
    count: int,
) -> Curve:
    """Train, and measure every so many iterations: (iteration, seconds of training, distance)."""
    curve: Curve = []
    seconds, began = 0.0, time.perf_counter()
    for iteration, sample in enumerate(loop, start=1):
        if iteration % every == 0 or iteration == iterations:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds += time.perf_counter() - began
            # measuring must not change the training
            with torch.no_grad(), torch.random.fork_rng():
                images = torch.cat([sample(256) for _ in range(count // 256)])
            curve.append({"iteration": iteration, "seconds": round(seconds, 3), "distance": round(distance(images), 3)})
            if iteration == iterations:
                break
            began = time.perf_counter()
    return curve


def verdict(tutorial_curve: Curve, gantool_curve: Curve) -> dict[str, float | None]:
    """What the two curves say: times as shares of the tutorial's, distances as shares of its last."""
    end, target = tutorial_curve[-1]["seconds"], tutorial_curve[-1]["distance"]
    reached = next((point["seconds"] for point in gantool_curve if point["distance"] <= target), None)
    at_the_end = [point for point in gantool_curve if point["seconds"] <= end]
    return {
        "tutorial_seconds": end,
        "tutorial_distance": target,
        "time_to_reach_it": None if reached is None else round(reached / end, 3),
        "gantool_distance": gantool_curve[-1]["distance"],
        "distance_ratio": round(gantool_curve[-1]["distance"] / target, 3),
        "distance_ratio_at_equal_time": round(at_the_end[-1]["distance"] / target, 3) if at_the_end else None,
    }


def compare(case: str, arguments: argparse.Namespace) -> dict[str, Any]:
    name, size = CASES[case]
    raw, dataset = data.load("digits"), data.load("digits", size)
    device = pick_device(arguments.device)
    extractor = load_extractor("digits", dataset.spec, device)
    reference = FrechetReference(extractor, dataset, arguments.samples)
    iterations = arguments.iterations or ITERATIONS[case]
    every = max(1, iterations // arguments.points)
    given = {key: json.loads(value) for key, value in (pair.split("=") for pair in arguments.given)}
    runs = []
    for seed in arguments.seeds:
        loops: dict[str, Callable[[], Iterator[Sample]]] = {
            "tutorial": lambda seed=seed: tutorial(name, raw, size, device, 64, seed),
            "gantool": lambda seed=seed: gantool(name, dataset, device, None, seed=seed, given=given),
        }
        curves = {
            key: follow(loops[key](), iterations, every, reference.distance, arguments.samples)
            for key in (arguments.only or loops)
        }
        run: dict[str, Any] = {"seed": seed, "curves": curves}
        if len(curves) == 2:
            run["verdict"] = verdict(curves["tutorial"], curves["gantool"])
        runs.append(run)
        for key, curve in curves.items():
            said = ", ".join(f"{p['seconds']:.0f} s {p['distance']:.0f}" for p in curve[:: max(1, len(curve) // 8)])
            print(
                f"{case} seed {seed} {key}: {said} … {curve[-1]['seconds']:.0f} s {curve[-1]['distance']:.1f}",
                flush=True,
            )
    return {
        "case": case,
        "iterations": iterations,
        "samples": arguments.samples,
        "label": reference.label,
        "runs": runs,
    }


def summary(rows: list[dict[str, Any]]) -> str:
    """The table of benchmarks/README.md."""
    lines = [
        "| case | iterations | tutorial, time | tutorial, distance | gantool, distance | ratio "
        "| ratio at equal time | share of time |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        verdicts = [run["verdict"] for run in row["runs"]]

        def middle(key: str, verdicts: list[dict[str, Any]] = verdicts) -> str:
            values = sorted(v[key] if v[key] is not None else float("inf") for v in verdicts)
            return f"{statistics.median(values):.2f} ({values[0]:.2f}–{values[-1]:.2f})"

        lines.append(
            f"| {row['case']} | {row['iterations']:,} "
            f"| {statistics.median(v['tutorial_seconds'] for v in verdicts):.0f} s "
            f"| {statistics.median(v['tutorial_distance'] for v in verdicts):.1f} "
            f"| {statistics.median(v['gantool_distance'] for v in verdicts):.1f} | {middle('distance_ratio')} "
            f"| {middle('distance_ratio_at_equal_time')} | {middle('time_to_reach_it')} |"
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Distance against seconds, a panel a case, a line a seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(rows), figsize=(4.2 * len(rows), 3.4), squeeze=False, layout="constrained")
    for panel, row in zip(panels[0], rows, strict=True):
        for run in row["runs"]:
            for key, colour in (("tutorial", "tab:orange"), ("gantool", "tab:blue")):
                curve = run["curves"][key]
                first = run is row["runs"][0]
                panel.plot(
                    [p["seconds"] for p in curve], [p["distance"] for p in curve],
                    color=colour, alpha=0.75, label=key if first else None,
                )  # fmt: skip
        panel.set(title=row["case"], xlabel="seconds of training", yscale="log")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel(rows[0]["label"])
    panels[0][0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["mlp 28", "dcgan 32", "wgan gp 32"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=None)
    parser.add_argument("--points", type=int, default=40, help="measurements of each training")
    parser.add_argument("--samples", type=int, default=2048, help="images a measurement")
    parser.add_argument("--only", nargs="+", choices=["tutorial", "gantool"], default=None)
    parser.add_argument("--given", nargs="*", default=[], metavar="KEY=JSON", help="config or recipe values of gantool")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--plot", type=Path, default=None, metavar="FILE")
    parser.add_argument(
        "--join", nargs="+", type=Path, default=[], metavar="FILE", help="earlier --json, and no training"
    )
    arguments = parser.parse_args()
    if arguments.join:
        rows = [row for path in arguments.join for row in json.loads(path.read_text())["cases"]]
    else:
        rows = [compare(case, arguments) for case in arguments.cases]
    if not arguments.only:
        print(summary(rows))
        if arguments.plot:
            plot(rows, arguments.plot)
    if arguments.json:
        about = {**machine.describe(), "threads": torch.get_num_threads(), "torch": torch.__version__}
        write_json(arguments.json, {"machine": about, "cases": rows})


if __name__ == "__main__":
    main()
