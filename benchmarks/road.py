"""Every installed architecture, the whole road: trained, resumed, exported, embedded and measured by the commands.

    python benchmarks/road.py --json benchmarks/results/road-cpu.json
    python benchmarks/road.py --architectures mlp --steps 20

A cell says yes when what it names was done and compared; NO, with the reason, otherwise, and then the script exits
with 1. An int8 file may be refused: its export says how far its images would be from those of float32.
Architectures are asked for, not listed: a plugin that is installed has a row. See README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.image_hosts import Files, Hosts, difference
from support.trainings import different

from gantool import __version__, exporting
from gantool.artifact import latents
from gantool.artifact.manifest import FILES, PRECISIONS, file_name
from gantool.errors import GantoolError
from gantool.exporting.torch_files import archive
from gantool.exporting.verify import MAX_FLOAT, run_torch
from gantool.plugin import registry
from gantool.plugin.architecture import Architecture
from gantool.run import checkpoint
from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.runtime.generator import MAX_LEVELS, MAX_SHARE
from gantool.system import machine
from gantool.system.files import write_json
from gantool.training.state import build_game

IMAGES, SEED, FIRST = 64, 2**40 + 7, 1000
HANG = 1800  # seconds of one command; only a hang takes as long
NATIVE = 28  # pixels a side of the digits


class Refused(Exception):
    """A cell's refused: the export's own verification says no, with figures."""


class NotSo(Exception):
    """A cell's NO: what was found instead."""


@dataclass
class Walk:
    """One architecture on its road. Each step leaves what the next ones need."""

    architecture: Architecture
    folder: Path
    steps: int
    batch: int
    hosts: Hosts
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def tick(self) -> int:
        return max(1, self.steps // 4)

    @property
    def run(self) -> RunDir:
        return RunDir(self.folder / "runs" / "0001-whole")

    @property
    def cut(self) -> RunDir:
        return RunDir(self.folder / "runs" / "0002-cut")

    def training(self, name: str) -> list[object]:
        side = side_of(self.architecture)
        size = [] if side == NATIVE else ["--size", side]
        # on as many threads in both trainings, whatever else the machine does: sums round otherwise with another number
        length = ["--threads", 1, "--steps", self.steps, "--tick", self.tick, "--batch-size", self.batch, "--keep", 9]
        return ["train", self.architecture.name, "--device", "cpu", "--name", name, *length, *size]

    def gantool(self, *arguments: object) -> str:
        """What the command prints; NotSo with its last words when it fails."""
        done = subprocess.run(
            command(arguments), cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=HANG
        )
        if done.returncode:
            words = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise NotSo(f"gantool {arguments[0]} exits with {done.returncode}: {' '.join(words[-2:])[:300]}")
        return done.stdout


def command(arguments: Sequence[object]) -> list[str]:
    return [sys.executable, "-m", "gantool", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "250", "PYTHONUTF8": "1"}


def side_of(architecture: Architecture) -> int:
    """The size to train at: the digits' own when the examples have it, else that of the smallest square example."""
    sides = [spec.sides[0] for spec in architecture.examples if spec.is_image and len(set(spec.sides)) == 1]
    return NATIVE if NATIVE in sides or not sides else min(sides)


def from_noise(name: str) -> bool:
    """Whether the digits are enough to train it: it makes images, and of no other picture."""
    made = registry.find(name).architecture
    assert made is not None
    config = made.config()
    return build_game(made, config, made.examples[0], made.recipe_for(config), seed=0).source is None


# the steps of the road: each raises NotSo, or a GantoolError, unless it is so


def trains(walk: Walk) -> None:
    """To its end, with finite losses and a grid of samples."""
    walk.gantool(*walk.training("whole"))
    info = walk.run.read()
    if (info.status, info.step) != ("finished", walk.steps):
        raise NotSo(f"the run is {info.status} at step {info.step} of {walk.steps}")
    lines = [json.loads(line) for line in walk.run.metrics.read_text(encoding="utf-8").splitlines()]
    records = [line for line in lines if "images_per_second" in line]
    bad = [k for record in records for k, v in record.items() if isinstance(v, float) and not math.isfinite(v)]
    if bad or not records:
        raise NotSo(f"not finite in metrics.jsonl: {', '.join(bad) or 'nothing is there'}")
    if not walk.run.sample(walk.steps).stat().st_size:
        raise NotSo("the grid of samples is empty")


def resumes(walk: Walk) -> None:
    """Killed with SIGKILL and resumed: the last checkpoint is that of the run never killed, bit by bit."""
    kill_after_first_checkpoint(walk)
    saved = walk.cut.step_of(walk.cut.checkpoints()[-1])
    if saved >= walk.steps:
        raise NotSo("the training was done before it was killed: take more --steps")
    walk.gantool("train", walk.architecture.name, "--resume", walk.cut.path)
    whole, cut = (checkpoint.load(run.checkpoint(walk.steps)) for run in (walk.run, walk.cut))
    compare_states(whole, cut)
    walk.notes["resumes exactly"] = f"resumed from step {saved} of {walk.steps}"


def kill_after_first_checkpoint(walk: Walk) -> None:
    process = subprocess.Popen(
        command(walk.training("cut")), cwd=walk.folder, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    first, deadline = walk.cut.checkpoint(walk.tick), time.monotonic() + HANG
    try:
        while not first.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        process.kill()
        ended = process.wait()
    if sys.platform != "win32" and ended != -signal.SIGKILL:
        raise NotSo(f"the training ended by itself with {ended} before it was killed: take more --steps")


def compare_states(whole: Mapping[str, Any], cut: Mapping[str, Any]) -> None:
    wrong = different(whole, cut)
    if wrong:
        raise NotSo(f"{len(wrong)} values differ: {', '.join(wrong[:3])}")


def exports(walk: Walk) -> None:
    folder = walk.run.export
    walk.gantool("export", walk.run.path, "--onnx", "--seeded", "--torchscript")
    missing = [FILES[kind] for kind in exporting.USUAL if not (folder / FILES[kind]).is_file()]
    if missing:
        raise NotSo(f"not written: {', '.join(missing)}")


def inputs_of(generator: Generator) -> dict[str, np.ndarray]:
    """Latents of SEED, labels in turn, and values from bound to bound, where the manifest has them."""
    index = np.arange(FIRST, FIRST + IMAGES, dtype=np.int64)
    drawn = latents.draw({i.name: i.shape for i in generator.manifest.latents}, SEED, index)
    label = generator.manifest.input("label")
    drawn |= {label.name: index % label.classes} if label else {}
    drawn |= {i.name: np.linspace(i.low, i.high, IMAGES, dtype=np.float32) for i in generator.manifest.values}
    return {item.name: drawn[item.name] for item in generator.manifest.inputs}


def wanted(walk: Walk, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Torch's own samples, float32, of the run's averaged generator."""
    source = exporting.source_of(walk.run)
    return run_torch(source.generator, {item.name: inputs[item.name] for item in source.inputs})


def plain(walk: Walk) -> None:
    exports(walk)
    generator = Generator(walk.run.export / FILES["onnx"], provider="cpu")
    inputs = inputs_of(generator)
    compare_samples(generator.run(inputs), wanted(walk, inputs))


def seeded(walk: Walk) -> None:
    """The same pixels as the plain file, and torch's but for a level here and there."""
    generators = [Generator(walk.run.export / FILES[kind], provider="cpu") for kind in ("onnx-seeded", "onnx")]
    inputs = inputs_of(generators[1])
    label = generators[1].manifest.input("label")
    labels = inputs[label.name] if label else None
    values = {item.name: inputs[item.name] for item in generators[1].manifest.values}
    own, other = (g.sample(IMAGES, seed=SEED, first=FIRST, labels=labels, values=values) for g in generators)
    compare_pixels(own, other, exact=True)
    compare_pixels(own, latents.pixels(wanted(walk, inputs)))


def torchscript(walk: Walk) -> None:
    inputs = inputs_of(Generator(walk.run.export / FILES["onnx"], provider="cpu"))
    module = torch.jit.load(walk.run.export / FILES["torchscript"])
    compare_samples(run_torch(module, inputs), wanted(walk, inputs))


def pt2(walk: Walk) -> None:
    walk.gantool("export", walk.run.path, "--pt2")
    inputs = inputs_of(Generator(walk.run.export / FILES["onnx"], provider="cpu"))
    compare_samples(run_torch(archive.load(walk.run.export / FILES["pt2"]), inputs), wanted(walk, inputs))


def reduced(precision: str) -> Callable[[Walk], None]:
    """The step of a file of fewer bits: within the limits of its export, and its golden images made again."""

    def step(walk: Walk) -> None:
        try:
            walk.gantool("export", walk.run.path, "--onnx", f"--{precision}")
        except NotSo as error:
            if precision == "int8" and "failed its verification" in str(error):
                raise Refused(str(error)) from error
            raise
        path = walk.run.export / file_name("onnx", precision)
        test = Generator(path, provider="cpu").self_test()
        walk.notes[precision] = f"{path.stat().st_size} bytes"
        if not test.exact:
            raise NotSo(f"other golden images, by up to {test.worst} levels")

    return step


def compare_samples(made: np.ndarray, torchs: np.ndarray) -> None:
    if made.shape != torchs.shape:
        raise NotSo(f"samples of shape {made.shape}, torch's have {torchs.shape}")
    off = float(np.abs(made - torchs).max())
    if not off <= MAX_FLOAT:
        raise NotSo(f"samples are off torch's by {off:.3g}")
    if len(np.unique(made.reshape(len(made), -1), axis=0)) < len(made):
        raise NotSo("different latents make the same samples")


def compare_pixels(made: np.ndarray, other: np.ndarray, exact: bool = False) -> None:
    off = difference(made, other)
    if off.worst > (0 if exact else MAX_LEVELS) or off.share > (0 if exact else MAX_SHARE):
        raise NotSo(f"{off.different} of {off.values} values are off, by up to {off.worst} levels")


def app_kit(walk: Walk) -> None:
    """The kit's Python, in an environment of numpy and onnxruntime alone, and its Node, where that is installed."""
    kit = walk.folder / "kit"
    walk.gantool("export", walk.run.path, "--app", kit)
    files = Files(kit)
    expected = Generator(files.seeded, provider="cpu").sample(IMAGES, seed=SEED, first=FIRST)
    done = []
    for name in ("kit", "node"):
        try:
            with walk.hosts.open(name, files) as host:
                compare_pixels(host.make(IMAGES, SEED, FIRST), expected)
        except pytest.skip.Exception as missing:
            if name == "kit":
                raise NotSo(str(missing.msg)) from missing
            continue
        done.append({"kit": "Python", "node": "Node"}[name])
    walk.notes["app kit"] = " and ".join(done)


def bench(walk: Walk) -> None:
    """Proven: the timed session's images are those of the exporting machine, new ones follow their seeds."""
    report = json.loads(walk.gantool("bench", walk.run.path, "--seconds", 0.1, "--batches", "1,8", "--json"))
    check_report(report)


def check_report(report: Mapping[str, Any]) -> None:
    cells = report["cells"]
    if not cells:
        raise NotSo("nothing was measured")
    for cell in cells:
        if cell.get("error") or not cell.get("proof"):
            raise NotSo(f"no proof: {cell.get('error') or cell}")
        if not cell["proof"]["golden"]:
            raise NotSo("the proof has no golden images")


ROAD: dict[str, Callable[[Walk], None]] = {
    "trains": trains,
    "resumes exactly": resumes,
    "ONNX": plain,
    "seeded": seeded,
    "TorchScript": torchscript,
    "pt2": pt2,
    **{precision: reduced(precision) for precision in PRECISIONS if precision != "float32"},
    "app kit": app_kit,
    "bench": bench,
}


def walked(walk: Walk, road: Mapping[str, Callable[[Walk], None]] = ROAD) -> dict[str, str]:
    """Step → "yes", or "NO: " and why. A step that fails does not keep the others from being tried."""
    answers = {}
    for name, step in road.items():
        try:
            step(walk)
            answers[name] = "yes"
        except Refused as error:
            answers[name] = f"refused: {error}"
        except (NotSo, GantoolError) as error:
            answers[name] = f"NO: {error}"
        except (OSError, KeyError, ValueError, AssertionError, RuntimeError, subprocess.SubprocessError) as error:
            answers[name] = f"NO: {type(error).__name__}: {error}"
        print(f"{walk.architecture.name}, {name}: {answers[name]}", file=sys.stderr, flush=True)
    return answers


def table(rows: Mapping[str, Mapping[str, str]], road: Sequence[str] = tuple(ROAD)) -> str:
    """Markdown: yes, refused or NO; the reasons below."""
    lines = [f"| architecture | {' | '.join(road)} |", "|---" * (len(road) + 1) + "|"]
    reasons = []
    for name, answers in rows.items():
        cells = [answers[step].partition(":")[0].replace("NO", "**NO**") for step in road]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
        reasons += [f"- `{name}`, {step}: {answers[step]}" for step in road if answers[step] != "yes"]
    return "\n".join([*lines, *([""] if reasons else []), *reasons])


def main() -> None:
    names = [name for name in registry.architecture_names("image") if from_noise(name)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--architectures", default=",".join(names), help="default: all that make images of noise, %(default)s"
    )
    parser.add_argument("--steps", type=int, default=80, help="of each training (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="samples a batch (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    unknown = [name for name in given.architectures.split(",") if name not in names]
    if unknown:
        parser.error(f"--architectures: there is no {unknown[0]}; there are {', '.join(names)}")
    rows: dict[str, dict[str, str]] = {}
    about: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary, Hosts(Path(temporary) / "hosts") as hosts:
        hosts.folder.mkdir()
        for name in given.architectures.split(","):
            plugin = registry.find(name)
            assert plugin.architecture is not None
            folder = Path(temporary) / name
            folder.mkdir()
            walk = Walk(plugin.architecture, folder, given.steps, given.batch, hosts)
            began = time.monotonic()
            rows[name] = walked(walk)
            about[name] = {
                "plugin": f"{plugin.distribution} {plugin.version}",
                "side": side_of(plugin.architecture),
                "seconds": round(time.monotonic() - began),
                "notes": walk.notes,
            }
    print("\n" + table(rows))
    if given.json:
        report = {
            "schema_version": 1,
            "job": "each step by the commands, on the built-in digits, in a temporary folder",
            "steps": given.steps,
            "batch": given.batch,
            "images_compared": IMAGES,
            "machine": machine.describe(),
            "versions": {"gantool": __version__, "python": sys.version.split()[0], "torch": torch.__version__},
            "results": [{"architecture": name, "answers": rows[name], **about[name]} for name in rows],
        }
        given.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(given.json, report)
    if any(answer.startswith("NO") for answers in rows.values() for answer in answers.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
