"""gantool.exporting.onnx_files.optimize: the same images from a faster graph, wherever the graph runs."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from support.exports import Conditional, Z, source_of

from gantool.exporting.onnx_files.graph import to_onnx
from gantool.exporting.onnx_files.optimize import Timing, optimize, timing
from gantool.exporting.onnx_files.optimize.cleanup import clean
from gantool.exporting.onnx_files.optimize.layers import PROJECTION, WINDOWS, find, project, window
from gantool.plugin.architecture import Input, SampleSpec

OPSETS = (17, 18, 21, 25)
CASES = {
    "dcgan": {"width": 16, "max_width": 32},
    "wgan": {"width": 16, "max_width": 32},
    "mlp": {"widths": (16, 32)},
}


def run(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, dict(feeds))[0]
    return result


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def pretend(monkeypatch: pytest.MonkeyPatch, speedup: Callable[[int], float]) -> list[list[str]]:
    """Timings that say so, by batch; the operators of each graph that was timed as rewritten are returned."""
    timed: list[list[str]] = []

    def compare(
        before: onnx.ModelProto, after: onnx.ModelProto, feeds: Sequence[Any], feeds_after: Sequence[Any] | None = None
    ) -> tuple[Timing, ...]:
        timed.append(operators(after))
        batches = [len(next(iter(f.values()))) for f in feeds]
        for model, arrays in ((before, feeds), (after, feeds_after or feeds)):
            run(model, arrays[0])  # what would be timed does run
        return tuple(Timing(n, threads, 1.0, 1 / speedup(n)) for threads in (1, 0) for n in batches)

    monkeypatch.setattr(timing, "compare", compare)
    return timed


@functools.cache
def exported(name: str, side: int) -> onnx.ModelProto:
    source = source_of(name, side, latent_dim=8, **CASES[name])
    model = to_onnx(source.generator, source.inputs, source.output)
    # weights of N(0, 0.02) make images that are nearly zero, where nothing would differ
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim > 1:
            fan_in = array[0].size if array.ndim == 2 else array.shape[0] * 4
            scaled = array * np.float32(1 / array.std() / math.sqrt(fan_in))
            tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
    return model


def generator(name: str, side: int = 32) -> tuple[onnx.ModelProto, Callable[[int], dict[str, np.ndarray]]]:
    return exported(name, side), lambda n: {"z": np.random.default_rng(n).standard_normal((n, 8), dtype=np.float32)}


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
    assert found.fits(PROJECTION)
    after = project(model, [found])
    assert "ConvTranspose" not in operators(after)
    same(model, after, layer["inputs"], (1, 3))


@settings(deadline=None, max_examples=120)
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


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset(opset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda batch: 2)
    stream = np.random.default_rng(0)
    weight = stream.standard_normal((3, 16, 4, 4), dtype=np.float32)
    model = layer_model((3, 4, 4), weight, None, "Tanh", opset, strides=[2, 2], pads=[1, 1, 1, 1])
    after, rewrites = optimize(model, lambda n: {"x": stream.standard_normal((n, 3, 4, 4), dtype=np.float32)})
    assert [r.kind for r in rewrites] == [WINDOWS]
    assert [o.version for o in after.opset_import] == [opset]
    assert after.ir_version == model.ir_version


@pytest.mark.parametrize("name", CASES)
def test_generators_stay_what_they_are(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, lambda batch: 1.5)
    model, feeds = generator(name)
    notes: list[str] = []
    untouched = model.SerializeToString()
    after, rewrites = optimize(model, feeds, say=notes.append)
    assert (notes, model.SerializeToString()) == ([], untouched)
    assert [r.kind for r in rewrites] == [WINDOWS] * (0 if name == "mlp" else 2)  # the thin last layer isn't even tried
    assert list(after.graph.input) == list(model.graph.input)
    assert list(after.graph.output) == list(model.graph.output)
    assert list(after.opset_import) == list(model.opset_import)
    assert after.ir_version == model.ir_version
    assert {node.domain for node in after.graph.node} == {""}
    assert not {"Identity", "Dropout", "Cast"} & set(operators(after))
    used = {name for node in after.graph.node for name in node.input}
    assert {t.name for t in after.graph.initializer} <= used
    names = [node.name for node in after.graph.node]
    assert len(set(names)) == len(names)
    assert all(names)
    together = run(after, feeds(7))
    assert together.std() > 0.1
    for n in (1, 2, 7):
        np.testing.assert_allclose(run(after, feeds(n)), run(model, feeds(n)), atol=1e-5)
    for i in range(7):
        alone = run(after, {"z": feeds(7)["z"][i : i + 1]})
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)
    assert "warn" not in capfd.readouterr().err.lower()
    again, more = optimize(after, feeds)
    assert (again.SerializeToString(), more) == (after.SerializeToString(), [])


def test_elsewhere_the_images_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino")
    pretend(monkeypatch, lambda batch: 2)
    model, feeds = generator("dcgan", 16)
    after, rewrites = optimize(model, feeds)
    assert rewrites
    expected = run(model, feeds(3))
    np.testing.assert_allclose(ReferenceEvaluator(after).run(None, feeds(3))[0], expected, atol=1e-5)
    core = openvino.Core()
    read = core.read_model(model=after.SerializeToString(), weights=b"")
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(feeds(3))[compiled.output(0)], expected, atol=1e-5)


def test_maps_stay_channels_last_from_the_gemm_to_the_last_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda batch: 2)
    model, feeds = generator("dcgan")
    after, rewrites = optimize(model, feeds)
    assert [r.input_shape for r in rewrites] == [(32, 4, 4), (32, 8, 8)]
    assert operators(after).count("Transpose") == 1  # into the last layer, which stays
    assert operators(after).count("ConvTranspose") == 1


def test_what_is_rewritten_goes_into_json(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda batch: 2)
    _, rewrites = optimize(*generator("dcgan", 16))
    (told,) = json.loads(json.dumps([dataclasses.asdict(r) for r in rewrites]))
    assert told["kind"] == "windows"
    assert (told["input_shape"], told["output_shape"]) == ([32, 4, 4], [16, 8, 8])
    assert told["timings"][0] == {"batch": 1, "threads": 1, "before_ms": 1.0, "after_ms": 0.5}


@pytest.mark.parametrize(
    "speedup",
    [lambda batch: 0.9, lambda batch: 1.08, lambda batch: 0.9 if batch == 1 else 3.0],
    ids=["slower", "within the noise", "slower at batch 1"],
)
def test_layers_that_are_no_faster_stay(speedup: Callable[[int], float], monkeypatch: pytest.MonkeyPatch) -> None:
    timed = pretend(monkeypatch, speedup)
    model, feeds = generator("dcgan")
    after, rewrites = optimize(model, feeds)
    assert (len(timed), rewrites) == (2, [])
    assert operators(after).count("ConvTranspose") == 3


def test_a_graph_that_is_no_faster_as_a_whole_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter((2.0, 2.0, 0.99))  # two layers, then the whole
    ratio = 1.0

    def compare(*args: Any) -> tuple[Timing, ...]:
        nonlocal ratio
        ratio = next(answers)
        return (Timing(1, 1, ratio, 1.0),)

    monkeypatch.setattr(timing, "compare", compare)
    model, feeds = generator("dcgan")
    notes: list[str] = []
    after, rewrites = optimize(model, feeds, say=notes.append)
    assert rewrites == []
    assert operators(after).count("ConvTranspose") == 3
    assert len(notes) == 1
    assert "no faster with 2 layers" in notes[0]


def test_without_measuring_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = pretend(monkeypatch, lambda batch: 9)
    model, feeds = generator("dcgan")
    once, rewrites = optimize(model, feeds, measure=False)
    assert (timed, rewrites) == ([], [])
    assert once.SerializeToString() == optimize(model, feeds, measure=False)[0].SerializeToString()


def test_a_rewrite_that_changes_images_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda batch: 2)

    def wrong(model: onnx.ModelProto, *args: Any) -> onnx.ModelProto:
        made = onnx.ModelProto()
        made.CopyFrom(window(model, *args))
        (tensor,) = (t for t in made.graph.initializer if t.name.endswith("phase.1.0/weight"))
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.001), tensor.name))
        return made

    monkeypatch.setattr("gantool.exporting.onnx_files.optimize.window", wrong)
    model, feeds = generator("dcgan", 16)
    notes: list[str] = []
    after, rewrites = optimize(model, feeds, say=notes.append)
    assert rewrites == []
    assert operators(after).count("ConvTranspose") == 2
    assert len(notes) == 1
    assert "values would move by" in notes[0]


def classic(batch: int | str = "batch") -> onnx.ModelProto:
    """z (N, 8) → ConvTranspose of the 1×1 map → Relu → two more → Tanh, with what exporters leave lying about."""
    stream = np.random.default_rng(1)

    def weight(*shape: int) -> np.ndarray:
        return (stream.standard_normal(shape) / math.sqrt(4 * shape[0])).astype(np.float32)

    constants = {
        "first": weight(8, 32, 4, 4),
        "second": weight(32, 16, 4, 4),
        "third": weight(16, 3, 4, 4),
        "unused": weight(5, 5),
        "zero": np.zeros(1, np.float32),
        "one": np.ones(1, np.float32),
        "map": np.array([-1, 8, 1, 1], np.int64),
        "same": np.array([-1, 16, 8, 8], np.int64),
        "shift": weight(32, 1, 1),
        "twin": np.zeros(1, np.float32),
    }
    step = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Reshape", ["z", "map"], ["z4"]),
        helper.make_node("Cast", ["z4"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("ConvTranspose", ["cast", "first"], ["a"]),
        helper.make_node("Add", ["shift", "shift"], ["twice"]),
        helper.make_node("Add", ["a", "twice"], ["shifted"]),
        helper.make_node("Relu", ["shifted"], ["b"]),
        helper.make_node("Identity", ["b"], ["b1"]),
        helper.make_node("ConvTranspose", ["b1", "second"], ["c"], **step),
        helper.make_node("Reshape", ["c", "same"], ["c1"]),
        helper.make_node("Transpose", ["c1"], ["c2"], perm=[0, 1, 2, 3]),
        helper.make_node("Dropout", ["c2"], ["c3"]),
        helper.make_node("Add", ["c3", "zero"], ["c4"]),
        helper.make_node("Mul", ["c4", "one"], ["c5"]),
        helper.make_node("Sub", ["c5", "twin"], ["c6"]),
        helper.make_node("Relu", ["c6"], ["d"]),
        helper.make_node("ConvTranspose", ["d", "third"], ["e"], **step),
        helper.make_node("Tanh", ["e"], ["t"]),
        helper.make_node("Identity", ["t"], ["image"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classic",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, 8])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def latents(n: int) -> dict[str, np.ndarray]:
    return {"z": np.random.default_rng(n).standard_normal((n, 8), dtype=np.float32)}


def test_no_operations_go() -> None:
    model = classic()
    after, rewrites = optimize(model, latents, measure=False)
    assert operators(after) == [
        "Gemm", "Reshape", "Add", "Relu", "ConvTranspose", "Relu", "ConvTranspose", "Tanh",
    ]  # fmt: skip
    assert [(r.kind, r.input_shape, r.output_shape, r.timings) for r in rewrites] == [
        (PROJECTION, (8, 1, 1), (32, 4, 4), ())
    ]
    assert "unused" not in {t.name for t in after.graph.initializer}
    np.testing.assert_allclose(run(after, latents(5)), run(model, latents(5)), atol=1e-5)
    again, _ = optimize(after, latents, measure=False)
    assert again.SerializeToString() == after.SerializeToString()


def test_equal_constants_are_stored_once() -> None:
    weight = np.ones((2, 16, 4, 4), np.float32)
    model = layer_model((2, 4, 4), weight, np.ones(16, np.float32), None, strides=[2, 2], pads=[1, 1, 1, 1])
    model.graph.initializer.append(numpy_helper.from_array(np.ones(16, np.float32), "twin"))
    model.graph.node[0].output[0] = "y"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 16, 1, 1], np.int64), "shape"))
    model.graph.node.append(helper.make_node("PRelu", ["y", "slope"], ["image"]))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((16, 1, 1), np.float32), "slope"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((16, 1, 1), np.float32), "slope2"))
    model.graph.node[1].output[0] = "p"
    model.graph.node.append(helper.make_node("PRelu", ["p", "slope2"], ["image"]))
    after = clean(model)
    assert sorted(t.name for t in after.graph.initializer) == ["bias", "slope", "weight"]


def test_a_fixed_batch_stays_fixed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    pretend(monkeypatch, lambda batch: 2)
    model = classic(batch=4)

    def feeds(n: int) -> dict[str, np.ndarray]:
        assert n == 4
        return latents(n)

    after, rewrites = optimize(model, feeds)
    assert [r.kind for r in rewrites] == [PROJECTION, WINDOWS]
    assert {t.batch for r in rewrites for t in r.timings} == {4}
    assert list(after.graph.output) == list(model.graph.output)
    np.testing.assert_allclose(run(after, latents(4)), run(model, latents(4)), atol=1e-5)
    assert "warn" not in capfd.readouterr().err.lower()


def test_a_map_that_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its channels-last twin feeds the next layer; what else uses it still gets it as it was."""
    pretend(monkeypatch, lambda batch: 2)
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

    def feeds(n: int) -> dict[str, np.ndarray]:
        return {"x": stream.standard_normal((n, 16, 5, 3), dtype=np.float32)}

    after, rewrites = optimize(model, feeds)
    assert [r.layer for r in rewrites] == ["layer", "deeper"]
    assert operators(after).count("Transpose") == 3  # in, out for the sum, out of the deeper one
    same(model, after, (16, 5, 3), (1, 3))


def test_labels() -> None:
    model = to_onnx(Conditional(), [Z, Input("label", (), "label", classes=3)], SampleSpec((1, 8, 8)))

    def feeds(n: int) -> dict[str, np.ndarray]:
        return {"z": np.ones((n, 4), np.float32), "label": np.arange(n, dtype=np.int64) % 3}

    after, _ = optimize(model, feeds)
    assert [i.name for i in after.graph.input] == ["z", "label"]
    np.testing.assert_array_equal(run(after, feeds(3)), run(model, feeds(3)))


def test_real_timings_are_of_every_batch_and_thread_count() -> None:
    model, feeds = generator("mlp", 28)
    timings = timing.compare(model, model, [feeds(1), feeds(4)], threads=(1, 2))
    assert [(t.threads, t.batch) for t in timings] == [(1, 1), (1, 4), (2, 1), (2, 4)]
    assert all(t.before_ms > 0 and t.after_ms > 0 for t in timings)


@pytest.mark.parametrize(
    "attributes",
    [{"group": 2}, {"auto_pad": "SAME_UPPER"}, {"output_shape": [9, 9]}],
    ids=["groups", "automatic pads", "output shape"],
)
def test_what_is_not_understood_stays(attributes: dict[str, Any]) -> None:
    weight = np.ones((16, 16, 4, 4), np.float32)
    model = layer_model((16, 4, 4), weight, None, strides=[2, 2], **attributes)
    assert find(model) == []


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path) -> None:
    report = tmp_path / "graph.json"
    script = Path(__file__).parents[2] / "benchmarks" / "graph.py"
    command = [sys.executable, str(script), "--quick", "--threads", "1", "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(report.read_text())["results"]
    assert [(r["rewrite"], r["threads"], r["batch"]) for r in results] == [
        ("projection", 1, 1),
        ("projection", 1, 1),
        ("optimize", 1, 1),
    ]
    assert all(r["before_ms"] > 0 and r["after_ms"] > 0 for r in results)
    assert "| mlp 28 | whole graph | optimize | 1 |" in done.stdout
