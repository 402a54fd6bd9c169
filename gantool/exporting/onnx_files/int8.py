"""A float32 generator graph in 8-bit integers, for CPUs; and whether that is worth having.

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
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from gantool.errors import GantoolError
from gantool.exporting import verify
from gantool.exporting.onnx_files import precision
from gantool.exporting.onnx_files.optimize.cleanup import clean
from gantool.exporting.onnx_files.optimize.layers import find, window
from gantool.exporting.onnx_files.precision import Drift
from gantool.exporting.verify import Check
from gantool.plugin.architecture import Input
from gantool.runtime.session import ORT_ERRORS

QUANTIZED = ("MatMul", "Gemm", "Conv")
WEIGHTED = {*QUANTIZED, "ConvTranspose"}
REMOVABLE = ("Relu", "Clip")  # after a Conv: the range of its integers does the same
MOVES = ("Gather", "Reshape", "Transpose")  # in front of a quantised node: a quarter of the bytes to move

# A file that is less exact has to earn it; and 1.0 itself would be decided by the noise of the clock.
MIN_SPEED = 1.1
SECONDS = 2.0
SLICE = 0.005  # seconds that one timing takes at least: far above the clock's own noise

# what onnxruntime's quantiser raises
FAILURES: tuple[type[Exception], ...] = (ValueError, TypeError, KeyError, onnx.shape_inference.InferenceError)
FAILURES += ORT_ERRORS


def int8(model: onnx.ModelProto, calibration: Iterable[Mapping[str, np.ndarray]]) -> onnx.ModelProto:
    """The generator with its MatMul, Gemm and Conv nodes in 8-bit integers, ranges from the feeds of `calibration`.

    No integer kernel of ConvTranspose exists: it becomes matrix products (`optimize.layers.window`), which in float32
    may be slower than it, and in int8 made a dcgan of 32 pixels twice as fast. One that can't (groups) stays float32.
    So do products of two activations, weights that are the left factor of a MatMul, what comes out of MatMul and
    Gemm, and the last Conv: 8 bits in front of a tanh cost twice the error, for no speed. Weights have a scale for each
    output channel. Same inputs, output and opset. The same model and feeds give the same bytes.

    Raises GantoolError for weights that are NaN or infinite, when nothing is left to quantise, and for feeds that
    don't fit.
    """
    model = precision.prepared(model)
    layers = find(model)
    if layers:
        model = precision.prepared(clean(window(model, layers)))
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
            raise precision.unconvertible("int8", error) from error
        quantized = onnx.load(str(path))
    del quantized.metadata_props[:], quantized.graph.value_info[:], quantized.opset_import[:]
    quantized.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in opset)
    quantized.producer_name, quantized.producer_version = model.producer_name, model.producer_version
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def calibration_feeds(
    inputs: Sequence[Input], rows: Callable[[Input, int], np.ndarray], batch: int = 32
) -> Iterator[dict[str, np.ndarray]]:
    """256 latents of the prior in batches of `batch` (labels in turn, data by `rows(input, count)`), to calibrate with.

    None of them is among the 256 that a file is verified with (`verify.reference_inputs`).
    """
    end = verify.STATISTICS + max(verify.STATISTICS, batch)
    arrays = verify.reference_inputs(inputs, end, rows)
    for first in range(verify.STATISTICS, end - batch + 1, batch):
        yield {name: array[first : first + batch] for name, array in arrays.items()}


def speed(
    reference: onnx.ModelProto,
    model: onnx.ModelProto,
    feeds: Mapping[str, np.ndarray],
    batches: Sequence[int] = (1, 64),
    seconds: float = SECONDS,
    timer: Callable[[], float] = time.perf_counter,
) -> dict[int, float]:
    """Images a second of `model` by those of `reference` at each batch, on this machine's CPU; above 1 it is faster.

    `feeds` has at least max(batches) rows. The two are timed in turn for about `seconds` in all, and the ratio is the
    median of the turns'. With a fixed batch, that one is timed alone.
    """
    fixed = precision.fixed_batch(reference)
    sizes = (fixed,) if fixed else tuple(batches)
    runs = precision.runner(reference), precision.runner(model)
    ratios = {}
    for size in sizes:
        part = {name: array[:size] for name, array in feeds.items()}
        ratios[size] = _ratio(partial(runs[0], part), partial(runs[1], part), seconds / len(sizes), timer)
    return ratios


def admit_int8(speed: Mapping[int, float], drift: Drift, force: bool = False, artifact: str = "int8") -> list[Check]:
    """The checks of an int8 file: `precision.checks`, and images a second against float32 at the largest batch.

    Raises GantoolError with all figures when one fails, unless `force`. (At batch 1 a call costs more than its sums.)
    """
    batch = max(speed)
    checks = precision.checks(artifact, "int8", drift)
    checks.append(Check(artifact, f"speed by float32's, batch {batch}", speed[batch], MIN_SPEED, least=True))
    failed = [check.measure for check in checks if not check.passed]
    if failed and not force:
        limits = precision.LIMITS["int8"]
        figures = ", ".join(f"{ratio:.2f} × float32's speed at batch {size}" for size, ratio in sorted(speed.items()))
        raise GantoolError(
            f"int8 is not worth having here ({'; '.join(failed)}): {figures} (at least {MIN_SPEED} at batch {batch}); "
            f"pixels are off by {drift.mean:.2f} levels on average (at most {limits.mean:g}) and {drift.worst:.0f} at "
            f"worst (at most {limits.worst:g}), PSNR {drift.psnr:.1f} dB, {drift.finite:.0%} finite.",
            "Leave --int8 out, or write it all the same with --force.",
        )
    return checks


def _quantized(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes to quantise.

    Those with constant weights on the right, but no last Conv; Relu and Clip after a Conv; what moves values to these.
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
    """MatMul and Add of a constant as one Gemm.

    ONNX Runtime joins them too, after quantisation, and then finds no integer kernel for the float bias.
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
    """Relu as the LeakyRelu of slope 0 that it is, between a quantised Gemm and what is not quantised.

    ONNX Runtime joins Gemm and Relu before it looks for integer kernels, and has none for the two in one. Where
    integers follow, it drops the Relu instead.
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


def _ratio(
    reference: Callable[[], object], model: Callable[[], object], seconds: float, timer: Callable[[], float]
) -> float:
    """The median over turns of the reference's time by the model's: one turn, and more until `seconds` are over."""
    start = timer()
    timed = []
    for call in (reference, model):
        call()  # the first run of a shape is slow
        timed.append((call, max(1, round(SLICE / max(_time(call, 1, timer), 1e-9)))))
    ratios: list[float] = []
    while not ratios or timer() - start < seconds:
        order = (0, 1) if len(ratios) % 2 == 0 else (1, 0)
        times = {which: _time(*timed[which], timer) for which in order}
        ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def _time(call: Callable[[], object], count: int, timer: Callable[[], float]) -> float:
    """Seconds a call."""
    start = timer()
    for _ in range(count):
        call()
    return (timer() - start) / count


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
