"""Generators whose shards are made in tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from gantool.run.rundir import RunDir


@pytest.fixture(scope="session")
def file(exported_run: RunDir) -> Path:
    """A seeded file of 8×8 images without classes."""
    return exported_run.export / "generator.seeded.onnx"


@pytest.fixture(scope="session")
def classes(conditional_export: Path) -> Path:
    """A seeded file of 8×8 images with 3 classes."""
    return conditional_export / "generator.seeded.onnx"
