"""How long graphs take on this machine's CPU provider: the quickest of interleaved runs.

The quickest, for what else a machine does only ever adds time: medians of a busy one choose by chance. One thread is
timed by its own clock, which stands still while others have the processor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from gantool.system.cores import usable_cores

Arrays = Mapping[str, np.ndarray]

DEFAULT_THREADS = 0  # as many as ONNX Runtime chooses
SECONDS = 0.15  # of runs a comparison
MIN_ROUNDS, MAX_ROUNDS = 4, 25
BLOCK = 0.002  # seconds; runs shorter than this are timed several at a time
PAUSE = 0.003  # seconds; a session's threads go on spinning after a run, and would slow the next session's


@dataclass(frozen=True)
class Timing:
    """Milliseconds of the quickest run before and after a rewrite. `threads` 0: as many as ONNX Runtime chooses."""

    batch: int
    threads: int
    before_ms: float
    after_ms: float


def session(model: onnx.ModelProto, threads: int = 1) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto | Any, feeds: Arrays) -> dict[str, np.ndarray]:
    """Outputs by name; `model` may be a session."""
    ready = session(model) if isinstance(model, onnx.ModelProto) else model
    return dict(zip([o.name for o in ready.get_outputs()], ready.run(None, dict(feeds)), strict=True))


def compare(
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    feeds: Sequence[Arrays],
    feeds_after: Sequence[Arrays] | None = None,
    threads: Sequence[int] | None = None,
) -> tuple[Timing, ...]:
    """Both graphs at every number of `threads` (one and ONNX Runtime's default) and every batch of `feeds`.

    `feeds_after`: the same for `after`, where its input has another layout.
    """
    if threads is None:
        threads = (1, DEFAULT_THREADS) if usable_cores() > 1 else (1,)
    timings = []
    for count in threads:
        sessions = session(before, count), session(after, count)
        for one, two in zip(feeds, feeds_after or feeds, strict=True):
            pair = race([_job(s, f) for s, f in zip(sessions, (one, two), strict=True)], alone=count == 1)
            timings.append(Timing(len(next(iter(one.values()))), count, *(round(1e3 * s, 4) for s in pair)))
    return tuple(timings)


def _job(ready: Any, feeds: Arrays) -> Callable[[], object]:
    given = dict(feeds)
    return lambda: ready.run(None, given)


def race(jobs: Sequence[Callable[[], object]], *, alone: bool, seconds: float = SECONDS) -> list[float]:
    """Seconds of each job's quickest run, all run in turn. `alone`: they use no thread but the caller's."""
    # Windows counts a thread's time in steps of 16 ms
    own = alone and time.get_clock_info("thread_time").resolution <= 1e-6
    clock = time.thread_time if own else time.perf_counter
    repeats = []
    for job in jobs:
        job()
        began = clock()
        job()
        repeats.append(max(1, round(BLOCK / max(clock() - began, 1e-6))))
    taken: list[list[float]] = [[] for _ in jobs]
    started = time.perf_counter()
    for turn in range(MAX_ROUNDS):
        if turn >= MIN_ROUNDS and time.perf_counter() - started > seconds:
            break
        for job, times, count in zip(jobs, taken, repeats, strict=True):
            if not alone:
                time.sleep(PAUSE)
            began = clock()
            for _ in range(count):
                job()
            times.append((clock() - began) / count)
    return [min(times) for times in taken]
