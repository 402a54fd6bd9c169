"""benchmarks/gpu.sh without a GPU: stand-ins for nvidia-smi, and for a Python that tells what it was asked to run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gantool import __version__

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
GPU = "NVIDIA H200, 580.65.06, 143771 MiB"
PARTS = [
    "doctor", "throughput", "tests", "torchrun", "files", "half", "bench", "shards", "train", "compiled", "train-eager",
    "train-tf32", "quality",
]  # fmt: skip
# fails where it is told to, hangs where it is told to, and writes down its arguments
PYTHON = """#!/usr/bin/env bash
[[ $1 == -c && $2 == *entry_points* ]] && exit "${BARE:-0}"
[[ $1 == -c ]] && { echo 'torch=2.13.0 gantool="0.1"'; exit 0; }
echo "$*" >>"$SEEN"
echo "said by $*"
if [[ -n ${HANGS:-} && $* == *$HANGS* ]]; then sleep 60; fi
if [[ -n ${FAILS:-} && $* == *$FAILS* ]]; then exit 7; fi
"""


def run(folder: Path, smi: str = f"echo '{GPU}'", **environment: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The script with stand-ins on its path; its output folder."""
    stubs = folder / "stubs"
    stubs.mkdir()
    for name, text in {"nvidia-smi": f"#!/usr/bin/env bash\n{smi}\n", "python": PYTHON}.items():
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    out = folder / "found here"
    settings = {"PATH": f"{stubs}:{os.environ['PATH']}", "SEEN": str(folder / "seen.txt"), "PYTHON": "python"}
    done = subprocess.run(
        ["bash", str(SCRIPT), str(out)], env=os.environ | settings | environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done, out


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def test_every_part_runs_and_is_told(tmp_path: Path) -> None:
    done, out = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    told = summary(out)
    assert (told["device"], told["driver"], told["memory"]) == ("NVIDIA H200", "580.65.06", "143771 MiB")
    assert told["versions"] == 'torch=2.13.0 gantool="0.1"'
    assert told["limit"] == 480
    names = [part["name"] for part in told["parts"]]
    assert [name for name in names if name != "feeding"] == PARTS
    assert ("feeding" in names) == (SCRIPT.parent / "feeding.py").exists()
    assert all(part["rc"] == 0 for part in told["parts"])
    assert "said by -m gantool doctor --provider cuda" in (out / "doctor.txt").read_text()
    seen = (tmp_path / "seen.txt").read_text()
    for asked in (
        "benchmarks/throughput.py --device cuda",
        "--contenders torch eager torch eager, TF32",
        # without a kind of file and a precision of its own, `export --half` writes no float32 file
        f"-m gantool export --runs {out}/runs -o {out}/dcgan --onnx --seeded --pt2\n",
        f"-m gantool bench {out}/dcgan/generator.onnx --full --minutes 0.6",
        "--count 400000",
        "-m pytest -m gpu",
        "--nproc-per-node 1",
    ):
        assert asked in seen


def test_the_shares_leave_time_for_the_last_part(tmp_path: Path) -> None:
    done, _ = run(tmp_path)
    shares = [int(line.split()[1]) for line in done.stdout.splitlines() if line.endswith("s at most")]
    assert len(shares) >= len(PARTS)
    assert sum(shares[:-1]) <= 480 - 60


def test_tests_are_those_of_a_gpu_alone(tmp_path: Path) -> None:
    """Collecting all would import what only a developer's machine has."""
    run(tmp_path)
    (line,) = [line for line in (tmp_path / "seen.txt").read_text().splitlines() if "-m pytest" in line]
    files = line.partition("no:cacheprovider ")[2].split()
    marked = {
        str(path.relative_to(SCRIPT.parents[1]))
        for path in (SCRIPT.parents[1] / "tests").rglob("test_*.py")
        if any(mark in path.read_text() for mark in ("pytest.mark." + "gpu", "@needs_" + "cuda"))
    }
    assert set(files) - {"tests/benchmarks/test_gpu_script.py"} == marked
    assert "tests/gpu/test_gpu_runtime.py" in files


def test_a_checkout_that_is_not_installed_has_its_plugins(tmp_path: Path) -> None:
    done, out = run(tmp_path, BARE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"benchmarks/uninstalled.py {out}/site" in (tmp_path / "seen.txt").read_text()
    subprocess.run([sys.executable, str(SCRIPT.with_name("uninstalled.py")), str(tmp_path)], check=True)
    (found,) = importlib.metadata.distributions(path=[str(tmp_path)])
    project = tomllib.loads((SCRIPT.parents[1] / "pyproject.toml").read_text())["project"]
    assert (found.name, found.version) == ("gantool", __version__)
    assert {e.name: e.value for e in found.entry_points.select(group="gantool")} == project["entry-points"]["gantool"]


def test_a_part_that_fails_stops_no_other(tmp_path: Path) -> None:
    done, out = run(tmp_path, FAILS="train.py --device cuda --engine graph")
    assert done.returncode == 1
    codes = {part["name"]: part["rc"] for part in summary(out)["parts"]}
    assert codes.pop("train") == 7
    assert set(codes.values()) == {0}
    assert "1 part(s) failed" in done.stdout


@pytest.mark.slow
def test_a_part_that_hangs_ends_with_the_time(tmp_path: Path) -> None:
    done, out = run(tmp_path, HANGS="doctor", LIMIT="6")
    assert done.returncode == 1
    told = summary(out)
    assert told["parts"][0]["rc"] in (124, 137)
    assert all(part["skipped"] == "no time left" for part in told["parts"][1:])
    assert [part["name"] for part in told["parts"] if part["name"] != "feeding"] == PARTS
    assert told["seconds"] < 20


def test_without_a_gpu_nothing_runs(tmp_path: Path) -> None:
    done, out = run(tmp_path, "echo 'NVIDIA-SMI has failed: no driver'; exit 9")
    assert done.returncode == 2
    assert "There is no GPU here: NVIDIA-SMI has failed: no driver" in done.stderr
    assert not (tmp_path / "seen.txt").exists()
    assert not (out / "summary.json").exists()
