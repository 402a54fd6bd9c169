"""What a graph computes, counted from its file, and the matrix product that it is compared with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from pydantic import BaseModel
from support.trainings import small_config
from torch.utils.flop_counter import FlopCounterMode

from gantool import exporting
from gantool.benching import roofline
from gantool.errors import GantoolError
from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.registry import architecture_names, find
from gantool.runtime import session


def exported(
    architecture: Architecture, folder: Path, spec: SampleSpec, *kinds: str, config: BaseModel | None = None
) -> tuple[int, list[Path]]:
    """torch's own count for one image, and the files of an untrained generator as torch wrote its graph."""
    torch.manual_seed(0)
    game = architecture.build(config or architecture.config(), spec, Recipe())
    about = {"name": architecture.name, "plugin": "tests", "plugin_version": "1", "config": {}}
    source = exporting.from_game(game, architecture=about, training={}, data={})
    made = exporting.write(source, list(kinds), folder, exporting.Options(optimize=False))
    inputs = [
        torch.zeros(1, *item.shape, dtype=torch.int64) if item.distribution == "label" else torch.zeros(1, *item.shape)
        for item in game.inputs
    ]
    with torch.inference_mode(), FlopCounterMode(display=False) as counted:
        source.generator(*inputs)
    return counted.get_total_flops(), [artifact.path for artifact in made]


DRAWN = [name for name in sorted(architecture_names()) if name not in ("cyclegan", "pix2pix")]  # no pictures go in
SLOW = (
    "dcgan",
    "gan3d",
    "projected",
    "r3gan",
    "sngan",
    "stylegan2",
    "wgan",
)  # their graphs have the operators of the others


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in DRAWN])
def test_the_count_is_torchs(name: str, tmp_path: Path) -> None:
    architecture = find(name).architecture
    assert architecture is not None
    of_images = any(spec.is_image for spec in architecture.examples)
    spec = SampleSpec((3, 32, 32), classes=3) if of_images else architecture.examples[-1]
    config = small_config(architecture)
    wanted, files = exported(architecture, tmp_path, spec, "onnx", "onnx-seeded", config=config)
    counts = [roofline.count(path) for path in files]
    for count in counts:  # a seeded file draws its latents without a matrix product
        assert count is not None
        assert count.flops == wanted > 0
        assert count.weight_bytes > 0
        assert count.activation_bytes >= spec.elements  # the image is written at least, as bytes


def model(*nodes: onnx.NodeProto, x: tuple[int | str, ...] = ("batch", 4), **weights: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes), "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("made", "flops", "written"),
    [
        (model(helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1), w=floats(5, 4), b=floats(5)), 2 * 4 * 5, 20),
        (model(helper.make_node("MatMul", ["x", "w"], ["y"]), w=floats(4, 5)), 2 * 4 * 5, 20),
        (model(helper.make_node("MatMul", ["x", "w"], ["y"]), x=("n", 3, 2, 4), w=floats(4, 5)), 240, 120),
        # each has an axis that the other one repeats: 6 products
        (model(helper.make_node("MatMul", ["x", "w"], ["y"]), x=("n", 3, 1, 2, 4), w=floats(2, 4, 5)), 480, 240),
        (model(helper.make_node("MatMul", ["x", "w"], ["y"]), x=("n", 3, 4), w=floats(4)), 24, 12),
        (
            model(helper.make_node("Conv", ["x", "w"], ["y"], group=2), x=("n", 4, 6, 6), w=floats(8, 2, 3, 3)),
            2 * 8 * 4 * 4 * 2 * 9,
            8 * 4 * 4 * 4,
        ),
        (
            model(
                helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], group=2),
                x=("n", 4, 3, 3), w=floats(4, 5, 2, 2),
            ),
            2 * 4 * 9 * 5 * 4,
            10 * 36 * 4,
        ),
        (model(helper.make_node("Tanh", ["x"], ["y"])), 0, 16),
    ],
)  # fmt: skip
def test_operators(made: onnx.ModelProto, flops: int, written: int) -> None:
    weights = sum(4 * math.prod(tensor.dims) for tensor in made.graph.initializer)
    assert roofline.count_model(made) == roofline.Work(flops, weights, written)


def test_what_follows_from_constants_is_computed_once() -> None:
    nodes = (
        helper.make_node("Cast", ["half"], ["w"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    )
    found = roofline.count_model(model(*nodes, half=np.zeros((4, 5), np.float16)))
    assert found == roofline.Work(40, 40, 20)


def test_what_only_running_would_tell_is_not_known(tmp_path: Path) -> None:
    places = model(helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Cast", ["i"], ["y"], to=1))
    assert roofline.count_model(places) is None
    (tmp_path / "g.onnx").write_bytes(b"no model")
    assert roofline.count(tmp_path / "g.onnx") is None
    assert roofline.count(tmp_path / "none.onnx") is None


def test_the_peak_is_measured_in_a_process_of_its_own() -> None:
    rate = roofline.peak_gflops("cpu", 1, {})
    assert rate is not None
    assert rate > 0.1


@pytest.mark.parametrize(("threads", "opened"), [(3, {1, 3}), (1, {1}), (None, {1, 5})])
def test_the_peak_is_that_of_all_cores_of_a_cell(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, opened: set[int]
) -> None:
    """One product on all of them, and one a thread: a generator runs either way."""
    seen: list[int | None] = []

    def open_session(data: bytes, path: Path, provider: str, threads: int | None, settings: object) -> Any:
        seen.append(threads)
        return session.open_session(data, path, provider, threads)

    monkeypatch.setattr(roofline, "open_session", open_session)
    monkeypatch.setattr(roofline, "usable_cores", lambda: 5)
    monkeypatch.setattr(roofline, "SIDES", {False: (64, 128), True: ()})
    assert roofline.measure_peak("cpu", threads, {}) > 0
    assert set(seen) == opened


def test_a_peak_that_can_not_be_measured_is_not_known() -> None:
    assert roofline.peak_gflops("cpu", -1, {}) is None
    with pytest.raises(GantoolError):
        roofline.measure_peak("nowhere", 1, {})
