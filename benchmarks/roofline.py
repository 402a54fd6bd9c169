"""The least time that a training step could take on this machine: what it computes, over the measured peak."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Peaks:
    """Measured: float32 matrix products (FLOP/s), and copying (bytes/s, read and written)."""

    flops: float
    bandwidth: float


@dataclass(frozen=True)
class Work:
    """Of one iteration: floating-point operations of matrix products and convolutions; bytes that operators touch.

    The bytes are those of every operator's inputs and outputs, as if nothing stayed in a cache: an upper bound.
    """

    flops: int
    bytes: int

    def least_seconds(self, peaks: Peaks) -> float:
        """By arithmetic alone: what stays in caches makes the bytes a bound of nothing on a CPU."""
        return self.flops / peaks.flops

    def report(self, peaks: Peaks, steps_per_second: float) -> dict[str, Any]:
        return {
            **asdict(self),
            "flops_per_byte": round(self.flops / self.bytes, 2),
            "bound_steps_per_second": 1 / self.least_seconds(peaks),
            "fraction_of_bound": self.least_seconds(peaks) * steps_per_second,
            "bytes_seconds": self.bytes / peaks.bandwidth,
        }


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            seen = {id(leaf): leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)}
            self.bytes += sum(leaf.nbytes for leaf in seen.values())
        if func is torch.ops.aten.convolution_backward.default:  # torch's own formula forgets the groups
            gradient, samples, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
            places = samples if transposed else gradient
            self.flops += 2 * weight.numel() * places.numel() // places.shape[1] * sum(wanted[:2])
        elif (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def count(step: Callable[[], object]) -> Work:
    """What `step` computes and touches."""
    with _Counter() as counter:
        step()
    return Work(counter.flops, counter.bytes)


def measure(device: torch.device) -> Peaks:
    """The best of several: a 2048×2048 matrix product in float32, a copy of 256 MB."""
    a, b = (torch.randn(2048, 2048, device=device) for _ in range(2))
    source = torch.empty(2**26, device=device)
    target = torch.empty_like(source)
    return Peaks(
        2 * 2048**3 / best(lambda: a @ b, device), 2 * source.nbytes / best(lambda: target.copy_(source), device)
    )


def best(run: Callable[[], object], device: torch.device, times: int = 10) -> float:
    """Seconds of the quickest of several runs."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return min(found)
