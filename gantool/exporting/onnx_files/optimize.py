"""Rewrite an exported graph as a faster one of standard operators that makes the same images.

Constants are folded and operations without effect removed; a transposed convolution of a 1×1 map becomes a matrix
product, and so does one of a 4×4 map with at least 512 channels. The rules are fixed, so the same generator gives the
same bytes on every machine; benchmarks/graph.py measures what they gain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnxscript import optimizer

from gantool.errors import excerpt, named
from gantool.exporting.libraries import quiet
from gantool.exporting.onnx_files.drift import runner
from gantool.exporting.onnx_files.transposed import Layer, find, project, window

PROJECTION, WINDOWS = "projection", "windows"
WINDOW_SIDE, WINDOW_CHANNELS = 4, 512  # of the maps whose windows are multiplied
MIN_COLUMNS = 16  # a product of fewer output channels was never faster
MAX_DIFFERENCE = 1e-5  # absolute, of any output value
BATCHES = (1, 2, 7)  # that the two graphs are compared at

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Rewrite:
    """A layer that became matrix products. `kind`: PROJECTION or WINDOWS; shapes: (channels, sides…)."""

    layer: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def optimize(
    model: onnx.ModelProto, inputs: Arrays, say: Callable[[str], None] = lambda note: None
) -> tuple[onnx.ModelProto, list[Rewrite]]:
    """A graph that computes the same images as `model`, and which layers of it were rewritten.

    `model`: float32, standard operators, opset 13 to 25, dynamic batch first; it is left as it was. `inputs`: seven
    rows or more, with which the two are compared. Names of inputs and outputs, opset and IR version stay. Should an
    output value move by more than 1e-5, or the rewriting fail, the model itself is returned, and `say` is told why.
    """
    try:
        made, rewrites = rewrite(model)
        onnx.checker.check_model(made, full_check=True)
        worst = _difference(model, made, inputs)
    except Exception as error:  # noqa: BLE001  a fault of ours or of a library costs speed, not the export
        say(f"The graph stays as torch exports it: {excerpt(named(error), 200)}")
        return model, []
    if worst > MAX_DIFFERENCE:
        say(f"The graph stays as torch exports it: values would move by {worst:.1e}, more than {MAX_DIFFERENCE:.0e}.")
        return model, []
    return made, rewrites


def rewrite(model: onnx.ModelProto, *, all_windows: bool = False) -> tuple[onnx.ModelProto, list[Rewrite]]:
    """`optimize` without its comparison. `all_windows`: rewrite every layer that can be, not only the rule's."""
    made = clean(model)
    done: list[Rewrite] = []
    projected = [layer for layer in find(made) if _is_point(layer)]
    if projected:
        made = clean(project(made, projected))
        done += [_rewrite(layer, PROJECTION) for layer in projected]
    windowed = [layer for layer in find(made) if layer.divides and (all_windows or _gains_by_windows(layer))]
    if windowed:
        made = window(made, windowed)
        done += [_rewrite(layer, WINDOWS) for layer in windowed]
    return made, done


def _is_point(layer: Layer) -> bool:
    """Whether the layer's map is 1×1: its product is faster at any size."""
    return math.prod(layer.input_shape[1:]) == 1


def _gains_by_windows(layer: Layer) -> bool:
    channels, *sides = layer.input_shape
    return set(sides) == {WINDOW_SIDE} and channels >= WINDOW_CHANNELS and layer.output_shape[0] >= MIN_COLUMNS


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with constants folded and stored once, and without values that nobody uses (onnxscript's optimizer)."""
    with quiet("onnxscript"):  # it logs each pattern that it tries
        made = optimizer.optimize(model)
    items: list[Any] = [*made.graph.node, *made.graph.initializer]
    for item in items:
        del item.metadata_props[:]  # which rule made it
    del made.graph.metadata_props[:], made.graph.value_info[:]  # inferred again by whoever needs it
    # the library may say more of these, or less, but never something else
    del made.opset_import[:], made.graph.input[:], made.graph.output[:]
    made.opset_import.extend(model.opset_import)
    made.graph.input.extend(model.graph.input)
    made.graph.output.extend(model.graph.output)
    return made


def _rewrite(layer: Layer, kind: str) -> Rewrite:
    return Rewrite(layer.name, kind, layer.input_shape, layer.output_shape)


def _difference(before: onnx.ModelProto, after: onnx.ModelProto, inputs: Arrays) -> float:
    """The largest of any output value, in batches and of rows one by one; NaN is infinite."""
    batches = [slice(0, count) for count in BATCHES] + [slice(i, i + 1) for i in range(max(BATCHES))]
    one, two = runner(before), runner(after)
    worst = 0.0
    for rows in batches:
        feed = {name: array[rows] for name, array in inputs.items()}
        difference = float(np.abs(one(feed).astype(np.float64) - two(feed)).max(initial=0.0))
        worst = max(worst, math.inf if math.isnan(difference) else difference)
    return worst
