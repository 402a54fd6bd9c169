"""Quality against time: architectures, and what people would use instead, on the same pictures for the same minutes.

    gantool data fetch emoji --size 32
    python benchmarks/contest.py --data emoji --size 32 --minutes 10 --seeds 0 1 \
        --json benchmarks/results/contest-32-cpu.json --pictures docs/images/contest

Each contender trains in a process of its own on one core and one thread, as many side by side as there are cores. The
clock is the processor time of that process, so what else the machine does costs it nothing; it stops while a contender
is measured. None is told their classes; `+clusters=256` finds some. At equal times each is asked for
the Fréchet distance (EfficientNet-Lite0) of its samples to all pictures; at the end for all figures, by that extractor
and by a classifier of the pictures' own classes, which has nothing of ImageNet. `projected` is trained on features of
EfficientNet-Lite0, so judge it by the classifier.

Peers: `tutorial` is the loop of PyTorch's DCGAN tutorial on dcgan's networks. `lightweight-gan` is the package of that
name, with the settings of its command line:

    pip install --no-deps --target PEERS lightweight-gan==1.2.1 einops kornia kornia-rs adabelief-pytorch colorama \
        tabulate tqdm

and `--peers PEERS`. It needs CUDA and torchvision only to start and to load files: both are taken out of its source as
it is imported.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from digits_classifier import fit  # beside this file, as the next two
from small_data import samples
from torch import Tensor, nn
from torch.nn import functional as F
from train import Sample, tutorial

from gantool import data
from gantool.artifact import pictures
from gantool.data import Dataset
from gantool.metrics import evaluation, load_extractor
from gantool.metrics.clusters import clustered
from gantool.metrics.distances import Moments, between
from gantool.metrics.samples import as_samples, gather
from gantool.plugin import registry
from gantool.plugin.options import resolve
from gantool.system import machine
from gantool.system.files import write_json
from gantool.training import augment, finetune
from gantool.training.state import State
from gantool.training.step import iterate

CPU = torch.device("cpu")
CHUNK = 64  # samples drawn at once


# the peers


def lightweight(dataset: Dataset, seed: int, peers: Path) -> Iterator[Sample]:
    """lightweight-gan's own networks, losses and steps, with its defaults: batches of 10, four of them a step."""
    torch.manual_seed(seed)
    module = _without_cuda(peers / "lightweight_gan" / "lightweight_gan.py", peers)
    trainer = module.Trainer(
        image_size=dataset.spec.sides[0],
        batch_size=10,
        gradient_accumulate_every=4,
        attn_res_layers=[32],
        aug_prob=min(0.5, max(0.0, 1e5 - len(dataset)) * 3e-6),
        rank=1,  # that of a process that writes no files
        use_aim=False,
        base_dir=tempfile.mkdtemp(),
    )
    images = torch.from_numpy(np.array(dataset.images))

    def batches() -> Iterator[Tensor]:
        while True:
            for rows in torch.randperm(len(images)).split(10):
                if len(rows) == 10:
                    yield images[rows].float() / 255  # its range is [0, 1]

    trainer.loader = batches()
    # its average of weights begins at step 20,000: before, its samples are those of the generator itself
    while True:
        trainer.train()
        yield in_chunks(lambda count: trainer.GAN.G(torch.randn(count, trainer.latent_dim)).clamp(0, 1) * 2 - 1)


def _without_cuda(path: Path, peers: Path) -> Any:
    """The module in the file `path`, which asks for CUDA and torchvision, made to run on a CPU without them."""
    sys.path.insert(0, str(peers))
    for name in ("torchvision", "torchvision.transforms"):
        empty = sys.modules.setdefault(name, types.ModuleType(name))
        empty.__spec__ = importlib.machinery.ModuleSpec(name, None)  # others ask whether it is there
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]
    source = path.read_text()
    source = re.sub(r"^assert torch\.cuda\.is_available\(\).*$", "", source, flags=re.MULTILINE)
    source = re.sub(r"torch\.device\(f'cuda:\{self\.rank\}'\)", "torch.device('cpu')", source)
    source = re.sub(r"\.cuda\((?:self\.)?rank\)", ".cpu()", source)
    package = types.ModuleType("lightweight_gan")  # its own start imports the module as it is
    package.__path__ = [str(path.parent)]
    sys.modules["lightweight_gan"] = package
    module = types.ModuleType("lightweight_gan.on_cpu")
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def ours(text: str, dataset: Dataset, seed: int, progress: Callable[[], float]) -> Iterator[Sample]:
    """gantool's loop. `text`: NAME[+OPTION=JSON…]; `progress`: the share of the time that is over, for schedules.

    Options that are not an architecture's: `clusters`, learn from so many classes that `gantool data cluster` finds,
    which counts as time, too; `ada`, `diffaugment`, `precision` and `init_from` (a run), as of `gantool train`.
    """
    name, *options = text.split("+")
    given: dict[str, Any] = {key: json.loads(value) for key, value in (option.split("=", 1) for option in options)}
    policies = augment.parse(given.pop("diffaugment", ""))
    ada, base = given.pop("ada", False), given.pop("init_from", "")
    precision = given.pop("precision", "fp32")
    if count := given.pop("clusters", 0):
        dataset = clustered(dataset, load_extractor("pixels", dataset.spec, CPU), count)
    architecture = registry.find(name).architecture
    assert architecture is not None
    config, recipe = resolve(architecture, given)
    state = State(
        architecture, config, recipe, dataset, seed=seed, device=CPU, precision=precision, engine="auto",
        diffaugment=policies, ada=ada,
    )  # fmt: skip
    if base:
        print(finetune.take(state, finetune.read(base, Path("runs")), base), flush=True)
    while True:
        state.held = progress()
        iterate(state)
        yield partial(samples, state)


# the second judge


class Classifier(nn.Module):
    """Images (N, C, S, S) in [-1, 1] → features (N, 128): the last hidden layer of a classifier."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        widths = (channels, 32, 64, 128)
        self.blocks = nn.Sequential()
        for before, after in itertools.pairwise(widths):
            self.blocks.extend([nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()])
        self.hidden = nn.Linear(128, 128)
        self.logits = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.hidden(self.blocks(images).mean((2, 3))))


def train_classifier(dataset: Dataset, path: Path, epochs: int) -> None:
    """Train on nine tenths of the pictures, say the accuracy on the others, and write TorchScript to `path`."""
    assert dataset.labels is not None
    torch.manual_seed(0)
    images, labels = as_samples(dataset.images), torch.from_numpy(np.array(dataset.labels))
    order = torch.randperm(len(images))
    held, rest = order[: len(order) // 10], order[len(order) // 10 :]
    network = Classifier(images.shape[1], int(labels.max()) + 1)

    def judged(clean: Tensor) -> Tensor:
        # with noise, because a generator's first images are noisy
        return network.logits(network(clean + 0.3 * torch.rand(len(clean), 1, 1, 1) * torch.randn_like(clean)))

    for _ in fit(network, judged, images[rest], labels[rest], epochs):
        pass
    with torch.inference_mode():
        right = (network.logits(network(images[held])).argmax(1) == labels[held]).float().mean()
    print(f"classifier: {right:.1%} of {len(held):,} held-out pictures are right", flush=True)
    torch.jit.script(network).save(path)


# one training


def chosen(dataset: Dataset, group: str, count: int | None) -> tuple[Dataset, Dataset]:
    """What is learned from and what is compared with, without classes: all pictures, or those of `group`.

    Of these only `count`, at random, are learned from.
    """
    rows = np.arange(len(dataset))
    if group:
        assert dataset.labels is not None
        rows = np.flatnonzero(dataset.labels == dataset.class_names.index(group))
    few = np.sort(np.random.default_rng(0).permutation(rows)[:count])
    seen, compared = (
        replace(dataset, arrays={"images": dataset.images[part]}, class_names=(), stored_fingerprint="")
        for part in (few, rows)
    )
    return seen, compared


def train_one(arguments: argparse.Namespace) -> None:
    """Train `arguments.one` for the minutes, and write what was measured to the folder `arguments.work`."""
    os.sched_setaffinity(0, {arguments.core})
    torch.set_num_threads(1)
    seen, dataset = chosen(data.load(arguments.data, arguments.size), arguments.group, arguments.count)
    name, seed = arguments.one, arguments.seeds[0]
    extractor = load_extractor("efficientnet-lite0", dataset.spec, CPU)
    reals = Moments(**torch.load(arguments.work / "moments.pt", weights_only=True))
    budget, seconds, curve = 60 * arguments.minutes, 0.0, []
    began = time.process_time()
    if name == "lightweight-gan":
        loop = lightweight(seen, seed, arguments.peers)
    elif name == "tutorial":
        loop = (in_chunks(sample) for sample in tutorial("dcgan", seen, None, CPU, 64, seed))
    else:
        loop = ours(name, seen, seed, lambda: min(1.0, (seconds + time.process_time() - began) / budget))
    for iteration, sample in enumerate(loop, start=1):
        now = seconds + time.process_time() - began
        if now < budget * (len(curve) + 1) / arguments.points:
            continue
        seconds = now
        images = _drawn(sample, arguments.samples)
        distance = between(reals, Moments.of(gather(extractor, images).features))
        point = {"seconds": round(now, 1), "iteration": iteration, "distance": round(distance, 3)}
        curve.append(point)
        print(f"{name} seed {seed}: {point}", flush=True)
        if len(curve) == arguments.points:
            break
        began = time.process_time()
    images = _drawn(sample, arguments.final)
    stem = arguments.work / f"{slug(name)}-{seed}"
    figures = {}
    for judge in (extractor, load_extractor(str(arguments.work / "classifier.pt"), dataset.spec, CPU)):
        found = evaluation.evaluate(
            lambda start, n: images[start : start + n], dataset, samples=len(images), extractor=judge
        )
        copies = found.memorisation
        figures[judge.name] = {
            **{figure.key: figure.value for figure in found.figures},
            "nearest_by_features": copies.features.ratio,
            "nearest_by_pixels": copies.pixels.ratio,
        }
    pictures.save_png(found.picture(), stem.with_name(f"{stem.name}-nearest.png"))  # by the classifier
    shown = ((images[:64].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    pictures.save_png(pictures.grid(shown, 8), stem.with_suffix(".png"))
    row = {"name": name, "seed": seed, "iterations": iteration, "curve": curve, "figures": figures}
    write_json(stem.with_suffix(".json"), row)


@torch.no_grad()
def _drawn(sample: Sample, count: int) -> Tensor:
    """`count` samples; drawing them does not change the training."""
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return sample(count)


def in_chunks(sample: Sample) -> Sample:
    """The same samples, CHUNK at a time."""
    return lambda count: torch.cat([sample(min(CHUNK, count - start)) for start in range(0, count, CHUNK)])


def slug(name: str) -> str:
    """The name of a contender as a part of a file's name."""
    return re.sub(r"[^a-z0-9-]+", "-", name).strip("-")


# the contest


def run_all(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train all, one on each core at a time; their rows."""
    arguments.work.mkdir(parents=True, exist_ok=True)
    dataset = data.load(arguments.data, arguments.size)
    if not (arguments.work / "classifier.pt").exists():
        train_classifier(dataset, arguments.work / "classifier.pt", arguments.epochs)
    if not (arguments.work / "moments.pt").exists():
        _, compared = chosen(dataset, arguments.group, None)
        extractor = load_extractor("efficientnet-lite0", dataset.spec, CPU)
        features = gather(extractor, compared.images[: arguments.reals]).features
        torch.save(vars(Moments.of(features)), arguments.work / "moments.pt")
    waiting = [(name, seed) for seed in arguments.seeds for name in arguments.who]
    waiting = [(name, seed) for name, seed in waiting if not (arguments.work / f"{slug(name)}-{seed}.json").exists()]
    free, running = sorted(os.sched_getaffinity(0)), {}
    while waiting or running:
        while free and waiting:
            core, (name, seed) = free.pop(0), waiting.pop(0)
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name, "--core", str(core)]
            running[core] = subprocess.Popen([*command, "--seeds", str(seed)])
        time.sleep(0.2)
        for core, process in list(running.items()):
            if process.poll() is not None:
                del running[core]
                free.append(core)
                if process.returncode:
                    print(f"a training ended with status {process.returncode}", file=sys.stderr)
    found = [arguments.work / f"{slug(name)}-{seed}.json" for seed in arguments.seeds for name in arguments.who]
    return [json.loads(path.read_text()) for path in found if path.exists()]


def summary(rows: list[dict[str, Any]]) -> str:
    """A line a training, those of one seed together."""
    lines = [
        "| contender | seed | iterations | Fréchet (EfficientNet-Lite0) | kernel | precision | recall | coverage "
        "| Fréchet (classifier) | share of time to dcgan's last |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        first, second = row["figures"].values()
        of_dcgan = next((r for r in rows if r["name"] == "dcgan" and r["seed"] == row["seed"]), None)
        target = of_dcgan["curve"][-1]["distance"] if of_dcgan else 0.0
        end = row["curve"][-1]["seconds"]
        reached = next((p["seconds"] / end for p in row["curve"] if p["distance"] <= target), None)
        lines.append(
            f"| {row['name']} | {row['seed']} | {row['iterations']:,} | {first['frechet_distance']:.1f} "
            f"| {first['kernel_distance']:.4f} | {first['precision']:.2f} | {first['recall']:.2f} "
            f"| {first['coverage']:.2f} | {second['frechet_distance']:.2f} "
            f"| {'–' if reached is None else f'{reached:.0%}'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="emoji")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--group", default="", help="only the pictures of this class")
    parser.add_argument("--count", type=int, default=None, help="learn from so many of them")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    names = [name for name in registry.architecture_names("image") if name not in ("mlp", "cgan", "wgan")]
    parser.add_argument(
        "--who", nargs="+", default=[*names, "tutorial"], metavar="NAME[+OPTION=JSON…]",
        help=f"architectures, tutorial, lightweight-gan; default: {' '.join(names)} tutorial",
    )  # fmt: skip
    parser.add_argument("--points", type=int, default=8, help="measurements of each training")
    parser.add_argument("--samples", type=int, default=2048, help="images of each measurement")
    parser.add_argument("--reals", type=int, default=None, help="pictures to measure distances to; default: all")
    parser.add_argument("--final", type=int, default=5000, help="images of the last one")
    parser.add_argument("--epochs", type=int, default=10, help="of the classifier")
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder with lightweight-gan")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("contest"),
        help="one for each data, size, group and time: what is there already is not trained again",
    )
    parser.add_argument("--pictures", type=Path, default=None, metavar="FOLDER")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        train_one(arguments)
        return
    rows = run_all(arguments)
    print(summary(rows))
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        for row in rows:
            name = f"{slug(row['name'])}-{row['seed']}.png"
            (arguments.pictures / name).write_bytes((arguments.work / name).read_bytes())
    if arguments.json:
        about = {**machine.describe(), "torch": torch.__version__}
        settings = {
            key: getattr(arguments, key) for key in ("data", "size", "group", "count", "minutes", "samples", "final")
        }
        write_json(arguments.json, {"machine": about, "settings": settings, "rows": rows})


if __name__ == "__main__":
    main()
