"""Where data is while a run trains: whole on the device, or left in its file or in memory, whose rows are picked."""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantool.errors import GantoolError
from gantool.plugin.train_options import Place

SMALL = 256 * 2**20  # bytes of a file up to which a CPU takes it into memory: more than that is the page cache's work
SHARE = 0.5  # of a GPU's free memory, for data: the networks have not moved there yet
PART = 64 * 2**20  # bytes of a file that are read at once


def fed(arrays: Mapping[str, np.ndarray], device: torch.device, place: Place = "auto") -> set[str]:
    """Names of those `arrays` that are to be read batch by batch; the others are put on the device whole.

    `auto`: on a GPU all that have more than a number a row, if together they take more than half of its free memory;
    on a CPU files of more than 256 MB. GantoolError when `device` is asked for and has no room.
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


def resident(array: np.ndarray, device: torch.device) -> Tensor:
    """The whole array on the device; a file is read in parts, so that no second copy of it is in memory.

    So is what torch does not take as it is: an array that is read-only, mirrored, or of another byte order.
    """
    taken = array.flags.writeable and array.dtype.isnative and min(array.strides) >= 0
    if taken and not isinstance(array, np.memmap):
        return torch.from_numpy(array).to(device)
    source = Source(array)
    whole = torch.empty(array.shape, dtype=source.dtype, device=device)
    stride = max(1, PART * len(array) // array.nbytes)
    for first in range(0, len(array), stride):
        last = min(first + stride, len(array))
        whole[first:last] = source.span(first, last)
    return whole


class Source:
    """One array, in memory or in a file, whose rows are picked.

    Rows of a file are read, not taken from its mapping: pages that are touched there count as memory of the process (a
    kernel may map 2 MB for one), each brings its neighbours from a disk, and one that can't be read is fatal.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = np.asarray(array)
        native = self._array.dtype.newbyteorder("=")
        self.dtype = torch.from_numpy(np.empty(0, native)).dtype
        self.shape = self._array.shape[1:]
        self._rows_lie_whole = self._array.flags.c_contiguous and self._array.dtype == native
        self._name, self._file, self._start = "", -1, 0
        if isinstance(array, np.memmap) and self._rows_lie_whole and hasattr(os, "preadv"):
            self._open(array)

    def read(self, rows: np.ndarray, into: Tensor | None = None) -> Tensor:
        """The `rows` (N,) in their order: (N, *shape) on the CPU, in the memory of `into` if given.

        GantoolError when the file has been cut off since it was opened, OSError when it can't be read.
        """
        if into is None:
            into = torch.empty((len(rows), *self.shape), dtype=self.dtype)
        if self._file >= 0:
            size = self._array.nbytes // len(self._array)
            whole = into.numpy().reshape(-1).view(np.uint8).data
            places = (rows * size + self._start).tolist()
            for number, place in enumerate(places):
                self._fill(whole[number * size : (number + 1) * size], place)
        elif self._rows_lie_whole:
            # without the interpreter's lock; `clip` as the rows exist, and as another mode would copy once more
            np.take(self._array, rows, axis=0, out=into.numpy(), mode="clip")
        else:
            into.numpy()[...] = self._array[rows]
        return into

    def span(self, first: int, last: int) -> Tensor:
        """The rows `first` to `last` - 1, in one go."""
        if self._file < 0:
            return self.read(np.arange(first, last))
        into = torch.empty((last - first, *self.shape), dtype=self.dtype)
        size = self._array.nbytes // len(self._array)
        self._fill(into.numpy().reshape(-1).view(np.uint8).data, first * size + self._start)
        return into

    def _open(self, array: np.memmap[Any, Any]) -> None:
        start = _start_of(array)
        if start is None:
            return
        with contextlib.suppress(OSError):  # it has gone, and the mapping still holds it
            self._name, self._start = str(array.filename), start
            self._file = os.open(self._name, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)

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
    """The byte of its file at which a memory-mapped array (a view of one, too) starts; None when that is not known."""
    mapping = getattr(array, "_mmap", None)
    if mapping is None or array.filename is None or array.mode == "c":  # what was written there is in no file
        return None
    begin = np.frombuffer(mapping, np.uint8, 1).__array_interface__["data"][0]
    inside = array.__array_interface__["data"][0] - begin
    # a mapping starts where a page does, the array at its offset or, as a view, anywhere after
    return int(array.offset - array.offset % mmap.ALLOCATIONGRANULARITY + inside)
