"""One generator in every host that its exports run in: the same pixels? How soon, and how fast?

    python benchmarks/hosts.py --json benchmarks/results/hosts-cpu.json
    python benchmarks/hosts.py runs/0001-mlp-digits        # or an app kit
    python benchmarks/hosts.py --hosts node,web,openvino

Without a run or a kit, each architecture is trained for a moment, so that its images are images. Hosts are opened by
tests/support/image_hosts.py: each is a process (or a page) of its own, told what to make by the programs in
benchmarks/hosts/. One that is not here gets a row that says why. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import hosts
from support.image_hosts import NAMES, Files, Host, Hosts, difference

from gantool import __version__
from gantool.artifact import inspection
from gantool.artifact.manifest import file_name
from gantool.errors import GantoolError
from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.system import machine
from gantool.system.files import write_json

TITLES = {
    "runtime": "Python, gantool.runtime (the reference)",
    "kit": "Python, the kit alone",
    "node": "Node",
    "web": "Chromium, web/ over HTTP",
    "playground": "Chromium, playground.html from disk",
    "cpp": "C++, LibTorch",
    "torchscript": "Python, seeded TorchScript",
    "pt2": "Python, .pt2 from numpy's latents",
    "reference": "ONNX reference evaluator",
    "openvino": "OpenVINO, float32, from numpy's latents",
    "openvino-default": "OpenVINO as it comes, from numpy's latents",
    "openvino-seeded": "OpenVINO on the seeded file (gantool refuses it)",
}
TORCH = ("cpp", "torchscript", "pt2")  # float32 in their files, whatever the precision of the kit's model
# steps of training and the size of the images: a minute or two for all, on two cores
TRAININGS = {
    "mlp": ("--steps", 1500),
    "dcgan": ("--steps", 150, "--size", 32),
    "wgan": ("--steps", 40, "--size", 32),
}
SEEDS = ((7, 0), (2**40 + 7, 2**40 + 1000))  # with the first image of each
BATCHES = (1, 64)
FEW = 8  # images a seed of a host in which one takes seconds
LONGEST = 5000.0  # milliseconds of a call: what takes longer is not timed
WARM_UPS = 3


@dataclass(frozen=True)
class Budget:
    images: int  # of each seed
    starts: int
    rounds: int
    seconds: float  # of each host in a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path, metavar="RUN_OR_KIT", help="instead of a short training")
    parser.add_argument("--architectures", default=",".join(TRAININGS), help="what to train (default: %(default)s)")
    parser.add_argument("--hosts", default=",".join(NAMES), help="default: all, %(default)s")
    parser.add_argument(
        "--precision", default="half-weights", help="of the kit's model (default: %(default)s, as kits)"
    )
    parser.add_argument("--threads", type=int, default=1, help="of each host but pages; 0: as it comes; default: 1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--note", default="", help="kept in the JSON: what else the machine was doing")
    parser.add_argument("--quick", action="store_true", help="few images, one round: does the script work?")
    given = parser.parse_args()
    names = _chosen(parser, "--hosts", given.hosts, NAMES)
    architectures = _chosen(parser, "--architectures", given.architectures, TRAININGS)
    budget = Budget(8, 1, 1, 0.02) if given.quick else Budget(128, 3, given.rounds, 0.3)
    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)  # of what counts its threads by itself
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary, Hosts(Path(temporary) / "hosts", given.threads) as here:
        folder = Path(temporary)
        here.folder.mkdir()
        for run in [given.source] if given.source else train(architectures, folder / "runs", given.quick):
            files, full = kit_of(run, folder / run.resolve().name, given.precision)
            results.append(compare(here, names, files, full, budget))
            print("\n" + table(results[-1]) + "\n", flush=True)
        found = versions(here, names)
    if given.json:
        report = {
            "schema_version": 1,
            "job": "n new images as uint8 (n, H, W, C), latents included; in the playground, on its canvases",
            "note": given.note,
            "threads": given.threads,
            "seeds": [{"seed": seed, "first": first} for seed, first in SEEDS],
            "rounds": budget.rounds,
            "starts": budget.starts,
            "machine": machine.describe(),
            "versions": found,
            "results": results,
        }
        given.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(given.json, report)


def _chosen(
    parser: argparse.ArgumentParser, option: str, text: str, known: Sequence[str] | dict[str, Any]
) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"{option}: there is no {unknown[0]}; there are {', '.join(known)}")
    return names


def train(architectures: Sequence[str], runs: Path, quick: bool) -> list[Path]:
    """A short training of each, in a process of its own; the runs."""
    for name in architectures:
        print(f"training {name} {' '.join(map(str, TRAININGS[name]))}", file=sys.stderr)
        command = [sys.executable, "-m", "gantool", "train", name, "--runs", runs, "--device", "cpu", *TRAININGS[name]]
        shorter = ["--steps", 5] if quick else []
        subprocess.run(list(map(str, command + shorter)), check=True, stdout=subprocess.DEVNULL)
    return sorted(runs.iterdir())


def kit_of(source: Path, folder: Path, precision: str) -> tuple[Files, Path]:
    """An app kit of a run with the files that kits lack, or a copy of a kit; and the ONNX file with torch's weights."""
    if (source / "manifest.json").is_file():
        shutil.copytree(source, folder / "kit", symlinks=True)
        files = Files(folder / "kit")
        return files, files.seeded
    from gantool import exporting  # torch: not for a kit
    from gantool.exporting.app import write_app

    run = RunDir(source)
    kinds = ["onnx", "onnx-seeded", "torchscript-seeded", "pt2"]
    as_torch = precision in ("float32", "half-weights")
    options = exporting.Options((precision,) if as_torch else (precision, "float32"))
    made = {item.path.name: item for item in exporting.write(exporting.source_of(run), kinds, folder, options)}
    seeded, torchscript = made[file_name("onnx-seeded", precision)], made[file_name("torchscript-seeded")]
    write_app(seeded, torchscript, run, folder / "kit")
    plain, pt2 = made[file_name("onnx", precision)], made[file_name("pt2")]
    files = Files(folder / "kit", plain.path, pt2.path)
    return files, files.seeded if as_torch else made[file_name("onnx-seeded")].path


def compare(here: Hosts, names: Sequence[str], files: Files, full: Path, budget: Budget) -> dict[str, Any]:
    """A row for each host: what it makes, how soon, and how fast."""
    described = inspection.inspect(files.seeded).manifest
    own = {path: images_of(Generator(path, threads=1).sample, budget.images) for path in {files.seeded, full}}
    weights = difference(np.concatenate(own[files.seeded]), np.concatenate(own[full]))
    rows: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        opened: dict[str, Host] = {}
        for name in names:
            rows[name] = row = {"host": name, "title": TITLES[name], "missing": None}
            try:
                starts = []
                for _ in range(budget.starts - 1):
                    with here.open(name, files) as host:
                        starts.append(host.start_ms)
                opened[name] = stack.enter_context(here.open(name, files))
            except pytest.skip.Exception as missing:
                row["missing"] = str(missing.msg)
                continue
            row["start_ms"] = statistics.median([*starts, opened[name].start_ms])
            count = min(FEW, budget.images) if name == "reference" else budget.images
            made = images_of(opened[name].make, count)
            wanted = [images[:count] for images in own[full if name in TORCH else files.seeded]]
            off = difference(np.concatenate(made), np.concatenate(wanted))
            row |= {"images": count * len(SEEDS), "different": off.different, "values": off.values}
            row |= {"share": off.share, "worst": off.worst}
            row["distinct_images"] = len(np.unique(np.concatenate(made), axis=0))
            print(f"{described.architecture['name']}, {name}: {off}", file=sys.stderr)
        for batch in BATCHES:
            speeds = timed(opened, batch, budget)
            for name in opened:
                rows[name][f"ms_per_image_at_{batch}"] = speeds.get(name)
    return {
        "architecture": described.architecture["name"],
        "training": described.training,
        "data": described.data["name"],
        "shape": files.shape,
        "precision": described.precision,
        "precision_against_float32": {"share": weights.share, "worst": weights.worst} if full != files.seeded else None,
        "rows": list(rows.values()),
    }


def images_of(make: Any, count: int) -> list[np.ndarray]:
    """`count` images of each seed."""
    return [make(count, seed, first) for seed, first in SEEDS]


def timed(opened: dict[str, Host], batch: int, budget: Budget) -> dict[str, float]:
    """Milliseconds an image, the median over rounds in which all hosts have their turn."""
    runs = {}
    for name, host in opened.items():
        first = host.time(1, 1)[0] * batch  # at most, for a batch costs less an image
        if first < LONGEST:
            spent = statistics.median(host.time(batch, WARM_UPS))
            most = 3 if name == "playground" else 200  # it waits between two
            runs[name] = max(1, min(most, round(1000 * budget.seconds / max(spent, 1e-3))))
    medians: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(budget.rounds):
        shift = turn % max(1, len(runs))
        for name in [*list(runs)[shift:], *list(runs)[:shift]]:
            medians[name].append(statistics.median(opened[name].time(batch, runs[name])) / batch)
    return {name: statistics.median(values) for name, values in medians.items()}


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    height, width, channels = result["shape"]
    lines = [
        f"**{result['architecture']}**, {height}×{width}×{channels}, {result['precision']}:",
        "",
        "| host | images | different values | worst | first image, ms | ms an image, one by one | of 64 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        if row["missing"]:
            lines.append(f"| {row['title']} | not here: {row['missing']} | | | | | |")
            continue
        speeds = " | ".join(_ms(row[f"ms_per_image_at_{batch}"]) for batch in BATCHES)
        differ = f"{row['different']:,} of {row['values']:,} ({100 * row['share']:.4f} %)"
        if row["distinct_images"] == 1:
            differ += "; all images are the same"
        lines.append(
            f"| {row['title']} | {row['images']} | {differ} | {row['worst']} | {row['start_ms']:,.0f} | {speeds} |"
        )
    weights = result["precision_against_float32"]
    if weights is not None:
        lines += [
            "",
            f"Torch's files hold float32 weights and are compared with such an ONNX file; {result['precision']} alone "
            f"changes {100 * weights['share']:.2f} % of the values, by at most {weights['worst']}.",
        ]
    return "\n".join(lines)


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 10 else f"{value:,.0f}"


def versions(here: Hosts, names: Sequence[str]) -> dict[str, str]:
    """Of what made the images; what is not here has none."""
    found = {"gantool": __version__, "python": sys.version.split()[0]}
    for name in ("numpy", "onnx", "onnxruntime-gpu", "onnxruntime", "openvino", "torch", "playwright"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    try:
        if {"web", "playground"} & set(names):
            found["chromium"] = here.chromium.version
            web = resources("gantool") / "exporting" / "app" / "assets" / "onnxruntime-web.json"
            found["onnxruntime-web"] = json.loads(web.read_text(encoding="utf-8"))["version"]
        if "node" in names:
            modules = hosts.node_modules("onnxruntime-node")
            package = json.loads((modules / "onnxruntime-node" / "package.json").read_text())
            found["onnxruntime-node"] = package["version"]
            found["node"] = subprocess.run([hosts.node(), "--version"], capture_output=True, text=True).stdout.strip()
    except (pytest.skip.Exception, OSError):
        pass  # their rows say so
    return found


if __name__ == "__main__":
    try:
        main()
    except GantoolError as error:
        raise SystemExit(f"{error.message} {error.hint}") from error
