"""gantool.runtime.trial: a file that crashes ONNX Runtime costs a child process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.exports import Tiny, source

from gantool import exporting
from gantool.exporting import PartialExport
from gantool.exporting.source import Options
from gantool.run.rundir import RunDir
from gantool.runtime import trial


@pytest.mark.parametrize("name", ["generator.onnx", "generator.seeded.onnx"])
def test_a_sound_file_does_not_crash(name: str, exported_run: RunDir) -> None:
    assert trial.crash(exported_run.export / name) is None


def test_a_file_that_can_not_be_opened_is_no_crash(tmp_path: Path) -> None:
    assert trial.crash(tmp_path / "missing.onnx") is None


@pytest.mark.skipif(sys.platform == "win32", reason="has no signals that kill")
def test_a_reduced_file_that_crashes_is_refused_and_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os, signal; input(); os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(trial, "COMMAND", [sys.executable, "-c", code])
    with pytest.raises(PartialExport) as error:
        exporting.write(source(Tiny()), ["onnx"], tmp_path, Options(("float32", "half")))
    assert "generator.half.onnx crashes ONNX Runtime" in error.value.message
    assert "was killed by SIGSEGV" in error.value.message
    assert "--half-weights" in error.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generator.onnx", "generator.onnx.json"]
