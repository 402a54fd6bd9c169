"""The generator's weight average, and generators made ready to sample."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

BATCH_NORM = nn.modules.batchnorm._BatchNorm


class EMA:
    """Exponential moving average of a module's weights (Yazıcı et al. 2019, arXiv:1806.04498).

    Buffers are copied, not averaged. The decay warms up as min(decay, (1 + t) / (10 + t)), so that a short run is
    not dominated by its first weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards `module` after iteration `step` (0, 1, …)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        averages = [p.detach() for p in self.module.parameters()]
        torch._foreach_lerp_(averages, [p.detach() for p in module.parameters()], weight)
        buffers = list(self.module.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(module.buffers()))


@torch.no_grad()
def ready(module: nn.Module, draw: Callable[[int], Sequence[Tensor]], batches: int = 16, size: int = 128) -> nn.Module:
    """A copy in eval mode whose BatchNorm statistics are re-estimated on fresh inputs.

    Averaged weights never saw the running statistics they are evaluated with, and a short run's have not settled
    (arXiv:1806.04498 and many bug reports): both ruin samples in eval mode. `draw(n)` gives n inputs.
    """
    copied = copy.deepcopy(module).eval().requires_grad_(False)
    norms = [m for m in copied.modules() if isinstance(m, BATCH_NORM) and m.track_running_stats]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
            norm.train()
        for _ in range(batches):
            copied(*draw(size))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
    return copied
