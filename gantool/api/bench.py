"""`gantool.bench`: how fast exported generators are, with proof that their images are right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from gantool.api import Named, name_of
from gantool.benching import answer, matrix, proof, report, rivals
from gantool.run.exports import find_artifact
from gantool.system import machine, terminal
from gantool.system.files import read_json

DEFAULTS = report.Settings()


def bench(
    models: Named | Sequence[Named] | None = None,
    *,
    provider: str | None = None,
    batches: Sequence[int] = DEFAULTS.batches,
    threads: int | None = None,
    options: Sequence[str] = (),
    full: bool = False,
    minutes: float | None = None,
    seconds: float = DEFAULTS.seconds,
    timeout: float = DEFAULTS.timeout,
    p99: float = DEFAULTS.limits.p99,
    memory: float | None = None,
    quality: bool = False,
    compare: Sequence[str] = (),
    baseline: str | os.PathLike[str] | None = None,
    tolerance: float = answer.TOLERANCE,
    runs: str | os.PathLike[str] = "runs",
    progress: bool = True,
) -> dict[str, Any]:
    """Time exported generators, each in a process of its own without torch, and prove their images right; the report.

        report = gantool.bench(run, batches=(1, 64))
        report["answer"]["models"][0]["words"]

    `models`: exported .onnx files, or runs (path, name, number); without any, the newest export. `provider`: cpu, cuda,
    tensorrt or openvino; default: cuda where it works, else cpu. `seconds`: of timed calls a batch. `full`: all
    variants beside a file, on every provider, with every number of threads and option, in at most `minutes`. `p99`,
    `memory`: the latency (ms) and memory (MB) that the best may take. `quality`: the Fréchet distance of each variant's
    images to those of the float32 file. `compare`: torch, compile, torchscript=FILE: the same generator through
    torch. `baseline`: the file of an earlier report, to compare with. docs/bench.md describes the report.

    GantoolError when nothing could be measured, or for what does not exist.
    """
    if quality:
        import torch  # noqa: F401  known to be missing before anything is measured
    given = models if isinstance(models, Sequence) and not isinstance(models, str) else [models]
    paths = [find_artifact(None if one is None else name_of(one), Path(runs)) for one in given]
    before = None if baseline is None else read_json(Path(baseline))
    settings = report.Settings(tuple(batches), seconds, timeout, minutes, answer.Limits(p99, memory))
    rivals.parse(compare)
    chosen = provider or matrix.best_provider()
    cells = matrix.full(paths, machine.usable_cores()) if full else matrix.short(paths, chosen, threads, options)
    with terminal.status() if progress else nullcontext(lambda stage: None) as show:
        made = report.bench(
            cells,
            settings,
            show,
            otherwise=matrix.short(paths, "cpu", threads) if provider is None and chosen != "cpu" and not full else (),
            # a provider that was named is tried: its own refusal says more
            absent=matrix.absent if full else lambda name: None,
        )
        report.require_measured(made)
        if quality:
            proof.add_quality(made, show)
        if compare:
            on_gpu = any(cell["provider"] == "cuda" and cell["status"] == "measured" for cell in made["cells"])
            device = "cuda" if on_gpu else "cpu"
            made["compare"] = rivals.compare(paths[0], compare, settings.batches, seconds, timeout, show, device)
    if baseline is not None:
        made["baseline"] = answer.compare(made, before, tolerance)
    return made
