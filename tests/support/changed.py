"""Copies of exported ONNX files that were changed, consistently or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import onnx

from gantool.artifact import inspection, manifest, onnxfile
from gantool.artifact.manifest import Manifest

Change = Callable[[Manifest], Manifest]


def described_as(path: Path, to: Path, change: Change) -> Path:
    """The same graph, which says something else of itself."""
    model = onnx.load(path)
    return _save(model, change(inspection.inspect(path).manifest).to_json(), to)


def with_text(path: Path, to: Path, text: str) -> Path:
    """The same graph, with any text as its manifest."""
    return _save(onnx.load(path), text, to)


def edited(path: Path, to: Path, edit: Callable[[onnx.ModelProto], object], change: Change = lambda m: m) -> Path:
    """Another graph, whose manifest has its digests: as whoever changes a file on purpose would leave it."""
    model = onnx.load(path)
    found = inspection.inspect(path).manifest
    edit(model)
    data = model.SerializeToString()
    found = dataclasses.replace(
        found, graph_sha256=onnxfile.parse(data, to).graph_sha256, weights_sha256=inspection.weights_sha256(model)
    )
    return _save(model, change(found).to_json(), to)


def sealed(path: Path, to: Path) -> Path:
    """The same file, whose manifest has the digest of its graph."""
    return edited(path, to, lambda model: None)


def fixed(path: Path, to: Path, batch: int, change: Change = lambda m: m) -> Path:
    """The same generator for batches of `batch` alone."""

    def fix(model: onnx.ModelProto) -> None:
        del model.graph.value_info[:]  # it calls the batch what it no longer is
        for value in [*model.graph.input, *model.graph.output]:
            dim = value.type.tensor_type.shape.dim[0]
            if dim.dim_param:
                dim.dim_value = batch

    return edited(path, to, fix, lambda m: change(dataclasses.replace(m, batch=batch)))


def _save(model: onnx.ModelProto, text: str, to: Path) -> Path:
    onnx.helper.set_model_props(model, {manifest.KEY: text})
    onnx.save(model, to)
    return to
