"""Images a second of exported generators in ONNX Runtime, against eager PyTorch and frozen TorchScript.

    python benchmarks/throughput.py --json benchmarks/results/throughput-cpu.json

Every contender does one job: n new images as a uint8 (n, H, W, C) numpy array, latents included. Each has a process of
its own, all stay open, and they are timed in turn, round by round; a ratio is taken within its round. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gantool.bench import machine

GENERATORS = {"mlp 28": ("mlp", (1, 28, 28)), "dcgan 32": ("dcgan", (3, 32, 32)), "dcgan 64": ("dcgan", (3, 64, 64))}
EAGER = "torch eager"
CONTENDERS = (EAGER, "torch eager, chunks of 64", "TorchScript frozen", "ONNX Runtime", "ONNX Runtime, seeded")
BATCHES = (1, 16, 64, 1024)
CHUNK = 64
CHECKED = 64  # images compared before anything is timed
MAX_LEVELS, MAX_SHARE = 1, 0.001
WARM_UPS = 3  # TorchScript profiles its first runs, then recompiles
PAUSE = 0.2  # seconds before each timing: threads of the one before stop spinning


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="of runs a timing, at least one run")
    parser.add_argument("--threads", type=int, default=machine.describe()["cores"])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--note", default="", help="kept in the JSON: what else the machine was doing")
    parser.add_argument("--quick", action="store_true", help="mlp 28 alone, 2 rounds: does the script work?")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(**json.loads(given.worker))
        return
    names = ["mlp 28"] if given.quick else list(GENERATORS)
    rounds, seconds = (2, 0.05) if given.quick else (given.rounds, given.seconds)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder) / name.replace(" ", "-")
            export(name, path)
            results += compare(name, path, rounds, seconds, given.threads)
    report = {
        "schema_version": 1,
        "job": "n new images as uint8 (n, H, W, C) numpy, latents included",
        "note": given.note,
        "rounds": rounds,
        "seconds": seconds,
        "threads": given.threads,
        "machine": machine.describe(),
        "versions": versions(),
        "results": results,
    }
    print("\n" + table(results))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def export(name: str, folder: Path) -> None:
    """The generator with weights of seed 0, as every kind of file, and its state dict."""
    subprocess.run(
        [sys.executable, __file__, "--worker", json.dumps({"export": name, "folder": str(folder)})], check=True
    )


def compare(name: str, folder: Path, rounds: int, seconds: float, threads: int) -> list[dict[str, Any]]:
    """All contenders at all batches; a row each."""
    workers = {c: Worker(contender=c, name=name, folder=str(folder), threads=threads) for c in CONTENDERS}
    try:
        levels = check({c: worker.ask(check=CHECKED) for c, worker in workers.items()})
        rows = []
        for batch in BATCHES:
            # in chunks it is the same as eager up to one chunk
            timed = [c for c in CONTENDERS if batch > CHUNK or c != CONTENDERS[1]]
            speeds: dict[str, list[float]] = {c: [] for c in timed}
            for c in timed:
                for _ in range(WARM_UPS):
                    workers[c].ask(batch=batch, seconds=0.0)
            for turn in range(rounds):
                shift = turn % len(timed)
                for c in timed[shift:] + timed[:shift]:
                    time.sleep(PAUSE)
                    speeds[c].append(workers[c].ask(batch=batch, seconds=seconds))
            for c in timed:
                ratios = [speed / eager for speed, eager in zip(speeds[c], speeds[EAGER], strict=True)]
                rows.append(
                    {
                        "generator": name,
                        "batch": batch,
                        "contender": c,
                        "images_per_second": statistics.median(speeds[c]),
                        "ratio": statistics.median(ratios),
                        "ratio_min": min(ratios),
                        "ratio_max": max(ratios),
                        "worst_level": levels[c],
                    }
                )
                print(f"{name}, batch {batch}, {c}: {rows[-1]['images_per_second']:,.0f} images/s", file=sys.stderr)
        return rows
    finally:
        for worker in workers.values():
            worker.close()


def check(made: dict[str, list[Any]]) -> dict[str, int]:
    """Levels by which each contender's images of the same latents differ from eager's; an error above 1."""
    wanted = np.array(made[EAGER], np.int16)
    levels = {}
    for contender, images in made.items():
        off = np.abs(np.array(images, np.int16) - wanted)
        if off.max() > MAX_LEVELS or (off > 0).mean() > MAX_SHARE:
            raise SystemExit(f"{contender} makes other images than eager torch, by up to {off.max()} levels.")
        levels[contender] = int(off.max())
    return levels


class Worker:
    """A contender in its own process: a line of JSON in, one out."""

    def __init__(self, **request: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **command: object) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("A contender's process ended; its error is above.")
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def work(**request: Any) -> None:
    """The other side: an export, or a contender that answers until its input ends."""
    if "export" in request:
        _export(request["export"], Path(request["folder"]))
        return
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    sample, images_of_seed = _contender(request)
    for line in sys.stdin:
        command = json.loads(line)
        answer = images_of_seed(command["check"]).tolist() if "check" in command else _speed(sample, **command)
        pipe.write(json.dumps(answer) + "\n")
        pipe.flush()


def _speed(sample: Callable[[int], np.ndarray], batch: int, seconds: float) -> float:
    runs, start = 0, time.perf_counter()
    while True:
        sample(batch)
        runs += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return runs * batch / elapsed


def _contender(request: dict[str, Any]) -> tuple[Callable[[int], np.ndarray], Callable[[int], np.ndarray]]:
    """Two calls: n new images; images 0…n-1 of seed 0."""
    contender, threads, folder = request["contender"], request["threads"], Path(request["folder"])
    if contender.startswith("ONNX"):
        from gantool.runtime import Generator

        file = "generator.seeded.onnx" if "seeded" in contender else "generator.onnx"
        generator = Generator(folder / file, threads=threads)
        made = 0

        def sample(n: int) -> np.ndarray:
            nonlocal made
            made += n
            return generator.sample(n, seed=1, first=made)

        return sample, lambda n: generator.sample(n, seed=0)

    import torch

    from gantool import latents

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    if contender.startswith("TorchScript"):
        from gantool.export import torchscript

        module = torchscript.load(folder / "generator.torchscript.pt")
    else:
        module = _game(request["name"]).generator.eval()
        module.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    latent = json.loads((folder / "latent.json").read_text())

    @torch.inference_mode()
    def images(z: torch.Tensor) -> np.ndarray:
        levels = module(z).mul(127.5).add(128).clamp(0, 255).to(torch.uint8)
        array: np.ndarray = levels.permute(0, 2, 3, 1).contiguous().numpy()
        return array

    def whole(n: int) -> np.ndarray:
        return images(torch.randn(n, *latent))

    def chunked(n: int) -> np.ndarray:
        return np.concatenate([whole(min(CHUNK, n - start)) for start in range(0, n, CHUNK)])

    def of_seed(n: int) -> np.ndarray:
        z = latents.draw({"z": tuple(latent)}, 0, np.arange(n, dtype=np.int64))["z"]
        return images(torch.from_numpy(z))

    return chunked if "chunks" in contender else whole, of_seed


def _game(name: str) -> Any:
    import torch

    from gantool import plugins
    from gantool.architecture import SampleSpec

    torch.manual_seed(0)
    architecture, shape = GENERATORS[name]
    found = plugins.find(architecture).architecture
    assert found is not None
    return found.build(found.config(), SampleSpec(shape))


def _export(name: str, folder: Path) -> None:
    import torch

    from gantool.export import FILES, from_game, write

    about: dict[str, object] = {"name": GENERATORS[name][0], "plugin": "gantool", "plugin_version": "", "config": {}}
    source = from_game(_game(name), architecture=about, training={}, data={})
    write(source, list(FILES), folder)
    torch.save(source.generator.state_dict(), folder / "weights.pt")
    (folder / "latent.json").write_text(json.dumps(source.normals[0].shape))


def versions() -> dict[str, str]:
    from importlib.metadata import version

    import onnxruntime

    from gantool import __version__

    own = {"gantool": __version__, "python": sys.version.split()[0], "onnxruntime": onnxruntime.__version__}
    return own | {name: version(name) for name in ("torch", "numpy")}


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: images a second, and in brackets the ratio to eager torch, median (min–max)."""
    lines = ["| generator | batch | " + " | ".join(CONTENDERS) + " |", "|---|---:|" + "---:|" * len(CONTENDERS)]
    for name, batch in dict.fromkeys((row["generator"], row["batch"]) for row in results):
        rows = {r["contender"]: r for r in results if (r["generator"], r["batch"]) == (name, batch)}
        cells = [_cell(rows[c]) if c in rows else "–" for c in CONTENDERS]
        lines.append(f"| {name} | {batch} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, Any]) -> str:
    speed = f"{row['images_per_second']:,.0f}"
    if row["contender"] == EAGER:
        return speed
    return f"{speed}: **{row['ratio']:.2f}** ({row['ratio_min']:.2f}–{row['ratio_max']:.2f})"


if __name__ == "__main__":
    main()
