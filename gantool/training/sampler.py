"""What the loop draws into a batch: data in the epoch's order, latents, labels. A resume needs only counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.plugin.architecture import Input
from gantool.plugin.train_options import Place
from gantool.training.distributed import ALONE, Group
from gantool.training.placement import Source, fed, resident
from gantool.training.streams import Rows, Stream, check_flip, mixed


class Sampler:
    """Draws the inputs of a game on one device.

    The data sits on the device whole, as it came (uint8 where it can), or, as `place` decides, stays where it is and is
    read a few batches ahead by a thread; it is normalised on the device. Inputs that name the same class (or none)
    share their rows within a draw. The order of an epoch is a permutation made from (seed, epoch), and so are, with
    `flip`, the bits that say which rows are mirrored: all images of a row alike.

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
        *,
        place: Place = "auto",
        flip: bool = False,
    ) -> None:
        self.inputs = inputs
        self.batch_size = batch_size
        self._part = group.part(batch_size)
        self.seed = seed
        self.device = device
        self.memory_format = torch.contiguous_format
        self._latents = torch.Generator(device).manual_seed(mixed(seed, "latents"))
        self._positions: dict[int | None, int] = {}
        self._streams: dict[int | None, Stream] = {}
        self._arrays: dict[str, Tensor] = {}
        self._class_ends = class_ends(data.class_counts, device)
        drawn = [item for item in inputs.values() if item.distribution == "data"]
        if flip:
            check_flip(drawn)
        sources = self._place({item.array: _array(item, data) for item in drawn}, place)
        for item in drawn:
            if item.label not in self._streams:
                self._streams[item.label] = Stream(
                    item.label, data, batch_size=batch_size, part=self._part, seed=seed, device=device, flip=flip
                )
                self._positions[item.label] = 0
            if item.array in sources:
                self._streams[item.label].read_ahead(item.array, sources[item.array])
        self.reads_ahead = bool(sources)

    @property
    def seen(self) -> int:
        """Rows drawn so far from the data (from its busiest class, when classes are drawn apart)."""
        return max(self._positions.values(), default=0)

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return max((p / self._streams[label].length for label, p in self._positions.items()), default=0.0)

    def draw(self, names: Iterable[str], whole: bool = False) -> dict[str, Tensor]:
        """A batch: name → tensor (batch_size, *shape) on the device; samples are float32 in [-1, 1].

        Of several processes each gets its part of the rows, or with `whole` all of them.
        """
        batch: dict[str, Tensor] = {}
        rows: dict[int | None, Rows] = {}
        for name in names:
            item = self.inputs[name]
            if item.distribution == "data":
                if item.label not in rows:
                    rows[item.label] = self._streams[item.label].draw(self._positions[item.label], whole)
                    self._positions[item.label] += self.batch_size
                batch[name] = self._take(item, rows[item.label])
            else:
                batch[name] = self._own(self.noise(item, self.batch_size, self._latents), whole)
        return batch

    def noise(self, item: Input, count: int, generator: torch.Generator) -> Tensor:
        """A `normal` or `label` input (count, *shape) from a generator of its own."""
        return noise(item, count, generator, self.device, self._class_ends)

    def first(self, item: Input, count: int) -> Tensor:
        """The first `count` rows (repeated when there are fewer) of a data input: fixed inputs for samples."""
        return self._take(item, self._streams[item.label].first(count))

    def close(self) -> None:
        """End the threads that read ahead. Drawing on starts them again."""
        for stream in self._streams.values():
            stream.close()

    def state_dict(self) -> dict[str, Any]:
        positions = {"all" if label is None else str(label): n for label, n in self._positions.items()}
        return {"positions": positions, "latents": self._latents.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._positions = {None if k == "all" else int(k): int(n) for k, n in state["positions"].items()}
        if state["latents"].numel() == self._latents.get_state().numel():  # another kind of device: a fresh stream
            self._latents.set_state(state["latents"].cpu())

    def _place(self, arrays: Mapping[str, np.ndarray], place: Place) -> dict[str, Source]:
        """Put on the device what belongs there; the rest is what has to be read."""
        away = fed(arrays, self.device, place)
        for name in arrays.keys() - away:
            self._arrays[name] = resident(arrays[name], self.device)
        return {name: Source(arrays[name]) for name in away}

    def _own(self, rows: Tensor, whole: bool) -> Tensor:
        return rows if whole or self._part is None else rows[self._part]

    def _take(self, item: Input, rows: Rows) -> Tensor:
        if item.array in rows.read:
            picked = rows.read[item.array]
        else:
            picked = self._arrays[item.array].index_select(0, rows.numbers)
        if item.array == "labels":
            return picked
        if rows.flips is not None and picked.dim() == 4:
            picked = torch.where(rows.flips[:, None, None, None], picked.flip(3), picked)
        picked = normalised(picked)
        return picked.contiguous(memory_format=self.memory_format) if picked.dim() == 4 else picked


def _array(item: Input, data: Dataset) -> np.ndarray:
    array = data.arrays.get(item.array)
    if array is None:
        raise GantoolError(
            f"The architecture needs {item.array!r}, which the data {data.source!r} does not have.",
            f"It has: {', '.join(sorted(data.arrays))}.",
        )
    return array


def normalised(samples: Tensor) -> Tensor:
    """uint8 0…255 → float32 in [-1, 1]; floats are there already."""
    return samples.float().mul_(1 / 127.5).sub_(1) if samples.dtype == torch.uint8 else samples


def noise(
    item: Input, count: int, generator: torch.Generator, device: torch.device, ends: Tensor | None = None
) -> Tensor:
    """A `normal` or `label` input (count, *shape) from a generator of its own.

    `ends`: the `class_ends` of the data, whose frequencies a `label` that is `like_data` has; None: it has no labels.
    """
    if item.distribution != "label":
        return torch.randn(count, *item.shape, generator=generator, device=device)
    if not item.like_data or ends is None:
        return torch.randint(item.classes, (count,), generator=generator, device=device)
    # rows picked at random from data that is sorted by class
    picked = torch.rand(count, generator=generator, device=device, dtype=torch.float64)
    return torch.bucketize(picked, ends, right=True).clamp_(max=item.classes - 1)


def class_ends(counts: Sequence[int], device: torch.device) -> Tensor | None:
    """Where each class ends, as a share of the data, when it is sorted by class: float64 (classes,)."""
    if not any(counts):
        return None
    return (torch.tensor(counts, dtype=torch.float64).cumsum(0) / sum(counts)).to(device)
