"""How much of a machine a generator uses: its arithmetic, counted in the ONNX graph, against a matrix product's rate.

Matrix products and convolutions are counted, a multiplication and an addition as two operations, as torch's
FlopCounterMode does. `python -m gantool.benching.roofline` measures the rate of a matrix product in a process of its
own: it reads a line of JSON (`provider`, `threads`, `settings` of a cell) and answers {"gflops"} or {"error", "hint"}.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from gantool.artifact import onnxfile
from gantool.errors import GantoolError
from gantool.runtime.session import open_session
from gantool.system.machine import usable_cores
from gantool.system.subprocesses import JsonProcess, json_input, json_output

Shape = tuple[int, ...]

COMMAND = (sys.executable, "-P", "-m", "gantool.benching.roofline")
SIDES: Mapping[bool, Sequence[int]] = {False: (256, 512, 1024, 2048, 4096), True: (4096, 8192)}  # by: on a GPU?
ENOUGH = 5e-3  # seconds of a product that is long against what starting it costs
MIN_RUNS, SECONDS = 3, 0.2  # of one size
TIMEOUT = 120.0


@dataclass(frozen=True)
class Work:
    """What one image in a batch of one takes.

    `flops`: floating-point (or integer) operations of matrix products and convolutions. `weight_bytes`: constants of
    the graph, which a call reads once whatever its batch. `activation_bytes`: what the nodes write, as if none were
    fused; not what follows from constants alone.
    """

    flops: int
    weight_bytes: int
    activation_bytes: int


def count(path: Path) -> Work | None:
    """The work of the ONNX file at `path`; None if it can't be read, has a loop, or a shape that only a run tells."""
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
    if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for node in graph.node for a in node.attribute):
        return None  # how often a loop runs is not known
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(axis.HasField("dim_value") for axis in tensor.shape.dim):
            shapes[value.name] = tuple(axis.dim_value for axis in tensor.shape.dim)
            types[value.name] = tensor.elem_type

    def size(name: str) -> float:
        return math.prod(shapes[name]) * _value_bytes(types[name])

    try:
        flops = sum(_flops(node, shapes) for node in graph.node)
        written = sum(map(size, _written(graph)))
    except KeyError:  # a shape that inference does not find
        return None
    return Work(flops, math.ceil(sum(size(tensor.name) for tensor in graph.initializer)), math.ceil(written))


def _flops(node: NodeProto, shapes: Mapping[str, Shape]) -> int:
    match node.op_type:
        case "MatMul" | "MatMulInteger" | "QLinearMatMul":  # an output value sums over the left factor's last axis
            return 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
        case "Gemm":
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            return 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if transposed else 1]
        case "Conv" | "ConvInteger" | "QLinearConv":  # an output value sums over a kernel of (M, C/groups, k…)
            kernel = shapes[node.input[3 if node.op_type == "QLinearConv" else 1]]
            return 2 * math.prod(shapes[node.output[0]]) * math.prod(kernel[1:])
        case "ConvTranspose":  # an input value is spread by a kernel of (C, M/groups, k…)
            return 2 * math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    return 0


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


def _value_bytes(kind: int) -> float:
    if kind in (TensorProto.INT4, TensorProto.UINT4):
        return 0.5
    return float(helper.tensor_dtype_to_np_dtype(kind).itemsize)


def peak_gflops(provider: str, threads: int | None, settings: Mapping[str, str]) -> float | None:
    """`measure_peak` in a process of its own; None where it fails, for no cell depends on it."""
    with JsonProcess(COMMAND) as process:
        process.send({"provider": provider, "threads": threads, "settings": dict(settings)})
        try:
            message = process.receive(TIMEOUT)
        except TimeoutError:
            return None
    return None if message is None or "error" in message else float(message["gflops"])


def measure_peak(provider: str, threads: int | None, settings: Mapping[str, str]) -> float:
    """Billions of operations a second of float32 matrix products, on all cores that such a cell may use.

    The best of several sizes and, on the CPU, of both ways in which a generator uses its cores: one product on all
    threads, and one product a thread. GantoolError when the provider does not run it.
    """
    on_gpu = provider in ("cuda", "tensorrt")
    count = threads or usable_cores()
    ways = [(1, count), (count, 1)] if provider == "cpu" and count > 1 else [(1, threads)]
    best = 0.0
    for side in SIDES[on_gpu]:
        model = _matrix_product(side)
        seconds = math.inf
        for callers, inner in ways:
            # no file has this name: it is what an error of the provider calls the graph
            session = open_session(model, Path("matmul.onnx"), provider, inner, settings)
            product = [_product(session, side, "cuda" if on_gpu else "cpu") for _ in range(callers)]
            seconds = _best_seconds(product) / callers
            best = max(best, 2 * side**3 / seconds / 1e9)
        if seconds >= ENOUGH:
            break
    return best


def _matrix_product(side: int) -> bytes:
    """x · w of two square matrices; w is a constant, as weights are."""
    weights = np.random.default_rng(0).standard_normal((side, side), np.float32)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (side, side)) for name in "xy")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "matmul", [x], [y], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def _product(session: ort.InferenceSession, side: int, device: str) -> Callable[[], None]:
    """A run whose input and output stay on the device."""
    x = np.random.default_rng(1).standard_normal((side, side), np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x, device, 0))
    output = ort.OrtValue.ortvalue_from_shape_and_type([side, side], np.float32, device, 0)
    binding.bind_ortvalue_output("y", output)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def _best_seconds(products: Sequence[Callable[[], None]]) -> float:
    """The shortest time in which all of them, one a thread, run once."""
    found: list[float] = []
    with ThreadPoolExecutor(len(products)) as threads:
        while len(found) < MIN_RUNS or sum(found) < SECONDS:
            start = time.perf_counter()
            list(threads.map(lambda product: product(), products))
            found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    send = json_output()
    try:
        send({"gflops": measure_peak(**next(json_input()))})
    except GantoolError as error:
        send({"error": error.message, "hint": error.hint})


if __name__ == "__main__":
    main()
