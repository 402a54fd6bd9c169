"""Outputs at places of our choice, and a request on a GPU: the CPU's memory and provider stand in for the device's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from support.changed import fixed

from gantool.errors import GantoolError
from gantool.run.rundir import RunDir
from gantool.runtime import Generator, workers
from gantool.runtime.binding import Bound, run_into
from gantool.runtime.session import ORT_ERRORS
from gantool.system import nvml

FILES = ["generator.onnx", "generator.seeded.onnx"]


@pytest.fixture(scope="module", params=FILES)
def path(request: pytest.FixtureRequest, exported_run: RunDir) -> Path:
    return exported_run.export / str(request.param)


@pytest.fixture(scope="module")
def seeded(exported_run: RunDir) -> Path:
    return exported_run.export / "generator.seeded.onnx"


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Generator]:
    """A generator that believes to run on CUDA, with calls of at most `rows` images; the CPU computes."""
    honest = ort.InferenceSession

    def session(data: bytes, options: object, providers: list[str], **rest: object) -> object:
        made = honest(data, providers=["CPUExecutionProvider"])
        monkeypatch.setattr(made, "get_providers", lambda: providers)
        return made

    def opened(path: Path, rows: int = 8, **rest: Any) -> Generator:
        with monkeypatch.context() as patch:
            patch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
            patch.setattr(ort, "preload_dlls", lambda: None)
            patch.setattr(ort, "InferenceSession", session)
            patch.setattr(workers, "device_rows", lambda memory, output: rows)
            generator = Generator(path, "cuda", **rest)
        if isinstance(generator.session, Bound):
            generator.session.device, generator.session.graph = "cpu", False
        return generator

    # the class itself, for `isinstance`, is that of the CPU's sessions
    return opened


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


# requests on a GPU


@pytest.mark.parametrize("settings", [None, {"enable_cuda_graph": "1"}], ids=["plain", "graph"])
@pytest.mark.parametrize("n", [0, 1, 3, 8, 9, 17, 61])
def test_a_request_on_a_gpu_makes_the_same_images(
    path: Path, on_cuda: Callable[..., Generator], settings: dict[str, str] | None, n: int
) -> None:
    generator = on_cuda(path, settings=settings)
    wanted = Generator(path).sample(n, seed=5, first=11)
    for _ in range(2):
        np.testing.assert_array_equal(generator.sample(n, seed=5, first=11), wanted)
    parts = list(generator.stream(n, 5, 11, part=20))
    np.testing.assert_array_equal(np.concatenate([wanted[:0], *parts]), wanted)
    if not generator.seeded:
        z = generator.latents(n, 5, 11)
        np.testing.assert_array_equal(generator.from_latents(z), Generator(path).from_latents(z))


def test_calls_on_a_gpu_are_of_few_sizes(seeded: Path, on_cuda: Callable[..., Generator]) -> None:
    """Each new one is slow at first, and has a graph of its own."""
    generator = on_cuda(seeded, 16, settings={"enable_cuda_graph": "1"})
    bound = generator.session
    assert isinstance(bound, Bound)
    seen = []
    honest = bound.run
    bound.run = lambda names, feeds: seen.append(len(feeds["index"])) or honest(names, feeds)  # type: ignore[method-assign, func-returns-value]
    for n in (1, 2, 3, 5, 16, 17, 47):
        assert len(generator.sample(n)) == n
    assert seen == [1, 2, 4, 8, 16, 16, 1, 16, 16, 16]


def test_two_calls_at_once_on_a_gpu(seeded: Path, on_cuda: Callable[..., Generator]) -> None:
    """One is copied while the other computes; a CUDA graph has one stream."""
    generator = on_cuda(seeded)
    assert generator.plan(8) == workers.Plan(1, 8)
    assert generator.plan(9) == workers.Plan(2, 8)
    assert on_cuda(seeded, settings={"enable_cuda_graph": "1"}).plan(1000) == workers.Plan(1, 8)
    together = threading.Barrier(2, timeout=30)
    honest = generator._images

    def meet(*args: Any) -> np.ndarray:
        if args[3] in (0, 8):  # the first two calls: neither could go on alone
            together.wait()
        return honest(*args)

    generator._images = meet  # type: ignore[method-assign, assignment]
    np.testing.assert_array_equal(generator.sample(40, seed=1), Generator(seeded).sample(40, seed=1))


def test_a_call_that_fails_on_a_gpu_is_told(
    seeded: Path, on_cuda: Callable[..., Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = on_cuda(seeded)

    def fails(binding: object) -> None:
        raise RuntimeError("CUDA failure 2: out of memory")

    monkeypatch.setattr(generator.session, "run_with_iobinding", fails)
    with pytest.raises(GantoolError, match=r"seeded\.onnx failed to run: CUDA failure 2: out of memory"):
        generator.sample(40)


@pytest.mark.parametrize("batch", [4, 6])
def test_a_fixed_batch_on_a_gpu(seeded: Path, on_cuda: Callable[..., Generator], tmp_path: Path, batch: int) -> None:
    generator = on_cuda(fixed(seeded, tmp_path / "g.onnx", batch))
    for n in (1, batch, 25):
        np.testing.assert_array_equal(generator.sample(n, 3), Generator(seeded).sample(n, 3))


@pytest.mark.parametrize(
    ("memory", "output", "rows"),
    [
        (143e9, 3 * 32 * 32 * 4, 4096),
        (143e9, 3 * 64 * 64 * 4, 2048),
        (8e9, 3 * 64 * 64 * 4, 128),
        (8e9, 28 * 28 * 4, 2048),
        (None, 3 * 64 * 64 * 4, 64),
        (2e9, 3 * 1024 * 1024 * 4, 16),
    ],
)
def test_rows_by_the_memory_of_the_device(memory: float | None, output: int, rows: int) -> None:
    assert workers.device_rows(memory, output) == rows


def test_the_memory_is_what_nvml_says(seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    device = type("Device", (), {"total_mb": lambda self: 8000.0})()
    monkeypatch.setattr(nvml, "open_device", lambda: device)
    monkeypatch.setattr(workers, "device_rows", lambda memory, output: asked.append((memory, output)) or 32)
    generator = Generator(seeded)
    assert generator._device_rows() == 32
    assert asked == [(8e9, 8 * 8 * 4)]
