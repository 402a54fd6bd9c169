"""Constants folded, no-operations gone: by onnxscript's optimiser, and what it leaves behind."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import onnx
from onnxscript import optimizer

from gantool.exporting.onnx_files.optimize.graph import Emitter, View, shapes, with_nodes

NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without nodes that compute nothing and values that nobody uses; equal constants stored once."""
    made = _library(model)
    while (fewer := _without_noops(made)) is not None:
        made = _library(fewer)
    return made


def _library(model: onnx.ModelProto) -> onnx.ModelProto:
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells of each pattern that it tries
    try:
        made = optimizer.optimize(model)
    finally:
        logger.setLevel(level)
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


def _without_noops(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Without the nodes that pass their input on, of those that the library leaves; None where there are none."""
    view, known = View(model), shapes(model)
    outputs = {output.name for output in model.graph.output}
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        source = _passed_on(node, view, known)
        if source is not None and node.output[0] not in outputs:
            renamed[node.output[0]] = source
    if not renamed:
        return None
    emit = Emitter()
    for node in model.graph.node:
        if node.output[0] not in renamed:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for i, name in enumerate(copy.input):
                while name in renamed:
                    name = renamed[name]
                copy.input[i] = name
            emit.nodes.append(copy)
    return with_nodes(model, emit)


def _passed_on(node: onnx.NodeProto, view: View, known: Mapping[str, tuple[int | None, ...]]) -> str | None:
    """The input that is the node's output: of a Reshape to the same sides, x + 0, x - 0, x · 1 and x / 1."""
    if node.op_type == "Reshape":
        before, after = known.get(node.input[0]), view.constant(node.input[1])
        if before and after is not None and len(before) == len(after):
            first, *rest = after.tolist()
            if first in (-1, 0, before[0]) and tuple(rest) == before[1:]:  # the batch is what is left over
                return node.input[0]
    elif node.op_type in NEUTRAL:
        # the library drops these where the constant has no axes; one of a single element and few axes is no different
        for source, other in (node.input, node.input[::-1])[: 1 if node.op_type in ("Sub", "Div") else 2]:
            constant, sides = view.constant(other), known.get(source)
            if (
                constant is not None
                and sides is not None
                and constant.ndim <= len(sides)
                and constant.size == 1
                and constant.item() == NEUTRAL[node.op_type]
            ):
                return source
    return None
