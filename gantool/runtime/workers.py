"""How a request is spread over the cores: what an image may cost, which thread makes which rows.

Nothing here changes an image. ONNX Runtime's float32 outputs of mlp, dcgan and wgan were bit-equal whatever the batch
(1 to 512) and the threads (x86-64, 1.31); where a kernel rounds by batch, a plan is still the same on every call, for
it depends on the request, the file and the number of cores, never on a clock.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

Job = TypeVar("Job")

# A call of about 5 ms on one core was the cheapest an image, or within 5 % of it, for each generator tried: long
# enough to hide what a call costs, and its activations stay in the core's cache.
CALL_SECONDS = 5e-3
MAX_ROWS = 512
# Of a dear image, more a call were cheaper all the same, for a call reads all weights: dcgan 64 by 8 % from 4 to 16.
WEIGHTS_ROWS = 16
LONG_CALL_SECONDS = 40e-3  # of such a call at most: activations of large images take memory in every thread
WORTH_SECONDS = 1e-3  # of work that pays for waking another thread; below, threads of one operator are as quick
LATENCY_THREADS = 8  # of one operator, of a cheap image: more wait for each other

# Seconds of one core an image, by the file's size: a dense weight is used once an image, that of a convolution at
# many places. Right within a factor of two for mlp, dcgan and wgan on AVX-512; only the order of magnitude matters.
_BASE = 2e-6
_PER_BYTE = 4e-12
_PER_BYTE_CONVOLVED = 80e-12

# A GPU is busy with far fewer; more hides launches and copies of cheap images. Not measured on one yet.
MAX_DEVICE_ROWS = 4096
MIN_DEVICE_ROWS = 16
DEVICE_SHARE = 1 / 16  # of its memory for the values of one call; two run at once, beside weights and others
VALUES = (
    64  # times its output that a sample's values take: mlp 16, dcgan 64 27, dcgan 32 rewritten 200 if none is freed
)
UNKNOWN_DEVICE_BYTES = 4e9


@dataclass(frozen=True)
class Plan:
    """`threads` call the graph at once, each with up to `rows` images a call."""

    threads: int
    rows: int


def image_seconds(size: int, convolutional: bool) -> float:
    """What an image costs one core, in seconds: a guess from the size of the file, in bytes."""
    return _BASE + size * (_PER_BYTE_CONVOLVED if convolutional else _PER_BYTE)


def call_rows(seconds: float) -> int:
    """Images a call of one thread, a power of two, when one costs `seconds`."""
    few = min(WEIGHTS_ROWS, 2 ** max(0, math.floor(math.log2(LONG_CALL_SECONDS / seconds))))
    return int(min(MAX_ROWS, max(few, 2 ** round(math.log2(CALL_SECONDS / seconds)))))


def device_rows(memory: float | None, output_bytes: int) -> int:
    """Images a call on a GPU of `memory` bytes, a power of two; None: not known. `output_bytes`: of a float32 one."""
    affordable = (memory or UNKNOWN_DEVICE_BYTES) * DEVICE_SHARE / (VALUES * output_bytes)
    return max(MIN_DEVICE_ROWS, min(MAX_DEVICE_ROWS, power_of_two(max(1, int(affordable)) + 1) // 2))


def power_of_two(count: int) -> int:
    """The least that is not below `count`, of 1 or more."""
    return 1 << (count - 1).bit_length()


def latency_threads(seconds: float, available: int) -> int:
    """Threads of one operator, for requests that one call answers."""
    return min(available, max(LATENCY_THREADS, int(seconds / WORTH_SECONDS)))


def at_once(seconds: float, batch: int | None = None) -> int:
    """The most images that one call answers for which a `plan` has one thread, on however many cores."""
    return batch or max(1, min(call_rows(seconds), math.ceil(2 * WORTH_SECONDS / seconds) - 1))


def plan(count: int, seconds: float, available: int, batch: int | None = None) -> Plan:
    """For `count` images of `seconds` each on `available` cores; `batch`: the only number of rows that the graph takes.

    One thread where more would not pay. Otherwise all get the same number of equal calls, as far as that goes.
    """
    rows = batch or call_rows(seconds)
    threads = max(1, min(available, int(count * seconds / WORTH_SECONDS), -(-count // (batch or 1))))
    if batch is None and threads > 1:
        turns = -(-count // (threads * rows))
        rows = -(-count // (threads * turns))
    return Plan(min(threads, max(1, -(-count // rows))), rows)


class Workers:
    """Threads that help whoever calls. They start when first needed, wait without work at no cost, end with the object
    or the interpreter, and are shared by all callers: `count` - 1 of them at most.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def each(self, work: Callable[[Job], object], jobs: Iterable[Job], threads: int) -> None:
        """`work(job)` of every job, on the caller's thread and up to `threads` - 1 others; jobs begin in order.

        The first error ends it, and is raised when no thread works any more. Threads that are busy for somebody else
        are not waited for: the caller then does more itself.
        """
        left = deque(jobs)

        def labour() -> None:
            try:
                while True:
                    try:
                        job = left.popleft()
                    except IndexError:
                        return
                    work(job)
            except BaseException:
                left.clear()
                raise

        helpers = self._start(labour, min(threads, self.count, len(left)) - 1)
        try:
            labour()
        finally:
            left.clear()  # an interrupt of the caller ends the others, too
            errors = [helper.exception() for helper in helpers if not helper.cancel()]
        for error in errors:
            if error is not None:
                raise error

    def _start(self, labour: Callable[[], None], count: int) -> list[Future[None]]:
        if count < 1:
            return []
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.count - 1, "gantool")
        started: list[Future[None]] = []
        try:
            for _ in range(count):
                started.append(self._pool.submit(labour))
        except RuntimeError:
            pass  # the interpreter is ending and starts no threads: those that came about are enough
        return started
