"""Checks of the exported files: every format that fits, verified, and equal images from each ONNX file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from gantool import exporting
from gantool.artifact.manifest import SEEDED
from gantool.data import Dataset
from gantool.runtime import Generator
from gantool.training.state import State


def check_files(state: State, data: Dataset, name: str) -> None:
    """Export the state's generator to every format; GantoolError where torch or a verification fails."""
    source = exporting.from_game(
        state.game,
        architecture={"name": name, "plugin": "", "plugin_version": "", "config": {}},
        training={},
        data={},
        dataset=data,
    )
    kinds = [kind for kind in exporting.FILES if source.seedable or kind not in SEEDED]
    with tempfile.TemporaryDirectory() as folder:
        made = exporting.write(source, kinds, Path(folder), exporting.Options(optimize=False))
        onnx = [Generator(item.path) for item in made if item.path.suffix == ".onnx"]
        if source.seedable:
            first, *rest = (generator.sample(5, seed=3, first=2) for generator in onnx)
            for images in rest:
                assert np.array_equal(first, images), f"{name}: two ONNX files make different images"
