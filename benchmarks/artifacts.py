"""The artifact table: every kind of file of one generator, its size, its speed by float32's, and how far it is off.

    python benchmarks/artifacts.py --steps 1500 --json benchmarks/results/artifacts-cpu.json

The job is the same for all: images first … first+n-1 of a seed as uint8 (n, H, W, C) numpy, latents included. Each file
has a process of its own, all stay open, and they are timed in turn, round by round; a ratio is taken within its round.
`half` is made for GPUs: on a CPU, ONNX Runtime computes it in float32, which says nothing of its speed there. int8 is
written whether it pays or not. Weights are trained for --steps iterations; --quick takes first weights.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from contenders import versions  # beside this file

from gantool.system import machine

CASES = {"mlp 28": ("mlp", 28), "dcgan 32": ("dcgan", 32), "wgan 28": ("wgan", 28)}
REFERENCE = "generator.onnx"
BATCHES = (1, 64)
COMPARED = 256  # images
WARM_UPS = 3  # TorchScript profiles its first runs, then recompiles
PAUSE = 0.1  # seconds before each timing: threads of the one before stop spinning


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--steps", type=int, default=300, help="iterations of training")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of runs a timing, at least one run")
    parser.add_argument("--threads", type=int, default=machine.describe()["cores"])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--note", default="", help="kept in the JSON: what else the machine was doing")
    parser.add_argument("--quick", action="store_true", help="mlp 28 alone, first weights, 2 rounds: does it work?")
    given = parser.parse_args()
    cases = ["mlp 28"] if given.quick else given.cases
    steps, rounds, seconds = (0, 2, 0.02) if given.quick else (given.steps, given.rounds, given.seconds)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="gantool-") as temporary:
        for case in cases:
            folder = Path(temporary) / case.replace(" ", "-")
            files = in_a_process(export, case, steps, folder)
            results += compare(case, [folder / file for file in files], rounds, seconds, given.threads)
    report = {
        "schema_version": 1,
        "job": "images first … first+n-1 of a seed as uint8 (n, H, W, C) numpy, latents included",
        "note": given.note,
        "steps": steps,
        "rounds": rounds,
        "seconds": seconds,
        "threads": given.threads,
        "machine": machine.describe(),
        "versions": versions(),
        "results": results,
    }
    print(table(results))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def export(case: str, steps: int, folder: Path) -> list[str]:
    """Every kind of file at every precision into `folder`; their names, the reference first."""
    from gantool.artifact.manifest import PRECISIONS
    from gantool.exporting import FILES, Options, Source, from_game, source_of, write
    from gantool.plugin import registry
    from gantool.plugin.architecture import Recipe, SampleSpec
    from gantool.run.rundir import RunDir
    from gantool.training.state import build_game

    name, side = CASES[case]
    source: Source
    if steps:
        runs = folder / "runs"
        command = ["train", name, "--size", str(side), "--steps", str(steps), "--runs", str(runs)]
        subprocess.run([sys.executable, "-m", "gantool", *command], check=True, stdout=sys.stderr)
        source = source_of(RunDir(next(runs.iterdir())))
    else:
        architecture = registry.find(name).architecture
        assert architecture is not None
        game = build_game(architecture, architecture.config(), SampleSpec((1, side, side)), Recipe(), seed=0)
        about: dict[str, object] = {"name": name, "plugin": "gantool", "plugin_version": "", "config": {}}
        source = from_game(game, architecture=about, training={}, data={})
    options = Options(precisions=PRECISIONS, force=True)
    made = write(source, list(FILES), folder, options, lambda note: print(f"{case}: {note}", file=sys.stderr))
    names = [item.path.name for item in made]
    return [REFERENCE, *(file for file in names if file != REFERENCE)]


def compare(case: str, files: list[Path], rounds: int, seconds: float, threads: int) -> list[dict[str, Any]]:
    """A row for each file: megabytes, images a second at each batch and by the reference's, and levels off it."""
    workers = {path.name: Worker(path, threads) for path in files}
    try:
        images = {file: worker.ask("images", COMPARED) for file, worker in workers.items()}
        rows = {path.name: {"case": case, "file": path.name, "megabytes": path.stat().st_size / 1e6} for path in files}
        for file, row in rows.items():
            off = np.abs(images[file].astype(np.int16) - images[REFERENCE])
            row |= {"worst_level": int(off.max()), "mean_level": float(off.mean()), "speed": {}}
        for batch in BATCHES:
            speeds: dict[str, list[float]] = {file: [] for file in workers}
            for worker in workers.values():
                for _ in range(WARM_UPS):
                    worker.ask("speed", batch, 0.0)
            names = list(workers)
            for turn in range(rounds):
                shift = turn % len(names)
                for file in names[shift:] + names[:shift]:
                    time.sleep(PAUSE)
                    speeds[file].append(workers[file].ask("speed", batch, seconds))
            for file, row in rows.items():
                ratios = [own / base for own, base in zip(speeds[file], speeds[REFERENCE], strict=True)]
                row["speed"][str(batch)] = {
                    "images_per_second": statistics.median(speeds[file]),
                    "ratio": statistics.median(ratios),
                    "ratio_min": min(ratios),
                    "ratio_max": max(ratios),
                }
        return list(rows.values())
    finally:
        for worker in workers.values():
            worker.close()


class Worker:
    """A file in its own process."""

    def __init__(self, path: Path, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, path, threads), daemon=True)
        self.process.start()
        other.close()

    def ask(self, what: str, *arguments: float) -> Any:
        try:
            self.pipe.send((what, *arguments))
            return self.pipe.recv()
        except (EOFError, OSError) as error:
            raise SystemExit("A file's process ended; its error is above.") from error

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def serve(pipe: Connection, path: Path, threads: int) -> None:
    """The other side, until it is ended: images of seed 0, or the speed of new ones."""
    sample, made = sampler(path, threads), 0
    while True:
        what, count, *rest = pipe.recv()
        if what == "images":
            pipe.send(sample(int(count), 0, 0))
            continue
        runs, start = 0, time.perf_counter()
        while True:
            sample(count, 1, made)
            runs, made = runs + 1, made + count
            elapsed = time.perf_counter() - start
            if elapsed >= rest[0]:
                break
        pipe.send(runs * count / elapsed)


def sampler(path: Path, threads: int) -> Callable[[int, int, int], np.ndarray]:
    """A call (n, seed, first) → uint8 (n, H, W, C), as a program that has the file would write it."""
    if path.suffix == ".onnx":
        from gantool.runtime import Generator

        return Generator(path, threads=threads).sample

    import torch

    from gantool.artifact import inspection, latents
    from gantool.exporting.torch_files import archive, torchscript

    torch.set_num_threads(threads)
    described = inspection.inspect(path).manifest
    module = archive.load(path) if path.suffix == ".pt2" else torchscript.load(path)
    shapes = {item.name: item.shape for item in described.latents}

    @torch.inference_mode()
    def seeded(n: int, seed: int, first: int) -> np.ndarray:
        index = torch.arange(first, first + n)
        array: np.ndarray = module(torch.tensor([seed]), index).numpy()
        return array

    @torch.inference_mode()
    def plain(n: int, seed: int, first: int) -> np.ndarray:
        drawn = latents.draw(shapes, seed, np.arange(first, first + n, dtype=np.int64))
        return latents.pixels(module(*map(torch.from_numpy, drawn.values())).numpy())

    return seeded if "seeded" in path.name else plain


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What it returns: torch and its threads end with the process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: speeds by the float32 file's, median (lowest–highest) of the rounds; off it in levels of 0…255."""
    heads = [f"batch {batch}" for batch in BATCHES]
    lines = [
        f"| generator | file | MB | {' | '.join(heads)} | worst level | mean level |",
        "|---|---|---:|" + "---:|" * (len(BATCHES) + 2),
    ]
    for row in results:
        cells = [_speed(row["file"], row["speed"][str(batch)]) for batch in BATCHES]
        off = f"{row['worst_level']} | {row['mean_level']:.3f}" if row["file"] != REFERENCE else "– | –"
        lines.append(f"| {row['case']} | `{row['file']}` | {row['megabytes']:.2f} | {' | '.join(cells)} | {off} |")
    return "\n".join(lines)


def _speed(file: str, speed: dict[str, float]) -> str:
    if file == REFERENCE:
        return f"{speed['images_per_second']:,.0f} images/s"
    return f"**{speed['ratio']:.2f}** ({speed['ratio_min']:.2f}–{speed['ratio_max']:.2f})"


if __name__ == "__main__":
    main()
