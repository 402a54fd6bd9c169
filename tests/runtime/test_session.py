"""ONNX Runtime sessions: providers that are missing or do not start, and outputs written to given places."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper
from support.changed import edited

from gantool.errors import GantoolError
from gantool.runtime import Generator
from gantool.runtime.session import ORT_ERRORS, Bound, open_session, run, run_into
from gantool.system.machine import peak_memory_mb

# providers


@pytest.mark.parametrize("name", ["gpu", "CPU", "CPUExecutionProvider", ""])
def test_an_unknown_provider(plain: Path, name: str) -> None:
    with pytest.raises(GantoolError, match=f"no provider '{name}'") as error:
        Generator(plain, name)
    assert "cpu, cuda, tensorrt, openvino" in error.value.hint


def test_a_provider_that_is_not_installed(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(GantoolError, match="'openvino' is not in the installed onnxruntime") as error:
        Generator(plain, "openvino")
    assert error.value.hint.startswith("It has: cpu.")
    assert "onnxruntime-openvino" in error.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_without_its_device(plain: Path, provider: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The GPU build of onnxruntime lists both on any machine; the other neither."""
    with pytest.raises(GantoolError, match=f"The provider '{provider}' ") as error:
        Generator(plain, provider)
    assert "gantool doctor" in error.value.hint
    assert capsys.readouterr().out == ""


def test_the_library_that_is_missing_is_named(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name comes last, after the paths of others."""
    cause = f"Failed to load {'/a/long/path' * 40}/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: gone"

    def session(*args: object, **rest: object) -> object:
        raise RuntimeError(cause + "\nand more lines")

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    with pytest.raises(GantoolError) as error:
        Generator(plain, "cuda")
    assert error.value.message.endswith("libcublasLt.so.13: gone")
    assert "gantool doctor" in error.value.hint


def test_a_provider_that_gives_way_to_another(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where onnxruntime would fall back without a word."""
    everything = ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: everything)
    given_way = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", lambda *args, **kwargs: given_way)
    with pytest.raises(GantoolError, match="'openvino' did not start; onnxruntime would have used CPUExec"):
        Generator(plain, "openvino")


def test_openvino_gets_no_seeded_file(plain: Path, seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It narrows 64-bit integers: wrong images without an error. The CPU stands in for it here."""
    honest = ort.InferenceSession

    def session(data: bytes, options: object, providers: list[str], **rest: object) -> object:
        made = honest(data, providers=["CPUExecutionProvider"])
        monkeypatch.setattr(made, "get_providers", lambda: providers)
        return made

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["OpenVINOExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    with pytest.raises(GantoolError, match="64-bit integers") as error:
        Generator(seeded, "openvino")
    assert "gantool export --portable" in error.value.hint
    images = Generator(plain, "openvino").sample(3, seed=4)
    monkeypatch.undo()
    np.testing.assert_array_equal(images, Generator(seeded).sample(3, seed=4))


def test_another_format_of_onnxruntime_is_not_guessed(plain: Path, tmp_path: Path) -> None:
    """Its own format starts as any bytes may: a file that is both must be read as what was looked at."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "g.ort")
    ort.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
    data = (tmp_path / "g.ort").read_bytes()
    assert data[4:8] == b"ORTM"
    ort.InferenceSession(data, providers=["CPUExecutionProvider"])  # which guesses
    with pytest.raises(GantoolError, match="can't run"):
        open_session(data, tmp_path / "g.ort")


# in place


def test_an_output_is_written_where_it_is_wanted(seeded: Path) -> None:
    generator = Generator(seeded, threads=1)
    images = np.zeros((9, 8, 8, 1), np.uint8)
    feeds = {"seed": np.array([3]), "index": np.arange(2, 7)}
    run_into(generator.session, feeds, "image", images[2:7])
    np.testing.assert_array_equal(images[2:7], generator.sample(5, seed=3, first=2))
    assert not images[:2].any()
    assert not images[7:].any()


@pytest.mark.parametrize("shape", [(4, 8, 8, 1), (6, 8, 8, 1), (5, 8, 9, 1), (320,)])
def test_another_shape_is_an_error(seeded: Path, shape: tuple[int, ...]) -> None:
    session = Generator(seeded, threads=1).session
    beside = np.zeros((3, *shape), np.uint8)
    with pytest.raises(ORT_ERRORS, match=r"shape|dimensions|rank"):
        run_into(session, {"seed": np.array([3]), "index": np.arange(5)}, "image", beside[1])
    assert not beside[[0, 2]].any()


# a session that is bound


def test_every_run_gives_the_images_of_its_inputs(seeded: Path) -> None:
    """Of the same shape, of other ones, and of the first again; what it gave before stays as it was."""
    generator = Generator(seeded, threads=1)
    bound = Bound(generator.session, device="cpu")
    made = {}
    for first in (0, 50, 7, 0):
        for n in (1, 4, 2):
            (images,) = bound.run(None, {"seed": np.array([5]), "index": np.arange(first, first + n)})
            made[first, n] = images
    for (first, n), images in made.items():
        np.testing.assert_array_equal(images, generator.sample(n, 5, first))
    assert len(bound.spent) == 12
    assert all(part >= 0 for run in bound.spent for part in run)


def test_what_stays_on_the_device_is_not_copied(seeded: Path) -> None:
    bound = Bound(Generator(seeded, threads=1).session, device="cpu")
    bound.compute({"seed": np.array([5]), "index": np.arange(4)})
    assert not bound.spent
    assert bound.get_outputs()[0].name == "image"


def test_threads_wait_for_each_other(seeded: Path) -> None:
    generator = Generator(seeded, threads=1)
    wanted = generator.sample(64, 2)
    generator.session = Bound(generator.session, device="cpu")
    together = threading.Barrier(4, timeout=30)

    def call(number: int) -> None:
        together.wait()
        for turn in range(20):
            first = (number * 7 + turn) % 60
            np.testing.assert_array_equal(generator.sample(4, 2, first), wanted[first : first + 4])

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(call, range(4)))


# --- memory


def _claims(*nodes: onnx.NodeProto, **values: list[int]) -> Callable[[onnx.ModelProto], None]:
    """Adds `nodes`, the last of which makes `huge`, and a sum with its mean to the output."""

    def edit(model: onnx.ModelProto) -> None:
        graph, output = model.graph, model.graph.output[0].name
        graph.node[-1].output[0] = "small"
        graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in values.items())
        graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "one"))
        graph.node.extend(nodes)
        graph.node.append(helper.make_node("ReduceMean", ["huge"], ["mean"], keepdims=0))
        graph.node.append(helper.make_node("Add", ["small", "mean"], [output]))

    return edit


def _node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


_DOUBLED = [_node("Concat", f"d{i} d{i}", f"d{i + 1}" if i < 31 else "huge", axis=0) for i in range(32)]
BOMBS = {
    "ConstantOfShape": _claims(_node("ConstantOfShape", "sides", "huge"), sides=[2**32]),
    "Expand": _claims(_node("Expand", "one sides", "huge"), sides=[2**32]),
    "Tile": _claims(_node("Tile", "one sides", "huge"), sides=[2**30 - 1]),
    "Concat": _claims(_node("Identity", "one", "d0"), *_DOUBLED),
    "MatMul": _claims(
        _node("Expand", "one column", "a"),
        _node("Expand", "one row", "b"),
        _node("MatMul", "a b", "huge"),
        column=[2**16, 1],
        row=[1, 2**16],
    ),
}


# the doubling fills 4 GB before it is stopped, the others claim them at once
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "Concat")) for n in BOMBS])
def test_a_small_graph_can_not_take_the_memory_of_the_machine(plain: Path, tmp_path: Path, name: str) -> None:
    path = edited(plain, tmp_path / "g.onnx", BOMBS[name])
    assert path.stat().st_size < 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak of this process begins anew: other tests ran in it
    before = peak_memory_mb()
    with pytest.raises(GantoolError, match=r"of memory at once|would require more than"):
        Generator(path, threads=1).sample(1)
    peak = peak_memory_mb()
    assert peak is not None
    assert before is not None
    assert (peak - before) * 1e6 < 2**32


def test_each_session_has_a_limit_of_its_own(plain: Path, tmp_path: Path) -> None:
    small = edited(plain, tmp_path / "g.onnx", BOMBS["ConstantOfShape"])
    data = small.read_bytes()
    limited = [open_session(data, small, threads=1, memory=2**20 * size) for size in (16, 64)]
    feeds = {"z": np.zeros((1, 4), np.float32)}
    for session in limited:
        with pytest.raises(GantoolError, match=r"asks for 17\.2 GB"):
            run(session, feeds, small)
    assert Generator(plain).sample(2).shape == (2, 8, 8, 1)
