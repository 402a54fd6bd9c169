"""What more devices would give, on paper: the work of an iteration against the gradients that it sends.

    python benchmarks/scaling.py

Computed, not measured. Parameters and floating-point operations are counted in the real networks (forward, backward
and double backward, by the formulas of torch.utils.flop_counter); the rest is the model below. One flat all-reduce a
move in a ring (Patarasuk and Yuan 2009) of N devices sends 2 (N - 1) / N of the bytes through each device in
2 (N - 1) hops; it does not overlap with the computing, as in gantool.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gantool import data
from gantool.plugin import registry
from gantool.plugin.options import resolve
from gantool.training.state import State
from gantool.training.step import iterate

CASES = {"mlp 28": ("mlp", None), "dcgan 32": ("dcgan", 32), "dcgan 64": ("dcgan", 64), "wgan gp 32": ("wgan", 32)}
BATCHES = (64, 256, 1024)  # a device
COUNTED = 4  # samples in the batch that is counted: the operations grow with the batch
ENOUGH = 0.8  # efficiency below which more devices do not pay
PAYS = 1.5  # what doubling the devices has to gain at the same global batch


@dataclass(frozen=True)
class Link:
    """How devices are connected: bytes a second through each, seconds a hop."""

    name: str
    bandwidth: float
    hop: float


LINKS = (
    Link("Ethernet 25 Gb/s", 25e9 / 8, 30e-6),
    Link("InfiniBand 200 Gb/s", 200e9 / 8, 5e-6),
    Link("NVLink 400 GB/s", 400e9, 3e-6),
)


@dataclass(frozen=True)
class Work:
    """One iteration: parameters by player, moves by player, operations a sample."""

    parameters: dict[str, int]
    moves: dict[str, int]
    operations: float

    def computing(self, batch: float, speed: float) -> float:
        """Seconds for `batch` samples on one device."""
        return self.operations * batch / speed

    def sent(self, devices: int) -> float:
        """Bytes through each device."""
        return sum(4 * self.parameters[p] * self.moves[p] for p in self.moves) * 2 * (devices - 1) / devices

    def sending(self, devices: int, link: Link) -> float:
        """Seconds that all devices wait for the gradients."""
        return self.sent(devices) / link.bandwidth + sum(self.moves.values()) * 2 * (devices - 1) * link.hop

    def rate(self, batch: float, devices: int, link: Link, speed: float) -> float:
        """Iterations a second at `batch` samples a device."""
        return 1 / (self.computing(batch, speed) + self.sending(devices, link))


class Counter(TorchDispatchMode):
    """Counts what every matrix product and convolution computes; FlopCounterMode stumbles over a gradient penalty."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.operations += formula(*args, **(kwargs or {}), out_val=out)
        return out


def count(name: str, size: int | None) -> Work:
    """The work of an architecture with its default options on the digits."""
    architecture = registry.find(name).architecture
    assert architecture is not None
    config, recipe = resolve(architecture, {"batch_size": COUNTED})
    state = State(
        architecture,
        config,
        recipe,
        data.load("digits", size),
        seed=0,
        device=torch.device("cpu"),
        precision="fp32",
        engine="eager",
    )
    with Counter() as counter:
        iterate(state)
    return Work(
        {m.player.name: sum(p.numel() for p in m.parameters) for m in state.movers},
        {m.player.name: m.moves for m in state.movers},
        counter.operations / COUNTED,
    )


def table(rows: list[list[str]]) -> str:
    first, *others = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([first, "|---|" + "---:|" * (len(rows[0]) - 1), *others])


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--peak", type=float, default=156.0, help="TFLOP/s of a device; default: A100, TF32")
    parser.add_argument("--fraction", type=float, default=0.2, help="of the peak that is reached")
    parser.add_argument("--batch", type=int, default=1024, help="global batch of the last table")
    arguments = parser.parse_args()
    devices, speed = arguments.devices, arguments.peak * 1e12 * arguments.fraction
    works = {case: count(*how) for case, how in CASES.items()}

    head = ["case", "parameters G + D", "all-reduces", "MB sent", "GFLOP a sample", *(link.name for link in LINKS)]
    rows = [head]
    for case, work in works.items():
        sizes = [f"{n / 1e6:.2f} M" for n in (work.parameters["generator"], work.parameters["discriminator"])]
        rows.append(
            [
                case,
                " + ".join(sizes),
                str(sum(work.moves.values())),
                f"{work.sent(devices) / 1e6:.1f}",
                f"{work.operations / 1e9:.3g}",
                *(f"{milliseconds(work.sending(devices, link))} ms" for link in LINKS),
            ]
        )
    print(f"An iteration on {devices} devices: what each device sends, and how long that takes.\n\n{table(rows)}\n")

    rows = [["case", "batch a device", "computing", *(link.name for link in LINKS)]]
    for case, work in works.items():
        for batch in BATCHES:
            alone = work.computing(batch, speed)
            efficiency = [alone * work.rate(batch, devices, link, speed) for link in LINKS]
            rows.append([case, str(batch), f"{milliseconds(alone)} ms", *(f"{e:.0%}" for e in efficiency)])
    print(f"Efficiency on {devices} devices (images/s, compared with {devices} times those of one device).")
    print(f"\n{table(rows)}\n")

    rows = [["case", *(link.name for link in LINKS)]]
    for case, work in works.items():
        cells = []
        for link in LINKS:
            least = ENOUGH / (1 - ENOUGH) * work.sending(devices, link) / work.computing(1, speed)
            most = 1
            while work.rate(arguments.batch / most / 2, 2 * most, link, speed) >= PAYS * (
                work.rate(arguments.batch / most, most, link, speed)
            ):
                most *= 2
            cells.append(f"{least:,.0f}; {most}")
        rows.append([case, *cells])
    print(
        f"Limits: the smallest batch a device for {ENOUGH:.0%} efficiency on {devices} devices; and the most devices "
        f"for a global batch of {arguments.batch} (more are too many when twice as many devices are less than "
        f"{PAYS:g} times as fast)."
        f"\n\n{table(rows)}"
    )


if __name__ == "__main__":
    main()
