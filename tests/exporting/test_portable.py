"""gantool.exporting.onnx_files.portable: those numbers without 64-bit integers, on every host."""

from __future__ import annotations

import base64
import functools
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from support import hosts
from support.draws import INDEXES, LAYOUTS, SEEDS, Layout
from support.exports import Conditional, Tiny, TwoLatents, Z, dimmed, sounds, source

from gantool import exporting
from gantool.artifact import latents
from gantool.errors import ArgumentError, GantoolError
from gantool.exporting.onnx_files import portable
from gantool.exporting.source import Options, Source
from gantool.plugin.architecture import Input
from gantool.runtime import Generator

Run = Callable[[dict[str, np.ndarray]], np.ndarray]
EDGES = [0, 1, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**47 - 1]  # indices; of the seeds, too
SEEDS_AT = [*EDGES, -1, 2**63 - 1, -(2**63)]
MILLION = (SEEDS_AT, 100, 1000)  # seeds, indices each, latents each: 10**6 in all


def feeds(seed: int, index: Any) -> dict[str, np.ndarray]:
    return {"seed": latents.limbs([seed]), "index": latents.limbs(index)}


def session(model: onnx.ModelProto, optimise: bool = True) -> Run:
    options = ort.SessionOptions()
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    opened = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda given: np.concatenate([p.reshape(len(p), -1) for p in opened.run(None, given)], axis=1)


@functools.cache
def runners(inputs: Layout) -> list[Run]:
    model = portable.latents_graph(inputs)
    evaluator = ReferenceEvaluator(model)

    def reference(given: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([part.reshape(len(part), -1) for part in evaluator.run(None, given)], axis=1)

    return [session(model), session(model, optimise=False), reference]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(LAYOUTS), SEEDS | st.sampled_from(EDGES), INDEXES)
def test_the_numbers_of_the_numpy_twin(inputs: Layout, seed: int, index: list[int]) -> None:
    wanted = latents.normals(seed, index, sum(math.prod(shape) for _, shape in inputs))
    for run in runners(inputs):
        made = run(feeds(seed, index))
        assert made.dtype == np.float32
        assert made.tobytes() == wanted.tobytes()


@settings(max_examples=200, deadline=None)
@given(st.integers(-(2**63), 2**64 - 1))
def test_limbs_add_up(number: int) -> None:
    (limbs,) = latents.limbs([number])
    assert limbs.dtype == np.float32
    assert sum(int(limb) << 16 * place for place, limb in enumerate(limbs)) == number % 2**64


def a_million(run: Run) -> None:
    """Of seeds and indices at their edges, and between."""
    seeds, count, size = MILLION
    assert len(seeds) * count * size == 10**6
    for number, seed in enumerate(seeds):
        index = np.concatenate([EDGES, np.random.default_rng(number).integers(0, 2**47, count - len(EDGES))])
        made = run(feeds(seed, index))
        assert np.asarray(made, np.float32).tobytes() == latents.normals(seed, index, size).tobytes()


def test_a_million_on_onnx_runtime() -> None:
    a_million(session(portable.latents_graph([("z", (1000,))])))


@pytest.mark.slow
def test_a_million_on_the_reference() -> None:
    evaluator = ReferenceEvaluator(portable.latents_graph([("z", (1000,))]))
    a_million(lambda given: evaluator.run(None, given)[0])


@pytest.mark.slow
def test_a_million_on_tract(tmp_path: Path) -> None:
    tract = pytest.importorskip("tract", reason="tract is not installed: pip install tract")
    onnx.save_model(portable.latents_graph([("z", (1000,))]), str(tmp_path / "latents.onnx"))
    runnable = tract.onnx().load(str(tmp_path / "latents.onnx")).into_model().into_runnable()
    a_million(lambda given: runnable.run([given["seed"], given["index"]])[0].to_numpy())


@pytest.mark.slow
def test_a_million_on_openvino() -> None:
    ov = pytest.importorskip("openvino")
    model = ov.Core().read_model(portable.latents_graph([("z", (1000,))]).SerializeToString())
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    a_million(lambda given: compiled(given)[0])


PAGE = """<!doctype html><script type="module">
import * as ort from "./ort/ort.PROVIDER.bundle.min.mjs";
ort.env.wasm.numThreads = 1;
const text = (array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let made = "";
  for (let at = 0; at < bytes.length; at += 32768) made += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(made);
};
globalThis.adapter = Boolean(await navigator.gpu?.requestAdapter());
const session = await ort.InferenceSession.create("./latents.onnx", { executionProviders: ["PROVIDER"] });
globalThis.draw = async ([seed, index]) => {
  const four = (rows) => new ort.Tensor("float32", Float32Array.from(rows.flat()), [rows.length, 4]);
  const { z } = await session.run({ seed: four(seed), index: four(index) });
  return text(await z.getData());
};
globalThis.ready = true;
</script>"""
FLAGS = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan", "--no-sandbox"]


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["wasm", "webgpu"])
def test_a_million_in_a_browser(provider: str, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or pytest.skip("there is no chromium")
    (tmp_path / "ort").symlink_to(hosts.node_modules("onnxruntime-web") / "onnxruntime-web" / "dist")
    (tmp_path / "index.html").write_text(PAGE.replace("PROVIDER", provider))
    onnx.save_model(portable.latents_graph([("z", (1000,))]), str(tmp_path / "latents.onnx"))
    with sync_api.sync_playwright() as play, hosts.served(tmp_path) as address:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.goto(f"{address}index.html")
        page.wait_for_function("globalThis.ready", timeout=hosts.TIMEOUT * 1000)
        if provider == "webgpu" and not page.evaluate("adapter"):
            pytest.skip("this chromium has no WebGPU adapter")

        def draw(given: dict[str, np.ndarray]) -> np.ndarray:
            text = page.evaluate("given => draw(given)", [given["seed"].tolist(), given["index"].tolist()])
            return np.frombuffer(base64.b64decode(text), np.float32)

        a_million(draw)
        browser.close()


def test_the_graph_has_no_wide_numbers_and_nothing_that_rounds() -> None:
    """What is multiplied by a matrix has 8 significant bits, and every sum stays below 2**24."""
    for size in (1000, 140_000):
        model = portable.latents_graph([("z", (size,))])
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        computed = {v.name: v.type.tensor_type.elem_type for v in [*inferred.value_info, *inferred.input]}
        assert set(computed.values()) == {TensorProto.FLOAT, TensorProto.INT32}
        products = [name for node in model.graph.node if node.op_type == "MatMul" for name in node.input]
        constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        names = [name for name in computed if name not in constants and computed[name] == TensorProto.FLOAT]
        evaluated = ReferenceEvaluator(model, verbose=0)
        del model.graph.output[:]
        model.graph.output.extend(v for v in inferred.value_info if v.name in names)
        evaluated = ReferenceEvaluator(model)
        index = EDGES if size == 1000 else [2**47 - 1]
        values = dict(zip([v.name for v in model.graph.output], evaluated.run(None, feeds(-1, index)), strict=True))
        for name in {*products} - {*constants}:
            assert values[name].max() <= 225
        for array in (constants[name] for name in products if name in constants):
            assert set(np.unique(array)) <= {0.0, *(2.0**power for power in range(14))}
        drawn = {"z"} | {n.output[0] for n in model.graph.node if n.input[0] == "latents/table" or "z/" in n.output[0]}
        for name in values.keys() - drawn:
            scaled = values[name] * 2.0**16
            assert (scaled == np.floor(scaled)).all()
            assert np.abs(values[name]).max() < 2**24


# whole files

SOURCES: dict[str, Callable[[], Source]] = {
    "image": lambda: source(Tiny((3, 8, 6)), shape=(3, 8, 6)),
    "label": lambda: source(Conditional(), Z, Input("label", (), "label", 3)),
    "noise": lambda: source(TwoLatents(), Z, Input("noise", (1, 8, 8), "normal")),
    "value": dimmed,
    "sound": sounds,
}


SLOW = {"noise", "value"}  # layouts of several latents are in the tests of the graph


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in SOURCES]
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Generator, Generator]:
    """A seeded file, and the portable one."""
    folder = tmp_path_factory.mktemp(request.param)
    made = exporting.write(SOURCES[request.param](), ["onnx-seeded", "onnx-portable"], folder)
    assert [item.path.name for item in made] == ["generator.seeded.onnx", "generator.portable.onnx"]
    seeded, portable = (Generator(item.path) for item in made)
    return seeded, portable


def test_the_samples_of_the_seeded_file(pair: tuple[Generator, Generator]) -> None:
    seeded, portable = pair
    for asked in ((66, 7, 0), (9, 2**40 + 7, 2**40 + 3), (3, -1, 2**47 - 3)):
        made = portable.sample(*asked)
        assert made.dtype == seeded.sample(1).dtype
        np.testing.assert_array_equal(made, seeded.sample(*asked))
    index = [2**47 - 1, 3, 2**32]
    np.testing.assert_array_equal(portable.sample(index=index), seeded.sample(index=index))
    np.testing.assert_array_equal(np.concatenate(list(portable.stream(5, 3, part=2))), seeded.sample(5, 3))
    assert portable.manifest.golden == seeded.manifest.golden
    assert portable.self_test().exact
    if seeded.manifest.classes:
        np.testing.assert_array_equal(portable.sample(4, 1, labels=2), seeded.sample(4, 1, labels=2))


def test_what_the_file_takes_and_gives(pair: tuple[Generator, Generator]) -> None:
    _, portable = pair
    about = portable.manifest
    assert (about.kind, about.seeded) == ("onnx-portable", True)
    assert {i.dtype for i in about.inputs} <= {"float32", "int32"}
    assert [(i.name, i.shape) for i in about.inputs[:2]] == [("seed", (4,)), ("index", (4,))]
    assert about.output.dtype == "float32"
    others = {i.name: np.zeros(2, i.dtype) + np.array(i.default, i.dtype) for i in about.inputs[2:]}
    made = portable.run({**feeds(5, [8, 9]), **others})
    labels = 0 if about.classes else None
    np.testing.assert_array_equal(made, portable.sample(2, 5, 8, labels=labels).astype(np.float32))
    for wrong in ([[0.5, 0, 0, 0]], [[65536, 0, 0, 0]], [[0, 0, 32768, 0]], [[-1, 0, 0, 0]]):
        with pytest.raises(ArgumentError, match="index is not four limbs"):
            portable.run({**feeds(5, [8]), **{k: v[:1] for k, v in others.items()}, "index": np.array(wrong, "f4")})


def test_no_network_computes_in_int64(pair: tuple[Generator, Generator]) -> None:
    graph = onnx.shape_inference.infer_shapes(onnx.load(pair[1].path)).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    assert not [v.name for v in values if v.type.tensor_type.elem_type in (TensorProto.INT64, TensorProto.UINT64)]


@pytest.mark.slow
def test_a_fixed_batch_and_16_bit_weights(tmp_path: Path) -> None:
    options = Options(("half-weights",), batch=3, opset=15)
    made = exporting.write(source(Tiny()), ["onnx", "onnx-portable"], tmp_path, options)
    plain, portable = (Generator(item.path) for item in made)
    assert portable.path.name == "generator.half-weights.portable.onnx"
    np.testing.assert_array_equal(portable.sample(5, 3), plain.sample(5, 3))


def test_openvino_makes_the_same_samples(pair: tuple[Generator, Generator]) -> None:
    ov = pytest.importorskip("openvino")
    _, portable = pair
    about = portable.manifest
    compiled = ov.Core().compile_model(str(portable.path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    others = {i.name: np.zeros(9, i.dtype) + np.array(i.default, i.dtype) for i in about.inputs[2:]}
    made = compiled({**feeds(2**40 + 7, np.arange(2**40, 2**40 + 9)), **others})[0]
    off = np.abs(made - portable.sample(9, 2**40 + 7, 2**40, labels=0 if about.classes else None))
    assert off.max() <= 1  # of float sums in another order
    assert (off > 0).mean() < 0.01


def test_the_openvino_provider_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (made,) = exporting.write(source(Tiny()), ["onnx-portable"], tmp_path)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(GantoolError, match="'openvino' is not in the installed onnxruntime"):
        Generator(made.path, "openvino")


def test_generators_of_pictures_have_none(translator: Any) -> None:
    from support import translators

    assert "onnx-portable" not in translators.unet().kinds
