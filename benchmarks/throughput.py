"""Images a second of exported generators in gantool's runtime, against PyTorch (eager, compiled, frozen) and OpenVINO.

    python benchmarks/throughput.py --json benchmarks/results/throughput-cpu.json
    python benchmarks/throughput.py --overhead            # what `sample` adds to a bare InferenceSession.run
    python benchmarks/throughput.py --device cuda --json benchmarks/results/throughput-cuda.json

Every contender does one job: n new images as a uint8 (n, H, W, C) numpy array, latents included. Each has a process of
its own, all stay open, and they are timed in turn, round by round; a ratio is taken within its round. See README.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from contenders import CHUNK, GENERATORS, Worker, export, versions  # beside this file

from gantool.system import machine

EAGER, CHANNELS_LAST, CHUNKED = "torch eager", "torch channels_last", "torch eager, chunks of 64"
COMPILED, FROZEN, TUTORIAL = "torch.compile", "TorchScript frozen", "torch eager, tutorial's layout"
OPENVINO, STREAMS = "OpenVINO", "OpenVINO, best streams"
PLAIN, SEEDED, INT8 = "gantool", "gantool, seeded", "gantool int8, seeded"
WAYS: dict[str, dict[str, Any]] = {
    EAGER: {"way": "torch", "kind": "eager"},
    TUTORIAL: {"way": "torch", "kind": "tutorial"},
    CHANNELS_LAST: {"way": "torch", "kind": "channels_last"},
    CHUNKED: {"way": "torch", "kind": "chunks"},
    COMPILED: {"way": "torch", "kind": "compile"},
    FROZEN: {"way": "torch", "kind": "frozen"},
    OPENVINO: {"way": "openvino", "streams": False},
    STREAMS: {"way": "openvino", "streams": True},
    PLAIN: {"way": "runtime", "file": "generator.onnx"},
    SEEDED: {"way": "runtime", "file": "generator.seeded.onnx"},
    INT8: {"way": "runtime", "file": "generator.int8.seeded.onnx"},
}
TORCH = (EAGER, CHANNELS_LAST, CHUNKED, COMPILED, FROZEN)
BATCHES = (1, 16, 64, 1024)
CHECKED = 64  # images compared before anything is timed
MAX_LEVELS, MAX_SHARE = 1, 0.001
MAX_MEAN_INT8 = 4.0  # levels: of weights that nobody trained; an export of trained ones is held to less
WARM_UPS = 3  # TorchScript profiles its first runs, then recompiles
PAUSE = 0.2  # seconds before each timing: threads of the one before stop spinning
READ_SECONDS = 0.1
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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="of runs a timing, at least one run")
    parser.add_argument("--threads", type=int, default=machine.describe()["cores"])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--note", default="", help="kept in the JSON: what else the machine was doing")
    parser.add_argument("--generators", nargs="+", choices=GENERATORS, default=list(GENERATORS), metavar="NAME")
    parser.add_argument("--contenders", nargs="+", default=None, metavar="NAME", help="default: all")
    parser.add_argument("--overhead", action="store_true", help="of `sample` over a bare session.run, and nothing else")
    parser.add_argument("--quick", action="store_true", help="mlp 28 at 1 and 64, 2 rounds: does the script work?")
    parser.add_argument("--minutes", type=float, default=60, help="cuda: start nothing more after that")
    parser.add_argument("--dry-run", action="store_true", help="cuda: its contenders on the CPU, does the script work?")
    given = parser.parse_args()
    if given.device == "cuda":
        import throughput_cuda

        sys.exit(throughput_cuda.main(given))
    names = ["mlp 28"] if given.quick else given.generators
    batches = (1, 64) if given.quick else BATCHES
    rounds, seconds = (2, 0.05) if given.quick else (given.rounds, given.seconds)
    contenders = chosen(parser, given.contenders, WAYS, EAGER)
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
        "schema_version": 3,
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
    job = json.loads((folder / "work.json").read_text())
    flops, weights = job["flops"], job["weight_bytes"]
    here = [c for c in contenders if _possible(c, name)]
    shared = {"name": name, "folder": str(folder), "threads": threads, "device": "cpu"}
    here_machine = Worker(way="machine", threads=threads)
    workers = {c: Worker(**WAYS[c], **shared) for c in here}
    try:
        levels = check({c: workers[c].ask(check=CHECKED) for c in here})
        rows = []
        for batch in batches:
            # in chunks, and in streams, it is the same as before up to one chunk
            timed = [c for c in here if batch > CHUNK or c != CHUNKED]
            speeds: dict[str, list[float]] = {c: [] for c in timed}
            peaks: list[float] = []
            reads: list[float] = []
            for c in timed:
                for _ in range(WARM_UPS):
                    workers[c].ask(batch=batch, seconds=0.0)
            for turn in range(rounds):
                shift = turn % len(timed)
                peaks.append(here_machine.ask())
                reads.append(here_machine.ask(read=weights, seconds=READ_SECONDS))
                for c in timed[shift:] + timed[:shift]:
                    time.sleep(PAUSE)
                    speeds[c].append(workers[c].ask(batch=batch, seconds=seconds))
            for c in timed:
                ratios = [speed / eager for speed, eager in zip(speeds[c], speeds[EAGER], strict=True)]
                shares = [speed * flops / peak for speed, peak in zip(speeds[c], peaks, strict=True)]
                # a call reads every weight once, whatever its batch
                fetched = [speed / batch * weights / read for speed, read in zip(speeds[c], reads, strict=True)]
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
                        "of_reading": statistics.median(fetched),
                        "worst_level": levels[c],
                        "flops_per_image": flops,
                        "weight_bytes": weights,
                        "gemm_flops": statistics.median(peaks),
                        "read_bytes_per_second": statistics.median(reads),
                        "speeds": speeds[c],
                    }
                )
                print(f"{name}, batch {batch}, {c}: {rows[-1]['images_per_second']:,.0f} images/s", file=sys.stderr)
        return rows
    finally:
        for worker in (here_machine, *workers.values()):
            worker.kill()


def chosen(
    parser: argparse.ArgumentParser, given: list[str] | None, known: dict[str, Any], reference: str
) -> list[str]:
    """The contenders in their order, the one that all are compared with always; ends the program for another name."""
    if unknown := sorted(set(given or ()) - set(known)):
        parser.error(f"there is no contender {unknown[0]!r}; there are: {', '.join(map(repr, known))}")
    return [c for c in known if given is None or c in (reference, *given)]


def _possible(contender: str, name: str) -> bool:
    """Whether a contender exists here for a generator; says so where a library is missing."""
    if contender in (CHANNELS_LAST, TUTORIAL):
        return not name.startswith("mlp")  # it has no channels, and the tutorial's layers are ours
    if contender in (OPENVINO, STREAMS) and importlib.util.find_spec("openvino") is None:
        print(f"{contender}: not installed", file=sys.stderr)
        return False
    return True


def overhead(name: str, folder: Path) -> list[dict[str, Any]]:
    """What `Generator.sample` of the seeded file adds to `InferenceSession.run`: one session of one thread, in turn."""
    from gantool.runtime import Generator

    generator = Generator(folder / WAYS[SEEDED]["file"], threads=1)
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
    lines = ["| generator | batch | `session.run` | `sample` adds | relative |", "|---|---:|---:|---:|---:|"]
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


def table(results: list[dict[str, Any]]) -> str:
    """Markdown, a table a generator: images/s, the ratio to eager torch, median (min–max), and the share of GEMM."""
    lines = []
    for name in dict.fromkeys(row["generator"] for row in results):
        own = [row for row in results if row["generator"] == name]
        batches = list(dict.fromkeys(row["batch"] for row in own))
        gemm = statistics.median(row["gemm_flops"] for row in own) / 1e9
        lines += [f"**{name}**, {own[0]['flops_per_image'] / 1e6:.1f} MFLOP an image; GEMM {gemm:.0f} GFLOP/s", ""]
        lines += ["| | " + " | ".join(f"at {batch}" for batch in batches) + " |", "|---|" + "---:|" * len(batches)]
        for contender in (c for c in WAYS if any(row["contender"] == c for row in own)):
            rows = {row["batch"]: row for row in own if row["contender"] == contender}
            cells = [_cell(rows[batch]) if batch in rows else "–" for batch in batches]
            lines.append(f"| {contender} | " + " | ".join(cells) + " |")
        lines += ["", reading_line(own), ""] if 1 in batches else [""]
    return "\n".join(lines).rstrip()


def reading_line(rows: list[dict[str, Any]]) -> str:
    """At batch 1: how near ours and eager torch come to reading the weights as fast as they can be read."""
    alone = {row["contender"]: row for row in rows if row["batch"] == 1}
    size, rate = (alone[EAGER][key] for key in ("weight_bytes", "read_bytes_per_second"))
    shares = ", ".join(f"{c} {alone[c]['of_reading']:.0%}" for c in (EAGER, PLAIN, SEEDED) if c in alone)
    return (
        f"Limit at batch 1: reading {size / 1e6:.1f} MB of weights at {rate / 1e9:.0f} GB/s. Share reached: {shares}."
    )


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
    for name, b, who, w in TARGETS:
        if who == own:
            found.append((f"{name} at {b}, {SEEDED} / {TUTORIAL}", ratio(name, b, who, TUTORIAL), w))
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
