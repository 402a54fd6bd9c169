"""Losses summed on the device and read once a tick, so that the hot path never waits for one."""

from __future__ import annotations

import torch
from torch import Tensor

from gantool.plugin.game import Loss
from gantool.training.distributed import ALONE, Group


class NonFinite(Exception):
    """A loss term (or measure) was NaN or infinite; the first such step."""

    def __init__(self, term: str, step: int) -> None:
        super().__init__(f"{term} at step {step}")
        self.term = term
        self.step = step


class Meter:
    """Means of every player's terms and measures since the last `read`.

    The sums stay in the same tensors, and the step is one, so that `add` can be part of a CUDA graph. The means are
    those of the global batches: all processes of `group` read together, and get the same.
    """

    def __init__(self, device: torch.device, group: Group = ALONE) -> None:
        self._group = group
        self._step = torch.zeros((), device=device)
        self._names: dict[str, list[str]] = {}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._bad: dict[str, Tensor] = {}

    def at(self, step: int) -> None:
        """What is added from now on belongs to `step`."""
        self._step.fill_(step)

    def add(self, player: str, loss: Loss) -> None:
        values = torch.stack([v.detach().float() for v in (*loss.terms.values(), *loss.measures.values())])
        if player not in self._sums:
            self._names[player] = [
                *(f"loss.{player}.{name}" for name in loss.terms),
                *(f"measure.{player}.{name}" for name in loss.measures),
            ]
            self._sums[player] = torch.zeros_like(values)
            self._bad[player] = torch.full_like(values, torch.inf)
        self._sums[player] += values
        # the first step at which each value was not finite, kept without asking the device
        self._bad[player].copy_(torch.minimum(self._bad[player], torch.where(values.isfinite(), torch.inf, self._step)))
        self.count(player)

    def count(self, player: str, times: int = 1) -> None:
        """What was added was added so many times (a CUDA graph adds without calling `add`)."""
        self._counts[player] = self._counts.get(player, 0) + times

    def read(self) -> dict[str, float]:
        """`loss.PLAYER.TERM` and `measure.PLAYER.NAME` → mean, and start anew.

        Raises NonFinite for the earliest value that was not finite.
        """
        means: dict[str, float] = {}
        worst: tuple[float, str] | None = None
        for player, sums in self._sums.items():
            count = self._counts[player] * self._group.size
            if not count:
                continue
            self._group.sum(sums)
            self._group.least(self._bad[player])
            rows = zip(self._names[player], sums.tolist(), self._bad[player].tolist(), strict=True)
            for name, total, bad in rows:
                if bad != torch.inf and (worst is None or bad < worst[0]):
                    worst = (bad, name)
                means[name] = total / count
            self._counts[player] = 0
            sums.zero_()
            self._bad[player].fill_(torch.inf)
        if worst:
            raise NonFinite(worst[1], int(worst[0]))
        return means
