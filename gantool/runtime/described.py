"""A file and its manifest: do they speak of the same graph?"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnxruntime as ort

from gantool.artifact import onnxfile
from gantool.artifact.manifest import Golden, Manifest
from gantool.artifact.onnxfile import OnnxFile
from gantool.errors import GantoolError, excerpt
from gantool.runtime.session import Value, signature

MAX_SIDES = 8
MAX_ELEMENTS = 2**31  # of one row of an input, or of one sample
MAX_CLASSES = 2**31


def described(data: bytes, path: Path) -> tuple[OnnxFile, Manifest]:
    """What was seen in the file, and its manifest, when the graph beside it is the one that it speaks of."""
    file, manifest = onnxfile.described(data, path)
    if manifest.graph_sha256 not in (None, file.graph_sha256):  # None: of schema 1
        raise GantoolError(
            f"{path} holds other weights or nodes than its manifest says: "
            f"sha256 {file.graph_sha256} instead of {excerpt(str(manifest.graph_sha256))}.",
            "It was changed since its export: export it again.",
        )
    return file, manifest


def check_signature(session: ort.InferenceSession, path: Path, manifest: Manifest) -> None:
    """The graph's inputs and output are those of the manifest: names, dtypes and sides; GantoolError otherwise."""
    inputs, outputs = signature(session, path)
    batch, output = manifest.batch, manifest.output
    said_inputs = [
        Value(i.name, i.dtype, (1 if i.distribution == "seed" else batch, *i.shape)) for i in manifest.inputs
    ]
    said_outputs = [Value(output.name, output.dtype, (batch, *output.shape))]
    for what, found, said in (("inputs", inputs, said_inputs), ("outputs", outputs, said_outputs)):
        pairs = [{(value.name, value.dtype) for value in values} for values in (found, said)]
        if pairs[0] != pairs[1] or len(found) != len(said):
            has, says = (", ".join(f"{name} {dtype}" for name, dtype in sorted(pair)) for pair in pairs)
            raise _changed(path, f"has the {what} {excerpt(has, 300)}; its manifest says {excerpt(says, 300)}")
        sides = {value.name: value.shape for value in said}
        for value in found:
            if not _fits(value.shape, sides[value.name]):
                has, says = (shown(shape) for shape in (value.shape, sides[value.name]))
                raise _changed(path, f"has {excerpt(value.name)} of {has}; its manifest says {says}")
    rows = [i.shape for i in manifest.inputs + manifest.latents] + [output.shape]
    if any(len(shape) > MAX_SIDES or math.prod(shape) > MAX_ELEMENTS for shape in rows):
        raise _changed(path, "has inputs or an output too large for any memory")
    for item in manifest.inputs:
        if item.distribution == "label" and not 1 <= item.classes <= MAX_CLASSES:
            raise _changed(path, f"has a label of {excerpt(str(item.classes))} classes")


def worst_pixel(golden: Golden, images: np.ndarray, path: Path) -> int:
    """By how many levels a known pixel differs; GantoolError for one that the images do not have."""
    worst = 0
    for image, row, column, values in golden.pixels:
        place = (image, row, column, len(values) - 1)
        if images.ndim != 4 or any(i >= side for i, side in zip(place, images.shape, strict=True)):
            raise GantoolError(f"{path}: a golden pixel lies outside its images.", "Export it again.")
        pixel = images[image, row, column, : len(values)].astype(int)
        worst = max(worst, int(np.abs(pixel - np.array(values)).max()))
    return worst


def shown(shape: tuple[int | None, ...]) -> str:
    """A shape for a message; an axis of any length is n."""
    return excerpt("(" + ", ".join("n" if side is None else str(side) for side in shape) + ")", 120)


def _fits(found: tuple[int | None, ...], said: tuple[int | None, ...]) -> bool:
    """Whether a graph's shape may be what a manifest says; a graph need not tell a side, nor any."""
    return not found or (
        len(found) == len(said) and all(side in (None, wanted) for side, wanted in zip(found, said, strict=True))
    )


def _changed(path: Path, what: str) -> GantoolError:
    return GantoolError(f"{path} {what}.", "The file was changed since its export: export it again.")
