"""A measurement in a fresh process: started, listened to, and its failures told."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from gantool.errors import GantoolError

BATCHES = (1, 8, 64, 256)
MAX_BATCH = 65_536
WORKER = (sys.executable, "-P", "-m", "gantool.bench.worker")  # -P: the user's folder holds no module of ours
TAIL_LINES, TAIL_BYTES = 12, 4000


def bench(
    path: Path,
    *,
    provider: str = "cpu",
    batches: Sequence[int] = BATCHES,
    threads: int | None = None,
    seconds: float = 1.0,
    timeout: float = 600.0,
    listener: Callable[[str], None] = lambda stage: None,
) -> dict[str, Any]:
    """Measure an exported ONNX file in a new process without torch, and prove that what it made was right.

    `seconds`: of timed runs a batch, at least, and never under 10 runs. `timeout`: seconds of silence after which the
    process counts as hung. `listener` hears the stages. GantoolError: provider missing or unable to run the whole
    graph, wrong or stale output, a crash, a hang. The report, all times in milliseconds of wall clock:

        schema_version  1
        file            path, kind (onnx, onnx-seeded), bytes, architecture, output (shape of one image in the file)
        provider        cpu, cuda, tensorrt, openvino
        threads         of one operator; null: onnxruntime's default, one a core
        chunk           images that `Generator.sample` runs at a time: a larger batch is several runs
        cold            interpreter_ms (process start → first line), import_ms (numpy, onnxruntime, gantool.runtime),
                        session_ms (file → session), first_image_ms, total_ms
        batches         a row each, ascending: batch, first_ms (first call at that batch), runs, seconds,
                        images_per_second, p50_ms, p90_ms, p99_ms (nearest rank), peak_memory_mb (resident, so far;
                        null where the system does not tell)
        proof           golden {images, exact, worst_level} or null (not provable), one_at_a_time {batches, images,
                        worst_level, worst_share}, fresh_images, repeated, words (the same in sentences)
        machine         cpu, cores, system
        versions        gantool, onnxruntime, numpy, python
        torch_loaded    whether anything loaded torch into the measured process
    """
    for batch in batches:
        if not 1 <= batch <= MAX_BATCH:
            raise GantoolError(f"A batch of {batch} was asked for.", f"Give 1 to {MAX_BATCH}.")
    if not batches:
        raise GantoolError("No batch was given.", "Give one or more, e.g. --batches 1,64")
    request = {
        "path": str(path),
        "provider": provider,
        "batches": sorted(set(batches)),
        "threads": threads,
        "seconds": seconds,
    }
    with tempfile.TemporaryFile() as errors:
        spawned = time.perf_counter()
        worker = subprocess.Popen(
            [*WORKER, json.dumps({**request, "spawned": spawned})],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            report = _listen(worker, timeout, listener)
            if report is None:
                code = worker.wait(timeout)
                raise GantoolError(
                    f"The measured process {_how(code)}.{_tail(errors)}",
                    "Out of memory? Try smaller --batches." if code == -9 else "Try --provider cpu.",
                )
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            _stop(worker)
            raise GantoolError(
                f"The measured process was silent for {timeout:g} s and was stopped.{_tail(errors)}",
                "If one run of this generator takes that long, give a longer --timeout or smaller --batches.",
            ) from error
        finally:
            _stop(worker)
    return report


def _listen(worker: subprocess.Popen[bytes], timeout: float, listener: Callable[[str], None]) -> dict[str, Any] | None:
    """The report, or None when the process ended without one; TimeoutError after `timeout` seconds of silence."""
    lines: queue.Queue[bytes | None] = queue.Queue()
    assert worker.stdout is not None
    threading.Thread(target=_forward, args=(worker.stdout, lines), daemon=True).start()
    stage = ""
    while True:
        try:
            line = lines.get(timeout=timeout)
        except queue.Empty as error:
            raise TimeoutError from error
        if line is None:
            return None
        try:
            message = json.loads(line)
        except ValueError:  # it died in the middle of a line
            return None
        if "error" in message:
            raise GantoolError(message["error"], message["hint"])
        if "report" in message:
            report: dict[str, Any] = message["report"]
            return report
        if message["stage"] != stage:
            stage = message["stage"]
            listener(stage)


def _forward(pipe: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    with pipe:
        for line in pipe:
            lines.put(line)
    lines.put(None)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    """Whatever it still does (it has reported, failed or hung) is of no use."""
    if worker.poll() is None:
        worker.kill()
        worker.wait()


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code} before its report"


def _tail(errors: IO[bytes]) -> str:
    """The end of its stderr, on lines of its own."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - TAIL_BYTES))
    lines = errors.read().decode(errors="replace").strip().splitlines()[-TAIL_LINES:]
    return " Its last words:\n" + "\n".join(lines) if lines else " It said nothing."
