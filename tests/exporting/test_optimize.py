"""gantool.exporting.onnx_files.optimize: the same images from a faster graph, by rules that no clock decides."""

from __future__ import annotations

import functools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from support.exports import Z, source, source_of
from support.graphs import operators, run
from torch import Tensor, nn

from gantool import exporting
from gantool.exporting.onnx_files import optimize as module
from gantool.exporting.onnx_files.graph import to_onnx
from gantool.exporting.onnx_files.optimize import PROJECTION, WINDOWS, clean, optimize, rewrite
from gantool.plugin.architecture import SampleSpec

CASES = {
    "dcgan": {"width": 16, "max_width": 32},
    "wgan": {"width": 16, "max_width": 32},
    "mlp": {"widths": (16, 32)},
}


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


def latents(count: int = 7) -> dict[str, np.ndarray]:
    return {"z": np.random.default_rng(count).standard_normal((count, 8), dtype=np.float32)}


class Layers(nn.Module):
    """z (N, 4) → map (channels, side, side) → transposed convolution of stride 2 → image (16, 2·side, 2·side)."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shape = (channels, side, side)
        self.first = nn.Linear(4, channels * side**2)
        self.up = nn.ConvTranspose2d(channels, 16, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        return self.up(self.first(z).unflatten(1, self.shape)).tanh()


@pytest.mark.parametrize(
    ("channels", "side", "rewritten"), [(512, 4, True), (544, 4, True), (496, 4, False), (512, 8, False)]
)
def test_windows_are_taken_where_they_gain(channels: int, side: int, rewritten: bool) -> None:
    model = to_onnx(Layers(channels, side).eval(), [Z], SampleSpec((16, 2 * side, 2 * side)))
    inputs = {"z": np.random.default_rng(0).standard_normal((7, 4), dtype=np.float32)}
    after, rewrites = optimize(model, inputs)
    assert [r.kind for r in rewrites] == ([WINDOWS] if rewritten else [])
    assert ("ConvTranspose" in operators(after)) == (not rewritten)
    np.testing.assert_allclose(run(after, inputs), run(model, inputs), atol=1e-5)


def test_two_exports_have_the_same_bytes(tmp_path: Path) -> None:
    """Whatever else the machine does: a file's graph depends on the generator alone."""
    graphs = []
    for folder in ("one", "two"):
        options = exporting.Options(("float32", "int8"), force=True)  # int8 is calibrated, too
        torch_source = source(Layers(512, 4), shape=(16, 8, 8))
        made = exporting.write(torch_source, ["onnx"], tmp_path / folder, options)
        graphs.append([onnx.load(artifact.path).graph.SerializeToString(deterministic=True) for artifact in made])
        told = [artifact.manifest.optimize["rewritten"] for artifact in made]
    assert graphs[0] == graphs[1]
    assert [{**layer, "layer": ""} for layers in told for layer in layers] == [
        {"layer": "", "kind": WINDOWS, "input_shape": [512, 4, 4], "output_shape": [16, 8, 8]}
    ] * 2


@pytest.mark.parametrize("all_windows", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_generators_stay_what_they_are(name: str, all_windows: bool, capfd: pytest.CaptureFixture[str]) -> None:
    model = exported(name, 32)
    untouched = model.SerializeToString()
    after, rewrites = rewrite(model, all_windows=all_windows)
    assert model.SerializeToString() == untouched
    assert [r.kind for r in rewrites] == [WINDOWS] * (0 if name == "mlp" or not all_windows else 3)
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
    together = run(after, latents(7))
    assert together.std() > 0.1
    for n in (1, 2, 7):
        np.testing.assert_allclose(run(after, latents(n)), run(model, latents(n)), atol=1e-5)
    for i in range(7):
        alone = run(after, {"z": latents(7)["z"][i : i + 1]})
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)
    assert "warn" not in capfd.readouterr().err.lower()
    again, more = rewrite(after, all_windows=all_windows)
    assert (again.SerializeToString(), more) == (after.SerializeToString(), [])


def test_elsewhere_the_images_are_the_same() -> None:
    openvino = pytest.importorskip("openvino")
    model = exported("dcgan", 16)
    after, rewrites = rewrite(model, all_windows=True)
    assert rewrites
    expected = run(model, latents(3))
    np.testing.assert_allclose(ReferenceEvaluator(after).run(None, latents(3))[0], expected, atol=1e-5)
    core = openvino.Core()
    read = core.read_model(model=after.SerializeToString(), weights=b"")
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(latents(3))[compiled.output(0)], expected, atol=1e-5)


def test_maps_stay_channels_last_from_the_gemm_to_the_image() -> None:
    after, rewrites = rewrite(exported("dcgan", 32), all_windows=True)
    assert [r.input_shape for r in rewrites] == [(32, 4, 4), (32, 8, 8), (16, 16, 16)]
    assert operators(after).count("Transpose") == 1  # into the image


def wrong(model: onnx.ModelProto) -> onnx.ModelProto:
    made = clean(model)
    tensor = next(t for t in made.graph.initializer if len(t.dims) > 1)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.001), tensor.name))
    return made


def broken(model: onnx.ModelProto) -> onnx.ModelProto:
    raise KeyError("a rule of the library")


@pytest.mark.parametrize(("rule", "note"), [(wrong, "values would move by"), (broken, "KeyError")])
def test_a_rewrite_that_fails_or_changes_images_is_undone(
    rule: Callable[[onnx.ModelProto], onnx.ModelProto], note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "clean", rule)
    model = exported("mlp", 28)
    notes: list[str] = []
    after, rewrites = optimize(model, latents(), notes.append)
    assert (after, rewrites, len(notes)) == (model, [], 1)
    assert note in notes[0]


def classic() -> onnx.ModelProto:
    """z (N, 8) → ConvTranspose of the 1×1 map → Relu → two more → Tanh, with what exporters leave lying about."""
    stream = np.random.default_rng(1)

    def weight(*shape: int) -> np.ndarray:
        return (stream.standard_normal(shape) / math.sqrt(4 * shape[0])).astype(np.float32)

    constants = {
        "first": weight(8, 32, 4, 4),
        "second": weight(32, 16, 4, 4),
        "third": weight(16, 3, 4, 4),
        "unused": weight(5, 5),
        "map": np.array([-1, 8, 1, 1], np.int64),
        "shift": weight(32, 1, 1),
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
        helper.make_node("Transpose", ["c"], ["c1"], perm=[0, 1, 2, 3]),
        helper.make_node("Dropout", ["c1"], ["c2"]),
        helper.make_node("Relu", ["c2"], ["d"]),
        helper.make_node("ConvTranspose", ["d", "third"], ["e"], **step),
        helper.make_node("Tanh", ["e"], ["t"]),
        helper.make_node("Identity", ["t"], ["image"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classic",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def test_operations_without_effect_go() -> None:
    model = classic()
    after, rewrites = optimize(model, latents())
    assert operators(after) == [
        "Reshape", "Gemm", "Reshape", "Add", "Relu", "ConvTranspose", "Relu", "ConvTranspose", "Tanh",
    ]  # fmt: skip
    assert [(r.kind, r.input_shape, r.output_shape) for r in rewrites] == [(PROJECTION, (8, 1, 1), (32, 4, 4))]
    assert "unused" not in {t.name for t in after.graph.initializer}
    np.testing.assert_allclose(run(after, latents(5)), run(model, latents(5)), atol=1e-5)
    again, _ = optimize(after, latents())
    assert again.SerializeToString() == after.SerializeToString()


def test_equal_constants_are_stored_once() -> None:
    slopes = {name: numpy_helper.from_array(np.ones((3, 1, 1), np.float32), name) for name in ("slope", "slope2")}
    graph = helper.make_graph(
        [helper.make_node("PRelu", ["x", "slope"], ["y"]), helper.make_node("PRelu", ["y", "slope2"], ["image"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        list(slopes.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    assert [t.name for t in clean(model).graph.initializer] == ["slope"]


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
