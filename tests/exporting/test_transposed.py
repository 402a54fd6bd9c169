"""gantool.exporting.onnx_files.transposed: transposed convolutions as matrix products that make the same maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.graphs import operators, run

from gantool.exporting.onnx_files.transposed import find, project, window

OPSETS = (17, 18, 21, 25)


def layer_model(
    inputs: Sequence[int],
    weight: np.ndarray,
    bias: np.ndarray | None,
    activation: str | None = "Relu",
    opset: int = 18,
    batch: int | str = "batch",
    **attributes: Any,
) -> onnx.ModelProto:
    names = ["x", "weight"] + (["bias"] if bias is not None else [])
    last = "y" if activation else "image"
    nodes = [helper.make_node("ConvTranspose", names, [last], name="layer", **attributes)]
    if activation:
        nodes.append(helper.make_node(activation, ["y"], ["image"], name="active"))
    constants = [numpy_helper.from_array(weight, "weight")]
    constants += [numpy_helper.from_array(bias, "bias")] if bias is not None else []
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *inputs])
    result = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, *[None] * (len(inputs))])
    graph = helper.make_graph(nodes, "g", [source], [result], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


@st.composite
def layers(draw: st.DrawFn, projected: bool) -> dict[str, Any]:
    rank = draw(st.integers(1, 3 if projected else 2))
    channels, outputs = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    sides, kernel, strides, pads, extra, dilations = [], [], [], [], [], []
    for _ in range(rank):
        sides.append(1 if projected else draw(st.integers(1, 5)))
        strides.append(draw(st.integers(1, 3)))
        kernel.append(draw(st.integers(1, 5)))
        dilations.append(draw(st.integers(1, 2)) if projected else 1)
        extra.append(draw(st.integers(0, strides[-1] - 1)))
        reach = strides[-1] * (sides[-1] - 1) + extra[-1] + (kernel[-1] - 1) * dilations[-1] + 1
        begin = draw(st.integers(0, min(2, reach - 1)))
        pads.append((begin, draw(st.integers(0, min(2, reach - 1 - begin)))))
    stream = np.random.default_rng(draw(st.integers(0, 2**31)))
    return {
        "inputs": (channels, *sides),
        "weight": stream.standard_normal((channels, outputs, *kernel), dtype=np.float32),
        "bias": stream.standard_normal(outputs, dtype=np.float32) if draw(st.booleans()) else None,
        "activation": draw(st.sampled_from((None, "Relu", "Tanh", "LeakyRelu"))),
        "opset": draw(st.sampled_from(OPSETS)),
        "kernel_shape": kernel,
        "strides": strides,
        "pads": [p[0] for p in pads] + [p[1] for p in pads],
        "output_padding": extra,
        "dilations": dilations,
    }


def same(before: onnx.ModelProto, after: onnx.ModelProto, shape: Sequence[int], batches: Sequence[int]) -> None:
    onnx.checker.check_model(after, full_check=True)
    for n in batches:
        x = np.random.default_rng(n).standard_normal((n, *shape), dtype=np.float32)
        np.testing.assert_allclose(run(after, {"x": x}), run(before, {"x": x}), atol=2e-5, rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(layers(projected=True))
def test_a_layer_of_a_1x1_map_is_a_matrix_product(layer: dict[str, Any]) -> None:
    model = layer_model(**layer)
    (found,) = find(model)
    after = project(model, [found])
    assert "ConvTranspose" not in operators(after)
    same(model, after, layer["inputs"], (1, 3))


@settings(deadline=None, max_examples=60)
@given(layers(projected=False))
def test_windows_are_the_layer(layer: dict[str, Any]) -> None:
    model = layer_model(**layer)
    (found,) = find(model)
    assert run(model, {"x": np.zeros((1, *layer["inputs"]), np.float32)}).shape[1:] == found.output_shape
    if not found.divides:
        return
    after = window(model, [found])
    assert "ConvTranspose" not in operators(after)
    same(model, after, layer["inputs"], (1, 3))


def test_a_map_that_is_used_twice() -> None:
    """Its channels-last twin feeds the next layer; what else uses it still gets it as it was."""
    stream = np.random.default_rng(0)
    weight = stream.standard_normal((16, 16, 3, 3), dtype=np.float32) / 12
    model = layer_model((16, 5, 3), weight, None, "Relu", pads=[1, 1, 1, 1])
    del model.graph.node[1]
    model.graph.node.extend(
        [
            helper.make_node("ConvTranspose", ["y", "weight"], ["deep"], name="deeper", pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["deep", "y"], ["image"]),
        ]
    )
    onnx.checker.check_model(model, full_check=True)
    layers = find(model)
    assert [layer.name for layer in layers] == ["layer", "deeper"]
    after = window(model, layers)
    assert operators(after).count("Transpose") == 3  # in, out for the sum, out of the deeper one
    same(model, after, (16, 5, 3), (1, 3))


@pytest.mark.parametrize(
    "attributes",
    [{"group": 2}, {"auto_pad": "SAME_UPPER"}, {"output_shape": [9, 9]}],
    ids=["groups", "automatic pads", "output shape"],
)
def test_what_is_not_understood_stays(attributes: dict[str, Any]) -> None:
    weight = np.ones((16, 16, 4, 4), np.float32)
    model = layer_model((16, 4, 4), weight, None, strides=[2, 2], **attributes)
    assert find(model) == []
