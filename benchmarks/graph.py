"""What `gantool.exporting.onnx_files.optimize` gains: each layer and the whole graph, on the CPU provider.

    python benchmarks/graph.py --json benchmarks/results/graph-cpu.json

Layers are rewritten here whether it pays or not; the whole graph is what `optimize` makes of it by its own timings.
Before and after run in turn, each generator in a process of its own, with a pause between sessions of several threads.
See README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from gantool.benching import machine

GENERATORS = {
    "dcgan 32": ("dcgan", (3, 32, 32)),
    "dcgan 64": ("dcgan", (3, 64, 64)),
    "wgan 32": ("wgan", (3, 32, 32)),
    "mlp 28": ("mlp", (1, 28, 28)),
}
FIRST = "first of classic DCGAN"  # z as a 1×1 map through ConvTranspose, as in the paper and PyTorch's tutorial
BATCHES = (1, 16, 64)
WHOLE = "whole graph"


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
            print(f"\n{name}: rewritten {layers} in {what['seconds']:.1f} s; {nodes}")
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

    from gantool.exporting.onnx_files.optimize import optimize
    from gantool.exporting.onnx_files.optimize.cleanup import clean

    model, feeds = exported(name)
    rows += layers(name, clean(model), batches, rounds, threads)
    began = time.perf_counter()
    after, rewrites = optimize(model, feeds, say=lambda note: print(note, file=sys.stderr))
    seconds = time.perf_counter() - began
    rows += timed(name, WHOLE, "optimize", model, after, [feeds(n) for n in batches], None, rounds, threads)
    about = {
        "seconds": seconds,
        "nodes": len(model.graph.node),
        "nodes_after": len(after.graph.node),
        "rewritten": [dataclasses.asdict(r) for r in rewrites],
    }
    print(json.dumps({"rows": rows, "optimize": about}))


def exported(name: str) -> tuple[onnx.ModelProto, Callable[[int], dict[str, np.ndarray]]]:
    """The default generator with weights of seed 0, and latents for it."""
    import torch

    from gantool.exporting.onnx_files.graph import to_onnx
    from gantool.plugin import registry
    from gantool.plugin.architecture import SampleSpec

    architecture, shape = GENERATORS[name]
    found = registry.find(architecture).architecture
    assert found is not None
    torch.manual_seed(0)
    game = found.build(found.config(), SampleSpec(shape))
    stream = np.random.default_rng(0)
    shapes = {i.name: i.shape for i in game.inputs}
    return (
        to_onnx(game.generator.eval(), game.inputs, game.output),
        lambda n: {key: stream.standard_normal((n, *sides), dtype=np.float32) for key, sides in shapes.items()},
    )


def first_layer(channels: int) -> onnx.ModelProto:
    from onnx import TensorProto, helper, numpy_helper

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
    from gantool.exporting.onnx_files.optimize.layers import PROJECTION, WINDOWS, alone, find, project

    rows: list[dict[str, Any]] = []
    stream = np.random.default_rng(0)
    before_rewritten: set[str] = set()
    for layer in find(model):
        maps = [stream.standard_normal((n, *layer.input_shape), dtype=np.float32) for n in batches]
        what = f"{layer.name} {'×'.join(map(str, layer.input_shape))} → {'×'.join(map(str, layer.output_shape))}"
        if layer.fits(PROJECTION):
            feeds = [{layer.source: m} for m in maps]
            rows += timed(name, what, PROJECTION, model, project(model, [layer]), feeds, None, rounds, threads)
        elif layer.divides:
            one, two, source, turn = alone(model, layer, layer.projected or layer.source in before_rewritten)
            before_rewritten.add(layer.result)
            both = [[{source: m} for m in maps], [{source: turn(m)} for m in maps]]
            rows += timed(name, what, WINDOWS, one, two, both[0], both[1], rounds, threads)
    return rows


def timed(
    name: str,
    what: str,
    kind: str,
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    feeds: Sequence[Any],
    feeds_after: Sequence[Any] | None,
    rounds: int,
    threads: Sequence[int],
) -> list[dict[str, Any]]:
    """A row for every batch and number of threads: medians over the rounds, of the ratio also its range."""
    from gantool.exporting.onnx_files.optimize import timing

    turns = [timing.compare(before, after, feeds, feeds_after, threads) for _ in range(rounds)]
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
