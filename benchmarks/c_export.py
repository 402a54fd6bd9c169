"""Generators in plain C against ONNX Runtime: code, memory, first sample, equal values, speed on one core, sanitizers.

    python benchmarks/c_export.py --json benchmarks/results/c-cpu.json

Every architecture that makes samples from seeds, with its default networks and first weights. `code`: text and
constants of generator.c, built by gcc -O3 -march=native. Speed: networks alone, a sample at a time, on one thread, in
turns; the median of the ratios. `first`: from opening generator.bin to the first sample. Needs gcc and make.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gantool import exporting
from gantool.exporting.c.write import write_c
from gantool.runtime import Generator
from gantool.system import machine
from gantool.system.files import write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.c import FROM_SEEDS, Library, source_of

COMPARED, SEED = 64, 7
ROUNDS, SECONDS = 15, 0.15  # of each round
SANITIZERS = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"


def rate(work: Callable[[], object]) -> float:
    """Calls a second, of this process's time."""
    begun, calls = time.process_time(), 0
    while (spent := time.process_time() - begun) < SECONDS:
        work()
        calls += 1
    return calls / spent


def code_bytes(folder: Path) -> int:
    built = folder / "generator.o"
    command = ["gcc", "-std=c99", "-O3", "-march=native", "-ffp-contract=fast", "-c", "generator.c", "-o", built.name]
    subprocess.run(command, cwd=folder, check=True)
    text, data, *_ = (
        subprocess.run(["size", built], capture_output=True, text=True, check=True).stdout.splitlines()[1].split()
    )
    return int(text) + int(data)


def sanitized(folder: Path) -> bool:
    """Whether the self test runs without a finding of ASan and UBSan."""
    subprocess.run(["make", "-s", "clean"], cwd=folder, check=True)
    done = subprocess.run(["make", "-s", "check", f"CFLAGS={SANITIZERS}"], cwd=folder, capture_output=True, text=True)
    subprocess.run(["make", "-s", "clean"], cwd=folder, check=True)
    return done.returncode == 0 and "runtime error" not in done.stderr and "ERROR" not in done.stderr


def report(name: str, folder: Path) -> dict[str, Any]:
    source = source_of(name, 0, small=False)
    plain, seeded = exporting.write(source, ["onnx", "onnx-seeded"], folder)
    begun = time.perf_counter()
    write_c(plain.path, folder / "c")
    written = time.perf_counter() - begun
    library = Library(folder / "c", "-O3", "-march=native", "-ffp-contract=fast")
    about = library.about
    labels = [index % about.classes for index in range(COMPARED)] if about.classes else []
    extra = [([labels[i]] if labels else []) + ([None] if about.values else []) for i in range(COMPARED)]
    made = np.stack([np.asarray(library.sample(SEED, i, *extra[i])) for i in range(COMPARED)])
    wanted = Generator(seeded.path, threads=1).sample(COMPARED, seed=SEED, labels=labels or None)
    off = np.abs(made.astype(int) - wanted.astype(int))

    begun = time.perf_counter()
    library.open(folder / "c" / "generator.bin")
    library.sample(SEED, 0, *extra[0])
    first = time.perf_counter() - begun

    rival = Generator(plain.path, threads=1)
    latents = np.random.default_rng(0).standard_normal(sum(int(np.prod(item.shape)) for item in about.latents))
    row = latents.astype(np.float32)
    feeds: dict[str, Any] = {}
    start = 0
    for item in rival.manifest.inputs:
        if item.distribution == "normal":
            size = int(np.prod(item.shape))
            feeds[item.name] = row[None, start : start + size].reshape(1, *item.shape)
            start += size
        else:
            value = item.default if item.distribution == "value" else 0
            feeds[item.name] = np.full((1,), value, item.dtype)
    session = rival.session
    ratios, ours = [], []
    for _ in range(ROUNDS):
        mine = rate(lambda: library.run(row, *extra[0]))
        theirs = rate(lambda: session.run(None, feeds))
        ratios.append(mine / theirs)
        ours.append(mine)
    return {
        "sample": list(about.output.channels_last),
        "code_bytes": code_bytes(folder / "c"),
        "file_bytes": (folder / "c" / "generator.bin").stat().st_size,
        "different": float((off > 0).mean()),
        "worst": int(off.max()),
        "samples_per_second": round(statistics.median(ours), 1),
        "of_onnxruntime": round(statistics.median(ratios), 3),
        "first_sample_ms": round(1000 * first, 2),
        "sanitizers": sanitized(folder / "c"),
        "export_seconds": round(written, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--architectures", default=",".join(FROM_SEEDS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for name in given.architectures.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = report(name, Path(folder))
        print(name, json.dumps(found[name]), flush=True)
        if given.json:
            write_json(given.json, {"machine": machine.describe(), "results": found})


if __name__ == "__main__":
    main()
