"""Where the data is while a run trains: whole on the device, or in a file or in memory, read batch by batch.

What is read batch by batch is read by a thread, a few batches before the loop uses them.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantool.errors import GantoolError
from gantool.plugin.train_options import Place

THREAD = "gantool data"  # what the names of the reading threads start with
AHEAD = 4  # batches that are read before they are used
SMALL = 256 * 2**20  # bytes; a CPU loads files up to this size into memory, and leaves larger ones to the page cache
SHARE = 0.5  # of a GPU's free memory, for data: the networks are not there yet
PART = 64 * 2**20  # bytes that are read at once when a whole file is loaded


def read_by_batch(arrays: Mapping[str, np.ndarray], device: torch.device, place: Place = "auto") -> set[str]:
    """Names of the `arrays` to read batch by batch; the others are to be put on the device whole.

    `auto`: on a GPU, if together they take more than half of its free memory, all arrays with more than one number a
    row; on a CPU, files of more than 256 MB. GantoolError when `place` is `device` and the GPU has no room.
    """
    large = {name: array for name, array in arrays.items() if array.ndim > 1}
    if place == "disk":
        return set(large)
    size = sum(array.nbytes for array in large.values())
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if place == "device" and size > free:
            raise GantoolError(
                f"The data take {size / 2**30:.1f} GB, and {device} has {free / 2**30:.1f} GB free.",
                "Use --data-on disk, or auto.",
            )
        return set(large) if place == "auto" and size > SHARE * free else set()
    if place == "device":
        return set()
    return {name for name, array in large.items() if isinstance(array, np.memmap) and array.nbytes > SMALL}


def load_whole(array: np.ndarray, device: torch.device) -> Tensor:
    """The whole array on the device. A file is read in parts, so that memory never holds it twice."""
    if not isinstance(array, np.memmap):  # torch takes arrays that are writable, contiguous and of native byte order
        return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"])).to(device)
    source = Source(array)
    whole = torch.empty(array.shape, dtype=source.dtype, device=device)
    stride = max(1, PART * len(array) // array.nbytes)
    for first in range(0, len(array), stride):
        last = min(first + stride, len(array))
        whole[first:last] = source.read(np.arange(first, last))
    return whole


class Source:
    """The rows of one array, which is in memory or in a file.

    Rows of a file are read by `pread`, not from its memory map: pages of a map count as memory of the process, a kernel
    may load 2 MB for one row, and a page that can't be read kills the process.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = np.asarray(array)
        native = self._array.dtype.newbyteorder("=")
        self.dtype = torch.from_numpy(np.empty(0, native)).dtype
        self.shape = self._array.shape[1:]
        self._plain = self._array.flags.c_contiguous and self._array.dtype == native
        self._start = _start_of(array) if isinstance(array, np.memmap) and self._plain else None
        self._name, self._file = "", -1
        if self._start is not None and hasattr(os, "preadv"):
            with contextlib.suppress(OSError):  # the file was removed; the map still holds it
                self._name = str(array.filename)  # type: ignore[attr-defined]
                self._file = os.open(self._name, os.O_RDONLY)
                weakref.finalize(self, os.close, self._file)

    def read(self, rows: np.ndarray, into: Tensor | None = None) -> Tensor:
        """The rows of these numbers (N,), in their order: (N, *shape) on the CPU, in the memory of `into` if given.

        GantoolError when the file has become shorter since it was opened, OSError when it can't be read.
        """
        if into is None:
            into = torch.empty((len(rows), *self.shape), dtype=self.dtype)
        if self._file >= 0 and self._start is not None:
            size = self._array.nbytes // len(self._array)
            memory = into.numpy().reshape(-1).view(np.uint8).data
            if len(rows) and (np.diff(rows) == 1).all():  # neighbours: one read
                self._fill(memory, self._start + int(rows[0]) * size)
            else:
                for number, row in enumerate(rows.tolist()):
                    self._fill(memory[number * size : (number + 1) * size], self._start + row * size)
        elif self._plain:
            # `take` releases the interpreter's lock; the rows exist, and "clip" saves a copy that "raise" makes
            np.take(self._array, rows, axis=0, out=into.numpy(), mode="clip")
        else:
            into.numpy()[...] = self._array[rows]
        return into

    def _fill(self, memory: memoryview, place: int) -> None:
        done = 0
        while done < len(memory):  # a file system may give less than was asked for
            count = os.preadv(self._file, (memory[done:],), place + done)
            if not count:
                raise GantoolError(
                    f"The data file {self._name} has become shorter while it was read.",
                    "Put it back, and --resume the run.",
                )
            done += count


def _start_of(array: np.memmap[Any, Any]) -> int | None:
    """The byte of the file at which a memory-mapped array, or a view of one, starts; None when it can't be known."""
    mapping = getattr(array, "_mmap", None)
    if mapping is None or array.filename is None or array.mode == "c":  # "c": what was written there is in no file
        return None
    begin = np.frombuffer(mapping, np.uint8, 1).__array_interface__["data"][0]
    inside = array.__array_interface__["data"][0] - begin
    # the map starts at a page; the array starts at its offset or, as a view, somewhere after it
    return int(array.offset - array.offset % mmap.ALLOCATIONGRANULARITY + inside)


@dataclass
class _Memory:
    """A batch in the host's memory."""

    tensors: dict[str, Tensor]
    copied: torch.cuda.Event | None = None  # after it the memory can be written again


class Feed:
    """Batches of rows of some arrays, read by a thread before they are used.

    `rows(position)` gives the row numbers of the batch at `position`; batches are `stride` apart. The thread calls it,
    so it must not refer to the feed or to what owns the feed: when those are garbage, the thread ends.
    """

    def __init__(
        self, sources: Mapping[str, Source], rows: Callable[[int], np.ndarray], stride: int, device: torch.device
    ) -> None:
        self._sources, self._rows, self._stride, self._device = dict(sources), rows, stride, device
        self._batches: deque[Future[_Memory]] = deque()
        self._thread: ThreadPoolExecutor | None = None
        self._end: weakref.finalize[Any, Feed] | None = None
        self._next = 0

    def take(self, position: int) -> dict[str, Tensor]:
        """The batch at `position`, on the device: array → (N, *shape), not normalised.

        Batches are taken one after the other; a jump drops what was read ahead. Raises the errors of the thread.
        """
        if self._thread is None or position != self._next:
            self._start(position)
        try:
            memory = self._batches.popleft().result()
        except OSError as error:
            self.close()
            raise GantoolError(
                f"The data can't be read any more: {error}.", "The last checkpoint is safe: --resume the run."
            ) from error
        except Exception:
            self.close()
            raise
        batch = memory.tensors
        if self._device.type == "cuda":
            batch = {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}
            memory.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            memory.copied.record(torch.cuda.current_stream(self._device))
        self._next = position + self._stride
        self._read(position + AHEAD * self._stride, memory)
        return batch

    def close(self) -> None:
        """End the thread. The next `take` starts another."""
        if self._end is not None:
            self._end()
        self._thread = self._end = None
        self._batches.clear()

    def _start(self, position: int) -> None:
        self.close()
        self._thread = ThreadPoolExecutor(1, THREAD)
        self._end = weakref.finalize(self, _end, self._thread)
        for number in range(AHEAD):
            self._read(position + number * self._stride)

    def _read(self, position: int, used: _Memory | None = None) -> None:
        assert self._thread is not None
        pinned = self._device.type == "cuda"
        # pinned memory is expensive, so it is used again; on a CPU the memory has become the batch
        memory = used if pinned else None
        self._batches.append(self._thread.submit(_read, self._sources, self._rows, position, memory, pinned))


def _read(
    sources: Mapping[str, Source],
    rows: Callable[[int], np.ndarray],
    position: int,
    memory: _Memory | None,
    pinned: bool,
) -> _Memory:
    """In the thread: read the batch at `position`, into `memory` if given."""
    numbers = rows(position)
    if memory is None:
        memory = _Memory(
            {
                name: torch.empty((len(numbers), *source.shape), dtype=source.dtype, pin_memory=pinned)
                for name, source in sources.items()
            }
        )
    elif memory.copied is not None:
        memory.copied.synchronize()
    for name, source in sources.items():
        source.read(numbers, memory.tensors[name])
    return memory


def _end(thread: ThreadPoolExecutor) -> None:
    """Drop what is not read yet, and wait for the thread, unless the garbage collector calls from that very thread."""
    thread.shutdown(wait=not threading.current_thread().name.startswith(THREAD), cancel_futures=True)
