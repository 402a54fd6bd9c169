"""Training from a file that is read batch by batch, against the same data on the device.

    python benchmarks/feeding.py --json benchmarks/results/feeding-cpu.json

Both train the same networks on the same rows of a memory-mapped array of random images (3 channels, 32 pixels a
side), in turn in one process; a ratio of the steps a second is taken within its round, and the median of all is shown.
What is wanted: at least 0.9. The file is in the system's cache, as it was just written: this is the cost of reading, of
copying and of the thread, not of a disk.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train import rate  # beside this file

from gantool.data import Dataset
from gantool.plugin import registry
from gantool.plugin.options import resolve
from gantool.plugin.train_options import Place
from gantool.system import machine
from gantool.system.files import write_json
from gantool.training.state import State, pick_device
from gantool.training.step import iterate

SHAPE = (3, 32, 32)
WANTED = 0.9


def written(folder: Path, rows: int) -> Dataset:
    """`rows` random images in a file, mapped."""
    path = folder / "images.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, *SHAPE))
    random, block = np.random.default_rng(0), 10_000
    for first in range(0, rows, block):
        part = images[first : first + block]
        part[...] = random.integers(0, 256, part.shape, np.uint8)
    del images
    return Dataset("random", str(folder), {"images": np.load(path, mmap_mode="r")})


def loop(name: str, dataset: Dataset, place: Place, arguments: argparse.Namespace) -> Iterator[None]:
    """gantool's loop, its data in `place`; each `next` is one iteration."""
    architecture = registry.find(name).architecture
    assert architecture is not None
    config, recipe = resolve(architecture, {"batch_size": arguments.batch})
    state = State(
        architecture,
        config,
        recipe,
        dataset,
        seed=0,
        device=pick_device(arguments.device),
        precision=arguments.precision,
        engine=arguments.engine,
        place=place,
        flip=arguments.flip,
    )
    while True:
        iterate(state)
        yield


def compare(name: str, dataset: Dataset, arguments: argparse.Namespace) -> dict[str, Any]:
    device = pick_device(arguments.device)
    places: tuple[Place, Place] = ("device", "disk")
    loops = {place: loop(name, dataset, place, arguments) for place in places}
    for each in loops.values():
        rate(each, min(1.0, arguments.seconds), device)  # warm-up
    rounds = []
    for number in range(arguments.rounds):
        order = places if number % 2 == 0 else places[::-1]
        rounds.append({place: rate(loops[place], arguments.seconds, device) for place in order})
    ratios = sorted(r["disk"] / r["device"] for r in rounds)
    middle = statistics.median(ratios)
    return {
        "architecture": name,
        "batch": arguments.batch,
        "steps_per_second": {place: round(statistics.median(r[place] for r in rounds), 3) for place in places},
        "ratio": {"median": middle, "lowest": ratios[0], "highest": ratios[-1]},
        "wanted": WANTED,
        "met": middle >= WANTED,
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--architectures", nargs="+", default=["dcgan", "mlp"])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, default=None, help="where the file is written; a temporary folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "tf32", "bf16"])
    parser.add_argument("--engine", default="auto", choices=["auto", "eager", "rewritten", "compiled", "graph"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each in each round")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        dataset = written(Path(folder), arguments.rows)
        for name in arguments.architectures:
            row = compare(name, dataset, arguments)
            rows.append(row)
            ratio = "{median:.3f} ({lowest:.3f}–{highest:.3f})".format(**row["ratio"])
            print(f"{name}: {row['steps_per_second']} steps/s, from disk / on the device: {ratio}", flush=True)
    if arguments.json:
        device = pick_device(arguments.device)
        about = {
            **machine.describe(),
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
            "threads": torch.get_num_threads(),
            "data_bytes": arguments.rows * int(np.prod(SHAPE)),
        }
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        write_json(arguments.json, {"machine": about, "versions": versions, "cases": rows})


if __name__ == "__main__":
    main()
