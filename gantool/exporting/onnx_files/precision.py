"""A float32 generator graph in fewer bits: weights in fp16, or arithmetic in fp16; and how far its images may be off.

Every function takes the plain graph of `onnx_graph.to_onnx` and leaves it as it was. Inputs and output stay float32
under the names they had, so that `seeds.seeded_model` joins any of the results. int8 is in `quantize`.
"""

from __future__ import annotations

import copy
import graphlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from gantool.artifact import latents
from gantool.errors import GantoolError
from gantool.exporting.onnx_files import rounding
from gantool.exporting.verify import Check
from gantool.runtime.session import ORT_ERRORS

CHUNK = 64  # images a run

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
POWERS = {"Exp", "Log", "Pow", "Reciprocal", "Sqrt"}  # what leaves fp16's range or loses its bits first
ARITHMETIC = {"Abs", "Add", "Clip", "Div", "Max", "Min", "Mul", "Neg", "Sub", *POWERS}


@dataclass(frozen=True)
class Limits:
    """Levels of 0…255 that images may be off those of the float32 file: the worst pixel, and the mean of all."""

    worst: float
    mean: float


# Measured on generators trained on digits (mlp 28, dcgan 32, wgan 28) with 256 latents, worst/mean: half-weights
# 1/0.004, half as a GPU computes it 1/0.02, int8 23/0.39 (PSNR 47 dB; the eye finds no difference). The limits leave
# room for other weights, deeper networks and images with more greys: in the black of digits, nothing is off. The worst
# pixel of int8 is one on an edge, in some 200,000.
LIMITS = {"half-weights": Limits(2, 0.25), "half": Limits(8, 0.5), "int8": Limits(64, 2.0)}
MAX_NEWLY_SATURATED = 0.01  # of all pixels


@dataclass(frozen=True)
class Drift:
    """Images against those of the float32 file, in levels of 0…255; NaN where a value is not finite."""

    worst: float
    mean: float
    share: float  # of values that differ at all
    psnr: float  # dB; infinite for equal images
    finite: float  # share of finite values
    newly_saturated: float  # share of values that went to 0 or 255, by more than the one level of a rounding


def half_weights(model: onnx.ModelProto, factors: Sequence[np.ndarray] = ()) -> onnx.ModelProto:
    """The generator with its weights stored in fp16 and cast to float32 in the graph: half the size, same arithmetic.

    Weights are float32 initializers of two axes and more. Initializer `w` becomes `w/half`, and one Cast gives `w` back
    to all that use it; where `w` is fp16 numbers times one of `factors` (those of folded normalisations:
    `rounding.channel_factors`), a Mul with it follows, and nothing is rounded. ONNX Runtime folds both when it loads
    the file. A tensor that fp16 does not hold (beyond 65504, or so small that bits are lost) stays float32. Raises
    GantoolError for weights that are NaN or infinite.
    """
    model = prepared(model)
    graph = model.graph
    given = {value.name for value in graph.input}
    widened = []
    for tensor in graph.initializer:
        is_weight = tensor.data_type == TensorProto.FLOAT and rounding.is_weight(tuple(tensor.dims))
        if not is_weight or tensor.name in given:
            continue
        weight, name = numpy_helper.to_array(tensor), tensor.name
        if not rounding.fits(weight):
            continue
        numbers = weight.astype(np.float16)
        found = None if np.array_equal(numbers, weight) else rounding.factored(weight, factors)
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


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The generator computed in fp16, for GPUs; norms, reductions, powers and what is too large for fp16 in float32.

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
    """What a GPU computes of `half(…)`, in float32 operators: every fp16 result is rounded to fp16 and widened again.

    ONNX Runtime's CPU provider runs chains of fp16 operators in float32 and rounds between none of them, so that an
    overflow of a GPU is not seen there. This graph shows it: its images are what `half` is judged by.
    """
    model = copy.deepcopy(model)
    types = _types(model)
    halves = {name for name, kind in types.items() if kind == TensorProto.FLOAT16}
    graph = model.graph
    nodes: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        _widen(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
            elif attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
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


def drift(reference: np.ndarray, images: np.ndarray) -> Drift:
    """How far `images` are off `reference`, of the same shape: uint8 pixels, or float32 samples in [-1, 1].

    Float samples are turned into levels as `latents.pixels` does. Raises ValueError for other shapes or dtypes.
    """
    if reference.shape != images.shape or not images.size:
        raise ValueError(f"images of shape {images.shape} can't be compared with {reference.shape}")
    finite = float(np.isfinite(images).mean()) if images.dtype.kind == "f" else 1.0
    if finite < 1:
        return Drift(math.nan, math.nan, 1.0, math.nan, finite, math.nan)
    wanted, got = _levels(reference), _levels(images)
    off = np.abs(got.astype(np.int16) - wanted)
    square = float(np.square(off, dtype=np.float64).mean())
    return Drift(
        worst=float(off.max()),
        mean=float(off.mean()),
        share=float((off > 0).mean()),
        psnr=10 * math.log10(255**2 / square) if square else math.inf,
        finite=finite,
        newly_saturated=float((np.isin(got, (0, 255)) & (off > 1)).mean()),
    )


def compare(reference: onnx.ModelProto, model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Drift:
    """`drift` of two graphs on the same feeds (n rows each), run on the CPU in chunks of 64 or of the fixed batch."""
    return drift(images(reference, feeds), images(model, feeds))


def images(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output for all rows of `feeds`, run on the CPU; rows that fill no fixed batch are left out."""
    run = runner(model)
    count = min(len(array) for array in feeds.values())
    batch = fixed_batch(model)
    step = batch or CHUNK
    stop = count - count % batch if batch else count
    return np.concatenate(
        [
            run({name: array[first : min(first + step, stop)] for name, array in feeds.items()})
            for first in range(0, stop, step)
        ]
    )


def checks(artifact: str, precision: str, measured: Drift) -> list[Check]:
    """What decides about a file of `precision` (a key of LIMITS): finite, near enough, no more saturated."""
    limits = LIMITS[precision]
    return [
        Check(artifact, "share of finite values", measured.finite, 1.0, least=True),
        Check(artifact, "levels off float32, worst", measured.worst, limits.worst),
        Check(artifact, "levels off float32, mean", measured.mean, limits.mean),
        Check(artifact, "share of pixels newly saturated", measured.newly_saturated, MAX_NEWLY_SATURATED),
    ]


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """The batch that the graph's first input is declared with; None where it is dynamic."""
    return model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or None


def runner(model: onnx.ModelProto) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """A call of feeds → first output, in ONNX Runtime on the CPU; GantoolError when it does not take the graph."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # its failures come back as exceptions
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise unconvertible("a graph that ONNX Runtime runs", error) from error

    def run(feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        output: np.ndarray = session.run(None, dict(feeds))[0]
        return output

    return run


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
    """Names of nodes, beside the norms and reductions themselves, that fp16 would spoil.

    Those with constants that fp16 does not hold (the library would clamp 1e5 to 65504, and 1e-8 to 6e-8, without a
    word), the sums and products that a reduction reduces (x·x overflows from 256 on), and what is made of its result
    alone, as sqrt(mean + eps).
    """
    unfit = {
        t.name
        for t in graph.initializer
        if t.data_type == TensorProto.FLOAT and not rounding.fits(numpy_helper.to_array(t))
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
    return kept


def _mend_casts(graph: onnx.GraphProto) -> None:
    """Mend what the library leaves.

    It repeats a Cast for every use, goes to fp16 and back between two float32 nodes, and puts all Casts last.
    """
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
    """Whether both Casts are the library's; one of the generator's own may narrow an integer or a double."""
    made = (f"{narrow.output[0]}_cast_to_fp16_node", "graph_input_cast")
    return bool(back.name == f"{back.input[0]}_cast_to_fp32_node" and narrow.name.startswith(made))


def _types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def _levels(images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    if images.dtype != np.float32:
        raise ValueError(f"images of {images.dtype}; wanted: uint8 or float32")
    return latents.pixels(images.reshape(len(images), 1, 1, -1))


def unconvertible(what: str, error: Exception) -> GantoolError:
    return GantoolError(
        f"The generator can't be turned into {what}: {str(error).strip().partition(chr(10))[0][:300]}",
        "Use the float32 file, or --half-weights, which changes no operator.",
    )
