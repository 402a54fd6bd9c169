"""Speed and memory of every architecture and preset, on this machine's CPU or GPU.

    python benchmarks/presets.py --size 32 --json benchmarks/results/presets-32-cpu.json
    python benchmarks/presets.py --device cuda --size 64 --presets tiny small paper

Each is trained for some seconds in a process of its own on pictures of noise, after a few steps to warm up. Memory is
the most that the process held: of the machine, or on CUDA of the device by PyTorch's allocator.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from gantool.errors import GantoolError
from gantool.plugin import SampleSpec, registry
from gantool.plugin.options import PRESET, resolve
from gantool.system import machine
from gantool.system.files import write_json
from gantool.testing import synthetic
from gantool.training.state import State, pick_device
from gantool.training.step import iterate

WARM_UP = 3  # steps
MEGABYTE = 2**20


def measure(name: str, preset: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps and samples a second, MB, and the weights of both networks."""
    architecture = registry.find(name).architecture
    assert architecture is not None
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    classes = 10 if all(example.classes for example in architecture.examples) else 0  # those that need labels
    spec = SampleSpec((arguments.channels, arguments.size, arguments.size), classes)
    try:
        config, recipe = resolve(architecture, {PRESET: preset})
        data = synthetic(spec, 4 * recipe.batch_size)
        device = pick_device(arguments.device)
        state = State(architecture, config, recipe, data, seed=0, device=device, precision="fp32", engine="auto")
    except GantoolError as error:  # as for another size
        return {"refused": error.message}
    for _ in range(WARM_UP):
        iterate(state)
    state.meter.read()  # waits for the device
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < arguments.seconds:
        iterate(state)
        steps += 1
    state.meter.read()
    rate = steps / (time.perf_counter() - began)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device.type == "cuda":
        held = torch.cuda.max_memory_allocated(device)
    owners = [mover for mover in state.movers if mover.player.shares is None]
    weights = {mover.player.name: sum(parameter.numel() for parameter in mover.parameters) for mover in owners}
    return {
        "steps_per_second": round(rate, 2),
        "samples_per_second": round(rate * recipe.batch_size, 1),
        "batch_size": recipe.batch_size,
        "megabytes": round(held / MEGABYTE),
        "weights": weights,
    }


def row(name: str, preset: str, found: dict[str, Any]) -> str:
    title = f"| {name}{f', {preset}' if preset else ''} "
    if "refused" in found:
        return f"{title}| – | – | – | {found['refused']} |"
    weights = ", ".join(f"{player} {count / 1e6:.2f} M" for player, count in found["weights"].items())
    rates = f"| {found['steps_per_second']:.2f} | {found['samples_per_second']:,.0f} "
    return f"{title}{rates}| {found['megabytes']:,} | {weights} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--architectures", nargs="+", default=registry.architecture_names(), metavar="NAME")
    parser.add_argument("--presets", nargs="+", default=["tiny", "small"], metavar="NAME")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement")
    parser.add_argument("--threads", type=int, default=None, help="default: all cores")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--one", nargs=2, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one, arguments)))
        return
    rows = []
    print("| architecture, preset | steps/s | samples/s | MB | weights |\n|---|---:|---:|---:|---|", flush=True)
    for name in arguments.architectures:
        architecture = registry.find(name).architecture
        assert architecture is not None
        for preset in [each for each in arguments.presets if each in architecture.presets] or [""]:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name, preset]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append({"architecture": name, "preset": preset, **found})
            print(row(name, preset, found), flush=True)
    if arguments.json:
        about = {key: getattr(arguments, key) for key in ("size", "channels", "seconds", "threads", "device")}
        about |= {"machine": machine.describe(), "torch": torch.__version__}
        write_json(arguments.json, {**about, "rows": rows})


if __name__ == "__main__":
    main()
