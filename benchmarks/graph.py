"""Measure what rewriting a graph gains on the CPU provider: each layer, and the whole graph.

    python benchmarks/graph.py --json benchmarks/results/graph-cpu.json

An export rewrites layers by a fixed rule (`gantool.exporting.onnx_files.optimize`), which these figures back. Here
every layer is rewritten, whether the rule takes it or not; the whole graph is what an export makes of it. Before and
after run in turn, each generator in a process of its own, with a pause between sessions of several threads. See
README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from gantool.system import machine

if TYPE_CHECKING:
    from gantool.exporting.onnx_files.transposed import Layer

GENERATORS = {
    "dcgan 32": ("dcgan", (3, 32, 32)),
    "dcgan 64": ("dcgan", (3, 64, 64)),
    "wgan 32": ("wgan", (3, 32, 32)),
    "mlp 28": ("mlp", (1, 28, 28)),
}
FIRST = "first of classic DCGAN"  # z as a 1×1 map through ConvTranspose, as in the paper and PyTorch's tutorial
BATCHES = (1, 16, 64)
WHOLE = "whole graph"
SECONDS = 0.15  # of runs a comparison
MIN_ROUNDS, MAX_ROUNDS = 4, 25
BLOCK = 0.002  # seconds; runs shorter than this are timed several at a time
PAUSE = 0.003  # seconds; a session's threads go on spinning after a run, and would slow the next session's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, int(machine.describe()["cores"])}))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--note", default="", help="kept in the JSON: what else the machine was doing")
    parser.add_argument("--quick", action="store_true", help="one round of batch 1: does the script work?")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(**json.loads(given.worker))
        return
    batches, rounds = ((1,), 1) if given.quick else (BATCHES, given.rounds)
    results: list[dict[str, Any]] = []
    chosen: dict[str, Any] = {}
    for name in (FIRST, "mlp 28") if given.quick else (FIRST, *GENERATORS):
        request = {"name": name, "batches": batches, "rounds": rounds, "threads": given.threads}
        command = [sys.executable, __file__, "--worker", json.dumps(request)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        answer = json.loads(done.stdout.splitlines()[-1])
        results += answer["rows"]
        chosen[name] = answer["optimize"]
        print(f"{name}: measured", file=sys.stderr)
    print(table(results, batches))
    for name, what in chosen.items():
        if what is not None:
            layers = ", ".join(r["layer"] for r in what["rewritten"]) or "nothing"
            nodes = f"{what['nodes']} nodes → {what['nodes_after']}"
            print(f"\n{name}: rewritten {layers}; {nodes}")
    if given.json:
        report = {
            "schema_version": 1,
            "job": "a run of the float32 graph in ONNX Runtime's CPU provider, milliseconds",
            "note": given.note,
            "rounds": rounds,
            "machine": machine.describe(),
            "versions": {"python": sys.version.split()[0]}
            | {name: version(name) for name in ("numpy", "onnx", "onnxscript", "torch")}
            | {"onnxruntime": onnxruntime.__version__},  # its distribution has several names
            "results": results,
            "optimize": chosen,
        }
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def work(name: str, batches: Sequence[int], rounds: int, threads: Sequence[int]) -> None:
    """One generator: its rows as a line of JSON."""
    rows: list[dict[str, Any]] = []
    if name == FIRST:
        for channels in (256, 512):
            model = first_layer(channels)
            rows += layers(name, model, batches, rounds, threads)
        print(json.dumps({"rows": rows, "optimize": None}))
        return

    from gantool.exporting.onnx_files.optimize import clean, rewrite

    model, feeds = exported(name)
    rows += layers(name, clean(model), batches, rounds, threads)
    after, rewrites = rewrite(model)
    whole = [feeds(n) for n in batches]
    rows += timed(name, WHOLE, "optimize", model, after, whole, whole, rounds, threads)
    about = {
        "nodes": len(model.graph.node),
        "nodes_after": len(after.graph.node),
        "rewritten": [dataclasses.asdict(r) for r in rewrites],
    }
    print(json.dumps({"rows": rows, "optimize": about}))


def exported(name: str) -> tuple[onnx.ModelProto, Callable[[int], dict[str, np.ndarray]]]:
    """The default generator with weights of seed 0, and latents for it."""
    from gantool.exporting.onnx_files.graph import to_onnx
    from gantool.plugin import registry
    from gantool.plugin.architecture import Recipe, SampleSpec
    from gantool.training.state import build_game

    architecture, shape = GENERATORS[name]
    found = registry.find(architecture).architecture
    assert found is not None
    game = build_game(found, found.config(), SampleSpec(shape), Recipe(), seed=0)
    stream = np.random.default_rng(0)
    shapes = {i.name: i.shape for i in game.inputs}
    return (
        to_onnx(game.generator.eval(), game.inputs, game.output),
        lambda n: {key: stream.standard_normal((n, *sides), dtype=np.float32) for key, sides in shapes.items()},
    )


def first_layer(channels: int) -> onnx.ModelProto:
    weight = np.random.default_rng(0).standard_normal((100, channels, 4, 4), dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ConvTranspose", ["z", "weight"], ["map"], name=f"first.{channels}"),
            helper.make_node("Relu", ["map"], ["image"]),
        ],
        "first",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 100, 1, 1])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", channels, 4, 4])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def layers(
    name: str, model: onnx.ModelProto, batches: Sequence[int], rounds: int, threads: Sequence[int]
) -> list[dict[str, Any]]:
    """Each transposed convolution alone, with its bias and activation: as it is, and rewritten."""
    from gantool.exporting.onnx_files.optimize import PROJECTION, WINDOWS
    from gantool.exporting.onnx_files.transposed import View, find, project, projection_before

    view = View(model)
    rows: list[dict[str, Any]] = []
    stream = np.random.default_rng(0)
    before_rewritten: set[str] = set()
    for layer in find(model):
        maps = [stream.standard_normal((n, *layer.input_shape), dtype=np.float32) for n in batches]
        what = f"{layer.name} {'×'.join(map(str, layer.input_shape))} → {'×'.join(map(str, layer.output_shape))}"
        if math.prod(layer.input_shape[1:]) == 1:
            feeds = [{layer.source: m} for m in maps]
            rows += timed(name, what, PROJECTION, model, project(model, [layer]), feeds, feeds, rounds, threads)
        elif layer.divides:
            last = projection_before(view, layer.source) is not None or layer.source in before_rewritten
            before_rewritten.add(layer.result)
            one, two = alone(model, layer, last)
            feeds = [{layer.source: m} for m in maps]
            feeds_after = [{layer.source: rows_of(m)} for m in maps] if last else feeds
            rows += timed(name, what, WINDOWS, one, two, feeds, feeds_after, rounds, threads)
    return rows


def alone(model: onnx.ModelProto, layer: Layer, last: bool) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The layer as a graph of its own, before and after. `last`: rewritten, it gets its input channels-last.

    So it is behind a Gemm, whose columns are permuted, and behind a layer that was rewritten too.
    """
    from gantool.exporting.onnx_files.transposed import window

    def graph(shape: Sequence[int]) -> onnx.ModelProto:
        source = helper.make_tensor_value_info(layer.source, TensorProto.FLOAT, ["batch", *shape])
        result = helper.make_tensor_value_info(layer.result, TensorProto.FLOAT, ["batch", *layer.output_shape])
        weights = [t for t in model.graph.initializer if t.name in layer.nodes[0].input[1:]]
        made = helper.make_graph(list(layer.nodes), "layer", [source], [result], weights)
        return helper.make_model(made, opset_imports=list(model.opset_import), ir_version=model.ir_version)

    channels, *sides = layer.input_shape
    before = graph(layer.input_shape)
    if not last:
        return before, window(before, [layer])
    return before, window(graph([math.prod(sides), channels]), [layer], [layer.source])


def rows_of(maps: np.ndarray) -> np.ndarray:
    """(batch, channels, sides…) → (batch, positions, channels)."""
    return np.ascontiguousarray(maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1))


def timed(
    name: str,
    what: str,
    kind: str,
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    feeds: Sequence[Any],
    feeds_after: Sequence[Any],
    rounds: int,
    threads: Sequence[int],
) -> list[dict[str, Any]]:
    """A row for every batch and number of threads: medians over the rounds, of the ratio also its range."""
    turns = [compare(before, after, feeds, feeds_after, threads) for _ in range(rounds)]
    rows = []
    for same in zip(*turns, strict=True):
        ratios = [t.before_ms / t.after_ms for t in same]
        rows.append(
            {
                "generator": name,
                "what": what,
                "rewrite": kind,
                "batch": same[0].batch,
                "threads": same[0].threads,
                "before_ms": statistics.median(t.before_ms for t in same),
                "after_ms": statistics.median(t.after_ms for t in same),
                "ratio": statistics.median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
            }
        )
    return rows


@dataclass(frozen=True)
class Timing:
    """Milliseconds of the quickest run before and after a rewrite."""

    batch: int
    threads: int
    before_ms: float
    after_ms: float


def compare(
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    feeds: Sequence[dict[str, np.ndarray]],
    feeds_after: Sequence[dict[str, np.ndarray]],
    threads: Sequence[int],
) -> list[Timing]:
    """Both graphs at every number of threads and every batch."""
    timings = []
    for count in threads:
        sessions = [session(model, count) for model in (before, after)]
        for both in zip(feeds, feeds_after, strict=True):
            jobs = [partial(s.run, None, feed) for s, feed in zip(sessions, both, strict=True)]
            milliseconds = [round(1e3 * seconds, 4) for seconds in race(jobs, alone=count == 1)]
            timings.append(Timing(len(next(iter(both[0].values()))), count, *milliseconds))
    return timings


def session(model: onnx.ModelProto, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def race(jobs: Sequence[Callable[[], object]], *, alone: bool) -> list[float]:
    """Seconds of each job's quickest run, all run in turn. `alone`: they use no thread but the caller's.

    The quickest, because what else a machine does only ever adds time. A thread alone is timed by its own clock, which
    stands still while others have the processor.
    """
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
        if turn >= MIN_ROUNDS and time.perf_counter() - started > SECONDS:
            break
        for job, times, count in zip(jobs, taken, repeats, strict=True):
            if not alone:
                time.sleep(PAUSE)
            began = clock()
            for _ in range(count):
                job()
            times.append((clock() - began) / count)
    return [min(times) for times in taken]


def table(results: list[dict[str, Any]], batches: Sequence[int]) -> str:
    """Markdown: milliseconds before and after, how many times as fast, and in brackets the range over the rounds."""
    lines = [
        "| generator | layer | rewrite | threads | " + " | ".join(f"batch {n}" for n in batches) + " |",
        "|---|---|---|---:|" + "---:|" * len(batches),
    ]
    for key in dict.fromkeys((r["generator"], r["what"], r["rewrite"], r["threads"]) for r in results):
        same = {
            r["batch"]: r for r in results if (r["generator"], r["what"], r["rewrite"], r["threads"]) == key
        }  # fmt: skip
        cells = [_cell(same[n]) for n in batches]
        lines.append("| " + " | ".join([*map(str, key), *cells]) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, Any]) -> str:
    ratio = f"**{row['ratio']:.2f}** ({row['ratio_min']:.2f}–{row['ratio_max']:.2f})"
    return f"{row['before_ms']:.2f} → {row['after_ms']:.2f}: {ratio}"


if __name__ == "__main__":
    main()
