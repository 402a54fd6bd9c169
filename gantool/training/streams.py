"""Rows of the data that are drawn together, in an order (and mirrored or not) that seed and epoch decide."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.plugin.architecture import Input
from gantool.training.feed import Feed
from gantool.training.placement import Source


def mixed(seed: int, purpose: str) -> int:
    """A 63-bit seed of its own for each purpose."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "little") >> 1


class Epochs:
    """A value for each place in an endless sequence of epochs; an epoch's are made at once, by `make(epoch)`."""

    def __init__(self, length: int, make: Callable[[int], Tensor]) -> None:
        self.length, self.make = length, make
        self._made: tuple[int, Tensor] | None = None

    def slice(self, position: int, count: int) -> Tensor:
        """`count` values from `position` on; they may span epochs, so that no row is ever dropped."""
        parts = []
        while count:
            epoch, offset = divmod(position, self.length)
            if self._made is None or self._made[0] != epoch:
                self._made = (epoch, self.make(epoch))
            part = self._made[1][offset : offset + count]
            parts.append(part)
            position += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass
class Rows:
    """The rows of one draw: their numbers, what was read of them, and which are mirrored."""

    numbers: Tensor
    read: Mapping[str, Tensor] = field(default_factory=dict)
    flips: Tensor | None = None


class Stream:
    """All rows of the data, or (`label`) those of one class; drawn in global batches of `batch_size`.

    `part`: which of a batch are this process's; None: all. `flip`: whether each row gets a bit that says if it is
    mirrored.
    """

    def __init__(
        self,
        label: int | None,
        data: Dataset,
        *,
        batch_size: int,
        part: slice | None,
        seed: int,
        device: torch.device,
        flip: bool,
    ) -> None:
        rows = None if label is None else _rows_of(label, data)
        self.length = len(data) if rows is None else len(rows)
        self.rows = None if rows is None else rows.to(device)
        self._batch_size, self._part, self._device = batch_size, part, device
        self._order = Epochs(self.length, partial(_permuted, seed, label, self.length, self.rows, device))
        self._flips = Epochs(self.length, partial(_coins, seed, label, self.length, device)) if flip else None
        self._sources: dict[str, Source] = {}
        self._feed: Feed | None = None

    def read_ahead(self, name: str, source: Source) -> None:
        """From now on `draw` gives the rows of this array, too."""
        self.close()
        self._sources[name] = source
        # an order of its own: the thread is somewhere else in it
        order = Epochs(self.length, self._order.make)
        # a function, and no method: the thread must keep no stream alive
        rows = partial(_own_rows, order, self._batch_size, self._part)
        self._feed = Feed(self._sources, rows, self._batch_size, self._device)

    def draw(self, position: int, whole: bool) -> Rows:
        """The batch at `position`: this process's part of it, or with `whole` all."""
        numbers = self._mine(self._order.slice(position, self._batch_size), whole)
        if self._feed is None:
            drawn = Rows(numbers)
        else:  # nobody who wants the whole goes on from there
            drawn = self.read(numbers) if whole else Rows(numbers, self._feed.take(position))
        if self._flips:
            drawn.flips = self._mine(self._flips.slice(position, self._batch_size), whole)
        return drawn

    def first(self, count: int) -> Rows:
        """The first `count` rows, in the order of the data; repeated when there are fewer."""
        position = torch.arange(count, device=self._device) % self.length
        return self.read(position if self.rows is None else self.rows[position])

    def read(self, numbers: Tensor) -> Rows:
        """Rows that are wanted now, and were not read ahead."""
        if not self._sources:
            return Rows(numbers)
        here = numbers.cpu().numpy()
        return Rows(numbers, {name: source.read(here).to(self._device) for name, source in self._sources.items()})

    def close(self) -> None:
        """End the thread that reads ahead. Drawing on starts it again."""
        if self._feed:
            self._feed.close()

    def _mine(self, values: Tensor, whole: bool) -> Tensor:
        return values if whole or self._part is None else values[self._part]


def check_flip(drawn: Sequence[Input]) -> None:
    """GantoolError unless all that goes with a row can be mirrored with it, or (a label) need not be."""
    for item in drawn:
        if len(item.shape) != 3 and item.shape != ():
            shape = "×".join(map(str, item.shape))
            raise GantoolError(
                f"--flip mirrors images, and the input {item.name!r} of this architecture has shape {shape}.",
                "Leave --flip out: it is for samples of channels×height×width.",
            )
    if not any(item.shape for item in drawn):
        raise GantoolError("--flip mirrors images of the data, and this architecture draws none.", "Leave --flip out.")


def _rows_of(label: int, data: Dataset) -> Tensor:
    if data.labels is None or not (data.labels == label).any():
        raise GantoolError(
            f"The architecture draws from class {label}; the data {data.source!r} has none of it.",
            "Give data with labels: a sub-folder a class, or an array 'labels'.",
        )
    return torch.from_numpy(np.flatnonzero(data.labels == label))


def _permuted(
    seed: int, label: int | None, length: int, rows: Tensor | None, device: torch.device, epoch: int
) -> Tensor:
    generator = torch.Generator(device).manual_seed(mixed(seed, f"epoch {epoch} of {label}"))
    order = torch.randperm(length, generator=generator, device=device)
    return order if rows is None else rows[order]


def _coins(seed: int, label: int | None, length: int, device: torch.device, epoch: int) -> Tensor:
    generator = torch.Generator(device).manual_seed(mixed(seed, f"flips {epoch} of {label}"))
    return torch.rand(length, generator=generator, device=device) < 0.5


def _own_rows(order: Epochs, count: int, part: slice | None, position: int) -> np.ndarray:
    rows = order.slice(position, count)
    mine: np.ndarray = (rows if part is None else rows[part]).cpu().numpy()
    return mine
