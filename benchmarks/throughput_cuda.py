"""`benchmarks/throughput.py --device cuda`: ONNX Runtime's CUDA provider against PyTorch on one GPU.

As on the CPU: a process each, warm, in turn, ratios within a round. Each contender is timed twice, with its images
brought to the host and with them left on the device, and compared with the one of PyTorch of the same arithmetic.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contenders import Worker, export, versions  # beside this file

from gantool.system import machine, nvml
from gantool.system.files import replacing

SINGLE, TF32, HALF = "fp32", "tf32", "fp16"
SEEDED, SEEDED_HALF = {"file": "generator.seeded.onnx"}, {"file": "generator.half.seeded.onnx"}
NO_TF32, GRAPH = {"use_tf32": "0"}, {"enable_cuda_graph": "1"}


def _ours(file: Mapping[str, str], settings: Mapping[str, str] | None = None, bound: bool = False) -> dict[str, Any]:
    return {"way": "runtime", **file, "settings": dict(settings or {}), "bound": bound}


# the arithmetic, and how each is started; the most telling first, for --minutes
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "torch eager": (SINGLE, {"way": "torch", "kind": "eager"}),
    "torch eager, TF32": (TF32, {"way": "torch", "kind": "eager"}),
    "torch eager, fp16 channels_last": (HALF, {"way": "torch", "kind": "eager"}),
    "gantool, seeded, CUDA graph, no TF32": (SINGLE, _ours(SEEDED, GRAPH | NO_TF32)),
    "gantool, seeded, CUDA graph": (TF32, _ours(SEEDED, GRAPH)),
    "gantool half, seeded, CUDA graph": (HALF, _ours(SEEDED_HALF, GRAPH)),
    "gantool, seeded": (TF32, _ours(SEEDED)),
    "gantool, seeded, IO binding": (TF32, _ours(SEEDED, bound=True)),
    "gantool, CUDA graph": (TF32, _ours({"file": "generator.onnx"}, GRAPH)),
    "gantool, seeded, no TF32": (SINGLE, _ours(SEEDED, NO_TF32)),
    "gantool half, seeded": (HALF, _ours(SEEDED_HALF)),
    "torch eager, tutorial's layout": (SINGLE, {"way": "torch", "kind": "tutorial"}),
    "torch.compile max-autotune, TF32": (TF32, {"way": "torch", "kind": "compile-autotune"}),
    "torch.compile max-autotune, fp16": (HALF, {"way": "torch", "kind": "compile-autotune"}),
    "torch.compile max-autotune": (SINGLE, {"way": "torch", "kind": "compile-autotune"}),
}
REFERENCE = "torch eager"
RIVALS = {
    SINGLE: ("torch eager", "torch.compile max-autotune"),
    TF32: ("torch eager, TF32", "torch.compile max-autotune, TF32"),
    HALF: ("torch eager, fp16 channels_last", "torch.compile max-autotune, fp16"),
}
# levels by which a pixel may differ from eager PyTorch's in float32 on the CPU, and the share of pixels that may: TF32
# rounds factors to 10 bits of mantissa, as half precision does, which also keeps sums and biases in them
TOLERANCE = {SINGLE: (1, 0.001), TF32: (2, 0.05), HALF: (3, 0.2)}
CHECKED = 64
BATCHES = (1, 16, 64, 1024, 8192)
WARM_UPS = 4  # a CUDA graph is recorded in the second run of a shape; algorithms are searched in the first
WANTED_EAGER, UP_TO, WANTED_COMPILED = 1.5, 64, 0.95


def main(given: argparse.Namespace) -> int:
    """The exit code: 2 where there is no CUDA device, 1 where images of a contender are wrong."""
    if not given.dry_run and not _device():
        print("There is no CUDA device here, or torch can't use it: nothing was measured.", file=sys.stderr)
        return 2
    until = time.monotonic() + 60 * given.minutes
    if unknown := sorted(set(given.contenders or ()) - set(WAYS)):
        print(f"There is no contender {unknown[0]!r}; there are: {', '.join(map(repr, WAYS))}.", file=sys.stderr)
        return 2
    ways = {k: w for k, w in WAYS.items() if given.contenders is None or k in (REFERENCE, *given.contenders)}
    names = ["mlp 28"] if given.quick else given.generators
    batches, rounds, seconds = ((1, 8), 2, 0.02) if given.quick else (BATCHES, given.rounds, given.seconds)
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    dropped: list[str] = []
    kind = "cpu" if given.dry_run else "cuda"
    peaks = measured_peaks(kind)
    device = nvml.open_device()
    about = {
        "schema_version": 1,
        "job": "n new images as uint8 (n, H, W, C), latents included",
        "note": given.note,
        "device": kind,
        "rounds": rounds,
        "seconds": seconds,
        "machine": machine.describe() | {"driver": _driver(), "gpu_memory_mb": device.total_mb() if device else None},
        "versions": versions(),
        "peaks": peaks,
        "tolerance": {k: {"levels": v[0], "share": v[1]} for k, v in TOLERANCE.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if time.monotonic() > until:
                dropped.append(name)
                continue
            path = Path(folder) / name.replace(" ", "-")
            export(name, path, ("half",))
            for more in contest(name, path, ways, kind, batches, rounds, seconds, peaks, until, failed, dropped):
                rows += more
                report = about | {"results": rows, "failed": failed, "dropped": dropped, "targets": targets(rows)}
                if given.json:  # what is measured stays, whoever ends this
                    with replacing(given.json) as unfinished:
                        unfinished.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(table(rows) + "\n\n" + targets_table(targets(rows)))
    for what, cause in failed.items():
        print(f"failed: {what}: {cause}")
    if dropped:
        print(f"{given.minutes:g} minutes were over before: {', '.join(dropped)}")
    if given.dry_run:
        print("A dry run: all of it on the CPU, so that no figure means anything.")
    return 1 if failed else 0


def contest(
    name: str,
    folder: Path,
    ways: Mapping[str, tuple[str, dict[str, Any]]],
    device: str,
    batches: Sequence[int],
    rounds: int,
    seconds: float,
    peaks: dict[str, float],
    until: float,
    failed: dict[str, str],
    dropped: list[str],
) -> Iterator[list[dict[str, Any]]]:
    """Batch by batch, a row a contender. Into `failed` go causes, and into `dropped` what there was no time for."""
    job = json.loads((folder / "work.json").read_text())
    shared = {"name": name, "folder": str(folder), "threads": None, "device": device}
    workers: dict[str, Worker] = {}
    out: set[str] = set()

    def fail(contender: str, cause: object) -> None:
        out.add(contender)
        failed[f"{name}, {contender}"] = str(cause)

    try:
        # what is compared with: eager, in float32, on the CPU
        judge = workers["the reference"] = Worker(way="torch", kind="eager", **(shared | {"device": "cpu"}))
        for contender, (precision, request) in ways.items():
            if name.startswith("mlp") and request.get("kind") == "tutorial":
                continue  # the tutorial's layers are ours
            settings = request.get("settings", {}) if device == "cuda" else {}
            workers[contender] = Worker(**(shared | request | {"settings": settings, "precision": precision}))
        wanted = [judge.ask(check=CHECKED, first=first) for first in (0, CHECKED)]
        levels: dict[str, tuple[int, float]] = {}
        for contender in [c for c in workers if c in ways]:
            try:  # twice, of other latents: what shows old images fails here
                made = [workers[contender].ask(check=CHECKED, first=first) for first in (0, CHECKED)]
                levels[contender] = proven(made, wanted, ways[contender][0])
            except (RuntimeError, ValueError) as error:
                fail(contender, error)
        for number, batch in enumerate(batches):
            if time.monotonic() > until:
                dropped += [f"{name} at {b}" for b in batches[number:]]
                return
            rows: list[dict[str, Any]] = []
            rates = timed(workers, [c for c in levels if c not in out], batch, rounds, seconds, fail, until)
            for contender, (host, stay) in rates.items():
                precision = ways[contender][0]
                row = {
                    "generator": name,
                    "batch": batch,
                    "contender": contender,
                    "precision": precision,
                    "images_per_second": statistics.median(host),
                    "on_device_per_second": statistics.median(stay),
                    "worst_level": levels[contender][0],
                    "share_off": levels[contender][1],
                    "of_roofline": statistics.median(stay) / bound(job, batch, precision, peaks),
                    "speeds": host,
                    "speeds_on_device": stay,
                }
                rows.append(row)
                print(f"{name}, batch {batch}, {contender}: {row['images_per_second']:,.0f} images/s", file=sys.stderr)
            yield rows
    finally:
        for worker in workers.values():
            worker.kill()


def timed(
    workers: Mapping[str, Worker],
    contenders: Sequence[str],
    batch: int,
    rounds: int,
    seconds: float,
    fail: Callable[[str, object], None],
    until: float,
) -> dict[str, tuple[list[float], list[float]]]:
    """Images a second by round, to the host and left on the device. A round that `until` would cut is not begun."""
    rates: dict[str, tuple[list[float], list[float]]] = {c: ([], []) for c in contenders}
    out: set[str] = set()
    for turn in range(-1, rounds):
        if turn > 0 and time.monotonic() > until:
            break
        shift = max(0, turn) % max(1, len(contenders))
        for contender in [*contenders[shift:], *contenders[:shift]]:
            if contender in out:
                continue
            try:
                for place, stay in enumerate((False, True)):
                    if turn < 0:
                        for _ in range(WARM_UPS):
                            workers[contender].ask(batch=batch, seconds=0.0, stay=stay)
                    else:
                        rates[contender][place].append(workers[contender].ask(batch=batch, seconds=seconds, stay=stay))
            except RuntimeError as error:
                out.add(contender)
                fail(contender, f"at batch {batch}: {error}")
    return {c: rate for c, rate in rates.items() if c not in out}


def proven(made: Sequence[Any], wanted: Sequence[Any], precision: str) -> tuple[int, float]:
    """The worst level and the share of values that differ; ValueError above TOLERANCE, or for images shown twice."""
    ours, theirs = np.array(made, np.int16), np.array(wanted, np.int16)
    if ours.shape != theirs.shape:
        raise ValueError(f"images of {ours.shape[2:]} instead of {theirs.shape[2:]}")
    if np.array_equal(ours[0], ours[1]):
        raise ValueError("other latents give the same images")
    off = np.abs(ours - theirs)
    worst, share = int(off.max()), float((off > 0).mean())
    levels, allowed = TOLERANCE[precision]
    if worst > levels or share > allowed:
        raise ValueError(f"{share:.2%} of the values differ, by up to {worst} levels; {precision} may {levels}")
    return worst, share


def bound(job: Mapping[str, Any], batch: int, precision: str, peaks: Mapping[str, float]) -> float:
    """Images a second that arithmetic and the device's memory allow: values written and read, weights once a call."""
    width = 0.5 if precision == HALF else 1.0
    touched = width * (2 * (job["activation_bytes"] or 0) + job["weight_bytes"] / batch)
    return 1 / max(job["flops"] / peaks[precision], touched / peaks["bandwidth"])


def measured_peaks(kind: str) -> dict[str, float]:
    """FLOP/s of matrix products by arithmetic; bytes/s of copies on the device (read and written), and to the host."""
    import roofline
    import torch

    device, side = torch.device(kind), 8192 if kind == "cuda" else 512
    peaks = {}
    for precision in (SINGLE, TF32, HALF):
        torch.backends.cuda.matmul.allow_tf32 = precision == TF32
        dtype = torch.float16 if precision == HALF else torch.float32
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        peaks[precision] = 2 * side**3 / roofline.best(lambda a=a, b=b: a @ b, device)
    source = torch.empty(2**28 if kind == "cuda" else 2**22, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    peaks["bandwidth"] = 2 * len(source) / roofline.best(lambda: target.copy_(source), device)
    peaks["to_host"] = len(source) / roofline.best(
        lambda: source.clone().cpu() if kind == "cpu" else source.cpu(), device
    )
    return peaks


def targets(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The best of ours against PyTorch of the same arithmetic: eager at small batches, compiled at all, to the host."""
    speeds = {(r["generator"], r["batch"], r["contender"]): r["speeds"] for r in rows}
    found = []
    for name, batch in dict.fromkeys((r["generator"], r["batch"]) for r in rows):
        for precision, (eager, compiled) in RIVALS.items():
            own = [
                speeds[name, batch, c]
                for c, (kind, request) in WAYS.items()
                if kind == precision and request["way"] == "runtime" and (name, batch, c) in speeds
            ]
            for rival, wanted in ((eager, WANTED_EAGER if batch <= UP_TO else 1.0), (compiled, WANTED_COMPILED)):
                if own and (name, batch, rival) in speeds:
                    best = max(own, key=statistics.median)
                    ratio = statistics.median(a / b for a, b in zip(best, speeds[name, batch, rival], strict=False))
                    found.append({"what": f"{name} at {batch}, best / {rival}", "measured": ratio, "wanted": wanted})
    return found


def targets_table(found: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| target | wanted | measured | |", "|---|---:|---:|---|"]
    for t in found:
        met = "met" if t["measured"] >= t["wanted"] else "missed"
        lines.append(f"| {t['what']} | {t['wanted']:.2f} | {t['measured']:.2f} | {met} |")
    return "\n".join(lines)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, a table a generator: thousand images/s to the host; in brackets left on the device, and its share."""
    lines: list[str] = []
    for name in dict.fromkeys(r["generator"] for r in rows):
        own = [r for r in rows if r["generator"] == name]
        batches = list(dict.fromkeys(r["batch"] for r in own))
        lines += [f"**{name}**, thousand images/s to the host (left on the device, share of the roofline):", ""]
        lines += ["| | " + " | ".join(f"at {b}" for b in batches) + " | worst level |"]
        lines += ["|---|" + "---:|" * (len(batches) + 1)]
        for contender in dict.fromkeys(r["contender"] for r in own):
            cells = {r["batch"]: r for r in own if r["contender"] == contender}
            shown = [_cell(cells[b]) if b in cells else "–" for b in batches]
            off = next(iter(cells.values()))
            lines.append(f"| {contender} | {' | '.join(shown)} | {off['worst_level']} on {off['share_off']:.2%} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _cell(row: Mapping[str, Any]) -> str:
    host, stay = row["images_per_second"] / 1e3, row["on_device_per_second"] / 1e3
    return f"**{host:,.1f}** ({stay:,.1f}, {row['of_roofline']:.1%})"


def _device() -> bool:
    import torch

    return torch.cuda.is_available()


def _driver() -> str | None:
    try:
        return nvml.start().driver()
    except (OSError, AttributeError, nvml.NvmlError):
        return None
