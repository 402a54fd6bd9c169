"""Batches of data that are not on the device, read by a thread before they are asked for."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantool.errors import GantoolError
from gantool.training.placement import Source

THREAD = "gantool data"  # its name
AHEAD = 4  # batches that are ready before they are asked for


class Feed:
    """The batches of one stream of rows: from `position` on, in steps of `stride`, each array read by a thread.

    `rows(position)`: which rows of the arrays the batch at `position` is made of. It is called by the thread, so it
    must hold nothing that is used elsewhere, the owner of the feed least of all: the thread ends when that is gone.
    On a GPU batches are read into pinned memory and copied without waiting.
    """

    def __init__(
        self, sources: Mapping[str, Source], rows: Callable[[int], np.ndarray], stride: int, device: torch.device
    ) -> None:
        self._sources, self._rows, self._stride, self._device = dict(sources), rows, stride, device
        self._job: _Job | None = None
        self._next = 0
        self._end: weakref.finalize[Any, Feed] | None = None

    def take(self, position: int) -> dict[str, Tensor]:
        """The batch at `position`, on the device: array → (N, *shape), not normalised.

        What was read ahead for another position is dropped. An error of the thread is raised here.
        """
        if self._job is None or self._next != position:
            self._start(position)
        job = self._job
        assert job is not None
        slot = job.ready.get()
        if isinstance(slot, BaseException):
            self.close()
            raise _unreadable(slot) from slot
        batch = slot.to(self._device)
        job.free.release()
        self._next = position + self._stride
        return batch

    def close(self) -> None:
        """End the thread. The next `take` starts another."""
        if self._end is not None:
            self._end()
        self._job = self._end = None

    def _start(self, position: int) -> None:
        self.close()
        self._job = job = _Job(self._sources, self._rows, self._stride, self._device.type == "cuda")
        thread = threading.Thread(target=job.work, args=(position,), name=THREAD, daemon=True)
        self._end = weakref.finalize(self, _stop, job, thread)
        thread.start()


@dataclass
class _Slot:
    """One batch in the host's memory."""

    tensors: dict[str, Tensor]
    copied: torch.cuda.Event | None = None  # when its memory may be written again

    def to(self, device: torch.device) -> dict[str, Tensor]:
        if device.type != "cuda":
            return self.tensors
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()}
        self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.copied.record(torch.cuda.current_stream(device))
        return batch


@dataclass
class _Job:
    """What a thread shares with the feed that reads its batches. It knows nothing of the feed."""

    sources: dict[str, Source]
    rows: Callable[[int], np.ndarray]
    stride: int
    pinned: bool
    ready: SimpleQueue[_Slot | BaseException] = field(default_factory=SimpleQueue)
    free: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AHEAD))
    stopped: bool = False

    def work(self, position: int) -> None:
        """Read until stopped; an error ends it, too."""
        slots: list[_Slot] = []
        try:
            while True:
                self.free.acquire()
                if self.stopped:
                    return
                rows = self.rows(position)
                slot = self._slot(slots, len(rows))
                for name, source in self.sources.items():
                    source.read(rows, slot.tensors[name])
                slots.append(slot)
                self.ready.put(slot)
                position += self.stride
        except BaseException as error:  # noqa: BLE001
            self.ready.put(error)  # and raised where the batch is awaited

    def _slot(self, slots: list[_Slot], count: int) -> _Slot:
        """Memory for a batch: on a CPU it becomes the batch itself; pinned memory is dear, and used in turn."""
        if self.pinned and len(slots) >= AHEAD:
            slot = slots.pop(0)
            if slot.copied is not None:
                slot.copied.synchronize()
            return slot
        if not self.pinned:
            slots.clear()
        shapes = {name: ((count, *source.shape), source.dtype) for name, source in self.sources.items()}
        return _Slot({n: torch.empty(shape, dtype=d, pin_memory=self.pinned) for n, (shape, d) in shapes.items()})


def _stop(job: _Job, thread: threading.Thread) -> None:
    job.stopped = True
    job.free.release()
    if thread is not threading.current_thread():
        thread.join()


def _unreadable(error: BaseException) -> BaseException:
    if isinstance(error, GantoolError):
        return GantoolError(error.message, error.hint)
    return GantoolError(
        f"The data can't be read any more: {error}.", "What the last checkpoint has is safe: --resume the run."
    )
