"""The scoreboard: each generator in every host that its exports run in. The same pixels? How soon, how fast, how big?

    python benchmarks/hosts.py --json benchmarks/results/hosts-cpu.json --page docs/scoreboard.md
    python benchmarks/hosts.py --from benchmarks/results/hosts-cpu.json --page docs/scoreboard.md
    python benchmarks/hosts.py runs/0001-mlp-digits        # or an app kit
    python benchmarks/hosts.py --architectures mlp --hosts node,web,openvino

Without a run or a kit, each architecture is trained for a moment, so that its images are images. The rows are in
tests/support/image_hosts.py: each host is a process (or a page) of its own, told what to make by the programs in
benchmarks/hosts/. One that is not here gets a row that says why. The words of the page are in
benchmarks/hosts/scoreboard.md.in.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import string
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import hosts, image_hosts
from support.image_hosts import FEW, ROWS, Files, Host, Hosts, difference

from gantool import __version__
from gantool.errors import GantoolError
from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.system import machine
from gantool.system.files import read_json, write_bytes, write_json

# steps of training and the size of the images: a minute or two for all, on two cores
TRAININGS = {
    "mlp": ("--steps", 600),
    "dcgan": ("--steps", 100, "--size", 32),
    "r3gan": ("--steps", 25, "--size", 32),
}
SEEDS = ((7, 0), (2**40 + 7, 2**40 + 1000))  # with the first image of each
BATCHES = (1, 64)
SLOW = 8  # images a seed of a host in which one takes seconds
LONGEST = 5000.0  # milliseconds of a call: what takes longer is not timed
WARM_UPS = 3
FEW_STEPS = 0.001  # share of the values of sounds, whose steps are 257 times as fine, that may differ by one
NEAR = 16  # levels that a value may differ by in images that are near
IDLE = 0.3  # programs that want to run beside this one, at most, on an idle machine
PROGRAMS = Path(__file__).parent / "hosts"


@dataclass(frozen=True)
class Budget:
    images: int  # of each seed
    starts: int
    rounds: int
    seconds: float  # of each host in a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, metavar="RUN_OR_KIT", help="instead of short trainings")
    parser.add_argument("--architectures", default=",".join(TRAININGS), help="what to train (default: %(default)s)")
    parser.add_argument("--hosts", default=",".join(ROWS), metavar="NAME,…", help="default: all, %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="of each host but pages; 0: as it comes; default: 1")
    parser.add_argument("--rounds", type=int, default=5, help="of timing; as many starts, but 3 at most (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page of the docs")
    parser.add_argument("--from", dest="old", type=Path, metavar="FILE", help="measure nothing: of this JSON")
    parser.add_argument("--note", default="", help="kept in the JSON and shown on the page")
    parser.add_argument("--quick", action="store_true", help="few images, one round: does the script work?")
    given = parser.parse_args()
    for report in [read_json(given.old)] if given.old else measure(parser, given):
        if given.json:
            given.json.parent.mkdir(parents=True, exist_ok=True)
            write_json(given.json, report)
        if given.page:
            write_bytes(given.page, page(report).encode())


def measure(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The report, after each generator: what was measured stays when a later one is interrupted."""
    names = _chosen(parser, "--hosts", given.hosts, ROWS)
    architectures = _chosen(parser, "--architectures", given.architectures, TRAININGS)
    budget = Budget(8, 1, 1, 0.02) if given.quick else Budget(128, min(3, given.rounds), given.rounds, 0.2)
    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)  # of what counts its threads by itself
    results: list[dict[str, Any]] = []
    load = machine.load()
    with tempfile.TemporaryDirectory() as temporary, Hosts(Path(temporary) / "hosts", given.threads) as here:
        folder = Path(temporary)
        here.folder.mkdir()
        for run in given.sources or train(architectures, folder / "runs", given.quick):
            files = files_of(run, folder / run.resolve().name)
            results.append(compare(here, names, files, budget))
            print("\n" + table(results[-1]) + "\n", flush=True)
            yield {
                "schema_version": 2,
                "job": "n new images as uint8 (n, H, W, C), latents included; in the playground, on its canvases",
                "note": given.note,
                "threads": given.threads,
                "seeds": [{"seed": seed, "first": first} for seed, first in SEEDS],
                "images": budget.images,
                "rounds": budget.rounds,
                "seconds": budget.seconds,
                "starts": budget.starts,
                "load": load,
                "machine": machine.describe(),
                "versions": versions(here, names),
                "results": results,
            }


def _chosen(parser: argparse.ArgumentParser, option: str, text: str, known: Mapping[str, Any]) -> list[str]:
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


def files_of(source: Path, folder: Path) -> Files:
    """All files of a run, or a copy of a kit."""
    if (source / "manifest.json").is_file():
        return Files(shutil.copytree(source, folder / "kit", symlinks=True))
    from gantool import exporting  # torch: not for a kit

    run = RunDir(source)
    return image_hosts.export(exporting.source_of(run), folder, run)


def compare(here: Hosts, names: Sequence[str], files: Files, budget: Budget) -> dict[str, Any]:
    """A row for each host: what it makes, how soon, how fast, and what a program that embeds it ships."""
    own: dict[Path, list[np.ndarray]] = {}

    def wanted(precision: str) -> list[np.ndarray]:
        """Of the same weights; of 8 bits: what those of 32 make."""
        path = files.of("onnx-seeded", "float32" if precision == "int8" else precision)
        if path not in own:
            own[path] = images_of(Generator(path, threads=1).sample, budget.images)
        return own[path]

    rows: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        opened: dict[str, Host] = {}
        for name in names:
            known = ROWS[name]
            precision = known.precision or files.about.precision
            row: dict[str, Any] = {"host": name, "title": known.title, "precision": precision, "missing": None}
            rows[name] = row
            try:
                starts = []
                for _ in range(budget.starts - 1):
                    with here.open(name, files) as host:
                        starts.append(host.start_ms)
                host = stack.enter_context(here.open(name, files))
                count = min(SLOW, budget.images) if name == "reference" else budget.images
                made = images_of(host.make, count)
            except pytest.skip.Exception as missing:
                row["missing"] = str(missing.msg)
                continue
            except AssertionError as failed:  # its process ended
                print(f"{name}: {failed}", file=sys.stderr)
                row["missing"] = "it fails; benchmarks/hosts.py prints its error"
                continue
            opened[name] = host
            row["start_ms"] = min([*starts, host.start_ms])
            row["library_bytes"] = known.library(here, files) if known.library else None
            row["model_bytes"] = image_hosts.size(known.model(files))
            off = difference(np.concatenate(made), np.concatenate([images[:count] for images in wanted(precision)]))
            row |= {"images": count * len(SEEDS), "different": off.different, "values": off.values}
            row |= {"share": off.share, "worst": off.worst}
            row["distinct_images"] = len(np.unique(np.concatenate(made), axis=0))
            print(f"{files.about.architecture['name']}, {name}: {off}", file=sys.stderr)
        for batch in BATCHES:
            speeds = timed(opened, batch, budget)
            for name in opened:
                rows[name][f"ms_per_image_at_{batch}"] = speeds.get(name)
    return {
        "architecture": files.about.architecture["name"],
        "training": files.about.training,
        "data": files.about.data["name"],
        "shape": files.shape,
        "precision": files.about.precision,
        "rows": list(rows.values()),
    }


def images_of(make: Any, count: int) -> list[np.ndarray]:
    """`count` images of each seed."""
    return [make(count, seed, first) for seed, first in SEEDS]


def timed(opened: dict[str, Host], batch: int, budget: Budget) -> dict[str, float]:
    """Milliseconds an image of the fastest call, in rounds in which all hosts have their turn: others only slow it."""
    runs = {}
    for name, host in opened.items():
        first = host.time(1, 1)[0] * batch  # at most, for a batch costs less an image
        if first < LONGEST:
            spent = statistics.median(host.time(batch, WARM_UPS))
            most = 3 if name == "playground" else 200  # it waits between two
            runs[name] = max(1, min(most, round(1000 * budget.seconds / max(spent, 1e-3))))
    fastest = dict.fromkeys(runs, float("inf"))
    for turn in range(budget.rounds):
        shift = turn % max(1, len(runs))
        for name in [*list(runs)[shift:], *list(runs)[:shift]]:
            fastest[name] = min(fastest[name], *opened[name].time(batch, runs[name]))
    return {name: spent / batch for name, spent in fastest.items()}


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    few = FEW_STEPS if len(result["shape"]) == 2 else FEW
    lines = [
        f"### {result['architecture']}, {'×'.join(map(str, result['shape']))}",
        "",
        "| runtime | precision | right? | images/s at 1 | at 64 | first image, ms | library, MB | model, MB |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        if row["missing"]:
            lines.append(f"| {row['title']} | {row['precision']} | not here: {_escaped(row['missing'])} | | | | | |")
            continue
        speeds = " | ".join(_speed(row[f"ms_per_image_at_{batch}"]) for batch in BATCHES)
        sizes = " | ".join(_megabytes(row[of]) for of in ("library_bytes", "model_bytes"))
        cells = (
            f"{row['title']} | {row['precision']} | {_right(row, few)} | {speeds} | {row['start_ms']:,.0f} | {sizes}"
        )
        lines.append(f"| {cells} |")
    return "\n".join(lines)


def _right(row: dict[str, Any], few: float) -> str:
    if row["distinct_images"] == 1:
        return "**no**: all images are the same"
    if not row["different"]:
        return "yes: all values"
    if row["worst"] <= 1 and row["share"] <= few:
        return f"yes: {100 * row['share']:.4f} % differ, by 1"
    verdict = "near" if row["worst"] <= NEAR else "**no**"
    return f"{verdict}: {100 * row['share']:.2g} % differ, by {row['worst']} at most"


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _speed(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "–"
    return f"{1000 / milliseconds:,.{0 if milliseconds < 100 else 1}f}"


def _megabytes(size: int | None) -> str:
    if size is None:
        return "–"
    return f"{size / 1e6:,.{3 if size < 1e5 else 1}f}"


def page(report: dict[str, Any]) -> str:
    """The page of the docs: benchmarks/hosts/scoreboard.md.in with what a report says."""
    load, cores = report["load"], report["machine"]["cores"]
    idle = "The machine was idle."
    if load is None or load > IDLE:
        others = "an unknown number of" if load is None else f"{load:.1f}"
        idle = (
            f"**The machine was not idle**: {others} other programs wanted its cores. On an idle one all are faster, "
            "calls of many milliseconds most, such as those for 64 images."
        )
    text = string.Template((PROGRAMS / "scoreboard.md.in").read_text(encoding="utf-8"))
    return text.substitute(
        tables="\n\n".join(map(table, report["results"])),
        machine=f"{report['machine']['cpu']}, {cores} cores, {report['machine']['system']}",
        idle=f"{idle} {report['note']}".strip(),
        versions=", ".join(f"{name} {number}" for name, number in report["versions"].items()),
        threads=report["threads"] or "as many as each takes",
        images=report["images"],
        starts=report["starts"],
        rounds=report["rounds"],
        seconds=report["seconds"],
        near=NEAR,
        few=f"{100 * FEW:g}",
        slow=SLOW,
        longest=f"{LONGEST / 1000:g}",
        **_example("tract"),
    )


def _example(name: str) -> dict[str, str]:
    """The code that makes a row: its function in program.py, and its line in ROWS."""
    program = (PROGRAMS / "program.py").read_text(encoding="utf-8")
    rows = Path(image_hosts.__file__).read_text(encoding="utf-8")
    function = re.search(rf"^def {name}\(.*?(?=\n\n\n)", program, re.MULTILINE | re.DOTALL)
    row = re.search(rf'^    "{name}": .*$', rows, re.MULTILINE)
    assert function
    assert row
    return {"function": function[0], "row": row[0].strip()}


def versions(here: Hosts, names: Sequence[str]) -> dict[str, str]:
    """Of what made the images; what is not here has none."""
    found = {"gantool": __version__, "python": sys.version.split()[0]}
    for name in ("numpy", "onnx", "onnxruntime-gpu", "onnxruntime", "openvino", "tract", "ncnn", "torch", "playwright"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if "c" in names and shutil.which("cc"):
        found["cc"] = subprocess.run(["cc", "-dumpfullversion"], capture_output=True, text=True).stdout.strip()
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
