"""Draws the batches of a game: data in the epoch's order, latents, labels. A resume needs only counters."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.plugin.architecture import Input
from gantool.plugin.train_options import Place
from gantool.training.distributed import ALONE, Group
from gantool.training.feed import Feed, Source, load_whole, read_by_batch

ROWS = 256  # that `Sampler.rows` gives at once
_GOLDEN = (math.sqrt(5) - 1) / 2


class Sampler:
    """Draws the inputs of a game on one device.

    The data is on the device whole, in the type it has (mostly uint8), or a thread reads it a few batches ahead, as
    `place` says; it is normalised on the device. Inputs of the same class (or of none) get the same rows in a draw. The
    order of an epoch is a permutation made from (seed, epoch). With `flip` so are the bits that say which rows are
    mirrored, all images of a row alike; and so is where rows of data with a margin are cropped.

    `batch_size` is that of the global batch. Each of several processes makes the same choice of it and takes its own
    part, so that together they train on the batches that one process alone would.
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
        self.device = device
        self.memory_format = torch.contiguous_format
        self.progress = 0.0  # the share of the training that is over
        self._part = group.part(batch_size)
        self._latents = torch.Generator(device).manual_seed(seed_for(seed, "latents"))
        self.class_counts = data.class_counts
        self._class_ends = class_ends(data.class_counts, device)
        drawn = [item for item in inputs.values() if item.distribution == "data"]
        if flip:
            _check_flip(drawn)
        arrays = {item.array: _array(item, data) for item in drawn}
        away = read_by_batch(arrays, device, place)
        self._arrays = {name: load_whole(array, device) for name, array in arrays.items() if name not in away}
        self._streams: dict[int | None, _Stream] = {}
        for label in dict.fromkeys(item.label for item in drawn):
            read = dict.fromkeys(item.array for item in drawn if item.label == label and item.array in away)
            sources = {name: Source(arrays[name]) for name in read}
            self._streams[label] = _Stream(label, data, sources, batch_size, self._part, seed, device, flip)
        self._margins = {name: data.margin_of(name) for name in arrays}
        self._steps = data.crop_steps
        self._positions = dict.fromkeys(self._streams, 0)
        self.reads_ahead = bool(away)

    @property
    def seen(self) -> int:
        """Rows drawn so far (of the class drawn most, when classes are drawn apart)."""
        return max(self._positions.values(), default=0)

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return max((p / self._streams[label].length for label, p in self._positions.items()), default=0.0)

    def length(self, label: int | None) -> int:
        """Rows of the data, or of one class that is drawn alone."""
        return self._streams[label].length

    def draw(self, names: Iterable[str]) -> dict[str, Tensor]:
        """This process's part of a batch: name → tensor (N, *shape) on the device; samples are float32 in [-1, 1].

        The progress of the training is a scalar.
        """
        batch: dict[str, Tensor] = {}
        rows: dict[int | None, _Rows] = {}
        for name in names:
            item = self.inputs[name]
            if item.distribution == "data":
                if item.label not in rows:
                    rows[item.label] = self._streams[item.label].draw(self._positions[item.label])
                    self._positions[item.label] += self.batch_size
                batch[name] = self._take(item, rows[item.label])
            elif item.distribution == "progress":
                batch[name] = torch.full((), self.progress, device=self.device)
            else:
                made = self.noise(item, self.batch_size, self._latents)
                batch[name] = made if self._part is None else made[self._part]
        return batch

    def noise(self, item: Input, count: int, generator: torch.Generator) -> Tensor:
        """A `normal`, `label` or `value` input (count, *shape), drawn from `generator`."""
        return noise(item, count, generator, self.device, self._class_ends)

    def trial(self, count: int) -> dict[str, Tensor]:
        """A batch of `count` rows of everything, always the same. It changes nothing of what is drawn later."""
        stream = torch.Generator(self.device).manual_seed(0)
        return {
            name: self.first(item, count)
            if item.distribution == "data"
            else torch.zeros((), device=self.device)
            if item.distribution == "progress"
            else self.noise(item, count, stream)
            for name, item in self.inputs.items()
        }

    def first(self, item: Input, count: int) -> Tensor:
        """The first `count` rows of a data input, repeated when there are fewer: fixed inputs for samples."""
        return self._take(item, self._streams[item.label].first(count))

    def shuffled(self, item: Input, count: int, start: int = 0) -> Tensor:
        """`count` rows of a data input from `start` on in the order of training, whatever was drawn already."""
        return self._take(item, self._streams[item.label].shuffled(count, start))

    def rows(self, name: str, count: int) -> Iterator[Tensor]:
        """At most `count` rows of the data input `name`, in the order of training, ROWS at a time."""
        item = self.inputs[name]
        count = min(count, self.length(item.label))
        for start in range(0, count, ROWS):
            yield self.shuffled(item, min(ROWS, count - start), start)

    def close(self) -> None:
        """End the threads that read ahead. The next `draw` starts them again."""
        for stream in self._streams.values():
            stream.close()

    def state_dict(self) -> dict[str, Any]:
        positions = {"all" if label is None else str(label): n for label, n in self._positions.items()}
        return {"positions": positions, "latents": self._latents.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._positions = {None if k == "all" else int(k): int(n) for k, n in state["positions"].items()}
        if state["latents"].numel() == self._latents.get_state().numel():  # else: another kind of device, a new stream
            self._latents.set_state(state["latents"].cpu())

    def _take(self, item: Input, rows: _Rows) -> Tensor:
        picked = rows.read.get(item.array)
        if picked is None:
            picked = self._arrays[item.array].index_select(0, rows.numbers)
        if item.array == "labels":
            return picked
        if rows.mirrored is not None and picked.dim() == 4:
            picked = torch.where(rows.mirrored[:, None, None, None], picked.flip(3), picked)
        if margin := self._margins[item.array]:
            assert rows.corners is not None
            picked = _cropped(picked, item.shape[2], rows.corners * (margin // self._steps))
        picked = normalised(picked)
        return picked.contiguous(memory_format=self.memory_format) if picked.dim() == 4 else picked


@dataclass
class _Rows:
    """Rows of the data: their numbers, which of them to mirror, and the arrays that were read (name → (N, *shape)).

    `corners`: where to crop them, in steps of the margin: int64 (N, 2), down and right.
    """

    numbers: Tensor
    mirrored: Tensor | None = None
    corners: Tensor | None = None
    read: Mapping[str, Tensor] = field(default_factory=dict)


class _Epochs:
    """A value for every row of an endless sequence of epochs. `make(epoch)` gives those of an epoch."""

    def __init__(self, length: int, make: Callable[[int], Tensor]) -> None:
        self._length, self._make = length, make
        self._epoch, self._values = -1, torch.empty(0)

    def slice(self, position: int, count: int, part: slice | None = None) -> Tensor:
        """The `count` values from `position` on, or that part of them. They may span epochs: no row is ever dropped."""
        found = []
        while count:
            epoch, offset = divmod(position, self._length)
            if epoch != self._epoch:
                self._epoch, self._values = epoch, self._make(epoch)
            found.append(self._values[offset : offset + count])
            position += len(found[-1])
            count -= len(found[-1])
        values = found[0] if len(found) == 1 else torch.cat(found)
        return values if part is None else values[part]


class _Stream:
    """The rows of the data, or (`label`) of one class, in the order of training.

    `sources`: the arrays to read. `part`: which rows of a batch this process draws; None: all.
    """

    def __init__(
        self,
        label: int | None,
        data: Dataset,
        sources: Mapping[str, Source],
        batch_size: int,
        part: slice | None,
        seed: int,
        device: torch.device,
        flip: bool,
    ) -> None:
        rows = None if label is None else _rows_of(label, data).to(device)
        length, steps = len(data) if rows is None else len(rows), data.crop_steps

        # these functions must not refer to the stream: a thread that did would keep it, and so itself, alive
        def order(epoch: int) -> Tensor:
            generator = torch.Generator(device).manual_seed(seed_for(seed, f"epoch {epoch} of {label}"))
            numbers = torch.randperm(length, generator=generator, device=device)
            return numbers if rows is None else rows[numbers]

        def coins(epoch: int) -> Tensor:
            generator = torch.Generator(device).manual_seed(seed_for(seed, f"flips {epoch} of {label}"))
            return torch.rand(length, generator=generator, device=device) < 0.5

        def corners(epoch: int) -> Tensor:
            generator = torch.Generator(device).manual_seed(seed_for(seed, f"crops {epoch} of {label}"))
            return torch.randint(steps + 1, (length, 2), generator=generator, device=device)

        # of the thread, which is further on than the loop; a copy from the device waits for it, so one an epoch
        ahead = _Epochs(length, lambda epoch: order(epoch).cpu())

        def numbers_ahead(position: int) -> np.ndarray:
            numbers: np.ndarray = ahead.slice(position, batch_size, part).numpy()
            return numbers

        self.length = length
        self._rows, self._sources, self._batch, self._device = rows, sources, (batch_size, part), device
        self._order = _Epochs(length, order)
        self._mirrored = _Epochs(length, coins) if flip else None
        self._corners = _Epochs(length, corners) if steps else None
        self._centre = steps // 2
        self._feed = Feed(sources, numbers_ahead, batch_size, device) if sources else None

    def draw(self, position: int) -> _Rows:
        """This process's part of the batch at `position`."""
        read = self._feed.take(position) if self._feed else {}
        mirrored = self._mirrored.slice(position, *self._batch) if self._mirrored else None
        corners = self._corners.slice(position, *self._batch) if self._corners else None
        return _Rows(self._order.slice(position, *self._batch), mirrored, corners, read)

    def first(self, count: int) -> _Rows:
        """The first `count` rows in the order of the data, repeated when there are fewer; whole, or their centres."""
        position = torch.arange(count, device=self._device) % self.length
        return self._read(position if self._rows is None else self._rows[position])

    def shuffled(self, count: int, start: int = 0) -> _Rows:
        """`count` rows from `start` on in the order of training."""
        mirrored = self._mirrored.slice(start, count) if self._mirrored else None
        corners = self._corners.slice(start, count) if self._corners else None
        return self._read(self._order.slice(start, count), mirrored, corners)

    def close(self) -> None:
        if self._feed:
            self._feed.close()

    def _read(self, numbers: Tensor, mirrored: Tensor | None = None, corners: Tensor | None = None) -> _Rows:
        """Read rows now; does not disturb what is read ahead."""
        if corners is None:
            corners = torch.full((len(numbers), 2), self._centre, device=self._device)
        if not self._sources:
            return _Rows(numbers, mirrored, corners)
        here = numbers.cpu().numpy()
        read = {name: source.read(here).to(self._device) for name, source in self._sources.items()}
        return _Rows(numbers, mirrored, corners, read)


def _cropped(pictures: Tensor, side: int, corners: Tensor) -> Tensor:
    """side×side pixels of pictures (N, C, H, W) from their corners (N, 2) on: (N, C, side, side), channels last."""
    along = torch.arange(side, device=pictures.device)
    rows = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    down, right = (corners[:, axis, None] + along for axis in (0, 1))
    return pictures.permute(0, 2, 3, 1)[rows, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)


def seed_for(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose, derived from the run's."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "little") >> 1


def normalised(samples: Tensor) -> Tensor:
    """uint8 0…255 and int16 ±32767 → float32 in [-1, 1]; floats stay as they are."""
    if samples.dtype == torch.uint8:
        return samples.float().mul_(1 / 127.5).sub_(1)
    if samples.dtype == torch.int16:  # of sounds, whose lowest value is -32768
        return samples.float().mul_(1 / 32767).clamp_(min=-1)
    return samples


def noise(
    item: Input, count: int, generator: torch.Generator, device: torch.device, ends: Tensor | None = None
) -> Tensor:
    """A `normal`, `label` or `value` input (count, *shape), drawn from `generator`; of a value, its default.

    `ends`: the `class_ends` of the data, for a label that is `like_data`; None: the data has no labels.
    """
    if item.distribution == "value":
        return torch.full((count,), item.default, device=device)
    if item.distribution != "label":
        return torch.randn(count, *item.shape, generator=generator, device=device)
    if not item.like_data or ends is None:
        return torch.randint(item.classes, (count,), generator=generator, device=device)
    # as of rows picked at random from data that is sorted by class
    picked = torch.rand(count, generator=generator, device=device, dtype=torch.float64)
    return torch.bucketize(picked, ends, right=True).clamp_(max=item.classes - 1)


def class_ends(counts: Sequence[int], device: torch.device) -> Tensor | None:
    """Where each class ends in data that is sorted by class, as a share of it: float64 (classes,)."""
    if not any(counts):
        return None
    return (torch.tensor(counts, dtype=torch.float64).cumsum(0) / sum(counts)).to(device)


def labels_of(index: np.ndarray, classes: int, counts: Sequence[int]) -> np.ndarray:
    """Labels of the images `index`, int64 (N,): each class as often as in data that has `counts` of them.

    Multiples of the golden ratio modulo 1 are spread evenly, so any stretch of numbers has the shares of the data. In
    turn when the data has no labels, or another number of classes.
    """
    if len(counts) != classes or not any(counts):
        return index.astype(np.int64) % classes
    ends = np.cumsum(counts) / sum(counts)
    return np.searchsorted(ends, index * _GOLDEN % 1, side="right").astype(np.int64)


def _array(item: Input, data: Dataset) -> np.ndarray:
    array = data.arrays.get(item.array)
    if array is None:
        raise GantoolError(
            f"The architecture needs {item.array!r}, which the data {data.source!r} does not have.",
            f"It has: {', '.join(sorted(data.arrays))}."
            + (" Give pairs: --pairs edges, for one." if item.array == "sources" else ""),
        )
    if data.shape_of(item.array) != item.shape:
        raise GantoolError(
            f"The architecture takes {item.array!r} as {_shape(item.shape)} a sample; the data {data.source!r} has "
            f"{_shape(data.shape_of(item.array))}.",
            "Change the array's shape, or the one that the plugin declares for the input.",
        )
    return array


def _shape(sides: tuple[int, ...]) -> str:
    return "×".join(map(str, sides)) or "one number"


def _rows_of(label: int, data: Dataset) -> Tensor:
    if data.labels is None or not (data.labels == label).any():
        raise GantoolError(
            f"The architecture draws from class {label}; the data {data.source!r} has none of it.",
            "Give data with labels: a sub-folder a class, or an array 'labels'.",
        )
    return torch.from_numpy(np.flatnonzero(data.labels == label))


def _check_flip(drawn: Sequence[Input]) -> None:
    """GantoolError unless every data input is an image or a label, and there is an image."""
    for item in drawn:
        if len(item.shape) != 3 and item.shape != ():
            raise GantoolError(
                f"--flip mirrors images, and the input {item.name!r} of this architecture has shape "
                f"{_shape(item.shape)}.",
                "Leave --flip out: it is for samples of channels×height×width.",
            )
    if not any(item.shape for item in drawn):
        raise GantoolError("--flip mirrors images of the data, and this architecture draws none.", "Leave --flip out.")
