"""A person who types what a hint says gets on: each error is provoked, its hint followed, and that has to succeed."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.inprocess import typed

from gantool.exporting.app import playground

SMALL = "--steps 2 --tick 1 --batch-size 4 --device cpu"
MLP = f"{SMALL} --widths 8"


@dataclass(frozen=True)
class Case:
    """`typed`: what fails; `said`: a pattern in its hint, with groups. `then`: what is typed after it, with the groups
    by number; `{typed}` is the command that failed. `without`: what is left out of that.
    """

    typed: str
    said: str
    then: str = "{typed} {0}"
    without: Sequence[str] = ()


CASES = {
    # train
    "engine": Case(f"train mlp --data noise.npz {MLP} --engine graph", r"Use (--engine \w+)\."),
    "device": Case(f"train mlp --data noise.npz {MLP} --device cuda", r"Use (--device \w+),"),
    "precision": Case(f"train mlp --data noise.npz {MLP} --precision tf32", r"Use (--precision \w+)\."),
    "other-run": Case("train cgan --resume 1 --steps 3", r"Type: gantool (.*)", "{0} --steps 3"),
    "fewer-steps": Case("train mlp --resume 1 --steps 1", r"Ask for more (--steps)\.", "{typed} {0} 3"),
    "no-data": Case(f"train mlp --data nope {MLP}", r"`(\w+)` say", "{typed} --data {0}"),
    "keep-best": Case(f"train mlp --data noise.npz {MLP} --keep-best x", r"Use (\w+),", "{typed} --keep-best {0}"),
    "sizes": Case(f"train mlp --data mixed {MLP}", r"Add (--size) N \((\d+)", "{typed} {0} {1}"),
    "side": Case(f"train dcgan --data noise.npz {SMALL} --width 4", r"give (--size \d+)"),
    "labels": Case(f"train cgan --data noise.npz {SMALL}", "a sub-folder a class", "{typed} --data pictures"),
    "name": Case("train nope", r"Installed: .*(mlp)", f"train {{0}} --data noise.npz {MLP}"),
    "shown": Case("plugins show nope", r"Installed: .*(mlp)", "plugins show {0}"),
    "no-such-run": Case("train mlp --resume 9", r"Newest runs in runs: (\S+),", "train mlp --steps 3 --resume {0}"),
    "updates": Case(
        f"train mlp --data noise.npz {MLP} --updates simultaneous --discriminator-steps 2",
        r"Add (--discriminator-steps 1)\.",
    ),
    # export
    "no-run": Case("export --runs new", r"gantool (train mlp)", f"{{0}} --runs new --data noise.npz {MLP}"),
    "opset": Case("export 1 --onnx --opset 5", r"from (\d+) to", "{typed} --opset {0}"),
    "kit-precision": Case(
        "export 1 --onnx --seeded --half --app kit", r"Leave --half and --int8 out", "{typed}", ["--half"]
    ),
    "triton-batch": Case(
        "export 1 --onnx --triton repository --batch 4", r"and no (--batch)\.", "{typed}", ["--batch 4"]
    ),
    "no-kit": Case("export 1 --seeded --app pictures", r"another folder: (--app) DIR", "{typed} {0} new-kit"),
    "no-best": Case("export 1 --onnx --step best", r"with (--keep-best) METRIC \(also on --resume\)",
                    "train mlp --resume 1 --steps 4 {0} diversity"),
    "no-step": Case("export 1 --onnx --step 7", r"It has: (\d+),", "{typed} --step {0}"),
    # generate
    "nothing-trained": Case("generate --runs new -n 2", r"gantool (train mlp)",
                            f"{{0}} --runs new --data noise.npz {MLP}"),
    "nothing-exported": Case("generate --runs plain -n 2", r"gantool (export)", "{0} --onnx --runs plain"),
    "torch-only": Case("generate 2 -n 2", r"Type: gantool (export .*)", "{0}"),
    "file-for-torch": Case(
        "generate runs/0002-cgan-pictures/export/generator.torchscript.pt", r"gantool (export --onnx)", "{0}"
    ),
    "of-shards": Case("generate 1 -n 8 --format npy --out shards", r"with (--count)", "{typed} {0} 8", ["-n 8"]),
    "threads": Case("generate 1 --count 8 --threads 1 --out shards", r"Add (--workers 1)", without=["--threads 1"]),
    "no-labels": Case("generate 1 -n 2 --label 0", r"gantool (train cgan --data) FOLDER", f"{{0}} pictures {SMALL}"),
    "shards-of-labels": Case("generate 1 --count 8 --label 0 --out shards", r"gantool (train cgan --data) FOLDER",
                             f"{{0}} pictures {SMALL}"),
    "other-shards": Case("generate 1 --count 4 --workers 1 --seed 3 --out made", r"another folder with (--out)",
                         "{typed} {0} others"),
    "provider": Case("generate 1 -n 2 --provider cuda", r"\b(cpu)\b", "{typed} --provider {0}"),
    "suffix": Case("generate 1 -n 2 -o x.gif", r"Name a (\.png)", "{typed} -o x{0}"),
    # evaluate
    "moved-data": Case("evaluate 3 -n 64", r"(--data) FOLDER or FILE", "{typed} {0} noise.npz"),
    "other-shape": Case("evaluate 1 -n 64 --data larger.npz", r"(--size) PIXELS", "{typed} {0} 8"),
    # runs
    "delete": Case("runs delete 9 --yes", r"Newest runs in runs: (\S+),", "runs delete {0} --yes"),
    "compare": Case("runs compare 1 9", r"Newest runs in runs: (\S+),", "runs compare 1 {0}"),
    # data
    "verify": Case("data info pictures --verify", r"Leave (--verify) out", "{typed}", ["--verify"]),
    "pack-sizes": Case("data pack mixed -o new", r"Add (--size) N \((\d+)", "{typed} {0} {1}"),
    "pack-broken": Case("data pack broken -o new", r"add (--skip-broken)"),
    "pack-there": Case("data pack pictures -o pack", r"another folder with (-o)", "{typed} {0} new"),
    "pack-labels": Case("data pack noise.npz -o new --labels folders", r"give (--labels none)"),
    "pack-no-classes": Case("data pack pictures/a -o new --labels folders", r"give (--labels none)"),
    "pack-csv": Case("data pack pictures -o new --labels x.csv", r"Give (--labels folders)"),
    "pack-fit": Case("data pack noise.npz -o new --fit x", r"Give one of (\w+),", "{typed} --fit {0}"),
    # others
    "plugin-name": Case("plugins new My_Gan", r": ([\w-]+)\.$", "plugins new {0}"),
}  # fmt: skip
# what is typed after them is typed after another, too: no-run, no-labels, torch-only
SLOW = (
    "nothing-trained",
    "shards-of-labels",
    "file-for-torch",
    "kit-precision",
    "no-kit",
    "engine",
    "triton-batch",
    "torch-only",
    "opset",
    "no-labels",
    "moved-data",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, three runs, and files of two of them. Tests only read it."""
    folder = tmp_path_factory.mktemp("world")
    draw = np.random.default_rng(0)
    for name, sides in {"pictures": (8,), "mixed": (8, 9), "broken": (8,)}.items():
        for number in range(16):
            path = folder / name / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            side = sides[number % len(sides)]
            Image.fromarray(draw.integers(0, 256, (side, side), np.uint8)).save(path)
    (folder / "broken/a/no.png").write_bytes(b"no")
    for name, side in {"noise": 8, "gone": 8, "larger": 16}.items():
        np.savez(folder / f"{name}.npz", images=draw.integers(0, 256, (64, side, side), np.uint8))
    with contextlib.chdir(folder):
        for line in (
            f"train mlp --data noise.npz {MLP}",
            f"train cgan --data pictures {SMALL}",
            f"train mlp --data gone.npz {MLP}",
            f"train mlp --data noise.npz {MLP} --runs plain",
            "export 1 --onnx --seeded",
            "export 2 --torchscript",
            "data pack pictures -o pack",
            "generate 1 --count 4 --workers 1 --out made",
        ):
            code, _, told = typed(f"gantool {line}")
            assert code == 0, (line, told)
    (folder / "gone.npz").unlink()
    return folder


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CASES])
def test_what_a_hint_says_gets_on(name: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in ("device", "provider") and torch.cuda.is_available():
        pytest.skip("there is a GPU: no error")
    if "kit" in name and not (playground.ASSETS / playground.RECORD).is_file():
        pytest.skip("no browser runtime: make assets")
    case = CASES[name]
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.chdir(shutil.copytree(world, tmp_path / "world"))
    code, _, told = typed(f"gantool {case.typed}")
    assert code == 1, told
    _, _, hint = told.partition("Error: ")[2].partition("\n")
    found = re.search(case.said, hint)
    assert found, told
    kept = case.typed
    for part in case.without:
        assert part in kept
        kept = kept.replace(part, "")
    after = case.then.format(*found.groups(), typed=kept)
    code, _, told = typed(f"gantool {after}")
    assert code == 0, (after, told)
