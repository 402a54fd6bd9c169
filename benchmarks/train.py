"""Training speed: gantool's loop against the loop that people copy from tutorials.

    python benchmarks/train.py --json benchmarks/results/train-cpu.json

The rival reads each sample through PIL and a transform in a DataLoader, puts a sigmoid before BCELoss, makes a separate
pass for reals, fakes and the generator's turn, uses plain Adam and calls `.item()` on every loss in every step. Both
train the same networks from the same first weights, with the same batch and the same number of optimizer steps.
They run in turn in one process, a few seconds each; a ratio is taken within its round, and the median of all is shown.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import roofline  # beside this file
import torch
import torchgan_trainer
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gantool import data
from gantool.data import Dataset
from gantool.plugin import registry
from gantool.plugin.architecture import Recipe, SampleSpec
from gantool.plugin.options import resolve
from gantool.system import machine
from gantool.system.files import write_json
from gantool.training.state import State, build_game, pick_device
from gantool.training.step import iterate

CASES = {"mlp 28": ("mlp", None), "dcgan 32": ("dcgan", 32), "dcgan 64": ("dcgan", 64), "wgan gp 32": ("wgan", 32)}


RATES = {"wgan": (1e-4, (0.0, 0.9))}  # of the paper; all others as the DCGAN tutorial


class Pictures(TorchDataset[tuple[Tensor, int]]):
    """What a tutorial's data set does for each sample: PIL, resize, to a tensor, normalise, one operation at a time."""

    def __init__(self, dataset: Dataset, size: int | None) -> None:
        self.images = torch.from_numpy(dataset.images)
        self.labels = torch.from_numpy(dataset.labels if dataset.labels is not None else np.zeros(len(dataset), int))
        self.size = size
        self.mean, self.deviation = [0.5], [0.5]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.images[index].permute(1, 2, 0).squeeze(2).numpy()
        picture, label = Image.fromarray(pixels), int(self.labels[index])
        if self.size and picture.size != (self.size, self.size):
            picture = picture.resize((self.size, self.size), Image.Resampling.BILINEAR)
        array = np.array(picture, np.uint8, copy=True)
        tensor = torch.from_numpy(array).view(picture.height, picture.width, -1).permute(2, 0, 1).contiguous()
        tensor = tensor.to(torch.float32).div(255).clone()
        mean, deviation = torch.as_tensor(self.mean), torch.as_tensor(self.deviation)
        if (deviation == 0).any():
            raise ValueError("a deviation of zero")
        return tensor.sub_(mean.view(-1, 1, 1)).div_(deviation.view(-1, 1, 1)), label


Sample = Callable[[int], Tensor]


def tutorial(
    name: str, dataset: Dataset, size: int | None, device: torch.device, batch: int, seed: int = 0
) -> Iterator[Sample]:
    """The tutorial's loop; each `next` is one iteration, and gives what draws n samples."""
    architecture = registry.find(name).architecture
    assert architecture is not None
    config = architecture.config()
    recipe = architecture.recipe_for(config)
    rate, betas = RATES.get(name, (2e-4, (0.5, 0.999)))
    side = size or dataset.spec.sides[0]
    spec = SampleSpec((dataset.spec.channels, side, side))
    game = build_game(architecture, config, spec, recipe, seed)
    generator = game.generator.to(device).train()
    discriminator = game.players[0].modules["discriminator"].to(device).train()
    latent_dim = game.inputs[0].shape[0]
    steps = {
        player: torch.optim.Adam(module.parameters(), lr=rate, betas=betas)
        for player, module in (("g", generator), ("d", discriminator))
    }
    loader = DataLoader(Pictures(dataset, size), batch_size=batch, shuffle=True, drop_last=True)
    loss = nn.BCELoss()
    reals = _forever(loader, device)
    while True:
        if name == "wgan":
            for _ in range(recipe.discriminator_steps):
                real = next(reals)
                fake = generator(torch.randn(batch, latent_dim, device=device)).detach()
                steps["d"].zero_grad()
                difference = discriminator(fake).mean() - discriminator(real).mean()
                critic_loss = difference + config.penalty * _penalty(discriminator, real, fake)
                critic_loss.backward()
                steps["d"].step()
                critic_loss.item()
            steps["g"].zero_grad()
            generator_loss = -discriminator(generator(torch.randn(batch, latent_dim, device=device))).mean()
        else:
            real = next(reals)
            ones, zeros = torch.ones(batch, device=device), torch.zeros(batch, device=device)
            steps["d"].zero_grad()
            real_loss = loss(torch.sigmoid(discriminator(real)), ones)
            fake = generator(torch.randn(batch, latent_dim, device=device))
            fake_loss = loss(torch.sigmoid(discriminator(fake.detach())), zeros)
            discriminator_loss = real_loss + fake_loss
            discriminator_loss.backward()
            steps["d"].step()
            discriminator_loss.item()
            steps["g"].zero_grad()
            generator_loss = loss(torch.sigmoid(discriminator(fake)), ones)
        generator_loss.backward()
        steps["g"].step()
        generator_loss.item()
        yield lambda count: generator(torch.randn(count, latent_dim, device=device))


def gantool(
    name: str,
    dataset: Dataset,
    device: torch.device,
    batch: int | None,
    *,
    precision: str = "fp32",
    engine: str = "auto",
    seed: int = 0,
    given: dict[str, Any] | None = None,
) -> Iterator[Sample]:
    """gantool's loop; each `next` is one iteration, with its EMA and its meter, and gives what draws n samples.

    `given`: config and recipe values that differ from the plugin's; `batch`: None for the recipe's.
    """
    architecture = registry.find(name).architecture
    assert architecture is not None
    config, recipe = resolve(architecture, {**(given or {}), **({"batch_size": batch} if batch else {})})
    state = State(architecture, config, recipe, dataset, seed=seed, device=device, precision=precision, engine=engine)

    def sample(count: int) -> Tensor:
        generator: nn.Module | None = ready.get(state.step)
        if generator is None:
            ready.clear()
            generator = ready[state.step] = state.sampling_generator()
        return generator(torch.randn(count, *state.game.inputs[0].shape, device=device))  # type: ignore[no-any-return]

    ready: dict[int, nn.Module] = {}
    while True:
        iterate(state)
        yield sample


def _forever(loader: DataLoader[tuple[Tensor, int]], device: torch.device) -> Iterator[Tensor]:
    while True:
        for real, _ in loader:
            yield real.to(device)


def _penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    mix = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (mix * real + (1 - mix) * fake).requires_grad_(True)
    scores = critic(between)
    gradient = torch.autograd.grad(scores, between, torch.ones_like(scores), create_graph=True, retain_graph=True)[0]
    penalty: Tensor = ((gradient.view(len(real), -1).norm(2, dim=1) - 1) ** 2).mean()
    return penalty


def torchgan(name: str, dataset: Dataset, size: int | None, device: torch.device, batch: int) -> Iterator[None]:
    """torchgan's Trainer; each `next` is one iteration."""
    architecture = registry.find(name).architecture
    assert architecture is not None
    side = size or dataset.spec.sides[0]
    game = build_game(architecture, architecture.config(), SampleSpec((1, side, side)), Recipe(), seed=0)
    loader = DataLoader(Pictures(dataset, size), batch_size=batch, shuffle=True, drop_last=True)
    discriminator = game.players[0].modules["discriminator"]
    return torchgan_trainer.train(game.generator, discriminator, game.inputs[0].shape[0], loader, device)


def rate(loop: Iterator[object], seconds: float, device: torch.device) -> float:
    """Iterations a second over at least `seconds`."""
    count, start = 0, time.perf_counter()
    while True:
        next(loop)
        count += 1
        if time.perf_counter() - start >= seconds:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return count / (time.perf_counter() - start)


def profile(loop: Iterator[object], iterations: int = 5) -> list[dict[str, Any]]:
    """Where the time of a step goes: the ten operators with the most time of their own."""
    with torch.profiler.profile() as recorded:
        for _ in range(iterations):
            next(loop)
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    top = sorted(events, key=lambda event: -event.self_cpu_time_total)[:10]
    return [
        {"operator": e.key, "share": round(e.self_cpu_time_total / total, 4), "calls_a_step": e.count / iterations}
        for e in top
    ]


def compare(case: str, device: torch.device, peaks: roofline.Peaks, arguments: argparse.Namespace) -> dict[str, Any]:
    name, size = CASES[case]
    # the tutorial's loader resizes each sample each time, gantool once
    raw, dataset = data.load("digits"), data.load("digits", size)
    ours = {"precision": arguments.precision, "engine": arguments.engine}
    contenders: dict[str, Callable[[], Iterator[object]]] = {
        "tutorial": lambda: tutorial(name, raw, size, device, arguments.batch),
        "gantool": lambda: gantool(name, dataset, device, arguments.batch, **ours),
    }
    if name != "wgan":  # its critic moves five times for each move of the generator
        simultaneous = {"updates": "simultaneous"}
        contenders["gantool, simultaneous"] = lambda: gantool(
            name, dataset, device, arguments.batch, **ours, given=simultaneous
        )
        if torchgan_trainer.installed():
            contenders["torchgan"] = lambda: torchgan(name, raw, size, device, arguments.batch)
    loops = {key: make() for key, make in contenders.items()}
    for loop in loops.values():
        rate(loop, min(1.0, arguments.seconds), device)  # warm-up
    rounds: list[dict[str, float]] = []
    for number in range(arguments.rounds):
        order = list(loops) if number % 2 == 0 else list(reversed(loops))
        rounds.append({key: rate(loops[key], arguments.seconds, device) for key in order})
    ratios = {key: sorted(r[key] / r["tutorial"] for r in rounds) for key in loops}
    speeds = {key: statistics.median(r[key] for r in rounds) for key in loops}
    # replaying a CUDA graph shows no operators: what has to be computed is the same in the other engines
    work = roofline.count(lambda: next(loops["gantool"])) if arguments.engine != "graph" else None
    row = {
        "case": case,
        "batch": arguments.batch,
        "steps_per_second": speeds,
        "ratio": {key: {"median": statistics.median(r), "lowest": r[0], "highest": r[-1]} for key, r in ratios.items()},
        "roofline": work.report(peaks, speeds["gantool"]) if work else None,
        "rounds": rounds,
    }
    if arguments.profile:
        row["profile"] = {key: profile(loop) for key, loop in loops.items()}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "tf32", "bf16"])
    parser.add_argument("--engine", default="auto", choices=["auto", "eager", "rewritten", "compiled", "graph"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each contender in each round")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", default=None, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    peaks = roofline.measure(device)
    rows = []
    for case in arguments.cases:
        row = compare(case, device, peaks, arguments)
        rows.append(row)
        for key, ratio in row["ratio"].items():
            said = f"{ratio['median']:.2f} ({ratio['lowest']:.2f}–{ratio['highest']:.2f})"
            print(f"{case}: {key} {row['steps_per_second'][key]:.2f} steps/s: {said}", flush=True)
        if row["roofline"]:
            print("  roofline: {flops:.3g} FLOP, {bytes:.3g} bytes, {fraction_of_bound:.0%}".format(**row["roofline"]))
        for key, operators in row.get("profile", {}).items():
            print(f"  {key}: " + ", ".join(f"{o['operator']} {o['share']:.0%}" for o in operators))
    if arguments.json:
        gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
        about = {
            **machine.describe(),
            "gpu": gpu,
            "threads": torch.get_num_threads(),
            "peak_gflops": round(peaks.flops / 1e9, 1),
            "copy_gb_per_second": round(peaks.bandwidth / 1e9, 1),
        }
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        from pathlib import Path

        write_json(
            Path(arguments.json), {"machine": about, "versions": versions, "cases": json.loads(json.dumps(rows))}
        )


if __name__ == "__main__":
    main()
