"""Convert a float32 generator graph to 8-bit integers, for CPUs.

Static quantisation by onnxruntime.quantization, as QDQ: QuantizeLinear and DequantizeLinear around the operators, which
ONNX Runtime fuses into integer kernels when it loads the file.

Activations are uint8 and weights int8, for that is what x86 multiplies. CPUs with AVX2 or AVX-512 but no VNNI add two
such products in 16 bits, and saturate without a word: 2 · 255 · 127 > 32767 (oneDNN's "Nuances of int8 computations").
Signed activations do not help: ONNX Runtime makes them unsigned when it loads the file. So weights take 7 bits
(`reduce_range`, as quantize_static advises for such CPUs): 2 · 255 · 64 < 32768, and every CPU makes the same sums. The
eighth bit was worth 0.02 levels of mean error on trained generators.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from gantool.errors import GantoolError
from gantool.exporting import verify
from gantool.exporting.onnx_files.drift import unconvertible
from gantool.exporting.onnx_files.optimize import clean, rewrite
from gantool.exporting.onnx_files.precision import prepared
from gantool.plugin.architecture import Input
from gantool.runtime.session import ORT_ERRORS

QUANTIZED = ("MatMul", "Gemm", "Conv")
WEIGHTED = {*QUANTIZED, "ConvTranspose"}
REMOVABLE = ("Relu", "Clip")  # after a Conv: the range of its integers does the same
MOVES = ("Gather", "Reshape", "Transpose")  # in front of a quantised node: a quarter of the bytes to move
BATCH = 32  # of calibration

# what onnxruntime's quantiser raises
FAILURES: tuple[type[Exception], ...] = (ValueError, TypeError, KeyError, onnx.shape_inference.InferenceError)
FAILURES += ORT_ERRORS


def int8(model: onnx.ModelProto, calibration: Iterable[Mapping[str, np.ndarray]]) -> onnx.ModelProto:
    """Quantise the MatMul, Gemm and Conv nodes of `model`, with ranges from the feeds of `calibration`.

    ONNX Runtime has no integer kernel of ConvTranspose, so each becomes matrix products (`transposed.window`), which
    made a dcgan of 32 pixels twice as fast. One that can't be rewritten (groups) stays float32. So do products of two
    activations, MatMuls whose left factor is the weights, what MatMul and Gemm give, and the last Conv: 8 bits in front
    of a tanh cost twice the error, for no speed. Weights have a scale for each output channel. Inputs, output and opset
    stay. The same model and feeds give the same bytes.

    Raises GantoolError for weights that are NaN or infinite, when nothing is left to quantise, and for feeds that
    don't fit.
    """
    rewritten, _ = rewrite(prepared(model), all_windows=True)
    model = prepared(clean(rewritten))
    _join_biases(model)
    nodes = _quantized(model.graph)
    if not nodes:
        raise GantoolError(
            f"Nothing in this generator is made of int8: it has no {', '.join(QUANTIZED)} with constant weights.",
            "Use --half-weights for a smaller file.",
        )
    _keep_from_float_fusion(model.graph, nodes)
    opset = [(entry.domain, entry.version) for entry in model.opset_import]
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    add_pre_process_metadata(model)  # else it advises a step that undoes ours: the graph is folded already
    with tempfile.TemporaryDirectory(prefix="gantool-int8-") as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                model,
                str(path),
                _reader(calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*QUANTIZED, *REMOVABLE, *MOVES],
                nodes_to_quantize=nodes,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={
                    "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
                    "ForceQuantizeNoInputCheck": True,  # else what comes before a move is left as it was
                },
            )
        except FAILURES as error:
            raise unconvertible("int8", error) from error
        quantized = onnx.load(str(path))
    del quantized.metadata_props[:], quantized.graph.value_info[:], quantized.opset_import[:]
    quantized.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in opset)
    quantized.producer_name, quantized.producer_version = model.producer_name, model.producer_version
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def calibration_feeds(
    inputs: Sequence[Input], rows: Callable[[Input, int], np.ndarray], count: int = verify.STATISTICS
) -> Iterator[dict[str, np.ndarray]]:
    """`count` latents of the prior (labels in turn, data by `rows(input, count)`) to calibrate with, in batches of 32.

    None of them is among the `count` that a file is verified with (`verify.reference_inputs`).
    """
    arrays = verify.reference_inputs(inputs, 2 * count, rows)
    for first in range(count, 2 * count, BATCH):
        yield {name: array[first : first + BATCH] for name, array in arrays.items()}


def _quantized(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes to quantise.

    These are products with constant weights on the right, but for the last Conv; Relu and Clip after a Conv; and the
    nodes of MOVES in front of such products.
    """
    constants = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    makers = {name: node for node in graph.node for name in node.output}
    last: set[str] = set()
    pending = [value.name for value in graph.output]
    seen: set[str] = set()
    while pending:
        node = makers.get(pending.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type in WEIGHTED:
            last.add(node.name)
        else:
            pending += node.input
    chosen: dict[str, str] = {}
    for node in graph.node:
        left, right = (*node.input, "", "")[:2]
        if node.op_type in QUANTIZED and right in constants and left not in constants:
            if node.op_type != "Conv" or node.name not in last:
                chosen[node.name] = node.op_type
        elif node.op_type in REMOVABLE and left in makers and chosen.get(makers[left].name) == "Conv":
            chosen[node.name] = node.op_type
    pending = [node.input[0] for node in graph.node if chosen.get(node.name) in QUANTIZED]
    while pending:
        node = makers.get(pending.pop())
        if node is not None and node.op_type in MOVES and node.name not in chosen:
            chosen[node.name] = node.op_type
            pending.append(node.input[0])
    return list(chosen)


def _join_biases(model: onnx.ModelProto) -> None:
    """Join each MatMul and its Add of a constant to one Gemm.

    ONNX Runtime would join them after quantisation, and then find no integer kernel for the float bias.
    """
    graph = model.graph
    constants = {t.name: tuple(t.dims) for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in [*inferred.value_info, *inferred.input]}
    users: dict[str, list[onnx.NodeProto]] = {value.name: [] for value in graph.output}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    kept = {value.name for value in graph.output}
    for node in [n for n in graph.node if n.op_type == "MatMul"]:
        after = users.get(node.output[0], [])
        shape = constants.get(node.input[1], ())
        if ranks.get(node.input[0]) != 2 or len(shape) != 2 or node.output[0] in kept or len(after) != 1:
            continue
        add = after[0]
        bias = next((name for name in add.input if constants.get(name) == shape[1:]), None)
        if add.op_type == "Add" and bias is not None:
            node.op_type = "Gemm"
            node.input.append(bias)
            node.output[0] = add.output[0]
            graph.node.remove(add)


def _keep_from_float_fusion(graph: onnx.GraphProto, chosen: Sequence[str]) -> None:
    """Write a Relu between a quantised Gemm and a float32 node as a LeakyRelu of slope 0, which is the same.

    ONNX Runtime would join Gemm and Relu before it looks for integer kernels, and has none for the two in one. A Relu
    that integers follow is no problem: it is dropped.
    """
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "Relu" else None
        if maker is None or maker.op_type != "Gemm" or maker.name not in chosen:
            continue
        if any(node.output[0] in user.input and user.name not in chosen for user in graph.node):
            node.op_type = "LeakyRelu"
            node.attribute.append(onnx.helper.make_attribute("alpha", 0.0))


def _reader(feeds: Iterable[Mapping[str, np.ndarray]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            feed = next(self.feeds, None)
            return None if feed is None else dict(feed)

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser logs advice to the root logger (and sets it up for the whole program), and prints some of it."""
    root = logging.getLogger()
    handler = logging.NullHandler()
    root.addHandler(handler)  # with one, logging.warning() does not configure the root
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
        root.removeHandler(handler)
