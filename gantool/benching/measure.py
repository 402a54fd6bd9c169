"""Measure one generator in this process: cold start, warm runs, and the proof that its images are right."""

from __future__ import annotations

import itertools
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from gantool import __version__
from gantool.artifact import onnxfile
from gantool.benching.matrix import GRAPH, ON_GPU, Cell, Request, arithmetic
from gantool.benching.proof import maker, prove
from gantool.benching.timing import time_steadily
from gantool.errors import GantoolError, excerpt
from gantool.runtime import Generator
from gantool.runtime.session import ORT_ERRORS, PROVIDERS, Bound, placement
from gantool.system import machine, nvml

SEED = 0x74696D65  # of the timed images
MAX_NAMED = 5  # nodes in a message

Emit = Callable[[str], None]
Clock = Callable[[], float]


def open_cell(cell: Cell) -> Generator:
    try:
        generator = Generator(cell.path, cell.provider, cell.threads, cell.settings or None)
    except GantoolError as error:
        raise (_name_left_nodes(cell, error) if cell.provider != "cpu" else error) from error.__cause__
    if cell.bound and not isinstance(generator.session, Bound):  # with a CUDA graph it already is
        generator.session = Bound(generator.session, graph=GRAPH in cell.options)
    return generator


def measure(
    request: Request,
    emit: Emit = lambda stage: None,
    open_generator: Callable[[], Generator] | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Time and prove; a cell of the report that docs/bench.md describes, without the start of the process.

    `emit(stage)` is called at least once a run. `open_generator` takes the place of `open_cell`.
    GantoolError when the provider does not run the whole file, or the proof fails.
    """
    open_generator = open_generator or partial(open_cell, request.cell)
    emit("first sample")
    start = clock()
    generator = open_generator()
    opened = clock()
    nodes = require_placement(generator)
    placed = clock()
    maker(generator, SEED, 0, 1)()
    first = clock()
    device = nvml.open_device() if request.cell.provider in ON_GPU else None
    rows, timed = [], {}
    for batch in request.batches:
        alive = partial(emit, f"batch {batch}")
        row, timed[batch] = _time_batch(generator, batch, request.seconds, alive, clock, device)
        rows.append(row)
    reference = Generator(request.reference) if request.reference is not None else None
    settings = generator.session.get_provider_options().get(PROVIDERS[request.cell.provider], {})
    reduced = arithmetic(request.cell.provider, settings)
    proof = prove(generator, timed, open_generator, partial(emit, "proof"), reference, reduced)
    manifest = generator.manifest
    return {
        "file": {
            "path": str(generator.path),
            "kind": manifest.kind,
            "precision": manifest.precision,
            "seconds": manifest.output.seconds,
            "bytes": generator.path.stat().st_size,
            "architecture": str(manifest.architecture.get("name", "")),
            "output": list(manifest.output.shape),
            "noun": manifest.output.noun,
        },
        **request.cell.as_dict(),
        "status": "measured",
        "placement": {name: len(part) for name, part in nodes.items()},
        "settings": settings,
        "arithmetic": reduced,
        "cold": {"session_ms": (opened - start) * 1e3, "first_image_ms": (first - placed) * 1e3},
        "batches": rows,
        "proof": proof,
        "versions": {
            "gantool": __version__,
            "onnxruntime": ort.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def require_placement(generator: Generator) -> dict[str, list[str]]:
    """Provider → its nodes; GantoolError, naming them, when another one than that asked for has any."""
    nodes = placement(generator.session)
    if elsewhere := _elsewhere(nodes, generator.provider):
        raise _split(generator.path, generator.provider, elsewhere)
    return nodes


def _name_left_nodes(cell: Cell, error: GantoolError) -> GantoolError:
    """onnxruntime's refusal to leave nodes to the CPU names none: a session that may leave them tells which."""
    wanted = PROVIDERS[cell.provider]
    if "fallback" not in error.message or wanted not in ort.get_available_providers():
        return error
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(onnxfile.read_bytes(Path(cell.path)), options, providers=[wanted])
    except ORT_ERRORS:
        return error
    left = _elsewhere(placement(session), cell.provider) if wanted in session.get_providers() else []
    return _split(Path(cell.path), cell.provider, left) if left else error


def _elsewhere(nodes: dict[str, list[str]], provider: str) -> list[str]:
    return [node for name, part in nodes.items() if name != PROVIDERS[provider] for node in part]


def _split(path: Path, provider: str, nodes: list[str]) -> GantoolError:
    more = f" and {len(nodes) - MAX_NAMED} more" if len(nodes) > MAX_NAMED else ""
    return GantoolError(
        f"{provider!r} does not run all of {path}: elsewhere run {excerpt(', '.join(nodes[:MAX_NAMED]), 300)}{more}.",
        "Timing would mix two providers: try another file (generator.onnx draws no latents), or provider.",
    )


def _time_batch(
    generator: Generator,
    batch: int,
    seconds: float,
    alive: Callable[[], None],
    clock: Clock,
    device: nvml.Device | None,
) -> tuple[dict[str, Any], np.ndarray]:
    """A row of the report, and the last images. Each run makes other images, as an app does.

    Energy and CPU time are of all runs at this batch, the first ones too.
    """
    images = np.empty(0)
    numbers = itertools.count(0, batch)
    device_mb: list[float] = []

    def run() -> float:
        nonlocal images
        make = maker(generator, SEED, next(numbers), batch)
        start = clock()
        images = make()
        elapsed = clock() - start
        alive()
        used = device.used_mb() if device else None
        device_mb.extend([] if used is None else [used])
        return elapsed

    bound = generator.session if isinstance(generator.session, Bound) else None
    if bound:
        bound.spent.clear()
    joules, cpu = device.joules() if device else None, time.process_time()
    timing, repeated = time_steadily(run, seconds)
    cpu, after = time.process_time() - cpu, device.joules() if device else None
    thousands = next(numbers) / 1000
    row = {
        "batch": batch,
        "plan": asdict(generator.plan(batch)),
        **timing.row(batch),
        "repeated": repeated,
        "copies": _copies(bound) if bound else None,
        "peak_memory_mb": machine.peak_memory_mb(),
        "device_memory_mb": max(device_mb, default=None),
        "cpu_seconds_per_1000": cpu / thousands,
        "joules_per_1000": None if joules is None or after is None else (after - joules) / thousands,
    }
    return row, images


def _copies(bound: Bound) -> dict[str, float]:
    """Median milliseconds of a session's run, in its parts."""
    parts = zip(("to_device_ms", "compute_ms", "to_host_ms"), zip(*bound.spent, strict=True), strict=True)
    return {name: statistics.median(seconds) * 1e3 for name, seconds in parts}
