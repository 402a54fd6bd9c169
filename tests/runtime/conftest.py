"""The exported files that the runtime's tests open."""

from __future__ import annotations

from pathlib import Path

import pytest

from gantool.run.rundir import RunDir


@pytest.fixture(scope="session")
def plain(exported_run: RunDir) -> Path:
    return exported_run.export / "generator.onnx"


@pytest.fixture(scope="session")
def seeded(exported_run: RunDir) -> Path:
    return exported_run.export / "generator.seeded.onnx"
