"""ONNX graphs in tests: make one, run it on the CPU, list its operators and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper


def run(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, dict(feeds))[0]
    return result


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def graph(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Any],
    shape: Sequence[int] = (4,),
    output: Sequence[int] = (4,),
    opset: int = 18,
) -> onnx.ModelProto:
    """`z` float32 (batch, *shape) → `image` float32 (batch, *output)."""
    tensors = [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()]
    given = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", *shape])
    taken = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *output])
    made = helper.make_graph(list(nodes), "test", [given], [taken], tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def fused(model: onnx.ModelProto, folder: Path) -> list[str]:
    """The operators that ONNX Runtime makes of it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "fused.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "fused.onnx").graph.node]
