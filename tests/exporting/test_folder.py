"""An export into a folder that holds another export's files: what stays there is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from support.exports import Tiny, source

from gantool import exporting
from gantool.exporting.source import Options


def at_step(step: int) -> exporting.Source:
    made = source(Tiny())
    return dataclasses.replace(made, about=dataclasses.replace(made.about, training={"run": "0001-tiny", "step": step}))


def test_files_of_another_checkpoint_are_named(tmp_path: Path) -> None:
    exporting.write(at_step(100), ["onnx", "onnx-seeded"], tmp_path, Options(("float32", "half-weights")))
    notes: list[str] = []
    exporting.write(at_step(200), ["onnx", "onnx-seeded"], tmp_path, say=notes.append)
    (note,) = notes
    assert "generator.half-weights.onnx, generator.half-weights.seeded.onnx are of another export" in note
    assert "run 0001-tiny, step 100" in note


def test_files_of_the_same_checkpoint_belong_together(tmp_path: Path) -> None:
    exporting.write(at_step(100), ["onnx"], tmp_path)
    (tmp_path / "generator.pt2.json").write_text("{}")  # no manifest: nothing is said of it
    notes: list[str] = []
    exporting.write(at_step(100), ["torchscript"], tmp_path, say=notes.append)
    assert notes == []
