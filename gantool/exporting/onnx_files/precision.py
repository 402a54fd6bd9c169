"""Convert a float32 generator to 16 bits: weights alone (`half_weights`), or arithmetic too (`half`).

Both take the graph of `graph.to_onnx` and leave it as it was. Inputs and output stay float32 under the names they had,
so that `seeds.seeded_model` joins the results. 8 bits are in `int8`; `drift` measures what any of them costs.

`half_weights` stores the very numbers that files for torch have: the generator's own weights are rounded first
(`rounded`), and every file is made of the result. An ONNX graph has BatchNorms folded into its weights; there, the
factor of each channel is found again and stored beside the 16 bits.
"""

from __future__ import annotations

import copy
import graphlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from gantool.errors import GantoolError
from gantool.exporting.onnx_files.drift import unconvertible
from gantool.exporting.onnx_files.graph import as_float32
from gantool.training.state import BATCH_NORM, copied

NORMS = {
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
    "RMSNormalization",
}
REDUCTIONS = {
    *(
        f"Reduce{name}"
        for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    ),
    "CumSum",
    "GlobalAveragePool",
    "LogSoftmax",
    "Softmax",
}
POWERS = {"Exp", "Log", "Pow", "Reciprocal", "Sqrt"}  # the first to leave fp16's range, or to lose bits
ARITHMETIC = {"Abs", "Add", "Clip", "Div", "Max", "Min", "Mul", "Neg", "Sub", *POWERS}
MAX_ROUNDING = 2.0**-10  # of a tensor's norm: twice what fp16 costs normal numbers, so range was lost as well
EXACT = 2.0**-20  # relative: a product of float32 numbers is 8 times nearer, another number 1 in 1,000 times as near


def rounded(generator: nn.Module) -> nn.Module:
    """A copy whose weights (parameters of two axes and more) are numbers that fp16 holds; what it can't hold stays."""
    made = copied(generator)
    with torch.no_grad():
        for parameter in made.parameters():
            is_float = parameter.dtype == torch.float32
            if is_float and is_weight(tuple(parameter.shape)) and fits(parameter.numpy()):
                parameter.copy_(parameter.half())
    return made


def channel_factors(generator: nn.Module) -> list[np.ndarray]:
    """What each BatchNorm in eval mode multiplies its channels by: float64 (channels,) each."""
    found = []
    for norm in generator.modules():
        if isinstance(norm, BATCH_NORM) and norm.running_var is not None:
            gamma = norm.weight.detach() if norm.weight is not None else torch.ones_like(norm.running_var)
            found.append((gamma.double() / (norm.running_var.double() + norm.eps).sqrt()).numpy())
    return found


def half_weights(model: onnx.ModelProto, factors: Sequence[np.ndarray] = ()) -> onnx.ModelProto:
    """Store the weights in fp16 and cast them to float32 in the graph: half the size, the same arithmetic.

    Weights are float32 initializers of two axes and more. Initializer `w` becomes `w/half`, and one Cast gives `w` back
    to all that use it; where `w` is fp16 numbers times one of `factors` (those of folded normalisations:
    `channel_factors`), a Mul with it follows, and nothing is rounded. ONNX Runtime folds both when it loads
    the file. A tensor that fp16 does not hold (beyond 65504, or so small that bits are lost) stays float32. Raises
    GantoolError for weights that are NaN or infinite.
    """
    model = prepared(model)
    graph = model.graph
    given = {value.name for value in graph.input}
    widened = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or not is_weight(tuple(tensor.dims)) or tensor.name in given:
            continue
        weight, name = numpy_helper.to_array(tensor), tensor.name
        if not fits(weight):
            continue
        numbers = weight.astype(np.float16)
        found = None if np.array_equal(numbers, weight) else factored(weight, factors)
        wide = name
        if found is not None:
            numbers, factor = found
            wide = f"{name}/wide"
            graph.initializer.append(numpy_helper.from_array(factor, f"{name}/factor"))
        tensor.CopyFrom(numpy_helper.from_array(numbers, f"{name}/half"))
        widened.append(helper.make_node("Cast", [f"{name}/half"], [wide], f"{name}/cast", to=TensorProto.FLOAT))
        if found is not None:
            widened.append(helper.make_node("Mul", [wide, f"{name}/factor"], [name], f"{name}/scale"))
    nodes = [*widened, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def factored(weight: np.ndarray, factors: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """`weight` as fp16 numbers times a factor of each channel, from `factors`: (fp16, float32 that broadcasts) or None.

    The channels may lie on any axis, each once, as a run of columns (channels first) or in turn (channels last).
    """
    for shape, vector in _broadcasts(weight.shape, factors):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = weight / vector.reshape(shape)
            numbers = ratio.astype(np.float16)
            near = numbers.astype(np.float64)
            if np.all(np.abs(ratio - near) <= EXACT * np.abs(near)):
                return numbers, vector.reshape(shape).astype(np.float32)
    return None


def _broadcasts(shape: tuple[int, ...], factors: Sequence[np.ndarray]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    for vector in factors:
        for axis, side in enumerate(shape):
            repeats, rest = divmod(side, len(vector))
            if rest or not repeats:
                continue
            place = tuple(side if i == axis else 1 for i in range(len(shape)))
            yield place, np.repeat(vector, repeats)
            if repeats > 1:
                yield place, np.tile(vector, repeats)


def is_weight(shape: tuple[int, ...]) -> bool:
    """Whether a tensor has at least two axes longer than 1. Biases and factors, which have one, stay float32."""
    return sum(side > 1 for side in shape) >= 2


def fits(array: np.ndarray) -> bool:
    """Whether fp16 holds the values as well as it holds normal numbers."""
    if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        return False
    wide = array.astype(np.float64)
    return bool(np.linalg.norm(wide - array.astype(np.float16)) <= MAX_ROUNDING * np.linalg.norm(wide))


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute in fp16, for GPUs; norms, reductions, powers and values too large for fp16 stay float32.

    Made by onnxruntime.transformers.float16. On the CPU, ONNX Runtime computes it in float32 (slower than the float32
    file): judge it by `half_as_computed`. Raises GantoolError for weights that are NaN or infinite, and for a graph
    that can't be converted.
    """
    model = prepared(model)
    from onnxruntime.transformers import float16

    try:
        converted: onnx.ModelProto = float16.convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *sorted(NORMS | REDUCTIONS | POWERS)],
            node_block_list=sorted(_kept_float32(model.graph)),
        )
        del converted.graph.value_info[:]  # inferred again by whoever needs it; stale ones would be believed
        _mend_casts(converted.graph)
        onnx.checker.check_model(converted, full_check=True)
    except (ValueError, AssertionError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise unconvertible("fp16", error) from error
    return converted


def half_as_computed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Imitate on the CPU what a GPU computes of `half(…)`: every fp16 result is rounded to fp16 and widened again.

    ONNX Runtime's CPU provider runs chains of fp16 operators in float32 without rounding in between, which would hide
    an overflow that happens on a GPU.
    """
    model = copy.deepcopy(model)
    types = _types(model)
    halves = {name for name, kind in types.items() if kind == TensorProto.FLOAT16}
    graph = model.graph
    nodes: list[onnx.NodeProto] = []
    as_float32(graph, TensorProto.FLOAT16)
    for node in graph.node:
        nodes.append(node)
        for position, name in enumerate(node.output):
            if name in halves:
                node.output[position] = f"{name}/wide"
                narrow = helper.make_node("Cast", [f"{name}/wide"], [f"{name}/narrow"], to=TensorProto.FLOAT16)
                nodes += [narrow, helper.make_node("Cast", [f"{name}/narrow"], [name], to=TensorProto.FLOAT)]
    nodes = [copy.deepcopy(node) for node in nodes]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with constants as initializers, a name of its own on every node, and no metadata.

    Raises GantoolError, with the tensor's name, for weights that are NaN or infinite.
    """
    model = copy.deepcopy(model)
    graph = model.graph
    del model.metadata_props[:]  # it describes the other file
    for node in [n for n in graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"]:
        node.attribute[0].t.name = node.output[0]
        graph.initializer.append(node.attribute[0].t)
        graph.node.remove(node)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor)
            # a single infinity is a bound, as of a Clip
            wrong = int((np.isnan(array) if array.size == 1 else ~np.isfinite(array)).sum())
            if wrong:
                raise GantoolError(
                    f"The weights {tensor.name!r} hold {wrong} values that are NaN or infinite.",
                    "The training diverged: export an earlier checkpoint (--step), or train again.",
                )
    taken: set[str] = set()
    for number, node in enumerate(graph.node):
        while not node.name or node.name in taken:
            node.name += f"{node.op_type}_{number}"
        taken.add(node.name)
    return model


def _kept_float32(graph: onnx.GraphProto) -> set[str]:
    """Names of nodes that fp16 would spoil, beside the norms and reductions themselves.

    They have constants that fp16 does not hold (the library would silently clamp 1e5 to 65504, and 1e-8 to 6e-8), make
    the products that a reduction adds up (x·x overflows from 256 on), or use its result alone, as sqrt(mean + eps). And
    those that crash ONNX Runtime.
    """
    unfit = {
        t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT and not fits(numpy_helper.to_array(t))
    }
    kept = {node.name for node in graph.node if unfit & set(node.input)}
    makers = {name: node for node in graph.node for name in node.output}
    statistics = {t.name for t in graph.initializer}
    pending = [name for node in graph.node if node.op_type in REDUCTIONS for name in node.input[:1]]
    while pending:
        node = makers.get(pending.pop())
        if node is not None and node.op_type in ARITHMETIC - {"Add"} and node.name not in kept:
            kept.add(node.name)
            pending += node.input
    for node in graph.node:
        if node.op_type in REDUCTIONS:
            statistics.update(node.output)
        elif node.op_type in ARITHMETIC and all(not name or name in statistics for name in node.input):
            kept.add(node.name)
            statistics.update(node.output)
    factors = (makers.get(name) for node in graph.node if node.op_type == "MatMul" for name in node.input)
    return kept | {node.name for node in factors if node is not None and _crashes_before_product(node)}


def _crashes_before_product(node: onnx.NodeProto) -> bool:
    """Whether ONNX Runtime crashes on x86 when it opens the node in fp16 before a MatMul, as in a TransformerEncoder.

    A Transpose that moves the first axis among the last two does (versions 1.24 to 1.31, microsoft/onnxruntime#28392).
    """
    order = next((list(a.ints) for a in node.attribute if node.op_type == "Transpose" and a.name == "perm"), [])
    return len(order) > 2 and 0 in order[-2:]


def _mend_casts(graph: onnx.GraphProto) -> None:
    """Remove the Casts that the library repeats, or puts between two float32 nodes, and sort the nodes."""
    nodes: list[Any] = []
    made: set[str] = set()
    for node in graph.node:
        if node.op_type == "Cast" and node.output[0] in made:
            continue  # two float32 nodes that use one value: the same Cast twice, which is no valid graph
        made.update(node.output)
        nodes.append(node)
    makers = {name: node for node in nodes for name in node.output}

    def origin(name: str) -> str:
        """The float32 value behind a Cast to fp16 and back; the name itself where there is none."""
        back = makers.get(name)
        if back is None or not _casts(back, TensorProto.FLOAT):
            return name
        narrow = makers.get(back.input[0])
        if narrow is None or not _casts(narrow, TensorProto.FLOAT16) or not _library_made(back, narrow):
            return name
        return str(narrow.input[0])

    for node in nodes:
        for position, name in enumerate(node.input):
            node.input[position] = origin(name)
    outputs = {value.name for value in graph.output}
    while True:
        used = outputs.union(*(node.input for node in nodes))
        live = [node for node in nodes if used & set(node.output)]
        if len(live) == len(nodes):
            break
        nodes = live
    places = {name: place for place, node in enumerate(nodes) for name in node.output}
    before = {place: [places[name] for name in node.input if name in places] for place, node in enumerate(nodes)}
    order = [copy.deepcopy(nodes[place]) for place in graphlib.TopologicalSorter(before).static_order()]
    del graph.node[:]
    graph.node.extend(order)


def _casts(node: onnx.NodeProto, to: int) -> bool:
    return bool(node.op_type == "Cast" and any(a.name == "to" and a.i == to for a in node.attribute))


def _library_made(back: onnx.NodeProto, narrow: onnx.NodeProto) -> bool:
    """Whether both Casts are the library's. One of the generator's own may narrow an integer or a double."""
    made = (f"{narrow.output[0]}_cast_to_fp16_node", "graph_input_cast")
    return bool(back.name == f"{back.input[0]}_cast_to_fp32_node" and narrow.name.startswith(made))


def _types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values}
