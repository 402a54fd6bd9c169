"""Files that were damaged or forged give a result or an error of ours: no other exception, no crash, no hang.

Forged node attributes and weights are left out: what ONNX Runtime makes of a valid file with other nodes is its own.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.changed import sealed
from support.commands import environment
from support.exports import Conditional, Z, source
from support.mutants import KINDS

from gantool import exporting
from gantool.artifact import manifest, onnxfile
from gantool.errors import GantoolError
from gantool.plugin.architecture import Input
from gantool.run.rundir import RunDir

TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def originals(exported_run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "originals"
    folder.mkdir()
    for path in sorted(exported_run.export.glob("*.onnx")):
        sealed(path, folder / path.name)
    label = Input("label", (), "label", classes=3)
    for made in exporting.write(
        source(Conditional(), Z, label), ["onnx", "onnx-seeded"], folder.parent / "conditional"
    ):
        sealed(made.path, folder / f"conditional.{made.path.name}")
    return folder


def campaign(folder: Path, seed: int, count: int) -> dict[str, int]:
    """What came of the mutants, by kind; the killer is named when there is one."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "support.mutants", str(folder), str(seed), str(count)],
            cwd=folder,
            env=environment(TESTS, *map(Path, filter(None, sys.path))),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=1200,
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"took too long; the last lines: {(error.stdout or b'')[-300:]!r}")
    *_, last = done.stdout.splitlines() or [""]
    assert done.returncode == 0, f"seed {seed}, {last}: exit {done.returncode}\n{done.stderr[-3000:]}"
    outcomes: dict[str, int] = json.loads(last.removeprefix("done"))
    assert sum(outcomes.values()) == count
    return outcomes


@pytest.mark.parametrize("count", [320, pytest.param(6400, marks=pytest.mark.slow)])
def test_mutants_are_opened_or_refused(originals: Path, count: int) -> None:
    outcomes = campaign(originals.parent, count, count)
    count //= len(KINDS)
    for kind in ("cut", "flip", "splice", "zero", "no_json"):
        assert outcomes[f"{kind} refused"] >= count * 3 // 4, outcomes
    for kind in ("flip_around", "forged", "resized"):  # some change what nobody asks for: these go all the way
        assert outcomes[f"{kind} opened"] > 0, outcomes
        assert outcomes[f"{kind} refused"] > 0, outcomes


@pytest.mark.parametrize("kind", KINDS)
@given(number=st.integers(0, 2**32))
def test_what_python_reads_of_a_mutant(originals: Path, kind: str, number: int) -> None:
    files = [path.read_bytes() for path in sorted(originals.glob("*.onnx"))]
    data = KINDS[kind](random.Random(number), files)
    with contextlib.suppress(GantoolError):
        found = onnxfile.parse(data, "a file")
        for text in found.metadata.values():
            manifest.from_json(text, "a file")
