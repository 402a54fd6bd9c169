"""Inspect an exported file of any kind: its manifest, and whether its weights and graph match it. No torch."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gantool.artifact import manifest, onnxfile
from gantool.artifact.manifest import Manifest
from gantool.errors import GantoolError, cause
from gantool.system.archives import open_zip
from gantool.system.files import MAX_JSON_BYTES, read_bounded, reading, regular_size

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Inspection:
    """A file's manifest, its size, and whether its weights and graph match the manifest. `nodes`: operator → count."""

    path: Path
    manifest: Manifest
    bytes: int
    weights_match: bool | None  # None: not checked, for that takes torch, or onnx
    graph_match: bool | None  # None: no ONNX file, or a manifest of schema 1, which has no digest of the graph
    nodes: dict[str, int]


def inspect(path: Path) -> Inspection:
    """Read an exported .onnx, .pt, .pt2 or manifest .json; GantoolError when it is none of these, or damaged."""
    with reading(path):
        if path.is_dir():
            raise GantoolError(f"{path} is a folder.", f"Name a file in it: gantool inspect {path}/generator.onnx")
        size = regular_size(path)
        if path.suffix == ".onnx":
            return _inspect_onnx(path)
        data = read_bounded(path, MAX_JSON_BYTES) if path.suffix == ".json" else _torchscript_extra(path)
    return Inspection(path, manifest.from_json(data, path), size, None, None, {})


def _inspect_onnx(path: Path) -> Inspection:
    data = onnxfile.read_bytes(path)
    file = onnxfile.parse(data, path)  # refuses weights in other files before onnx could open them
    found = onnxfile.manifest_of(file, path)
    graph_match = None if found.graph_sha256 is None else found.graph_sha256 == file.graph_sha256

    try:
        model = parsed(data, path)
    except ModuleNotFoundError:  # the weights are a part of the graph, whose digest is known
        return Inspection(path, found, len(data), None, graph_match, dict(file.operators))
    try:
        weights_match = weights_sha256(model) == found.weights_sha256
    except (TypeError, ValueError, KeyError) as error:  # a shape or dtype that does not fit its bytes
        raise GantoolError(f"The weights of {path} are damaged: {cause(error)}.", "Export it again.") from error
    return Inspection(path, found, len(data), weights_match, graph_match, dict(file.operators))


def parsed(data: bytes, path: Path) -> onnx.ModelProto:
    """The model of bytes that `onnxfile.parse` let through; GantoolError for damaged ones.

    ModuleNotFoundError without the library onnx.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.ModelProto.FromString(data)
    except (DecodeError, ValueError) as error:
        raise GantoolError(f"{path} is not an ONNX file, or is damaged: {cause(error)}.", "Export it again.") from error


def _torchscript_extra(path: Path) -> bytes:
    """The manifest, an extra file in the zip archive that TorchScript and torch.export write."""
    try:
        with open_zip(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(f"/extra/{manifest.KEY}"):
                    if entry.file_size > MAX_JSON_BYTES:
                        raise GantoolError(f"The manifest of {path} is larger than {MAX_JSON_BYTES // 2**20} MB.")
                    return archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise GantoolError(
            f"{path} is not an exported file, or is damaged: {cause(error)}.",
            "gantool inspect reads the files of gantool export (.onnx, .pt, .pt2) and their .json.",
        ) from error
    raise GantoolError(f"{path} has no gantool manifest.", "It was not made by `gantool export`.")


def weights_sha256(model: onnx.ModelProto) -> str:
    """SHA-256 over all initializers, sorted by name: dtype, shape and little-endian values."""
    from onnx import numpy_helper

    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return digest(arrays)


def digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over named arrays, sorted by name: dtype, shape and little-endian values."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes())
    return total.hexdigest()
