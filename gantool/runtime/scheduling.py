"""Split a request into calls and threads: estimate the cost of an image, plan the calls, run them on worker threads.

The images do not depend on the plan: ONNX Runtime's float32 outputs of mlp, dcgan and wgan were bit-equal for batches
of 1 to 512 and any number of threads (x86-64, 1.31). Where a kernel rounds by batch, repeated calls still agree: a plan
depends on the request, the file and the number of cores, never on a clock.
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

# Calls of about 5 ms on one core were within 5 % of the best throughput for each generator tried: long enough to hide
# the overhead of a call, short enough that its activations stay in the core's cache.
CALL_SECONDS = 5e-3
MAX_ROWS = 512
# Expensive images gain from more a call, because each call reads all weights: dcgan 64 gained 8 % from 4 to 16.
WEIGHTS_ROWS = 16
LONG_CALL_SECONDS = 40e-3  # limit of such a call: activations of large images take memory in every thread
WORTH_SECONDS = 1e-3  # of work that pays for another thread; below, threads inside an operator are as fast
LATENCY_THREADS = 8  # inside an operator, for cheap images: more would wait for each other

# Seconds of one core for an image, by the file's size: a dense weight is used once an image, a convolution's at many
# places. Within a factor of two for mlp, dcgan and wgan on AVX-512; only the order of magnitude matters.
_BASE = 2e-6
_PER_BYTE = 4e-12
_PER_BYTE_CONVOLVED = 80e-12

# Far fewer keep a GPU busy; more hide the launches and copies of cheap images. Not measured on a GPU yet.
MAX_DEVICE_ROWS = 4096
MIN_DEVICE_ROWS = 16
DEVICE_SHARE = 1 / 16  # of its memory for the activations of one call; two calls run at once, beside the weights
# Activations of a sample, in multiples of its output: mlp 16, dcgan 64 27, dcgan 32 rewritten 200 if none is freed.
ACTIVATIONS = 64
UNKNOWN_DEVICE_BYTES = 4e9
# Of the activations of all calls at once, where pictures may have any size.
TILE_BYTES = 2**31
# Of `memory_limit`, several times what any generator takes that was tried.
LEAST_MEMORY, MOST_MEMORY = 2**31, 2**48
MAX_COPIES = 64  # of the weights
MAX_ACTIVATIONS = 1024  # of a sample, in multiples of its output


@dataclass(frozen=True)
class Plan:
    """`threads` call the graph at the same time, each with up to `rows` images a call."""

    threads: int
    rows: int


def image_seconds(size: int, convolutional: bool) -> float:
    """Seconds of one core for an image, estimated from the size of the file in bytes."""
    return _BASE + size * (_PER_BYTE_CONVOLVED if convolutional else _PER_BYTE)


def call_rows(seconds: float) -> int:
    """Images a call of one thread, a power of two, when an image costs `seconds`."""
    least = min(WEIGHTS_ROWS, 2 ** max(0, math.floor(math.log2(LONG_CALL_SECONDS / seconds))))
    return int(min(MAX_ROWS, max(least, 2 ** round(math.log2(CALL_SECONDS / seconds)))))


def device_rows(memory: float | None, output_bytes: int) -> int:
    """Images a call on a GPU of `memory` bytes (None: unknown), a power of two; `output_bytes`: of a float32 image."""
    affordable = (memory or UNKNOWN_DEVICE_BYTES) * DEVICE_SHARE / (ACTIVATIONS * output_bytes)
    return max(MIN_DEVICE_ROWS, min(MAX_DEVICE_ROWS, power_of_two(max(1, int(affordable)) + 1) // 2))


def tile_side(row: tuple[int, ...], pixels: int) -> int:
    """The side of the largest square picture whose activations take TILE_BYTES.

    `row`: the shape of the result of a picture of `pixels`.
    """
    return math.isqrt(TILE_BYTES * pixels // (ACTIVATIONS * 4 * math.prod(row)))


def within_memory(plan: Plan, row: tuple[int, ...]) -> Plan:
    """The plan with fewer images a call, and fewer threads, where results of the shape `row` are large."""
    image = ACTIVATIONS * 4 * math.prod(row)
    rows = max(1, min(plan.rows, TILE_BYTES // image))
    return Plan(max(1, min(plan.threads, TILE_BYTES // (rows * image))), rows)


def memory_limit(
    size: int, seconds: float, available: int, batch: int | None, output_bytes: int, any_size: bool = False
) -> int:
    """Bytes that a session may take on a CPU: more than the weights, in a file of `size` bytes, and the images of all
    cores explain. `output_bytes`: of a float32 image; `seconds`, `available` and `batch` as of `plan`; `any_size`:
    whether images may be larger.

    A small graph may compute any amount of data; this keeps it from taking the machine's memory.
    """
    rows = available * (batch or (call_rows(seconds) if seconds else MAX_ROWS))
    images = MAX_ACTIVATIONS * (rows * output_bytes + (available * TILE_BYTES // ACTIVATIONS if any_size else 0))
    return min(MOST_MEMORY, LEAST_MEMORY + MAX_COPIES * size + images)


def power_of_two(count: int) -> int:
    """The smallest power of two that is at least `count` (1 or more)."""
    return 1 << (count - 1).bit_length()


def latency_threads(seconds: float, available: int) -> int:
    """Threads inside an operator, for requests that take one call."""
    return min(available, max(LATENCY_THREADS, int(seconds / WORTH_SECONDS)))


def at_once(seconds: float, batch: int | None = None) -> int:
    """The largest request that any `plan`, on any number of cores, answers with one call on one thread."""
    return batch or max(1, min(call_rows(seconds), math.ceil(2 * WORTH_SECONDS / seconds) - 1))


def plan(count: int, seconds: float, available: int, batch: int | None = None) -> Plan:
    """The plan for `count` images of `seconds` each on `available` cores. `batch`: the only one that the graph takes.

    One thread where more would not pay; otherwise all threads get the same number of equal calls, as far as possible.
    """
    rows = batch or call_rows(seconds)
    threads = max(1, min(available, int(count * seconds / WORTH_SECONDS), -(-count // (batch or 1))))
    if batch is None and threads > 1:
        turns = -(-count // (threads * rows))
        rows = -(-count // (threads * turns))
    return Plan(min(threads, max(1, -(-count // rows))), rows)


class Workers:
    """At most `count` - 1 threads that all callers share.

    They start when first needed, and end with this object or the interpreter.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def each(
        self, work: Callable[[Job], object], jobs: Iterable[Job], threads: int, stop: threading.Event | None = None
    ) -> None:
        """Call `work(job)` for every job, on the caller's thread and up to `threads` - 1 others; jobs begin in order.

        The first error stops the rest, and is raised when no thread works any more. The caller does not wait for
        threads that are busy with another request: it does more of the jobs itself. Jobs that have not begun when
        `stop` is set are left out.
        """
        left = deque(jobs)

        def take_jobs() -> None:
            try:
                while stop is None or not stop.is_set():
                    try:
                        job = left.popleft()
                    except IndexError:
                        return
                    work(job)
            except BaseException:
                left.clear()
                raise

        helpers = self._start(take_jobs, min(threads, self.count, len(left)) - 1)
        try:
            take_jobs()
        finally:
            left.clear()  # an interrupt of the caller stops the others, too
            errors = [helper.exception() for helper in helpers if not helper.cancel()]
        for error in errors:
            if error is not None:
                raise error

    def _start(self, work: Callable[[], None], count: int) -> list[Future[None]]:
        if count < 1:
            return []
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.count - 1, "gantool")
        started: list[Future[None]] = []
        try:
            for _ in range(count):
                started.append(self._pool.submit(work))
        except RuntimeError:
            pass  # the interpreter is ending and starts no more threads: the caller does the rest
        return started
