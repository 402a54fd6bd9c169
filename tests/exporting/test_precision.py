"""gantool.exporting.onnx_files.precision and .int8: the same generator in fewer bits, and what decides about it."""

import copy
import functools
import hashlib
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.exports import Conditional, Tiny, Z, source, source_of

from gantool.errors import GantoolError
from gantool.exporting import Source, verify
from gantool.exporting.onnx_files import graph as onnx_graph
from gantool.exporting.onnx_files import int8, precision, seeds
from gantool.exporting.onnx_files.precision import Drift
from gantool.plugin.architecture import Input

BATCHES = (1, 2, 7, 64)


def _sngan() -> Source:
    """With less contrast than its first weights have: those make noise of all greys, which 8 bits are furthest off."""
    made = source_of("sngan", 16, width=16)
    with torch.no_grad():
        made.generator.get_parameter("last.2.weight").mul_(0.5)
    return made


SOURCES: dict[str, Callable[[], Source]] = {
    "tiny": lambda: source(Tiny()),
    "conditional": lambda: source(Conditional(), Z, Input("label", (), "label", 3)),
    "mlp": lambda: source_of("mlp", 28, widths=(64, 128)),
    "dcgan": lambda: source_of("dcgan", 16, width=16),
    "cgan": lambda: source_of("cgan", 28, widths=(64, 128)),
    "cgan-dcgan": lambda: source_of("cgan", 16, body="dcgan", width=16),
    "sngan": _sngan,
    "wgan": lambda: source_of("wgan", 16, width=16),
}
MADE = ("half-weights", "half", "int8")


@functools.cache
def made_from(name: str) -> tuple[Source, onnx.ModelProto]:
    made = SOURCES[name]()
    return made, onnx_graph.to_onnx(made.generator, made.inputs, made.output)


def feeds_of(made: Source, count: int = 64) -> dict[str, np.ndarray]:
    return verify.reference_inputs(made.inputs, count, made.rows)


def make(kind: str, model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    if kind == "int8":
        return int8.int8(model, [feeds])
    return precision.half_weights(model) if kind == "half-weights" else precision.half(model)


@functools.cache
def made_as(kind: str, name: str) -> onnx.ModelProto:
    made, model = made_from(name)
    return make(kind, model, feeds_of(made))


def signature(model: onnx.ModelProto) -> list[tuple[str, int, list[str | int]]]:
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
        )
        for value in [*model.graph.input, *model.graph.output]
    ]


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def graph(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Any],
    shape: Sequence[int] = (4,),
    output: Sequence[int] = (4,),
    opset: int = 18,
    batch: str | int = "batch",
) -> onnx.ModelProto:
    """`z` float32 (batch, *shape) → `image` float32 (batch, *output)."""
    tensors = [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()]
    given = helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, *shape])
    taken = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, *output])
    made = helper.make_graph(list(nodes), "test", [given], [taken], tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Its large weights rounded to fp16, kept in float32."""
    model = copy.deepcopy(model)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and sum(side > 1 for side in array.shape) >= 2:  # not a factor for each channel
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16).astype(np.float32), tensor.name))
    return model


def fused(model: onnx.ModelProto, folder: Path) -> list[str]:
    """The operators that ONNX Runtime makes of it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "fused.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "fused.onnx").graph.node]


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("kind", MADE)
def test_same_door_at_every_batch_and_input_untouched(kind: str, name: str) -> None:
    made, model = made_from(name)
    before = model.SerializeToString(deterministic=True)
    result = made_as(kind, name)
    assert model.SerializeToString(deterministic=True) == before
    assert signature(result) == signature(model)
    assert [(o.domain, o.version) for o in result.opset_import] == [(o.domain, o.version) for o in model.opset_import]
    assert result.ir_version == model.ir_version
    assert not result.metadata_props
    feeds = feeds_of(made)
    run, plain = precision.runner(result), precision.runner(model)
    for batch in BATCHES:
        part = {key: array[:batch] for key, array in feeds.items()}
        measured = precision.drift(plain(part), run(part))
        assert [c for c in precision.checks(name, kind, measured) if not c.passed] == []


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("kind", MADE)
def test_seeded_file_of_it(kind: str, name: str) -> None:
    made, _ = made_from(name)
    normals = [(i.name, i.shape) for i in made.normals]
    seeded = seeds.seeded_model(made_as(kind, name), normals, image_output=True)
    index = {"seed": np.array([1], np.int64), "index": np.arange(5, dtype=np.int64)}
    feeds = feeds_of(made, 5)
    labels = {key: array for key, array in feeds.items() if key == "label"}
    pixels = precision.runner(seeded)({**index, **labels})
    wanted = precision.runner(made_as(kind, name))(feeds)
    assert pixels.dtype == np.uint8
    assert precision.drift(precision.latents.pixels(wanted), pixels).worst <= 1


@pytest.mark.parametrize("kind", MADE)
def test_same_bytes_twice(kind: str) -> None:
    made, model = made_from("conditional")
    again = make(kind, model, feeds_of(made))
    assert again.SerializeToString(deterministic=True) == made_as(kind, "conditional").SerializeToString(
        deterministic=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", MADE)
def test_same_bytes_in_processes_that_hash_otherwise(kind: str, tmp_path: Path) -> None:
    _, model = made_from("dcgan")
    onnx.save_model(model, str(tmp_path / "plain.onnx"))
    script = (
        "import hashlib, sys, numpy as np, onnx\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import test_precision as t\n"
        "model = onnx.load(sys.argv[2])\n"
        "feeds = {'z': t.normal(64, 100)}\n"
        "print(hashlib.sha256(t.make(sys.argv[3], model, feeds).SerializeToString(deterministic=True)).hexdigest())\n"
    )
    digests = set()
    for seed in ("1", "2"):
        here = Path(__file__).parent
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(here.parent)}
        command = [sys.executable, "-c", script, str(here), str(tmp_path / "plain.onnx"), kind]
        digests.add(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert len(digests) == 1


@pytest.mark.parametrize(("kind", "share"), [("half-weights", 0.52), ("half", 0.52), ("int8", 0.30)])
def test_size(kind: str, share: float) -> None:
    _, model = made_from("mlp")
    assert made_as(kind, "mlp").ByteSize() < share * model.ByteSize()


@pytest.mark.parametrize("name", SOURCES)
def test_half_weights_are_exactly_the_rounded_weights(name: str) -> None:
    made, model = made_from(name)
    run, wanted = precision.runner(made_as("half-weights", name)), precision.runner(rounded(model))
    feeds = feeds_of(made)
    for batch in BATCHES:
        part = {key: array[:batch] for key, array in feeds.items()}
        np.testing.assert_array_equal(run(part), wanted(part))
    alone = np.concatenate([run({k: a[i : i + 1] for k, a in feeds.items()}) for i in range(7)])
    np.testing.assert_array_equal(
        alone, np.concatenate([wanted({k: a[i : i + 1] for k, a in feeds.items()}) for i in range(7)])
    )


def test_half_weights_names_and_what_stays(tmp_path: Path) -> None:
    weights = {
        "w": normal(4, 4),
        "long": normal(1024),
        "bias": normal(4),
        "huge": normal(4, 4) * 1e5,
        "faint": normal(4, 4) * 1e-9,
        "shape": np.array([-1, 4], np.int64),
    }
    nodes = [
        helper.make_node("Gemm", ["z", "w", "bias"], ["a"]),
        helper.make_node("Gemm", ["a", "w", "bias"], ["b"]),
        helper.make_node("MatMul", ["b", "huge"], ["c"]),
        helper.make_node("MatMul", ["c", "faint"], ["d"]),
        helper.make_node("ReduceMean", ["long"], ["mean"], keepdims=0),
        helper.make_node("Add", ["d", "mean"], ["e"]),
        helper.make_node("Reshape", ["e", "shape"], ["image"]),
    ]
    result = precision.half_weights(graph(nodes, weights))
    assert {name: array.dtype.name for name, array in arrays(result).items()} == {
        "w/half": "float16",
        "long": "float32",
        "bias": "float32",
        "huge": "float32",
        "faint": "float32",
        "shape": "int64",
    }
    casts = [node for node in result.graph.node if node.op_type == "Cast"]
    assert [(c.name, list(c.input), list(c.output)) for c in casts] == [("w/cast", ["w/half"], ["w"])]
    assert "Cast" not in fused(result, tmp_path)


def test_a_constant_node_is_a_weight_too() -> None:
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(normal(4, 4)))
    model = graph([constant, helper.make_node("MatMul", ["z", "w"], ["image"])], {})
    assert arrays(precision.half_weights(model))["w/half"].dtype == np.float16
    assert arrays(precision.half(model))["w"].dtype == np.float16
    assert any(array.dtype == np.int8 for array in arrays(int8.int8(model, [{"z": normal(8, 4)}])).values())


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_broken_weights_are_named(kind: str, value: float) -> None:
    weight = normal(4, 4)
    weight[1, 2] = value
    model = graph([helper.make_node("MatMul", ["z", "layers.2.weight"], ["image"])], {"layers.2.weight": weight})
    with pytest.raises(GantoolError, match=r"'layers\.2\.weight' hold 1 values"):
        make(kind, model, {"z": normal(8, 4)})


def test_a_bound_may_be_infinite_and_not_nan() -> None:
    clip = [helper.make_node("Clip", ["z", "low", "high"], ["image"])]
    bounds = {"low": np.float32(0), "high": np.float32(math.inf)}
    assert precision.images(precision.half(graph(clip, bounds)), {"z": np.ones((1, 4), np.float32)}).tolist() == [
        [1] * 4
    ]
    with pytest.raises(GantoolError, match="'high'"):
        precision.half_weights(graph(clip, bounds | {"high": np.float32(math.nan)}))


# --- half


def kinds_of(model: onnx.ModelProto) -> dict[str, str]:
    """Each node's operator and the dtype of what it makes, by its first output."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*inferred.value_info, *inferred.output]}
    return {
        f"{node.op_type} {node.output[0].partition('_cast')[0]}": TensorProto.DataType.Name(types[node.output[0]])
        for node in inferred.node
    }


def pixel_norm(opset: int = 18) -> onnx.ModelProto:
    """z·w → x / sqrt(mean(x²) + 1e-8) → image, as StyleGAN's mapping starts, with x of some thousands."""
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["x"]),
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("ReduceMean", ["square", "axes"] if opset >= 18 else ["square"], ["mean"], keepdims=1)
        if opset >= 18
        else helper.make_node("ReduceMean", ["square"], ["mean"], keepdims=1, axes=[1]),
        helper.make_node("Add", ["mean", "epsilon"], ["safe"]),
        helper.make_node("Sqrt", ["safe"], ["root"]),
        helper.make_node("Div", ["x", "root"], ["normed"]),
        helper.make_node("Tanh", ["normed"], ["image"]),
    ]
    weights = {"w": normal(4, 4) * 1000, "epsilon": np.float32(1e-8)}
    return graph(nodes, weights | ({"axes": np.array([1], np.int64)} if opset >= 18 else {}), opset=opset)


@pytest.mark.parametrize("opset", [17, 18, 21, 25])
def test_a_norm_written_out_is_computed_in_float32(opset: int) -> None:
    model = pixel_norm(opset)
    result = precision.half(model)
    kinds = kinds_of(result)
    assert kinds["MatMul x"] == kinds["Div normed"] == "FLOAT16"
    assert {kinds[f"{op} {name}"] for op, name in [
        ("Mul", "square"), ("ReduceMean", "mean"), ("Add", "safe"), ("Sqrt", "root")]} == {"FLOAT"}  # fmt: skip
    assert arrays(result)["epsilon"] == np.float32(1e-8)  # 0 in fp16
    # nothing in between goes through fp16, where 10⁶ is infinite
    narrow = [n.input[0] for n in result.graph.node if n.op_type == "Cast" and n.attribute[0].i == TensorProto.FLOAT16]
    assert sorted(narrow) == ["root_cast_to_fp16", "z"]
    feeds = {"z": normal(64, 4)}
    measured = precision.compare(model, precision.half_as_computed(result), feeds)
    assert all(check.passed for check in precision.checks("half", "half", measured))


def test_norms_are_float32_and_share_their_casts() -> None:
    weights = {"w": normal(4, 32), "shape": np.array([-1, 2, 4, 4], np.int64)}
    weights |= {"scale": np.ones(2, np.float32), "shift": np.zeros(2, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["x"]),
        helper.make_node("InstanceNormalization", ["x", "scale", "shift"], ["a"]),
        helper.make_node("Softmax", ["x"], ["b"]),  # a second float32 user: the library writes its Cast twice
        helper.make_node("Add", ["a", "b"], ["image"]),
    ]
    result = precision.half(graph(nodes, weights, output=(2, 4, 4)))
    kinds = kinds_of(result)
    assert kinds["InstanceNormalization a"] == kinds["Softmax b"] == "FLOAT"
    assert kinds["MatMul flat"] == "FLOAT16"
    assert [a.dtype.name for n, a in arrays(result).items() if n in ("scale", "shift")] == ["float32"] * 2
    outputs = [name for node in result.graph.node for name in node.output]
    assert len(outputs) == len(set(outputs))


def test_what_fp16_does_not_hold_is_not_clamped() -> None:
    model = graph(
        [helper.make_node("MatMul", ["z", "w"], ["x"]), helper.make_node("MatMul", ["x", "v"], ["image"])],
        {"w": normal(4, 4) * 1e6, "v": normal(4, 4) * 1e-8},
    )
    result = precision.half(model)
    assert {name: array.dtype.name for name, array in arrays(result).items()} == {"w": "float32", "v": "float32"}
    feeds = {"z": normal(64, 4)}
    assert precision.compare(model, precision.half_as_computed(result), feeds).worst <= 1


def test_overflow_on_a_gpu_is_seen_and_refused() -> None:
    model = graph(
        [
            helper.make_node("Mul", ["z", "large"], ["a"]),
            helper.make_node("Mul", ["a", "large"], ["b"]),
            helper.make_node("Mul", ["b", "small"], ["c"]),
            helper.make_node("Mul", ["c", "small"], ["d"]),
            helper.make_node("Tanh", ["d"], ["image"]),
        ],
        {"large": np.float32(256), "small": np.float32(1 / 256)},  # every |z| ≥ 1 becomes infinite
    )
    result = precision.half(model)
    feeds = {"z": normal(64, 4)}
    # the CPU provider rounds nothing in between: that the file is sound here says nothing of a GPU
    assert all(c.passed for c in precision.checks("half", "half", precision.compare(model, result, feeds)))
    measured = precision.compare(model, precision.half_as_computed(result), feeds)
    failed = {c.measure for c in precision.checks("half", "half", measured) if not c.passed}
    assert failed == {"levels off float32, worst", "levels off float32, mean", "share of pixels newly saturated"}


def test_an_overflow_that_becomes_nan_is_refused() -> None:
    model = graph(
        [
            helper.make_node("MatMul", ["z", "w"], ["x"]),
            helper.make_node("Sub", ["x", "x"], ["image"]),
        ],
        {"w": np.eye(4, dtype=np.float32) * 60000},
    )
    feeds = {"z": np.full((2, 4), 2, np.float32)}
    measured = precision.compare(model, precision.half_as_computed(precision.half(model)), feeds)
    assert measured.finite == 0
    assert not any(c.passed for c in precision.checks("half", "half", measured))
    with pytest.raises(GantoolError, match="share of finite values is 0, at least 1"):
        verify.demand(precision.checks("half", "half", measured))


def test_as_computed_rounds_every_result() -> None:
    model = graph(
        [helper.make_node("Mul", ["z", "w"], ["x"]), helper.make_node("Add", ["x", "w"], ["image"])],
        {"w": normal(1, 4)},
    )
    z = normal(64, 4)
    got = precision.images(precision.half_as_computed(precision.half(model)), {"z": z})
    w = normal(1, 4).astype(np.float16)
    np.testing.assert_array_equal(got, (z.astype(np.float16) * w + w).astype(np.float32))


# --- int8


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


@pytest.mark.parametrize("name", SOURCES)
def test_every_product_of_our_architectures_is_one_of_integers(name: str, tmp_path: Path) -> None:
    operators = fused(made_as("int8", name), tmp_path)
    assert "QGemm" in operators
    products = {"Conv", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul"}
    last = [node.op_type for node in made_from(name)[1].graph.node if node.op_type in products][-1]
    # a convolution in front of the tanh stays as it is
    assert [op for op in operators if op in products] == (["FusedConv"] if last == "Conv" else [])


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
    exact, images = precision.images(model, feeds), precision.images(result, feeds)
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


def test_quiet_and_nothing_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    handlers, disabled = list(logging.getLogger().handlers), logging.root.manager.disable
    made, model = made_from("tiny")
    for kind in MADE:
        make(kind, model, feeds_of(made))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert logging.getLogger().handlers == handlers
    assert logging.root.manager.disable == disabled


def test_calibration_is_of_the_prior_and_held_out() -> None:
    made, _ = made_from("conditional")
    feeds = list(int8.calibration_feeds(made.inputs, made.rows))
    assert [len(feed["z"]) for feed in feeds] == [32] * 8
    drawn = np.concatenate([feed["z"] for feed in feeds])
    verified = feeds_of(made, verify.STATISTICS)["z"]
    assert not {row.tobytes() for row in drawn} & {row.tobytes() for row in verified}
    assert abs(drawn.mean()) < 0.1
    assert abs(drawn.std() - 1) < 0.1
    assert set(np.concatenate([feed["label"] for feed in feeds])) == {0, 1, 2}
    (large,) = int8.calibration_feeds(made.inputs, made.rows, 300)
    assert len(large["z"]) == 300


def test_fixed_batch() -> None:
    weights = {"w": normal(4, 4)}
    model = graph([helper.make_node("MatMul", ["z", "w"], ["image"])], weights, batch=16)
    feeds = list(int8.calibration_feeds((Z,), lambda item, count: np.empty(0), precision.fixed_batch(model) or 32))
    results = [precision.half_weights(model), precision.half(model), int8.int8(model, feeds)]
    z = {"z": normal(40, 4)}
    for result in results:
        assert precision.fixed_batch(result) == 16
        assert precision.images(result, z).shape == (32, 4)
    assert list(int8.speed(model, results[0], z, seconds=0.0)) == [16]
    assert precision.fixed_batch(made_from("tiny")[1]) is None


# --- measures


def test_drift_of_pixels() -> None:
    reference = np.array([[[[0], [100], [254], [255]]]], np.uint8)
    same = precision.drift(reference, reference.copy())
    assert same == Drift(worst=0, mean=0, share=0, psnr=math.inf, finite=1, newly_saturated=0)
    other = precision.drift(reference, np.array([[[[1], [96], [255], [0]]]], np.uint8))
    assert other.worst == 255
    assert other.mean == (1 + 4 + 1 + 255) / 4
    assert other.share == 1
    assert other.psnr == pytest.approx(10 * math.log10(255**2 * 4 / (1 + 16 + 1 + 255**2)))
    assert other.newly_saturated == 0.25  # 255 → 0; 254 → 255 is a rounding


def test_drift_of_floats_is_that_of_their_pixels() -> None:
    reference, images = np.tanh(normal(3, 2, 4, 5)), np.tanh(normal(3, 2, 4, 5) * 1.1)
    pixels = precision.latents.pixels
    assert precision.drift(reference, images) == precision.drift(pixels(reference), pixels(images))
    sound = np.tanh(normal(2, 1, 16))  # audio: no image
    assert precision.drift(sound, sound).worst == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_value_that_is_not_finite_fails_every_check(value: float) -> None:
    reference = np.zeros((1, 1, 2, 2), np.float32)
    images = reference.copy()
    images[0, 0, 0, 0] = value
    measured = precision.drift(reference, images)
    assert measured.finite == 0.75
    for kind in precision.LIMITS:
        assert not any(check.passed for check in precision.checks("x", kind, measured))


def test_what_can_not_be_compared() -> None:
    image = np.zeros((1, 2, 2, 1), np.uint8)
    for other in (np.zeros((2, 2, 2, 1), np.uint8), np.zeros((1, 2, 2, 1), np.int64)):
        with pytest.raises(ValueError, match="images of"):
            precision.drift(image, other)
    with pytest.raises(ValueError, match="images of"):
        precision.drift(image[:0], image[:0])


@pytest.mark.parametrize("kind", precision.LIMITS)
def test_limits(kind: str) -> None:
    limits = precision.LIMITS[kind]
    good = Drift(limits.worst, limits.mean, 1, 40, 1, 0)
    assert all(check.passed for check in precision.checks("x", kind, good))
    for bad in (
        Drift(limits.worst + 1, 0, 0, 0, 1, 0),
        Drift(0, limits.mean + 0.01, 0, 0, 1, 0),
        Drift(0, 0, 0, 0, 0.99, 0),
        Drift(0, 0, 0, 0, 1, 0.02),
    ):
        assert sum(not check.passed for check in precision.checks("x", kind, bad)) == 1


class Clock:
    """Time that passes only while something runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def work(self, name: str, seconds: Iterator[float]) -> Callable[[], None]:
        def call() -> None:
            self.calls.append(name)
            self.now += next(seconds)

        return call


def test_ratio_is_the_median_of_turns() -> None:
    clock = Clock()
    paused = iter([1.0, 0.01, *[0.04, 0.04, 4.0] * 30])  # the machine does something else in every third turn
    ratio = int8._ratio(clock.work("a", paused), clock.work("b", iter([0.02] * 900)), 10, clock)
    assert ratio == pytest.approx(2)


def test_ratio_alternates_and_ends_in_time() -> None:
    clock = Clock()

    def steady(seconds: float) -> Iterator[float]:
        while True:
            yield seconds

    assert int8._ratio(clock.work("a", steady(0.03)), clock.work("b", steady(0.01)), 1.0, clock) == pytest.approx(3)
    assert clock.now < 1.1
    turns = clock.calls[4:]  # the first runs are warm-ups
    assert turns[:8] == ["a", "b", "b", "a", "a", "b", "b", "a"]
    # one turn is timed, however long it takes; short calls are repeated, for clocks are coarse
    clock = Clock()
    assert int8._ratio(clock.work("a", steady(60)), clock.work("b", steady(0.001)), 0.5, clock) == pytest.approx(6e4)
    assert clock.calls.count("a") == 3
    assert clock.calls.count("b") == 2 + 5


def test_speed_measures_the_batches_asked_for() -> None:
    made, model = made_from("mlp")
    ratios = int8.speed(model, made_as("int8", "mlp"), feeds_of(made), seconds=0.05)
    assert list(ratios) == [1, 64]
    assert all(ratio > 0 for ratio in ratios.values())


GOOD = Drift(worst=20, mean=0.3, share=0.2, psnr=47, finite=1, newly_saturated=0)


def test_int8_that_is_faster_and_near_is_admitted() -> None:
    checks = int8.admit_int8({1: 0.7, 64: 2.5}, GOOD)
    assert all(check.passed for check in checks)
    assert {check.artifact for check in checks} == {"int8"}
    assert ("speed by float32's, batch 64", 2.5) in [(check.measure, check.value) for check in checks]


@pytest.mark.parametrize(
    ("speed", "drift", "said"),
    [
        ({1: 3.0, 64: 0.6}, GOOD, "speed by float32's, batch 64"),
        ({1: 3.0, 64: 1.03}, GOOD, "speed by float32's, batch 64"),
        ({1: 3.0, 64: math.nan}, GOOD, "speed by float32's, batch 64"),
        ({16: 0.9}, GOOD, "speed by float32's, batch 16"),
        ({1: 3.0, 64: 2.0}, Drift(20, 2.5, 0.5, 35, 1, 0), "levels off float32, mean"),
        ({1: 3.0, 64: 2.0}, Drift(120, 0.5, 0.5, 35, 1, 0), "levels off float32, worst"),
        ({1: 3.0, 64: 2.0}, Drift(math.nan, math.nan, 1, math.nan, 0.5, math.nan), "share of finite values"),
    ],
    ids=["slow", "no gain", "no clock", "fixed batch", "mean", "worst", "nan"],
)
def test_int8_is_refused_with_its_figures_unless_forced(speed: dict[int, float], drift: Drift, said: str) -> None:
    with pytest.raises(GantoolError, match=said) as refused:
        int8.admit_int8(speed, drift)
    for batch, ratio in speed.items():
        assert f"{ratio:.2f} × float32's speed at batch {batch}" in refused.value.message
    assert f"off by {drift.mean:.2f} levels" in refused.value.message
    assert "--force" in refused.value.hint
    forced = int8.admit_int8(speed, drift, force=True)
    assert said in [check.measure for check in forced if not check.passed]


def test_digest_of_a_half_file_is_of_what_it_stores() -> None:
    """The manifest's digest of the weights is taken of the file's own initializers, whatever their dtype."""
    from gantool.artifact.inspection import weights_sha256

    digests = {weights_sha256(made_as(kind, "mlp")) for kind in MADE}
    assert len(digests) == len(MADE)
    assert all(len(digest) == len(hashlib.sha256().hexdigest()) for digest in digests)
