"""What a graph computes and touches for one image, counted from the ONNX file itself.

Counted are matrix products and convolutions, a multiplication and an addition as two operations, as torch's
FlopCounterMode does. Their rate beside that of a plain matrix product tells how much of the machine is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, shape_inference

from gantool.artifact import onnxfile
from gantool.errors import GantoolError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """Of one image in a batch of one.

    `flops`: floating-point (or integer) operations of matrix products and convolutions. `weight_bytes`: constants of
    the graph, which a call reads once whatever its batch. `activation_bytes`: what the nodes write, as if none were
    fused: each byte is written once and read at least once; not what follows from constants alone.
    """

    flops: int
    weight_bytes: int
    activation_bytes: int


def count(path: Path) -> Work | None:
    """Of the ONNX file at `path`; None for one that can't be read, or has a shape that only running it would tell."""
    try:
        return count_model(onnx.load_model_from_string(onnxfile.read_bytes(path)))
    except (GantoolError, DecodeError, shape_inference.InferenceError):
        return None


def count_model(model: onnx.ModelProto) -> Work | None:
    """As `count`, of a model in memory, which it changes: its batch becomes 1. InferenceError: shapes that clash."""
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if not axis.HasField("dim_value"):
                axis.dim_value = 1  # the batch is all that is free
    del model.graph.value_info[:]  # of another batch, perhaps
    graph = shape_inference.infer_shapes(model, data_prop=True, strict_mode=True).graph
    shapes, sizes = dict(_shapes(graph)), dict(_sizes(graph))
    flops = 0
    for node in graph.node:
        formula = _FORMULAS.get(node.op_type)
        if formula is None:
            if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
                return None  # how often a loop runs is not known
            continue
        try:
            flops += formula(node, shapes)
        except KeyError:
            return None
    written = _written(graph)
    if any(name not in sizes for name in written):
        return None
    weights = sum(math.prod(t.dims) * _width(t.data_type) for t in graph.initializer)
    return Work(flops, math.ceil(weights), math.ceil(sum(sizes[name] for name in written)))


def _written(graph: GraphProto) -> list[str]:
    """What nodes write at every run: what follows from constants alone is computed once, when a session opens."""
    constant = {tensor.name for tensor in graph.initializer}
    written: list[str] = []
    for node in graph.node:
        if all(not name or name in constant for name in node.input):
            constant.update(node.output)
        else:
            written += filter(None, node.output)
    return written


def _matmul(node: NodeProto, shapes: Mapping[str, Shape]) -> int:
    """As numpy.matmul: each output value, whatever was broadcast, is a sum over the left one's last axis."""
    return 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: NodeProto, shapes: Mapping[str, Shape]) -> int:
    left = shapes[node.input[0]]
    return 2 * math.prod(shapes[node.output[0]]) * left[0 if _attribute(node, "transA") else 1]


def _conv(weight: int) -> Callable[[NodeProto, Mapping[str, Shape]], int]:
    """Each output value is a sum over a kernel, (M, C/groups, k…)."""
    return lambda node, shapes: 2 * math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[weight]][1:])


def _conv_transpose(node: NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Each input value is spread by a kernel, (C, M/groups, k…)."""
    return 2 * math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])


_FORMULAS: Mapping[str, Callable[[NodeProto, Mapping[str, Shape]], int]] = {
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "QLinearConv": _conv(3),
    "ConvTranspose": _conv_transpose,
}


def _attribute(node: NodeProto, name: str) -> int:
    return next((a.i for a in node.attribute if a.name == name), 0)


def _shapes(graph: GraphProto) -> Iterator[tuple[str, Shape]]:
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(axis.HasField("dim_value") for axis in tensor.shape.dim):
            yield value.name, tuple(axis.dim_value for axis in tensor.shape.dim)
    for constant in graph.initializer:
        yield constant.name, tuple(constant.dims)


def _sizes(graph: GraphProto) -> Iterator[tuple[str, float]]:
    """Bytes of every value whose shape is known."""
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for name, shape in _shapes(graph):
        yield name, math.prod(shape) * _width(types[name])


def _width(kind: int) -> float:
    """Bytes of one value."""
    if kind in (TensorProto.INT4, TensorProto.UINT4):
        return 0.5
    return float(helper.tensor_dtype_to_np_dtype(kind).itemsize)
