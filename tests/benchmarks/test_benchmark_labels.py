"""The script behind the figures on labels still runs, on a moment's budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "labels.py"


@pytest.mark.slow
def test_labels(tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        command = [sys.executable, str(SCRIPT), *map(str, arguments), "--each", "4"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = run("--bodies", "mlp", "--steps", 3, "--json", "one.json", "--pictures", "pictures")
    assert said.startswith("mlp, 3 steps: ")
    (case,) = json.loads((tmp_path / "one.json").read_text())["cases"]
    counts = np.array(case["asked_and_said"])
    assert counts.sum(1).tolist() == [4] * 10
    assert case["agreement"] == pytest.approx(counts.trace() / 40, abs=1e-4)
    assert min(case["classifier_on_reals"]) > 0.98
    with Image.open(tmp_path / "pictures" / "cgan-mlp.png") as picture:
        assert picture.size == (8 * 30 + 2, 10 * 30 + 2)
    assert run("--from", 1) == said
