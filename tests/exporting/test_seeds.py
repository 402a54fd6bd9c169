"""gantool.exporting.onnx_files.seeds: bit equality with gantool.artifact.latents on two runtimes."""

import functools
import math
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from support.draws import EDGES, INDEXES, LAYOUTS, SEEDS, Layout

from gantool.artifact import latents
from gantool.errors import GantoolError
from gantool.exporting.onnx_files import seeds

EVERYWHERE = {"Cast", "Mul", "Add", "Sub", "Div", "Gather", "Concat", "Slice", "Unsqueeze", "Reshape"}


def session(model: onnx.ModelProto, optimise: bool = True) -> ort.InferenceSession:
    options = ort.SessionOptions()
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@functools.cache
def runners(inputs: Layout) -> list[Any]:
    """The graph, its integers shown: on ONNX Runtime, the same unoptimised, on ONNX's reference."""
    model = seeds.latents_graph(inputs)
    model.graph.output.append(helper.make_tensor_value_info("latents/bits", TensorProto.UINT64, ["batch", None]))
    model.graph.output.append(helper.make_tensor_value_info("latents/key", TensorProto.UINT64, [1]))
    return [session(model), session(model, optimise=False), ReferenceEvaluator(model)]


def feed(seed: int, index: Any) -> dict[str, np.ndarray]:
    return {"seed": np.array([seed], np.int64), "index": np.array(index, np.int64)}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(LAYOUTS), SEEDS, INDEXES)
def test_bits_equal_the_numpy_twin(inputs: Layout, seed: int, index: list[int]) -> None:
    size = sum(math.prod(shape) for _, shape in inputs)
    wanted = latents.normals(seed, index, size)
    for runner in runners(inputs):
        *parts, bits, key = runner.run(None, feed(seed, index))
        assert key.tolist() == [int(latents.key_from_seed(seed))]
        np.testing.assert_array_equal(bits, latents.integers(seed, index, (size + 1) // 2))
        assert [part.shape for part in parts] == [(len(index), *shape) for _, shape in inputs]
        assert all(part.dtype == np.float32 for part in parts)
        drawn = np.concatenate([part.reshape(len(index), -1) for part in parts], axis=1)
        assert drawn.tobytes() == wanted.tobytes()


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 400), SEEDS, INDEXES)
def test_any_size(size: int, seed: int, index: list[int]) -> None:
    model = seeds.latents_graph([("z", (size,))])
    for runner in (session(model), ReferenceEvaluator(model)):
        (z,) = runner.run(None, feed(seed, index))
        assert z.tobytes() == latents.normals(seed, index, size).tobytes()


def test_batches_of_many_images() -> None:
    # large enough for ONNX Runtime's vectorised and threaded paths
    index = np.random.default_rng(0).permutation(3001)
    (z,) = session(seeds.latents_graph([("z", (64,))])).run(None, feed(-3, index))
    assert z.tobytes() == latents.normals(-3, index, 64).tobytes()


@pytest.mark.parametrize("inputs", LAYOUTS, ids=str)
def test_graph(inputs: Layout) -> None:
    model = seeds.latents_graph(inputs)
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in model.graph.node} <= EVERYWHERE
    assert len(model.graph.node) < 80
    assert not {t.data_type for t in model.graph.initializer} & {TensorProto.DOUBLE, TensorProto.FLOAT16}
    assert [(v.name, dims(v)) for v in model.graph.input] == [("seed", [1]), ("index", ["batch"])]
    assert [(v.name, dims(v)) for v in model.graph.output] == [(name, ["batch", *shape]) for name, shape in inputs]


def test_nothing_is_moved_that_need_not_be() -> None:
    operators = [node.op_type for node in seeds.latents_graph([("z", (100,))]).graph.node]
    assert not {"Slice", "Reshape"} & set(operators)


@pytest.mark.parametrize("size", [131072, 131073, 262144])
def test_large_rows_are_those_of_the_runtime(size: int) -> None:
    index = np.array([0, 1, 2**47 - 1], np.int64)
    runner = session(seeds.latents_graph([("z", (size,))]))
    (drawn,) = runner.run(None, {"seed": np.array([-3], np.int64), "index": index})
    np.testing.assert_array_equal(drawn, latents.normals(-3, index, size))


@pytest.mark.parametrize("inputs", [[], [("z", (262145,))], [("z", (262144,)), ("w", (1,))]])
def test_wrong_sizes(inputs: Any) -> None:
    with pytest.raises(GantoolError, match="can't be drawn from a seed"):
        seeds.latents_graph(inputs)


# the tail


def tail(x: np.ndarray) -> np.ndarray:
    runner = session(seeds.levels_graph("image", x.shape[1:]))
    (image,) = runner.run(None, {"levels/input": x})
    return image


def test_tail_on_edges() -> None:
    np.testing.assert_array_equal(tail(EDGES), latents.levels(EDGES))
    sounds = EDGES.reshape(1, 1, -1)
    np.testing.assert_array_equal(tail(sounds), latents.levels(sounds))


@pytest.mark.parametrize(
    ("shape", "dtype", "wanted"),
    [
        ((5, 3, 31, 17), np.uint8, (5, 31, 17, 3)),
        ((3, 1, 9, 5, 7), np.uint8, (3, 9, 5, 7, 1)),
        ((4, 2, 100), np.int16, (4, 100, 2)),
    ],
    ids=["image", "volume", "audio"],
)
def test_tail_on_random_samples(shape: tuple[int, ...], dtype: type, wanted: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(-1.1, 1.1, shape).astype(np.float32)
    made = tail(x)
    assert (made.shape, made.dtype) == (wanted, dtype)
    np.testing.assert_array_equal(made, latents.levels(x))
    np.testing.assert_allclose(latents.floats(made), x.clip(-1, 1), atol=0.51 / (32767 if len(shape) == 3 else 127.5))


# whole generators


def generator(
    label: bool = False,
    noise: bool = False,
    output: tuple[int, ...] = (3, 4, 4),
    opset: int = 18,
    z: str = "z",
    name: str = "image",
) -> onnx.ModelProto:
    """z (N, 6) [+ label] [+ noise (N, 1, 2)] → (N, *output). Inner names clash with ours on purpose."""
    rng = np.random.default_rng(0)
    wide = math.prod(output)
    constants = {
        "axis1": rng.normal(size=(6, wide)).astype(np.float32),  # the weight
        "latents/key": rng.normal(size=wide).astype(np.float32),  # the bias
        "shape": np.array([0, *output], np.int64),
        "embedding": rng.normal(size=(10, 6)).astype(np.float32),
        "flat": np.array([0, 2], np.int64),
        "mix": rng.normal(size=(2, 6)).astype(np.float32),
    }
    inputs = [helper.make_tensor_value_info(z, TensorProto.FLOAT, ["N", 6])]
    nodes, x = [], z
    if label:
        inputs.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
        nodes += [helper.make_node("Gather", ["embedding", "label"], ["bits"])]
        nodes += [helper.make_node("Mul", [x, "bits"], ["mixed"])]
        x = "mixed"
    if noise:
        inputs.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["N", 1, 2]))
        nodes += [helper.make_node("Reshape", ["noise", "flat"], ["noise2"])]
        nodes += [helper.make_node("Gemm", ["noise2", "mix"], ["noise6"])]
        nodes += [helper.make_node("Add", [x, "noise6"], ["noised"])]
        x = "noised"
    nodes += [
        helper.make_node("Gemm", [x, "axis1", "latents/key"], ["index_"], name="latents/Cast_0"),
        helper.make_node("Tanh", ["index_"], ["pixels/input"]),
        helper.make_node("Reshape", ["pixels/input", "shape"], [name]),
    ]
    used = {edge for node in nodes for edge in node.input}
    initializers = [numpy_helper.from_array(value, key) for key, value in constants.items() if key in used]
    graph = helper.make_graph(
        nodes,
        "toy",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *output])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    helper.set_model_props(model, {"gantool": "of another file"})
    onnx.checker.check_model(model, full_check=True)
    return model


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def check_file(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert model.ir_version <= 10
    assert not any(onnx.external_data_helper.uses_external_data(t) for t in model.graph.initializer)
    assert not model.metadata_props
    allowed = EVERYWHERE | {"Gemm", "Tanh", "Clip", "Transpose"}
    assert {node.op_type for node in model.graph.node} <= allowed
    for value in (*model.graph.input[1:], *model.graph.output):
        assert dims(value)[0] == "batch"


@pytest.mark.parametrize("label", [False, True])
@pytest.mark.parametrize("noise", [False, True])
def test_image_generator(label: bool, noise: bool) -> None:
    plain = generator(label=label, noise=noise)
    inputs: Layout = (("z", (6,)), ("noise", (1, 2))) if noise else (("z", (6,)),)
    model = seeds.seeded_model(plain, inputs)
    check_file(model)
    names = [value.name for value in model.graph.input]
    assert names == ["seed", "index", *(["label"] if label else [])]
    (output,) = model.graph.output
    assert (output.name, dims(output)) == ("image", ["batch", 4, 4, 3])
    assert output.type.tensor_type.elem_type == TensorProto.UINT8

    index = np.array([5, 0, 2**40])
    given = {"label": np.array([3, 0, 9])} if label else {}
    (image,) = session(model).run(None, feed(-8, index) | given)
    (wanted,) = session(plain).run(None, latents.draw(dict(inputs), -8, index) | given)
    np.testing.assert_array_equal(image, latents.pixels(wanted))
    for i in range(3):  # alone as in a batch
        one = {key: value[i : i + 1] for key, value in given.items()}
        (alone,) = session(model).run(None, feed(-8, index[i : i + 1]) | one)
        np.testing.assert_array_equal(alone[0], image[i])


def test_generator_is_left_alone() -> None:
    plain = generator(label=True)
    before = plain.SerializeToString(deterministic=True)
    seeds.seeded_model(plain, [("z", (6,))])
    assert plain.SerializeToString(deterministic=True) == before


def test_unfit_generators() -> None:
    with pytest.raises(GantoolError, match="opset is 12, not one from 13 to 25"):
        seeds.seeded_model(generator(opset=12), [("z", (6,))])
    with pytest.raises(GantoolError, match="no float32 input or output 'w' with 2 axes"):
        seeds.seeded_model(generator(), [("w", (6,))])
    with pytest.raises(GantoolError, match="no float32 input or output 'label'"):
        seeds.seeded_model(generator(label=True), [("label", ())])
    with pytest.raises(GantoolError, match="'image' with 3 to 5 axes"):
        seeds.seeded_model(generator(output=(16,)), [("z", (6,))])
    with pytest.raises(GantoolError, match="index"):
        seeds.seeded_model(generator(z="index"), [("index", (6,))])
