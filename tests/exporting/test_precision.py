"""gantool.exporting.onnx_files.precision: the same generator in 16 bits; and what 16 and 8 bits have in common."""

import copy
import functools
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.exports import Conditional, Tiny, Z, source, source_of
from support.graphs import arrays, fused, graph, normal

from gantool import exporting
from gantool.errors import GantoolError
from gantool.exporting import Source, verify
from gantool.exporting.onnx_files import drift, int8, precision
from gantool.exporting.onnx_files import graph as onnx_graph
from gantool.exporting.torch_files import torchscript
from gantool.plugin.architecture import Input
from gantool.runtime import Generator

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
ALIKE = {"tiny", "cgan", "cgan-dcgan", "wgan"}  # of the layers of the others
NAMES = [pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE)) for name in SOURCES]
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


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Its large weights rounded to fp16, kept in float32."""
    model = copy.deepcopy(model)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and sum(side > 1 for side in array.shape) >= 2:  # not a factor for each channel
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16).astype(np.float32), tensor.name))
    return model


@pytest.mark.parametrize("name", NAMES)
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
    run, plain = drift.runner(result), drift.runner(model)
    for batch in BATCHES:
        part = {key: array[:batch] for key, array in feeds.items()}
        measured = drift.drift(plain(part), run(part))
        assert [c for c in drift.checks(name, kind, measured) if not c.passed] == []


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


@pytest.mark.parametrize("name", NAMES)
def test_half_weights_are_exactly_the_rounded_weights(name: str) -> None:
    made, model = made_from(name)
    run, wanted = drift.runner(made_as("half-weights", name)), drift.runner(rounded(model))
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
    assert drift.images(precision.half(graph(clip, bounds)), {"z": np.ones((1, 4), np.float32)}).tolist() == [[1] * 4]
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
    measured = drift.compare(model, precision.half_as_computed(result), feeds)
    assert all(check.passed for check in drift.checks("half", "half", measured))


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
    assert drift.compare(model, precision.half_as_computed(result), feeds).worst <= 1


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
    assert all(c.passed for c in drift.checks("half", "half", drift.compare(model, result, feeds)))
    measured = drift.compare(model, precision.half_as_computed(result), feeds)
    failed = {c.measure for c in drift.checks("half", "half", measured) if not c.passed}
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
    measured = drift.compare(model, precision.half_as_computed(precision.half(model)), feeds)
    assert measured.finite == 0
    assert not any(c.passed for c in drift.checks("half", "half", measured))
    with pytest.raises(GantoolError, match="share of finite values is 0, at least 1"):
        verify.demand(drift.checks("half", "half", measured))


def test_as_computed_rounds_every_result() -> None:
    model = graph(
        [helper.make_node("Mul", ["z", "w"], ["x"]), helper.make_node("Add", ["x", "w"], ["image"])],
        {"w": normal(1, 4)},
    )
    z = normal(64, 4)
    got = drift.images(precision.half_as_computed(precision.half(model)), {"z": z})
    w = normal(1, 4).astype(np.float16)
    np.testing.assert_array_equal(got, (z.astype(np.float16) * w + w).astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_every_product_of_our_architectures_is_one_of_integers(name: str, tmp_path: Path) -> None:
    operators = fused(made_as("int8", name), tmp_path)
    assert "QGemm" in operators
    products = {"Conv", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul"}
    last = [node.op_type for node in made_from(name)[1].graph.node if node.op_type in products][-1]
    # a convolution in front of the tanh stays as it is
    assert [op for op in operators if op in products] == (["FusedConv"] if last == "Conv" else [])


def test_quiet_and_nothing_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    made, model = made_from("conditional")
    capfd.readouterr()
    caplog.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    handlers, disabled = list(logging.getLogger().handlers), logging.root.manager.disable
    for kind in MADE:
        make(kind, model, feeds_of(made))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert logging.getLogger().handlers == handlers
    assert logging.root.manager.disable == disabled


# --- 16-bit weights, the same in torch and in ONNX


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(2, 9),
    st.integers(1, 4),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)
def test_factors_are_found_again(
    sides: list[int], channels: int, repeats: int, in_turn: bool, place: int, seed: int
) -> None:
    stream = np.random.default_rng(seed)
    axis = place % (len(sides) + 1)
    shape = (*sides[:axis], channels * repeats, *sides[axis:])
    numbers = stream.normal(0, 0.02, shape).astype(np.float16)
    factor, other = stream.uniform(0.1, 9, channels), stream.uniform(0.1, 9, 7)
    spread = np.tile(factor, repeats) if in_turn else np.repeat(factor, repeats)
    along = tuple(-1 if i == axis else 1 for i in range(len(shape)))
    weight = (numbers.astype(np.float64) * spread.reshape(along)).astype(np.float32)
    found = precision.factored(weight, [other, factor])
    assert found is not None
    np.testing.assert_allclose(found[0].astype(np.float64) * found[1], weight, rtol=2**-22)


@given(st.integers(0, 2**32 - 1))
def test_no_factor_is_made_up(seed: int) -> None:
    stream = np.random.default_rng(seed)
    weight = stream.normal(0, 0.02, (8, 6, 4)).astype(np.float32)
    assert precision.factored(weight, [stream.uniform(0.1, 9, n) for n in (2, 4, 6, 8)]) is None


@pytest.mark.parametrize(
    "name", ["mlp", "cgan", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sngan", "wgan"))]
)
def test_onnx_holds_the_very_weights_that_torch_has(name: str, tmp_path: Path) -> None:
    small = {"widths": (24,)} if name in ("mlp", "cgan") else {"width": 8, "max_width": 16}
    kinds = ["onnx", "onnx-seeded", "torchscript-seeded", "pt2"]
    options = exporting.Options(("half-weights",), optimize=False)
    plain, seeded, script, archive = exporting.write(source_of(name, 16, **small), kinds, tmp_path, options)
    assert {made.manifest.precision for made in (plain, seeded, script, archive)} == {"half-weights"}
    assert script.manifest.golden == plain.manifest.golden
    model = onnx.load(plain.path)
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weights = [a for a in arrays.values() if a.dtype == np.float16]
    # nothing was rounded after the generator's own weights were: each tensor of 16 bits is one of them
    generator = precision.rounded(source_of(name, 16, **small).generator)
    own = [p.detach().numpy() for p in generator.parameters() if precision.is_weight(tuple(p.shape))]
    assert len(weights) == len(own)
    for array in weights:
        assert any(np.array_equal(np.sort(array.ravel()), np.sort(p.ravel())) for p in own)
    index = torch.arange(64)
    labels = [index % item.classes for item in plain.manifest.inputs if item.distribution == "label"]
    with torch.no_grad():
        images = torchscript.load(script.path)(torch.tensor([7]), index, *labels).numpy()
    off = np.abs(images.astype(int) - Generator(seeded.path).sample(64, seed=7))
    assert off.max() <= 1
    assert (off > 0).mean() <= 2e-4
