"""Exported files as files: the manifest inside any kind of them, and the digest of an ONNX file's weights. No torch."""

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
from gantool.errors import GantoolError
from gantool.system.files import MAX_JSON_BYTES, read_bounded, reading, regular_size

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Inspection:
    """What a file says (`manifest`) and what it is: its size, whether its weights and graph are those it speaks of."""

    path: Path
    manifest: Manifest
    bytes: int
    weights_match: bool | None  # None: not checked without torch
    graph_match: bool | None  # None: no ONNX file, or of schema 1, which has no digest of it
    nodes: dict[str, int]


def inspect(path: Path) -> Inspection:
    """Read an exported .onnx, .pt, .pt2 or manifest .json; GantoolError when it is none of ours, or damaged."""
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
    # refuses weights in other files before the library could look for them
    file, described = onnxfile.described(data, path)
    graph_match = None if described.graph_sha256 is None else described.graph_sha256 == file.graph_sha256

    import onnx
    from google.protobuf.message import DecodeError

    nodes: dict[str, int] = {}
    try:
        model = onnx.ModelProto.FromString(data)
        for node in model.graph.node:
            nodes[node.op_type] = nodes.get(node.op_type, 0) + 1
    except (DecodeError, ValueError) as error:
        raise GantoolError(f"{path} is not an ONNX file, or is damaged: {error}.", "Export it again.") from error
    try:
        match = weights_sha256(model) == described.weights_sha256
    except (TypeError, ValueError, KeyError) as error:  # a shape or dtype that does not fit its bytes
        raise GantoolError(f"The weights of {path} are damaged: {error}.", "Export it again.") from error
    return Inspection(path, described, len(data), match, graph_match, nodes)


def _torchscript_extra(path: Path) -> bytes:
    """The manifest among the extra files of a TorchScript or torch.export archive, which is a zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(f"/extra/{manifest.KEY}"):
                    if entry.file_size > MAX_JSON_BYTES:
                        raise GantoolError(f"The manifest of {path} is larger than {MAX_JSON_BYTES // 2**20} MB.")
                    return archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise GantoolError(
            f"{path} is not an exported file, or is damaged: {error}.",
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
