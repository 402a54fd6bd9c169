"""What the loop draws into a batch: data in the epoch's order, latents, labels. A resume needs only counters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from gantool.architecture import Input
from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.training.distributed import ALONE, Group


class Sampler:
    """Draws the inputs of a game on one device.

    The data sits on the device whole, as it came (uint8 where it can); rows are picked and normalised there. Inputs
    that name the same class (or none) share their rows within a draw. The order of an epoch is a permutation made
    from (seed, epoch).

    Of several processes each makes the choice of the global batch, `batch_size`, and takes its part of it, so that they
    train on the batches that one alone would.
    """

    def __init__(
        self,
        inputs: Mapping[str, Input],
        data: Dataset,
        batch_size: int,
        seed: int,
        device: torch.device,
        group: Group = ALONE,
    ) -> None:
        self.inputs = inputs
        self.batch_size = batch_size
        self._part = group.part(batch_size)
        self.seed = seed
        self.device = device
        self.memory_format = torch.contiguous_format
        self._latents = torch.Generator(device).manual_seed(mixed(seed, "latents"))
        self._positions: dict[int | None, int] = {}
        self._rows: dict[int | None, Tensor | None] = {}
        self._orders: dict[int | None, tuple[int, Tensor]] = {}
        self._arrays: dict[str, Tensor] = {}
        self._count = len(data)
        for item in inputs.values():
            if item.distribution == "data":
                self._add_stream(item, data)

    @property
    def seen(self) -> int:
        """Rows drawn so far from the data (from its busiest class, when classes are drawn apart)."""
        return max(self._positions.values(), default=0)

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return max((p / self._length(label) for label, p in self._positions.items()), default=0.0)

    def draw(self, names: Iterable[str], whole: bool = False) -> dict[str, Tensor]:
        """A batch: name → tensor (batch_size, *shape) on the device; samples are float32 in [-1, 1].

        Of several processes each gets its part of the rows, or with `whole` all of them.
        """
        batch: dict[str, Tensor] = {}
        rows: dict[int | None, Tensor] = {}
        for name in names:
            item = self.inputs[name]
            if item.distribution == "data":
                if item.label not in rows:
                    rows[item.label] = self._own(self._next_rows(item.label), whole)
                batch[name] = self._take(item, rows[item.label])
            else:
                batch[name] = self._own(noise(item, self.batch_size, self._latents, self.device), whole)
        return batch

    def first(self, item: Input, count: int) -> Tensor:
        """The first `count` rows (repeated when there are fewer) of a data input: fixed inputs for samples."""
        position = torch.arange(count, device=self.device) % self._length(item.label)
        rows = self._rows[item.label]
        return self._take(item, position if rows is None else rows[position])

    def state_dict(self) -> dict[str, Any]:
        positions = {"all" if label is None else str(label): n for label, n in self._positions.items()}
        return {"positions": positions, "latents": self._latents.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._positions = {None if k == "all" else int(k): int(n) for k, n in state["positions"].items()}
        if state["latents"].numel() == self._latents.get_state().numel():  # another kind of device: a fresh stream
            self._latents.set_state(state["latents"].cpu())

    def _add_stream(self, item: Input, data: Dataset) -> None:
        array = data.arrays.get(item.array)
        if array is None:
            raise GantoolError(
                f"The architecture needs {item.array!r}, which the data {data.source!r} does not have.",
                f"It has: {', '.join(sorted(data.arrays))}.",
            )
        if item.array not in self._arrays:
            self._arrays[item.array] = torch.from_numpy(array).to(self.device)
        if item.label not in self._rows:
            if item.label is None:
                self._rows[None] = None
            else:
                if data.labels is None or not (data.labels == item.label).any():
                    raise GantoolError(
                        f"The architecture draws from class {item.label}; the data {data.source!r} has none of it.",
                        "Give data with labels: a sub-folder a class, or an array 'labels'.",
                    )
                labels = torch.from_numpy(data.labels)
                self._rows[item.label] = (labels == item.label).nonzero().flatten().to(self.device)
            self._positions[item.label] = 0

    def _length(self, label: int | None) -> int:
        rows = self._rows[label]
        return self._count if rows is None else len(rows)

    def _next_rows(self, label: int | None) -> Tensor:
        """The next batch of rows; it may span epochs, so that no row is ever dropped."""
        length, position, missing = self._length(label), self._positions[label], self.batch_size
        parts = []
        while missing:
            epoch, offset = divmod(position, length)
            part = self._order(label, epoch)[offset : offset + missing]
            parts.append(part)
            position += len(part)
            missing -= len(part)
        self._positions[label] = position
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _own(self, rows: Tensor, whole: bool) -> Tensor:
        return rows if whole or self._part is None else rows[self._part]

    def _order(self, label: int | None, epoch: int) -> Tensor:
        cached = self._orders.get(label)
        if cached is None or cached[0] != epoch:
            generator = torch.Generator(self.device).manual_seed(mixed(self.seed, f"epoch {epoch} of {label}"))
            order = torch.randperm(self._length(label), generator=generator, device=self.device)
            rows = self._rows[label]
            cached = (epoch, order if rows is None else rows[order])
            self._orders[label] = cached
        return cached[1]

    def _take(self, item: Input, rows: Tensor) -> Tensor:
        picked = self._arrays[item.array].index_select(0, rows)
        if item.array == "labels":
            return picked
        picked = normalised(picked)
        return picked.contiguous(memory_format=self.memory_format) if picked.dim() == 4 else picked


def normalised(samples: Tensor) -> Tensor:
    """uint8 0…255 → float32 in [-1, 1]; floats are there already."""
    return samples.float().mul_(1 / 127.5).sub_(1) if samples.dtype == torch.uint8 else samples


def noise(item: Input, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """A `normal` or `label` input (count, *shape) from a generator of its own."""
    if item.distribution == "label":
        return torch.randint(item.classes, (count,), generator=generator, device=device)
    return torch.randn(count, *item.shape, generator=generator, device=device)


def mixed(seed: int, purpose: str) -> int:
    """A 63-bit seed of its own for each purpose."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "little") >> 1
