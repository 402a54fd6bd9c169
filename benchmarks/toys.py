"""The toy proofs of R3GAN's loss: it converges on the Dirac-GAN, and covers the modes of stacked digits.

    python benchmarks/toys.py --minutes 12 --size 16 --json benchmarks/results/toys-cpu.json

The Dirac-GAN (Mescheder et al. 2018, arXiv:1801.04406) has one real, 0; the generator makes θ, the critic scores ψ·x.
Both are updated by gradient descent, one after the other. Shown is how far θ is from 0 in the last tenth of the steps.

Stacked digits (Srivastava et al. 2017, arXiv:1705.07761) are three digits in the channels of a picture: 1,000 modes.
Networks of `r3gan` train on 50,000 of them with two losses, both with R1 and R2, as in table 1 of Huang et al. 2024
(arXiv:2501.05441). A classifier of digits reads 26,000 samples: counted are the modes that occur, and the divergence of
their frequencies from those of the data. Each training has one thread and the same processor time. `--size 16` makes
the digits smaller, which takes a quarter of the time; the classifier sees them enlarged.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gantool_r3gan
import numpy as np
import torch
from small_data import samples  # beside this file
from torch import Tensor, nn
from torch.nn import functional as F

from gantool import data
from gantool.artifact import pictures
from gantool.data import Dataset
from gantool.metrics import load_extractor
from gantool.metrics.extractors import Extractor
from gantool.plugin import objectives, registry
from gantool.plugin.objectives import Objective
from gantool.plugin.options import resolve
from gantool.system import machine
from gantool.system.files import write_json
from gantool.training.state import State
from gantool.training.step import iterate

CPU = torch.device("cpu")
MODES = 1000
SIDE = 28  # of the digits that the classifier knows
PENALTY = 1.0  # γ of R1 and R2 on the Dirac-GAN
LOSSES: dict[str, Callable[[], Objective]] = {
    "nonsaturating": objectives.NonSaturating,
    "relativistic": objectives.Relativistic,
}


def descend(parameter: nn.Parameter, loss: Tensor | float, rate: float) -> None:
    """A step of gradient descent."""
    assert isinstance(loss, Tensor)
    (slope,) = torch.autograd.grad(loss, parameter)
    parameter.data -= rate * slope


def dirac(objective: Objective, penalty: float, steps: int = 2000, rate: float = 0.1) -> float:
    """The largest |θ| in the last tenth of the steps, from θ = ψ = 1."""
    theta, critic, real = nn.Parameter(torch.ones(1, 1)), nn.Linear(1, 1, bias=False), torch.zeros(1, 1)
    nn.init.ones_(critic.weight)

    def score(x: Tensor) -> Tensor:
        return critic(x).squeeze(1)  # type: ignore[no-any-return]

    far = []
    for _ in range(steps):
        terms, _ = objective.discriminator(score(real), score(theta.detach()))
        penalties = [objectives.zero_centred(score, points)[1].mean() for points in (real, theta)]
        descend(critic.weight, sum(terms.values()) + penalty * sum(penalties), rate)
        descend(theta, objective.generator(score(theta), score(real)), rate)
        far.append(abs(theta.item()))
    return max(far[-steps // 10 :])


def stacked(count: int, size: int, seed: int = 0) -> Dataset:
    """Three random digits in the channels of each picture of `size` pixels a side."""
    digits = data.load("digits", size).images
    rows = np.random.default_rng(seed).integers(len(digits), size=(count, 3))
    return Dataset("stacked-digits", "stacked-digits", {"images": digits[rows, 0]})


def modes(images: Tensor, classifier: Extractor) -> np.ndarray:
    """The mode of each image, 0 to 999: its three digits."""
    digits = []
    images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
    for channel in range(3):
        parts = [classifier.probabilities(part[:, channel : channel + 1]) for part in images.split(1000)]
        digits.append(torch.cat([part.argmax(1) for part in parts if part is not None]))
    return (100 * digits[0] + 10 * digits[1] + digits[2]).numpy()


def covered(images: Tensor, classifier: Extractor, of_data: np.ndarray) -> dict[str, float]:
    """How many modes occur, and the divergence (KL, in nats) of their frequencies from those of the data."""
    made = np.bincount(modes(images, classifier), minlength=MODES)
    shares, wanted = made / made.sum(), of_data / of_data.sum()
    there = shares > 0
    divergence = float((shares[there] * np.log(shares[there] / wanted[there])).sum())
    return {"modes": int(there.sum()), "divergence": round(divergence, 4)}


def follow(name: str, arguments: argparse.Namespace, reals: Dataset, judge: Callable[[Tensor], Any]) -> dict[str, Any]:
    """Train on stacked digits, and count modes at equal times."""
    architecture = registry.find("r3gan").architecture
    assert architecture is not None
    architecture = replace(architecture, build=partial(gantool_r3gan.build, objective=LOSSES[name]()))
    config, recipe = resolve(architecture, arguments.options)
    state = State(architecture, config, recipe, reals, seed=arguments.seed, device=CPU, precision="fp32", engine="auto")
    budget, seconds, curve = 60 * arguments.minutes, 0.0, list[dict[str, Any]]()
    while len(curve) < arguments.points:
        began = time.process_time()
        while seconds + time.process_time() - began < budget * (len(curve) + 1) / arguments.points:
            state.held = min(1.0, (seconds + time.process_time() - began) / budget)
            iterate(state)
        seconds += time.process_time() - began
        images = samples(state, arguments.samples)
        curve.append({"seconds": round(seconds, 1), "step": state.step, **judge(images)})
        print(f"{name}: {curve[-1]}", flush=True)
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        shown = pictures.to_pictures(images[:64].numpy())
        pictures.save_png(pictures.grid(shown), arguments.pictures / f"stacked-{name}.png")
    return {"loss": name, "curve": curve}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="processor time of each training")
    parser.add_argument("--points", type=int, default=5, help="measurements of each training")
    parser.add_argument("--count", type=int, default=50_000, help="stacked digits to train on")
    parser.add_argument("--size", type=int, default=SIDE, help="pixels a side")
    parser.add_argument("--samples", type=int, default=26_000, help="samples that are read")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--options", type=json.loads, default={}, help='of r3gan, as JSON, such as {"gamma": 2}')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, default=None, metavar="FOLDER")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    points = {
        name + (", R1 and R2" if penalty else ""): round(dirac(LOSSES[name](), penalty), 4)
        for name in LOSSES
        for penalty in (0.0, PENALTY)
    }
    for name, far in points.items():
        print(f"Dirac-GAN, {name}: |θ| is at most {far:.4f} at the end", flush=True)
    reals = stacked(arguments.count, arguments.size)
    classifier = load_extractor("digits", data.load("digits").spec, CPU)
    known = torch.from_numpy(np.array(reals.images)).float() / 127.5 - 1
    of_data = np.bincount(modes(known, classifier), minlength=MODES)
    print(f"stacked digits: {np.count_nonzero(of_data):,} modes in {arguments.count:,} of them", flush=True)
    judge = partial(covered, classifier=classifier, of_data=np.maximum(of_data, 1))
    runs = [follow(name, arguments, reals, judge) for name in arguments.losses]
    if arguments.json:
        about = {key: getattr(arguments, key) for key in ("minutes", "count", "size", "samples", "options", "seed")}
        write_json(arguments.json, {"machine": machine.describe(), **about, "dirac": points, "runs": runs})


if __name__ == "__main__":
    main()
