"""What can be shown of training on CUDA without a GPU: iterations on a device of fake tensors (support.fakegpu).

Nothing in an iteration reads the device, copies between devices, or mixes them; a capture holds what it may. The device
is made of internals of torch, so the tests are of one version. A process for each training.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import fakegpu

from gantool.plugin.registry import architecture_names

TORCH = "2.13.0"
ATTEMPTS = 8  # now and then a kernel of torch for tensors without values damages the heap, and the process dies of it
TESTS = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.__version__.split("+")[0] != TORCH, reason=f"made of internals of torch {TORCH}"),
    pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has a CUDA of its own"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++"),
]
AUGMENTED = {"flip": True, "diffaugment": ["color", "translation", "cutout"]}
WAYS: dict[str, dict[str, Any]] = {
    "eager": {"engine": "eager", "precision": "fp32"},
    "graph": {"engine": "graph", "precision": "fp32"},
    "bf16": {"engine": "graph", "precision": "bf16"},
    "augmented": {"engine": "graph", "precision": "fp32", "options": AUGMENTED},
    "simultaneous": {
        "engine": "graph",
        "precision": "fp32",
        "options": {"updates": "simultaneous", "discriminator_steps": 1},
    },
}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakegpu.build(tmp_path_factory.mktemp("fakegpu"))


def trained(library: Path, name: str, fault: str = "", **asked: Any) -> subprocess.CompletedProcess[str]:
    given = json.dumps({"name": name, "fault": fault, "options": {}, **asked})
    for _ in range(ATTEMPTS):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "support.fakegpu", library, given],
            cwd=TESTS,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode >= 0:
            return done
    pytest.skip(f"torch's kernels for tensors without values crashed {ATTEMPTS} times")


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("name", architecture_names())
def test_iterations_stay_on_the_device(library: Path, name: str, way: str) -> None:
    done = trained(library, name, **WAYS[way])
    if way == "simultaneous" and "players can only alternate" in done.stderr:
        pytest.skip("its players can only alternate")
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["copies"] == []
    assert seen["optimizers_elsewhere"] == []
    assert (seen["captures"] > 0, seen["replays"] > 0) == ((WAYS[way]["engine"] == "graph"),) * 2
    assert seen["samples"][1:] == ["torch.float32", "cuda"]


@pytest.mark.parametrize("fault", fakegpu.FAULTS)
def test_planted_faults_are_caught(library: Path, fault: str) -> None:
    done = trained(library, "mlp", fault, engine="graph", precision="fp32")
    assert done.returncode == 1
    assert {
        "read": "DataDependentOutputException",
        "copy": "FaultError: devices are mixed in a capture",
        "mix": "FakeTensorDeviceMismatchError",
        "generator": "FaultError: a generator that the capture does not know",
    }[fault] in done.stderr
