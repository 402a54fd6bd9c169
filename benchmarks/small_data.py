"""What DiffAugment does for small data: training on a few hundred digits, with and without it.

    python benchmarks/small_data.py --json benchmarks/results/small-data-cpu.json --pictures folder/

Both train the same networks from the same first weights for the same number of steps on the same digits, some of each
class. At equal steps each is asked for the Fréchet distance (digits) of its averaged generator's samples to all 10,000
digits, of which it has seen but the few.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantool import data
from gantool.artifact import pictures
from gantool.data import Dataset
from gantool.metrics import load_extractor
from gantool.metrics.distances import FrechetReference
from gantool.plugin import registry
from gantool.plugin.options import resolve
from gantool.system import machine
from gantool.system.files import write_json
from gantool.training import augment
from gantool.training.state import State, pick_device
from gantool.training.step import iterate


def few(whole: Dataset, count: int, seed: int) -> Dataset:
    """`count` rows, as many of each class."""
    assert whole.labels is not None
    random, classes = np.random.default_rng(seed), int(whole.labels.max()) + 1
    rows = np.concatenate(
        [random.permutation(np.flatnonzero(whole.labels == label))[: count // classes] for label in range(classes)]
    )
    return Dataset(f"{whole.name}-{count}", whole.source, {name: array[rows] for name, array in whole.arrays.items()})


@torch.no_grad()
def samples(state: State, count: int) -> Tensor:
    """`count` samples of the averaged generator, always of the same inputs."""
    generator, inputs = state.sampling_generator(), [part.split(250) for part in state.fixed_inputs(count)]
    return torch.cat([generator(*part).float() for part in zip(*inputs, strict=True)])


def follow(policies: str, reals: Dataset, reference: FrechetReference, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train with `policies` ("": none), and measure every so many steps."""
    architecture = registry.find(arguments.architecture).architecture
    assert architecture is not None
    config, recipe = resolve(architecture, {"width": arguments.width} if arguments.width else {})
    state = State(
        architecture,
        config,
        recipe,
        reals,
        seed=arguments.seed,
        device=pick_device(arguments.device),
        precision="fp32",
        engine="auto",
        diffaugment=augment.parse(policies),
    )
    curve, seconds = [], 0.0
    while state.step < arguments.steps:
        began = time.perf_counter()
        for _ in range(min(arguments.every, arguments.steps - state.step)):
            iterate(state)
        means = state.meter.read()  # waits for the device
        seconds += time.perf_counter() - began
        made = samples(state, arguments.samples)
        point = {
            "step": state.step,
            "seconds": round(seconds, 1),
            "distance": round(reference.distance(made), 2),
            **{key: round(value, 4) for key, value in means.items() if "accuracy" in key},
        }
        curve.append(point)
        print(f"{policies or 'without'}: {point}", flush=True)
        if arguments.pictures:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            name = f"{(policies or 'without').replace(',', '-')}-{state.step:05d}.png"
            pictures.save_png(pictures.grid(pictures.to_pictures(made[:64].cpu().numpy())), arguments.pictures / name)
    return {"policies": policies, "curve": curve, "best": min(point["distance"] for point in curve)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--architecture", default="dcgan")
    parser.add_argument("--width", type=int, default=None, help="of the networks; the plugin's own when left out")
    parser.add_argument("--policies", nargs="+", default=["none", "translation,cutout"])
    parser.add_argument("--count", type=int, default=300, help="digits to train on")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--pictures", type=Path, default=None, metavar="FOLDER")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    arguments = parser.parse_args()
    whole = data.load("digits")
    reals = few(whole, arguments.count, arguments.seed)
    reference = FrechetReference(load_extractor("digits", whole.spec, pick_device(arguments.device)), whole)
    runs = [follow("" if p == "none" else p, reals, reference, arguments) for p in arguments.policies]
    if arguments.json:
        about = {key: value for key, value in vars(arguments).items() if key not in ("json", "pictures", "policies")}
        report = {"machine": machine.describe(), "label": reference.label, "reals": reference.count, **about}
        write_json(arguments.json, {**report, "runs": runs})


if __name__ == "__main__":
    main()
