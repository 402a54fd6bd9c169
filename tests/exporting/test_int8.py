"""gantool.exporting.onnx_files.int8: which nodes become integers, and when a file of them is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from support.exports import Conditional, Tiny, Z, source
from support.graphs import arrays, fused, graph, normal
from torch import Tensor

from gantool import exporting
from gantool.errors import GantoolError
from gantool.exporting import verify
from gantool.exporting.onnx_files import drift, int8
from gantool.plugin.architecture import Input


def convolutional() -> onnx.ModelProto:
    """Gemm → grouped ConvTranspose → Conv, Relu → MatMuls (weights left, no weights) → last Conv → Tanh."""
    weights = {
        "fc": normal(4, 64) * 0.3,
        "shape": np.array([-1, 4, 4, 4], np.int64),
        "up": normal(4, 4, 4, 4, seed=1) * 0.1,
        "conv": normal(16, 8, 3, 3, seed=2) * 0.1,
        "bias": normal(16, seed=3) * 0.1,
        "left": normal(8, 8, seed=4) * 0.3,
        "last": normal(1, 16, 3, 3, seed=5) * 0.1,
    }
    nodes = [
        helper.make_node("Gemm", ["z", "fc"], ["flat"], "fc"),
        helper.make_node("Reshape", ["flat", "shape"], ["map"], "reshape"),
        helper.make_node("ConvTranspose", ["map", "up"], ["large"], "up", strides=[2, 2], pads=[1] * 4, group=2),
        helper.make_node("Conv", ["large", "conv", "bias"], ["mixed"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["mixed"], ["positive"], "relu"),
        helper.make_node("MatMul", ["left", "positive"], ["turned"], "left"),
        helper.make_node("MatMul", ["turned", "positive"], ["squared"], "both"),
        helper.make_node("Conv", ["squared", "last"], ["image_"], "last", pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["image_"], ["image"], "tanh"),
    ]
    return graph(nodes, weights, output=(1, 8, 8))


def test_which_nodes_become_int8(tmp_path: Path) -> None:
    result = int8.int8(convolutional(), [{"z": normal(64, 4)}])
    kept = arrays(result)
    widened = {n.output[0] for n in result.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in kept}
    assert {n.name for n in result.graph.node if widened & set(n.input[1:2])} == {"fc", "conv"}
    assert {name for name in ("up", "left", "last") if kept[name].dtype == np.float32} == {"up", "left", "last"}
    assert {"QGemm", "QLinearConv"} <= set(fused(result, tmp_path))
    assert "Relu" not in {node.op_type for node in result.graph.node}  # its range says the same


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Tanh"])
@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_no_activation_or_bias_keeps_a_product_in_float32(operator: str, activation: str, tmp_path: Path) -> None:
    """ONNX Runtime joins them with the product first, and has no integer kernel for the whole."""
    product = ["z", "w", "bias"] if operator == "Gemm" else ["z", "w"]
    nodes = [helper.make_node(operator, product, ["x"])]
    if operator == "MatMul":
        nodes.append(helper.make_node("Add", ["bias", "x"], ["biased"]))
    nodes.append(helper.make_node(activation, [nodes[-1].output[0]], ["active"]))
    nodes.append(helper.make_node("Neg", ["active"], ["image"]))
    model = graph(nodes, {"w": normal(4, 4), "bias": normal(4)})
    feeds = {"z": normal(64, 4)}
    result = int8.int8(model, [feeds])
    assert "QGemm" in fused(result, tmp_path)
    exact, images = drift.images(model, feeds), drift.images(result, feeds)
    assert np.abs(exact - images).max() < 0.05 * np.abs(exact).max()


def test_values_move_as_integers(tmp_path: Path) -> None:
    """Quantised once, in front of what moves them to two products, and not once for each."""
    nodes = [
        helper.make_node("LeakyRelu", ["z"], ["a"]),
        helper.make_node("Pad", ["a", "pads"], ["padded"]),
        helper.make_node("Gather", ["padded", "even"], ["b"], axis=1),
        helper.make_node("Gather", ["padded", "odd"], ["c"], axis=1),
        helper.make_node("Gemm", ["b", "w"], ["d"]),
        helper.make_node("Gemm", ["c", "v"], ["e"]),
        helper.make_node("Add", ["d", "e"], ["image"]),
    ]
    weights = {"pads": np.array([0, 1, 0, 1], np.int64), "even": np.array([0, 2, 4]), "odd": np.array([1, 3, 5])}
    weights |= {"w": normal(3, 4), "v": normal(3, 4, seed=1)}
    operators = fused(int8.int8(graph(nodes, weights), [{"z": normal(64, 4)}]), tmp_path)
    assert operators.count("QuantizeLinear") == 1
    assert operators.count("QGemm") == 2


@pytest.mark.parametrize("opset", [17, 18, 21, 25])
def test_weights_have_seven_bits_so_that_no_cpu_saturates(opset: int) -> None:
    nodes = [helper.make_node("MatMul", ["z", "w"], ["x"]), helper.make_node("Tanh", ["x"], ["image"])]
    result = int8.int8(graph(nodes, {"w": normal(4, 4)}, opset=opset), [{"z": normal(64, 4)}])
    weights = [a for a in arrays(result).values() if a.dtype == np.int8 and a.ndim == 2]
    assert len(weights) == 1
    assert np.abs(weights[0].astype(int)).max() == 64
    assert 2 * 255 * 64 < 2**15
    assert {a.dtype.name for n, a in arrays(result).items() if n.endswith("z_zero_point")} == {"uint8"}
    assert [(o.domain, o.version) for o in result.opset_import] == [("", opset)]


def test_nothing_to_quantise() -> None:
    model = graph([helper.make_node("Tanh", ["z"], ["image"])], {})
    with pytest.raises(GantoolError, match="Nothing in this generator is made of int8"):
        int8.int8(model, [{"z": normal(8, 4)}])


@pytest.mark.parametrize("feeds", [[], [{"w": normal(8, 4)}], [{"z": normal(8, 5)}]], ids=["none", "name", "shape"])
def test_feeds_that_do_not_fit(feeds: list[dict[str, np.ndarray]]) -> None:
    model = graph([helper.make_node("MatMul", ["z", "w"], ["image"])], {"w": normal(4, 4)})
    with pytest.raises(GantoolError, match="can't be turned into int8"):
        int8.int8(model, feeds)


def test_a_transposed_convolution_that_can_not_be_rewritten_stays() -> None:
    """Of stride 3, dilation 2 and three taps, some phases have none."""
    up = {"strides": [3, 3], "dilations": [2, 2], "output_padding": [2, 2]}
    nodes = [
        helper.make_node("Gemm", ["z", "fc"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["map"]),
        helper.make_node("ConvTranspose", ["map", "up"], ["image"], **up),
    ]
    weights = {"fc": normal(4, 16), "shape": np.array([-1, 1, 4, 4], np.int64), "up": normal(1, 1, 3, 3)}
    model = graph(nodes, weights, output=(1, 16, 16))
    result = int8.int8(model, [{"z": normal(64, 4)}])
    assert "ConvTranspose" in {node.op_type for node in result.graph.node}
    assert drift.compare(model, result, {"z": normal(64, 4)}).worst < 64


def test_calibration_is_of_the_prior_and_held_out() -> None:
    made = source(Conditional(), Z, Input("label", (), "label", 3))
    feeds = list(int8.calibration_feeds(made.inputs, made.rows))
    assert [len(feed["z"]) for feed in feeds] == [32] * 8
    drawn = np.concatenate([feed["z"] for feed in feeds])
    verified = verify.reference_inputs(made.inputs, verify.STATISTICS, made.rows)["z"]
    assert not {row.tobytes() for row in drawn} & {row.tobytes() for row in verified}
    assert abs(drawn.mean()) < 0.1
    assert abs(drawn.std() - 1) < 0.1
    assert set(np.concatenate([feed["label"] for feed in feeds])) == {0, 1, 2}


class Steep(Tiny):
    """So large before its tanh that 8 bits of z are seen."""

    def wild(self, x: Tensor) -> Tensor:
        return x * 50


def test_a_file_that_is_off_by_too_much_is_refused_unless_forced(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=r"generator\.int8\.onnx: levels off float32") as refused:
        exporting.write(source(Steep()), ["onnx"], tmp_path, exporting.Options(("int8",)))
    assert "--force" in refused.value.hint
    assert list(tmp_path.iterdir()) == []
    (made,) = exporting.write(source(Steep()), ["onnx"], tmp_path, exporting.Options(("int8",), force=True))
    waived = {check.measure for check in made.checks if check.waived}
    assert any(measure.startswith("levels off float32") for measure in waived)
    assert made.path.is_file()
