"""The scripts behind the published figures still run, on a moment's budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_training_speed(tmp_path: Path) -> None:
    report = tmp_path / "train.json"
    command = [sys.executable, str(BENCHMARKS / "train.py"), "--cases", "mlp 28", "--batch", "8", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--seconds", "0.05", "--profile", "--json", str(report)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mlp 28: tutorial ")
    (case,) = json.loads(report.read_text())["cases"]
    assert set(case["steps_per_second"]) == {"tutorial", "gantool"}
    assert case["ratio"]["median"] > 0
    assert all(case["profile"].values())


def test_a_machine_with_a_gpu_gets_a_script_that_parses() -> None:
    subprocess.run(["bash", "-n", str(BENCHMARKS / "gpu.sh")], check=True)
