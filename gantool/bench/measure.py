"""Cold and warm times of one generator in this process, then the proof."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort

from gantool import __version__
from gantool.bench import machine
from gantool.bench.images import maker
from gantool.bench.proof import prove
from gantool.runtime import Generator
from gantool.runtime.generator import CHUNK

SCHEMA = 1
SEED = 0x74696D65  # of the timed images
WARM_UPS = 3  # runs at each batch before its timing; the first is reported
MIN_RUNS = 10

Open = Callable[[], Generator]
Emit = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to measure. `seconds`: of timed runs a batch, at least; `threads`: None: onnxruntime's default."""

    path: str
    provider: str
    batches: tuple[int, ...]
    threads: int | None
    seconds: float

    def open(self) -> Generator:
        return Generator(self.path, self.provider, self.threads)


def measure(request: Request, emit: Emit = lambda stage: None, open_generator: Open | None = None) -> dict[str, Any]:
    """Time and prove; a report as in `gantool.bench.runner`, without the start of the process.

    `emit(stage)` is called at least once a run. `open_generator` takes the place of `request.open`.
    GantoolError when the provider does not run the file, or the proof fails.
    """
    opener = open_generator or request.open
    emit("first image")
    before = time.perf_counter()
    generator = opener()
    opened = time.perf_counter()
    maker(generator, SEED, 0, 1)()
    first = time.perf_counter()
    rows, timed, index = [], {}, 1
    for batch in request.batches:
        row, timed[batch], index = _time(generator, batch, index, request.seconds, partial(emit, f"batch {batch}"))
        rows.append(row)
    proof = prove(generator, timed, opener, partial(emit, "proof"))
    architecture = generator.manifest.architecture
    return {
        "schema_version": SCHEMA,
        "file": {
            "path": str(generator.path),
            "kind": generator.manifest.kind,
            "bytes": generator.path.stat().st_size,
            "architecture": str(architecture.get("name", "")),
            "output": list(generator.manifest.output.shape),
        },
        "provider": request.provider,
        "threads": request.threads,
        "chunk": CHUNK,
        "cold": {"session_ms": (opened - before) * 1e3, "first_image_ms": (first - opened) * 1e3},
        "batches": rows,
        "proof": proof.as_dict(),
        "machine": machine.describe(),
        "versions": {
            "gantool": __version__,
            "onnxruntime": ort.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _time(
    generator: Generator, batch: int, index: int, seconds: float, alive: Callable[[], None]
) -> tuple[dict[str, Any], np.ndarray, int]:
    """Warm up, then time until `seconds` and MIN_RUNS are reached; → row, last images, next unused index.

    Every run makes other images, as an app's calls do.
    """
    latencies: list[float] = []
    warm: list[float] = []
    total = 0.0
    while len(latencies) < MIN_RUNS or total < seconds:
        make = maker(generator, SEED, index, batch)
        start = time.perf_counter()
        images = make()
        elapsed = time.perf_counter() - start
        index += batch
        if len(warm) < WARM_UPS:
            warm.append(elapsed)
        else:
            latencies.append(elapsed)
            total += elapsed
        alive()
    ordered = sorted(latencies)
    row = {
        "batch": batch,
        "first_ms": warm[0] * 1e3,
        "runs": len(ordered),
        "seconds": total,
        "images_per_second": batch * len(ordered) / total,
        **{f"p{p}_ms": percentile(ordered, p) * 1e3 for p in (50, 90, 99)},
        "peak_memory_mb": machine.peak_memory_mb(),
    }
    return row, images, index


def percentile(ordered: list[float], percent: int) -> float:
    """The nearest rank: a value that was measured, none in between."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
