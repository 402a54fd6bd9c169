"""The layers that the `rewritten` engine replaces, against PyTorch's own: forward and backward at batch 64.

    python benchmarks/layers.py

Each pair is timed in turn; shown are milliseconds of both, and the median ratio. Layers are those of dcgan at 32 and 64
pixels, of sngan, of projected and of the mlp, with the gradients that training asks them for.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gantool.training import layers

BATCH = 64


def step(layer: nn.Module, samples: Tensor, weights: bool) -> Callable[[], object]:
    wanted = [*([] if samples.is_leaf and not samples.requires_grad else [samples])]
    wanted += list(layer.parameters()) if weights else []
    upstream = torch.randn_like(layer(samples))
    return lambda: torch.autograd.grad(layer(samples), wanted, upstream)


def timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began)


def compare(name: str, layer: nn.Module, shape: tuple[int, ...], of_samples: bool, weights: bool) -> None:
    layer = layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    faster = copy.deepcopy(layer)
    layers.rewrite(faster)
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    samples = torch.randn(shape).contiguous(memory_format=layout).requires_grad_(of_samples)
    for parameter in (*layer.parameters(), *faster.parameters()):
        parameter.requires_grad_(weights)
    plain, rewritten = step(layer, samples, weights), step(faster, samples, weights)
    for run in (plain, rewritten):
        run()
    pairs = [(timed(plain), timed(rewritten)) for _ in range(30)]
    one, two = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"| {name} | {one:.2f} | {two:.2f} | {ratio:.2f} |", flush=True)


def main() -> None:
    print("| layer | ms | rewritten | ratio |\n|---|---:|---:|---:|")
    for side in (32, 64):
        wide = 2 * side * 4
        first, last = nn.Conv2d(1, 64, 4, 2, 1), nn.ConvTranspose2d(64, 1, 4, 2, 1)
        compare(f"first of D, {side} px, its weights", first, (BATCH, 1, side, side), False, True)
        compare(f"first of D, {side} px, its input", first, (BATCH, 1, side, side), True, False)
        compare(f"last of D, {side} px, both", nn.Conv2d(wide, 1, 4), (BATCH, wide, 4, 4), True, True)
        compare(f"last of G, {side} px, both", last, (BATCH, 64, side // 2, side // 2), True, True)
    doubled = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(128, 64, 3, padding=1))
    compare("doubled and convolved, 32 px, both", doubled, (BATCH, 128, 16, 16), True, True)
    compare("gated units, 32 px", nn.GLU(1), (BATCH, 64, 32, 32), True, False)
    compare("dropout of 1,024", nn.Dropout(0.3), (2 * BATCH, 1024), True, False)


if __name__ == "__main__":
    main()
