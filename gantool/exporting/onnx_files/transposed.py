"""Rewrite transposed convolutions as matrix products: of a 1×1 map (`projection`), or of a map's windows (`windows`).

`windows`: with stride s an output position o depends, by o mod s (its phase), on a few of the kernel's taps alone: of
4×4 with stride 2 each of the four phases sees 2×2 input positions. For each phase, one Gather lays these windows out as
the rows of a matrix (zeros where a window leaves the map) and one Gemm with those taps, bias and activation makes the
phase's pixels; Concats interleave the phases. A weight is read once for a batch, where ConvTranspose reads it anew for
each image. Maps are channels-last inside, so that consecutive layers change the layout once, or, behind a Gemm, never:
its columns are permuted.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

# ONNX Runtime fuses these into the Gemm: of one input, the same for every element
ACTIVATIONS = {"Elu", "HardSigmoid", "LeakyRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh"}


@dataclass(frozen=True)
class Layer:
    """A ConvTranspose of one group, its weights and sides known, with the activation that is its only use."""

    name: str
    nodes: tuple[onnx.NodeProto, ...]  # itself, then its activation if it has one
    weight: np.ndarray  # (inputs, outputs, kernel…)
    bias: np.ndarray | None  # (outputs,)
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    strides: tuple[int, ...]
    begins: tuple[int, ...]  # the pads before the map
    dilations: tuple[int, ...]

    @property
    def source(self) -> str:
        return self.nodes[0].input[0]

    @property
    def result(self) -> str:
        return self.nodes[-1].output[0]

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.weight.shape[2:]

    @property
    def divides(self) -> bool:
        """Whether `window` can rewrite it: every phase has a tap, and all have as many positions."""
        return all(d == 1 for d in self.dilations) and all(
            k >= s and side % s == 0
            for k, s, side in zip(self.kernel, self.strides, self.output_shape[1:], strict=True)
        )


def find(model: onnx.ModelProto) -> list[Layer]:
    """The graph's transposed convolutions in order, but those with groups, automatic pads or computed weights."""
    view, known = View(model), shapes(model)
    found = (_layer(view, known, node) for node in model.graph.node if node.op_type == "ConvTranspose")
    return [layer for layer in found if layer is not None]


def _layer(view: View, known: dict[str, tuple[int | None, ...]], node: onnx.NodeProto) -> Layer | None:
    weight = view.constant(node.input[1])
    biased = len(node.input) > 2 and bool(node.input[2])
    bias = view.constant(node.input[2]) if biased else None
    inputs = known.get(node.input[0], ())
    given = attributes(node)
    if (
        weight is None
        or weight.dtype != np.float32
        or (biased and bias is None)
        or len(inputs) != weight.ndim
        or None in inputs[1:]
        or given.get("group", 1) != 1
        or "output_shape" in given
        or given.get("auto_pad", b"NOTSET") != b"NOTSET"
    ):
        return None
    rank = weight.ndim - 2
    ones = (1,) * rank
    strides, dilations = (tuple(given.get(name, ones)) for name in ("strides", "dilations"))
    pads = tuple(given.get("pads", (0, 0) * rank))
    extra = tuple(given.get("output_padding", (0,) * rank))
    sides = tuple(
        strides[i] * (inputs[2 + i] - 1) + extra[i] + (weight.shape[2 + i] - 1) * dilations[i] + 1  # type: ignore[operator]
        - pads[i] - pads[rank + i]
        for i in range(rank)
    )  # fmt: skip
    user = view.only_user(node.output[0])
    activation = (user,) if user is not None and user.op_type in ACTIVATIONS else ()
    return Layer(
        name=node.name or node.output[0],
        nodes=(node, *activation),
        weight=weight,
        bias=bias,
        input_shape=tuple(side for side in inputs[1:] if side is not None),
        output_shape=(weight.shape[1], *sides),
        strides=strides,
        begins=pads[:rank],
        dilations=dilations,
    )


def project(model: onnx.ModelProto, layers: Sequence[Layer]) -> onnx.ModelProto:
    """The layers, each of a 1×1 map, as one Gemm from channels to all pixels; their activations stay nodes."""
    chosen = {layer.nodes[0].output[0]: layer for layer in layers}
    emit = Emitter()
    for node in model.graph.node:
        layer = chosen.get(node.output[0])
        if layer is None:
            emit.nodes.append(node)
            continue
        channels, *sides = layer.output_shape
        # tap t of an axis lands on t·dilation − pad: what falls outside is cut off, what no tap reaches is bias alone
        full = np.zeros((layer.input_shape[0], *layer.output_shape), np.float32)
        for tap in np.ndindex(*layer.kernel):
            spot = tuple(t * d - b for t, d, b in zip(tap, layer.dilations, layer.begins, strict=True))
            if all(0 <= at < side for at, side in zip(spot, sides, strict=True)):
                full[(slice(None), slice(None), *spot)] = layer.weight[(slice(None), slice(None), *tap)]
        output = node.output[0]
        rows = emit.reshape(node.input[0], -1, layer.input_shape[0], output=f"{output}/rows")
        operands = [rows, emit.constant(f"{output}/weight", full.reshape(len(full), -1))]
        if layer.bias is not None:
            operands.append(emit.constant(f"{output}/bias", np.repeat(layer.bias, math.prod(sides))))
        emit.reshape(emit("Gemm", operands, f"{output}/product"), -1, channels, *sides, output=output)
    return with_nodes(model, emit)


def window(model: onnx.ModelProto, layers: Sequence[Layer], rows: Collection[str] = ()) -> onnx.ModelProto:
    """The layers, each of which `divides`, as matrix products of windows.

    `rows`: values of the graph that are (batch, positions, channels) already.
    """
    view = View(model)
    last = dict(zip(rows, rows, strict=True))  # channels-last (batch, positions, channels) twin of a value
    starts = {layer.nodes[0].output[0]: layer for layer in layers}
    gone = {node.output[0] for layer in layers for node in layer.nodes[1:]}
    emit = Emitter()
    replaced: dict[str, onnx.NodeProto] = {}
    for layer in layers:
        found = projection_before(view, layer.source)
        if found is not None:
            replaced |= _channels_last(emit, view, found, layer.input_shape)
            last[layer.source] = found[-1].output[0] + "/last"
    for node in model.graph.node:
        start = starts.get(node.output[0])
        if start is not None:
            if start.source not in last:
                last[start.source] = _to_rows(emit, start)
            last[start.result] = _windows(emit, start, last[start.source])
            inner = [other for other in layers if other.source == start.result]
            if view.uses[start.result] > len(inner):
                _from_rows(emit, start, last[start.result])
        elif node.output[0] not in gone:
            emit.nodes.append(replaced.get(node.output[0], node))
    return with_nodes(model, emit)


def _windows(emit: Emitter, layer: Layer, rows: str) -> str:
    """The layer on channels-last rows, and its result in the same layout."""
    inputs, *sides = layer.input_shape
    outputs, *grown = layer.output_shape
    base = layer.nodes[0].output[0]
    # one more position, of zeros, for what lies outside the map
    padded = emit("Pad", [rows, emit.integers(0, 0, 0, 0, 1, 0)], f"{base}/padded")
    bias = [] if layer.bias is None else [emit.constant(f"{base}/bias", layer.bias)]
    parts: dict[tuple[int, ...], str] = {}
    for phase in itertools.product(*map(range, layer.strides)):
        taps, positions = _phase(layer, phase)
        name = f"{base}/phase." + ".".join(map(str, phase))
        chosen = layer.weight[np.ix_(range(inputs), range(outputs), *taps)]
        matrix = np.moveaxis(chosen, (0, 1), (-2, -1)).reshape(-1, outputs)
        index = emit.constant(f"{name}/positions", positions.ravel())
        gathered = emit("Gather", [padded, index], f"{name}/gathered", axis=1)
        matrices = [emit.reshape(gathered, -1, len(matrix), output=f"{name}/windows")]
        part = emit("Gemm", [*matrices, emit.constant(f"{name}/weight", matrix), *bias], f"{name}/product")
        for activation in layer.nodes[1:]:
            part = emit(activation.op_type, [part], f"{name}/active", **attributes(activation))
        parts[phase] = part
    # rows of positions m1…md: interleave the phases of the last axis, then take that axis into the row, and so on
    width = outputs
    for axis in reversed(range(len(sides))):
        stride = layer.strides[axis]
        merged: dict[tuple[int, ...], str] = {}
        for phase in itertools.product(*map(range, layer.strides[:axis])):
            name = ".".join([f"{base}/axis", str(axis), *map(str, phase)])
            group = [parts[(*phase, last)] for last in range(stride)]
            joined = group[0] if stride == 1 else emit("Concat", group, f"{name}/joined", axis=1)
            width_now = width * grown[axis]
            merged[phase] = emit.reshape(joined, -1, width_now, output=f"{name}/rows") if axis else joined
        parts, width = merged, width * grown[axis]
    return emit.reshape(parts[()], -1, math.prod(grown), outputs, output=f"{base}/last")


def _phase(layer: Layer, phase: Sequence[int]) -> tuple[list[list[int]], np.ndarray]:
    """The taps of each axis that reach this phase, and for each of its positions the input positions under them.

    Output o = s·m + phase gets tap t from input i where s·i + t − pad = o; an i outside is the zeros at the end.
    """
    sides = layer.input_shape[1:]
    rank = len(sides)
    taps: list[list[int]] = []
    flat, inside = np.zeros((1,) * (2 * rank), np.int64), np.ones((1,) * (2 * rank), bool)
    for axis, (side, s, at) in enumerate(zip(sides, layer.strides, phase, strict=True)):
        shift = at + layer.begins[axis]
        taps.append([t for t in range(layer.kernel[axis]) if (shift - t) % s == 0])
        steps = np.arange(layer.output_shape[1 + axis] // s)
        index = steps[:, None] + np.array([(shift - t) // s for t in taps[-1]])
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = index.shape
        index = index.reshape(shape)
        flat = flat * side + index
        inside = inside & (index >= 0) & (index < side)
    return taps, np.where(inside, flat, math.prod(sides))


def _to_rows(emit: Emitter, layer: Layer) -> str:
    channels, *sides = layer.input_shape
    flat = emit.reshape(layer.source, -1, channels, math.prod(sides), output=f"{layer.source}/flat")
    return emit("Transpose", [flat], f"{layer.source}/last", perm=[0, 2, 1])


def _from_rows(emit: Emitter, layer: Layer, rows: str) -> None:
    first = emit("Transpose", [rows], f"{rows}/first", perm=[0, 2, 1])
    emit.reshape(first, -1, *layer.output_shape, output=layer.result)


def projection_before(view: View, value: str) -> tuple[onnx.NodeProto, ...] | None:
    """Gemm, Reshape and perhaps an activation that make `value` for one user; None where columns can't be permuted."""
    chain: list[onnx.NodeProto] = []
    for op in (*[ACTIVATIONS] * (getattr(view.makers.get(value), "op_type", "") in ACTIVATIONS), {"Reshape"}, {"Gemm"}):
        node = view.makers.get(value)
        if node is None or node.op_type not in op or view.uses[value] != 1:
            return None
        chain.insert(0, node)
        value = node.input[0]
    gemm, reshape = chain[:2]
    weight = view.constant(gemm.input[1])
    shape = view.constant(reshape.input[1])
    bias = view.constant(gemm.input[2]) if len(gemm.input) > 2 and gemm.input[2] else None
    if weight is None or shape is None or (bias is None and len(gemm.input) > 2 and gemm.input[2]):
        return None
    columns = weight.shape[0 if attributes(gemm).get("transB", 0) else 1]
    fits = math.prod(shape[1:]) == columns and (bias is None or bias.shape == (columns,))
    return tuple(chain) if fits and min(shape[1:]) > 0 else None


def _channels_last(
    emit: Emitter, view: View, chain: Sequence[onnx.NodeProto], shape: tuple[int, ...]
) -> dict[str, onnx.NodeProto]:
    """By the output of the node that each replaces: the same chain with its columns in channels-last order."""
    gemm, reshape, *active = chain
    channels, *sides = shape
    order = np.arange(math.prod(shape)).reshape(channels, -1).T.ravel()
    axis = 0 if attributes(gemm).get("transB", 0) else 1
    inputs = [gemm.input[0]]
    for name, along in zip(gemm.input[1:], (axis, 0), strict=False):
        array = view.constant(name)
        inputs.append(name if array is None else emit.constant(f"{name}/last", array.take(order, axis=along)))
    made = {}
    made[gemm.output[0]] = _like(gemm, inputs)
    positions = emit.integers(-1, math.prod(sides), channels)
    made[reshape.output[0]] = _like(reshape, [made[gemm.output[0]].output[0], positions])
    for node in active:
        made[node.output[0]] = _like(node, [made[reshape.output[0]].output[0]])
    return made


def _like(node: onnx.NodeProto, inputs: Sequence[str]) -> onnx.NodeProto:
    output = f"{node.output[0]}/last"
    return helper.make_node(node.op_type, inputs, [output], name=output, **attributes(node))


class View:
    """A graph's constants, and the nodes that make and use each value, as they were when the view was made."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._tensors = {t.name: t for t in model.graph.initializer}
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        self.uses.update(output.name for output in model.graph.output)
        self.users = {name: node for node in model.graph.node for name in node.input}

    def constant(self, name: str) -> np.ndarray | None:
        tensor = self._tensors.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def only_user(self, name: str) -> Any:
        """The node that is the value's one use, or None."""
        return self.users.get(name) if self.uses[name] == 1 else None


class Emitter:
    """Nodes and constants under readable names; a constant of the same name is stored once."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def integers(self, *values: int) -> str:
        return self.constant("int64/" + ".".join(map(str, values)), np.array(values, np.int64))

    def __call__(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def reshape(self, value: str, *shape: int, output: str) -> str:
        return self("Reshape", [value, self.integers(*shape)], output)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Of every value whose rank is known; None for a side that isn't."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {}
    for value in [*inferred.value_info, *inferred.input, *inferred.output]:
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found[value.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return found


def with_nodes(model: onnx.ModelProto, emit: Emitter) -> onnx.ModelProto:
    """A copy with the emitted nodes in place of all; its constants, and of the old ones those still used."""
    graph = model.graph
    used = {name for node in emit.nodes for name in node.input} | {output.name for output in graph.output}
    old = [t for t in graph.initializer if t.name in used and t.name not in emit.constants]
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.initializer[:], made.graph.value_info[:]
    made.graph.node.extend(emit.nodes)
    made.graph.initializer.extend([*old, *emit.constants.values()])
    return made
