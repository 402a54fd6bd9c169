"""Many samples at once: every architecture's seeded file in gantool's runtime against OpenVINO, default and streams.

    python benchmarks/bulk.py --json benchmarks/results/bulk-cpu.json

The rules are those of benchmarks/throughput.py: each way has a process of its own, they take turns, and a ratio is
taken within its round. Rates are by processor time of all threads, which other programs on the machine change little.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gantool.benching.timing import rate
from gantool.system import machine
from gantool.system.files import write_json
from gantool.system.subprocesses import JsonProcess, json_input, json_output

# architecture, preset, shape, classes, rate of sounds
CASES: dict[str, tuple[str, str, tuple[int, ...], int, int]] = {
    "mlp 28": ("mlp", "", (1, 28, 28), 0, 0),
    "cgan 28": ("cgan", "", (1, 28, 28), 10, 0),
    "dcgan 32": ("dcgan", "", (3, 32, 32), 0, 0),
    "wgan 32": ("wgan", "", (3, 32, 32), 0, 0),
    "sngan 32": ("sngan", "", (3, 32, 32), 0, 0),
    "r3gan tiny 32": ("r3gan", "tiny", (3, 32, 32), 0, 0),
    "projected tiny 32": ("projected", "tiny", (3, 32, 32), 0, 0),
    "stylegan2 tiny 32": ("stylegan2", "tiny", (3, 32, 32), 0, 0),
    "wavegan 8192": ("wavegan", "", (1, 8192), 0, 16_000),
    "gan3d 32": ("gan3d", "", (1, 32, 32, 32), 0, 0),
}
OURS, DEFAULT, STREAMS = "gantool, seeded", "OpenVINO", "OpenVINO, streams"
WAYS = (OURS, DEFAULT, STREAMS)
CHUNKS = (16, 64, 256)  # samples of a request of a stream: the quickest counts
SEEDED, PLAIN = "generator.seeded.onnx", "generator.onnx"
LEVELS, SHARE = 1, 0.001  # of the values of 16 samples, by which the ways may differ
HANG = 900.0  # seconds
Make = Callable[[int], np.ndarray]


def export(case: str, folder: Path) -> None:
    """The files of a generator with weights of seed 0."""
    from gantool.exporting import from_game, write
    from gantool.plugin import SampleSpec, registry
    from gantool.plugin.architecture import Recipe
    from gantool.plugin.options import resolve
    from gantool.training.state import build_game

    name, preset, shape, classes, hertz = CASES[case]
    found = registry.find(name).architecture
    assert found is not None
    config, _ = resolve(found, dict(found.presets.get(preset, {})))
    game = build_game(found, config, SampleSpec(shape, classes, rate=hertz), Recipe(), seed=0)
    about: dict[str, object] = {"name": name, "plugin": "gantool", "plugin_version": "", "config": {}}
    write(from_game(game, architecture=about, training={}, data={}), ["onnx", "onnx-seeded"], folder)


def gantool(folder: Path) -> tuple[Make, Make]:
    """What makes n new samples, and what makes the first n of seed 0."""
    from gantool.runtime import Generator

    generator, made = Generator(folder / SEEDED), 0

    def fresh(n: int) -> np.ndarray:
        nonlocal made
        made += n
        return generator.sample(n, seed=1, first=made)

    return fresh, lambda n: generator.sample(n)


def openvino(folder: Path, streams: bool) -> tuple[Make, Make]:
    """OpenVINO on the plain file, in float32; its graph ends in bytes, channels last."""
    import openvino as ov
    from openvino import opset13 as ops

    from gantool.artifact import latents
    from gantool.artifact.inspection import inspect

    about = inspect(folder / PLAIN).manifest
    model, threads = ov.Core().read_model(folder / PLAIN), machine.usable_cores()
    scale, shift, kind = (32767, 0.0, "i16") if about.output.levels == "int16" else (127.5, 127.5, "u8")
    clamped = ops.clamp(model.get_results()[0].input_value(0), -1.0, 1.0)
    levels = ops.round(ops.add(ops.multiply(clamped, np.float32(scale)), np.float32(shift)), "half_to_even")
    axes = np.array([0, *range(2, 1 + len(about.output.shape)), 1])
    model = ov.Model([ops.transpose(ops.convert(levels, kind), axes)], model.get_parameters(), "levels")
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    if streams:
        settings |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": threads}
    compiled = ov.Core().compile_model(model, "CPU", settings)
    queue = ov.AsyncInferQueue(compiled, threads)
    random = np.random.default_rng(1)

    def feeds(n: int, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for item in about.inputs:
            if item.distribution == "label":
                drawn[item.name] = np.arange(n) % item.classes
            elif item.distribution == "value":
                drawn[item.name] = np.full(n, item.default, np.float32)
        return drawn

    def over_streams(given: dict[str, np.ndarray], n: int, chunk: int) -> np.ndarray:
        made = np.empty((n, *about.output.channels_last), about.output.levels)
        queue.set_callback(
            lambda request, begin: np.copyto(made[begin : begin + chunk], request.get_output_tensor().data)
        )
        for begin in range(0, n, chunk):
            queue.start_async({name: array[begin : begin + chunk] for name, array in given.items()}, begin)
        queue.wait_all()
        return made

    best: dict[int, int] = {}

    def answer(given: dict[str, np.ndarray], n: int) -> np.ndarray:
        if not streams:
            made: np.ndarray = compiled(given)[0]
            return made
        if n not in best:
            taken = {}
            for chunk in CHUNKS:
                over_streams(given, n, chunk)
                began = time.process_time()
                over_streams(given, n, chunk)
                taken[chunk] = time.process_time() - began
            best[n] = min(taken, key=lambda chunk: taken[chunk])
        return over_streams(given, n, best[n])

    shapes = {item.name: item.shape for item in about.latents}

    def fresh(n: int) -> np.ndarray:
        drawn = {name: random.standard_normal((n, *shape), np.float32) for name, shape in shapes.items()}
        return answer(feeds(n, drawn), n)

    return fresh, lambda n: answer(feeds(n, latents.draw(shapes, 0, np.arange(n, dtype=np.int64))), n)


def serve(way: str, folder: Path) -> None:
    """A child: a line of JSON {"batch", "seconds"} or {"check"} in, {"answer"} out."""
    send = json_output()
    fresh, first = gantool(folder) if way == OURS else openvino(folder, way == STREAMS)
    for asked in json_input():
        if "check" in asked:
            send({"answer": first(asked["check"]).astype(int).ravel().tolist()})
            continue
        began = time.perf_counter()
        by_cpu = rate(fresh, asked["batch"], asked["seconds"], time.process_time)
        send({"answer": {"per_cpu_second": by_cpu, "seconds": time.perf_counter() - began}})


def compare(case: str, folder: Path, batch: int, rounds: int, seconds: float) -> dict[str, Any]:
    children = {way: JsonProcess([sys.executable, __file__, "--child", way, str(folder)]) for way in WAYS}

    def ask(way: str, **asked: Any) -> Any:
        children[way].send(asked)
        answer = children[way].receive(HANG)
        if answer is None:
            sys.exit(f"{case}, {way}: the process {children[way].ending()}.{children[way].stderr_tail()}")
        return answer["answer"]

    try:
        wanted = np.array(ask(OURS, check=16))
        for way in WAYS[1:]:
            off = np.abs(np.array(ask(way, check=16)) - wanted)
            if off.max() > LEVELS and (off > LEVELS).mean() > SHARE:
                sys.exit(f"{case}: {way} makes other samples, by up to {off.max()} levels.")
        for way in WAYS:
            ask(way, batch=batch, seconds=0.0)
        speeds: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in WAYS[number % 3 :] + WAYS[: number % 3]:
                speeds[way].append(ask(way, batch=batch, seconds=seconds)["per_cpu_second"])
    finally:
        for child in children.values():
            child.kill()
    medians = {way: statistics.median(found) for way, found in speeds.items()}
    rival = max(WAYS[1:], key=lambda way: medians[way])
    ratios = sorted(ours / theirs for ours, theirs in zip(speeds[OURS], speeds[rival], strict=True))
    return {
        "case": case,
        "batch": batch,
        "per_cpu_second": {way: round(value, 1) for way, value in medians.items()},
        "rival": rival,
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(ratios[0], 3),
        "highest": round(ratios[-1], 3),
        "rounds": speeds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of processor time of each way in each round")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--child", nargs=2, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        serve(given.child[0], Path(given.child[1]))
        return
    rows = []
    print("| generator | " + " | ".join(WAYS) + " | ratio to the better |\n|---|---:|---:|---:|---:|", flush=True)
    for case in given.cases:
        with tempfile.TemporaryDirectory() as folder:
            export(case, Path(folder))
            row = compare(case, Path(folder), given.batch, given.rounds, given.seconds)
        rows.append(row)
        cells = " | ".join(f"{row['per_cpu_second'][way]:,.0f}" for way in WAYS)
        print(f"| {case} | {cells} | **{row['ratio']:.2f}** ({row['lowest']:.2f}–{row['highest']:.2f}) |", flush=True)
        if given.json:
            about = {"machine": machine.describe(), "load": machine.load(), "batch": given.batch}
            write_json(given.json, {**about, "rows": rows})


if __name__ == "__main__":
    main()
