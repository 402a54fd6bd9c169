"""Images a second of exported generators in gantool's runtime, against PyTorch (eager, compiled, frozen) and OpenVINO.

    python benchmarks/throughput.py --json benchmarks/results/throughput-cpu.json
    python benchmarks/throughput.py --overhead            # what `sample` adds to a bare InferenceSession.run

Every contender does one job: n new images as a uint8 (n, H, W, C) numpy array, latents included. Each has a process of
its own, all stay open, and they are timed in turn, round by round; a ratio is taken within its round. See README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
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
EAGER, CHANNELS_LAST, CHUNKED = "torch eager", "torch channels_last", "torch eager, chunks of 64"
COMPILED, FROZEN = "torch.compile", "TorchScript frozen"
OPENVINO, STREAMS = "OpenVINO", "OpenVINO, best streams"
PLAIN, SEEDED, INT8 = "gantool", "gantool, seeded", "gantool int8, seeded"
CONTENDERS = (EAGER, CHANNELS_LAST, CHUNKED, COMPILED, FROZEN, OPENVINO, STREAMS, PLAIN, SEEDED, INT8)
TORCH = (EAGER, CHANNELS_LAST, CHUNKED, COMPILED, FROZEN)
FILES_OF = {PLAIN: "generator.onnx", SEEDED: "generator.seeded.onnx", INT8: "generator.int8.seeded.onnx"}
GEMM = "matrix product"
BATCHES = (1, 16, 64, 1024)
CHUNK = 64
CHECKED = 64  # images compared before anything is timed
MAX_LEVELS, MAX_SHARE = 1, 0.001
MAX_MEAN_INT8 = 4.0  # levels: of weights that nobody trained; an export of trained ones is held to less
WARM_UPS = 3  # TorchScript profiles its first runs, then recompiles
PAUSE = 0.2  # seconds before each timing: threads of the one before stop spinning
STREAM_CHUNKS = (16, 64)  # images a request of OpenVINO's streams: the quicker at each batch counts
# generator, batch, contenders of which the best counts, and how often eager's speed it shall have
TARGETS = (
    ("mlp 28", 1, (PLAIN, SEEDED), 1.9), ("mlp 28", 64, (PLAIN, SEEDED), 1.3), ("mlp 28", 1024, (PLAIN, SEEDED), 1.0),
    ("mlp 28", 1024, (INT8,), 2.5),
    ("dcgan 32", 1, (PLAIN, SEEDED), 4.5), ("dcgan 32", 64, (PLAIN, SEEDED), 1.35),
    ("dcgan 32", 1024, (PLAIN, SEEDED), 2.2),
    ("dcgan 64", 1, (PLAIN, SEEDED), 2.5), ("dcgan 64", 64, (PLAIN, SEEDED), 1.35),
    ("dcgan 64", 1024, (PLAIN, SEEDED), 1.8),
)  # fmt: skip
OVERHEAD_RUNS = {1: 600, 64: 60}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="of runs a timing, at least one run")
    parser.add_argument("--threads", type=int, default=machine.describe()["cores"])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--note", default="", help="kept in the JSON: what else the machine was doing")
    parser.add_argument("--generators", nargs="+", choices=GENERATORS, default=list(GENERATORS), metavar="NAME")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--overhead", action="store_true", help="of `sample` over a bare session.run, and nothing else")
    parser.add_argument("--quick", action="store_true", help="mlp 28 at 1 and 64, 2 rounds: does the script work?")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(**json.loads(given.worker))
        return
    names = ["mlp 28"] if given.quick else given.generators
    batches = (1, 64) if given.quick else BATCHES
    rounds, seconds = (2, 0.05) if given.quick else (given.rounds, given.seconds)
    contenders = [c for c in CONTENDERS if c in (EAGER, *given.contenders)]
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder) / name.replace(" ", "-")
            export(name, path)
            if given.overhead:
                results += overhead(name, path)
            else:
                results += compare(name, path, rounds, seconds, given.threads, contenders, batches)
    report = {
        "schema_version": 2,
        "job": "n new images as uint8 (n, H, W, C) numpy, latents included",
        "note": given.note,
        "rounds": rounds,
        "seconds": seconds,
        "threads": 1 if given.overhead else given.threads,
        "machine": machine.describe(),
        "versions": versions(),
        "results": results,
    }
    if not given.overhead:
        report["targets"] = targets(results)
    print("\n" + (overhead_table(results) if given.overhead else table(results) + "\n\n" + targets_table(results)))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def export(name: str, folder: Path) -> None:
    """The generator with weights of seed 0, as every kind of file, and its state dict."""
    subprocess.run(
        [sys.executable, __file__, "--worker", json.dumps({"export": name, "folder": str(folder)})], check=True
    )


def compare(
    name: str,
    folder: Path,
    rounds: int,
    seconds: float,
    threads: int,
    contenders: list[str],
    batches: tuple[int, ...],
) -> list[dict[str, Any]]:
    """All contenders at all batches; a row each."""
    flops = json.loads((folder / "work.json").read_text())["flops"]
    here = [c for c in contenders if _possible(c, name)]
    workers = {c: Worker(contender=c, name=name, folder=str(folder), threads=threads) for c in [*here, GEMM]}
    try:
        levels = check({c: workers[c].ask(check=CHECKED) for c in here})
        rows = []
        for batch in batches:
            # in chunks, and in streams, it is the same as before up to one chunk
            timed = [c for c in here if batch > CHUNK or c != CHUNKED]
            speeds: dict[str, list[float]] = {c: [] for c in timed}
            peaks: list[float] = []
            for c in timed:
                for _ in range(WARM_UPS):
                    workers[c].ask(batch=batch, seconds=0.0)
            for turn in range(rounds):
                shift = turn % len(timed)
                peaks.append(workers[GEMM].ask(seconds=seconds))
                for c in timed[shift:] + timed[:shift]:
                    time.sleep(PAUSE)
                    speeds[c].append(workers[c].ask(batch=batch, seconds=seconds))
            for c in timed:
                ratios = [speed / eager for speed, eager in zip(speeds[c], speeds[EAGER], strict=True)]
                shares = [speed * flops / peak for speed, peak in zip(speeds[c], peaks, strict=True)]
                rows.append(
                    {
                        "generator": name,
                        "batch": batch,
                        "contender": c,
                        "images_per_second": statistics.median(speeds[c]),
                        "ratio": statistics.median(ratios),
                        "ratio_min": min(ratios),
                        "ratio_max": max(ratios),
                        "of_gemm": statistics.median(shares),
                        "worst_level": levels[c],
                        "flops_per_image": flops,
                        "gemm_flops": statistics.median(peaks),
                        "speeds": speeds[c],
                    }
                )
                print(f"{name}, batch {batch}, {c}: {rows[-1]['images_per_second']:,.0f} images/s", file=sys.stderr)
        return rows
    finally:
        for worker in workers.values():
            worker.close()


def _possible(contender: str, name: str) -> bool:
    """Whether a contender exists here for a generator; says so where a library is missing."""
    if contender == CHANNELS_LAST:
        return not name.startswith("mlp")  # it has no channels
    if contender in (OPENVINO, STREAMS) and importlib.util.find_spec("openvino") is None:
        print(f"{contender}: not installed", file=sys.stderr)
        return False
    return True


def overhead(name: str, folder: Path) -> list[dict[str, Any]]:
    """What `Generator.sample` of the seeded file adds to `InferenceSession.run`: one session of one thread, in turn."""
    from gantool.runtime import Generator

    generator = Generator(folder / FILES_OF[SEEDED], threads=1)
    rows = []
    for batch, runs in OVERHEAD_RUNS.items():
        bare, added = [], []
        for turn in range(runs + WARM_UPS):
            feeds = {"seed": np.array([1], np.int64), "index": np.arange(turn, turn + batch, dtype=np.int64)}
            ways = [
                lambda feeds=feeds: generator.session.run(None, feeds)[0],
                lambda turn=turn, batch=batch: generator.sample(batch, seed=1, first=turn),
            ]
            seconds, images = [0.0, 0.0], [np.empty(0), np.empty(0)]
            for way in (0, 1) if turn % 2 else (1, 0):  # the second finds warmer caches
                start = time.perf_counter()
                images[way] = ways[way]()
                seconds[way] = time.perf_counter() - start
            if not np.array_equal(*images):
                raise SystemExit("sample makes other images than the session.")
            if turn >= WARM_UPS:
                bare.append(seconds[0])
                added.append(seconds[1] - seconds[0])
        rows.append(
            {
                "generator": name,
                "batch": batch,
                "bare_microseconds": statistics.median(bare) * 1e6,
                "added_microseconds": statistics.median(added) * 1e6,
                "added_share": statistics.median(added) / statistics.median(bare),
            }
        )
    return rows


def overhead_table(results: list[dict[str, Any]]) -> str:
    lines = ["| generator | batch | bare run | `sample` adds | of it |", "|---|---:|---:|---:|---:|"]
    for r in results:
        bare, added = (f"{r[k]:,.0f} µs" for k in ("bare_microseconds", "added_microseconds"))
        lines.append(f"| {r['generator']} | {r['batch']} | {bare} | {added} | {r['added_share']:.1%} |")
    return "\n".join(lines)


def check(made: dict[str, list[Any]]) -> dict[str, int]:
    """Levels by which each contender's images of the same latents differ from eager's; an error above 1.

    8-bit images are other ones: their mean difference is held to MAX_MEAN_INT8.
    """
    wanted = np.array(made[EAGER], np.int16)
    levels = {}
    for contender, images in made.items():
        off = np.abs(np.array(images, np.int16) - wanted)
        if contender == INT8:
            wrong = bool(off.mean() > MAX_MEAN_INT8)
        else:
            wrong = bool(off.max() > MAX_LEVELS or (off > 0).mean() > MAX_SHARE)
        if wrong:
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
        line = ""
        with contextlib.suppress(BrokenPipeError):
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
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def work(**request: Any) -> None:
    """The other side: an export, or a contender that answers until its input ends."""
    if "export" in request:
        _export(request["export"], Path(request["folder"]))
        return
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    if request["contender"] == GEMM:
        import roofline
        import torch

        torch.set_num_threads(request["threads"])
        for _ in sys.stdin:
            pipe.write(json.dumps(roofline.measure(torch.device("cpu")).flops) + "\n")
            pipe.flush()
        return
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
    if contender in FILES_OF:
        from gantool.runtime import Generator

        generator = Generator(folder / FILES_OF[contender], threads=threads)
        made = 0

        def sample(n: int) -> np.ndarray:
            nonlocal made
            made += n
            return generator.sample(n, seed=1, first=made)

        return sample, lambda n: generator.sample(n, seed=0)
    latent = tuple(json.loads((folder / "work.json").read_text())["latent"])
    if contender in (OPENVINO, STREAMS):
        return _openvino(folder / FILES_OF[PLAIN], latent, threads, contender == STREAMS)

    import torch

    from gantool import latents

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    if contender == FROZEN:
        from gantool.export import torchscript

        module = torchscript.load(folder / "generator.torchscript.pt")
    else:
        module = _game(request["name"]).generator.eval()
        module.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    if contender == CHANNELS_LAST:
        module = module.to(memory_format=torch.channels_last)

    def forward(z: torch.Tensor) -> torch.Tensor:
        levels = module(z).mul(127.5).add(128).clamp(0, 255).to(torch.uint8)
        return levels.permute(0, 2, 3, 1).contiguous()

    if contender == COMPILED:
        forward = torch.compile(forward, dynamic=False)  # for each batch of its own

    @torch.inference_mode()
    def images(z: torch.Tensor) -> np.ndarray:
        array: np.ndarray = forward(z).numpy()
        return array

    def whole(n: int) -> np.ndarray:
        return images(torch.randn(n, *latent))

    def chunked(n: int) -> np.ndarray:
        return np.concatenate([whole(min(CHUNK, n - start)) for start in range(0, n, CHUNK)])

    def of_seed(n: int) -> np.ndarray:
        z = latents.draw({"z": latent}, 0, np.arange(n, dtype=np.int64))["z"]
        return images(torch.from_numpy(z))

    return chunked if contender == CHUNKED else whole, of_seed


def _openvino(
    path: Path, latent: tuple[int, ...], threads: int, streams: bool
) -> tuple[Callable[[int], np.ndarray], Callable[[int], np.ndarray]]:
    """OpenVINO on the plain file, in float32, bytes made inside its graph: at once, or in chunks over its streams."""
    import openvino
    from openvino import opset13

    from gantool import latents

    core = openvino.Core()
    model = core.read_model(path)
    levels = opset13.add(opset13.multiply(model.get_results()[0].input_value(0), np.float32(127.5)), np.float32(128))
    pixels = opset13.convert(opset13.clamp(levels, 0.0, 255.0), "u8")
    rows = opset13.transpose(pixels, np.array([0, 2, 3, 1]))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    if streams:
        settings |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": threads}
    compiled = core.compile_model(openvino.Model([rows], model.get_parameters(), "pixels"), "CPU", settings)
    side, random = compiled.output(0).partial_shape, np.random.default_rng(1)
    queue = openvino.AsyncInferQueue(compiled, threads) if streams else None
    chunk_of: dict[int, int] = {}

    def over_streams(z: np.ndarray, chunk: int) -> np.ndarray:
        images = np.empty((len(z), *(side[axis].get_length() for axis in (1, 2, 3))), np.uint8)
        assert queue is not None

        def take(request: Any, start: int) -> None:
            made = request.get_output_tensor().data
            images[start : start + len(made)] = made

        queue.set_callback(take)
        for start in range(0, len(z), chunk):
            queue.start_async({0: z[start : start + chunk]}, start)
        queue.wait_all()
        return images

    def images(z: np.ndarray) -> np.ndarray:
        if queue is None:
            made: np.ndarray = compiled(z)[0]
            return made
        if len(z) not in chunk_of:
            tried = {}
            for chunk in {min(c, -(-len(z) // threads)) for c in STREAM_CHUNKS}:
                over_streams(z, chunk)
                start = time.perf_counter()
                over_streams(z, chunk)
                tried[chunk] = time.perf_counter() - start
            chunk_of[len(z)] = min(tried, key=lambda chunk: tried[chunk])
        return over_streams(z, chunk_of[len(z)])

    def of_seed(n: int) -> np.ndarray:
        return images(latents.draw({"z": latent}, 0, np.arange(n, dtype=np.int64))["z"])

    return lambda n: images(random.standard_normal((n, *latent), np.float32)), of_seed


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
    import roofline
    import torch

    from gantool.export import Options, from_game, write

    about: dict[str, object] = {"name": GENERATORS[name][0], "plugin": "gantool", "plugin_version": "", "config": {}}
    source = from_game(_game(name), architecture=about, training={}, data={})
    write(source, ["onnx", "onnx-seeded", "torchscript"], folder)
    write(source, ["onnx-seeded"], folder, Options(("int8",), force=True))
    torch.save(source.generator.state_dict(), folder / "weights.pt")
    latent = source.normals[0].shape
    with torch.no_grad():  # in inference mode a linear layer is one operator that the counter does not know
        flops = roofline.count(lambda: source.generator.eval()(torch.zeros(1, *latent))).flops
    (folder / "work.json").write_text(json.dumps({"latent": latent, "flops": flops}))


def versions() -> dict[str, str]:
    from importlib.metadata import version

    import onnxruntime

    from gantool import __version__

    own = {"gantool": __version__, "python": sys.version.split()[0], "onnxruntime": onnxruntime.__version__}
    others = [name for name in ("torch", "numpy", "openvino") if importlib.util.find_spec(name) is not None]
    return own | {name: version(name) for name in others}


def table(results: list[dict[str, Any]]) -> str:
    """Markdown, a table a generator: images/s, the ratio to eager torch, median (min–max), and the share of GEMM."""
    lines = []
    for name in dict.fromkeys(row["generator"] for row in results):
        own = [row for row in results if row["generator"] == name]
        batches = list(dict.fromkeys(row["batch"] for row in own))
        gemm = statistics.median(row["gemm_flops"] for row in own) / 1e9
        lines += [f"**{name}**, {own[0]['flops_per_image'] / 1e6:.1f} MFLOP an image; GEMM {gemm:.0f} GFLOP/s", ""]
        lines += ["| | " + " | ".join(f"at {batch}" for batch in batches) + " |", "|---|" + "---:|" * len(batches)]
        for contender in (c for c in CONTENDERS if any(row["contender"] == c for row in own)):
            rows = {row["batch"]: row for row in own if row["contender"] == contender}
            cells = [_cell(rows[batch]) if batch in rows else "–" for batch in batches]
            lines.append(f"| {contender} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip()


def targets(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the runtime shall reach, and what it did; of what was measured."""
    rows = {(r["generator"], r["batch"], r["contender"]): r for r in results}

    def best(name: str, batch: int, who: tuple[str, ...]) -> list[float]:
        """Speeds by round of the contender with the best median; none when it was not measured."""
        found = [rows[name, batch, c] for c in who if (name, batch, c) in rows]
        return max(found, key=lambda r: r["images_per_second"])["speeds"] if found else []

    def ratio(name: str, batch: int, who: tuple[str, ...], rival: str) -> float | None:
        pairs = list(zip(best(name, batch, who), best(name, batch, (rival,)), strict=False))
        return statistics.median(a / b for a, b in pairs) if pairs else None

    own = (PLAIN, SEEDED)
    found = [(f"{name} at {b}, {who[-1]} / {EAGER}", ratio(name, b, who, EAGER), w) for name, b, who, w in TARGETS]
    for name, batch in dict.fromkeys((r["generator"], r["batch"]) for r in results):
        rivals = [(ratio(name, batch, own, c), c) for c in TORCH]
        worst = min(((r, c) for r, c in rivals if r is not None), default=None)
        if worst is not None:
            found.append((f"{name} at {batch}, gantool / {worst[1]}, the quickest of torch", worst[0], 1.0))
        if batch == max(BATCHES):
            found.append((f"{name} at {batch}, gantool / {OPENVINO}", ratio(name, batch, own, OPENVINO), 1.2))
        if (name, batch) == ("dcgan 32", max(BATCHES)):
            shares = [rows[name, batch, c]["of_gemm"] for c in own if (name, batch, c) in rows]
            found.append((f"{name} at {batch}, share of GEMM", max(shares, default=None), 0.7))
    return [{"what": what, "measured": value, "wanted": wanted} for what, value, wanted in found if value is not None]


def targets_table(results: list[dict[str, Any]]) -> str:
    lines = ["| target | wanted | measured | |", "|---|---:|---:|---|"]
    for t in targets(results):
        met = "met" if t["measured"] >= t["wanted"] else "missed"
        lines.append(f"| {t['what']} | {t['wanted']:.2f} | {t['measured']:.2f} | {met} |")
    return "\n".join(lines)


def _cell(row: dict[str, Any]) -> str:
    speed, share = f"{row['images_per_second']:,.0f}", f"{row['of_gemm']:.0%}"
    if row["contender"] == EAGER:
        return f"{speed}, {share}"
    return f"{speed}: **{row['ratio']:.2f}** ({row['ratio_min']:.2f}–{row['ratio_max']:.2f}), {share}"


if __name__ == "__main__":
    main()
