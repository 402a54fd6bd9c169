"""gantool.runtime.Generator: equal images from either file, in any chunks, and errors that say what was given."""

from __future__ import annotations

import dataclasses
import itertools
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from support.changed import described_as, edited, fixed
from support.exports import source_of

from gantool import exporting
from gantool.artifact import latents, manifest
from gantool.artifact.manifest import Manifest
from gantool.errors import GantoolError
from gantool.run.rundir import RunDir
from gantool.runtime import Generator, scheduling
from gantool.runtime import generator as generator_module
from gantool.runtime.session import Bound
from gantool.system import nvml

KINDS = ["onnx", "onnx-seeded"]


@pytest.fixture(scope="module")
def plain(exported_run: RunDir) -> Generator:
    return Generator(exported_run.export / "generator.onnx")


@pytest.fixture(scope="module")
def seeded(exported_run: RunDir) -> Generator:
    return Generator(exported_run.export / "generator.seeded.onnx")


@pytest.fixture(scope="module")
def both(plain: Generator, seeded: Generator) -> list[Generator]:
    return [plain, seeded]


@pytest.fixture(scope="module")
def conditional(conditional_export: Path) -> list[Generator]:
    return [Generator(conditional_export / manifest.FILES[kind]) for kind in KINDS]


# images of a seed


def test_images_are_bytes_in_rows_of_pixels(both: list[Generator]) -> None:
    for generator in both:
        images = generator.sample(5, seed=7)
        assert images.dtype == np.uint8
        assert images.shape == (5, *generator.shape) == (5, 8, 8, 1)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 130])
@pytest.mark.parametrize("first", [0, 100])
def test_both_files_give_equal_images_however_many(plain: Generator, seeded: Generator, n: int, first: int) -> None:
    images = plain.sample(n, seed=3, first=first)
    np.testing.assert_array_equal(images, seeded.sample(n, seed=3, first=first))


@pytest.mark.parametrize("seed", [-1, -(2**63), 2**63 - 1, 2**40])
def test_any_64_bit_seed_will_do(plain: Generator, seeded: Generator, seed: int) -> None:
    images = plain.sample(4, seed)
    np.testing.assert_array_equal(images, seeded.sample(4, seed))
    assert (images != plain.sample(4, seed + 1 if seed < 0 else seed - 1)).any()


def test_no_image_at_all(both: list[Generator]) -> None:
    for generator in both:
        assert generator.sample(0).shape == (0, 8, 8, 1)
        assert generator.sample(0).dtype == np.uint8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 1.5}, "n is 1.5: not a whole number"),
        ({"n": None}, "n is None"),
        ({"n": 1, "seed": "x"}, "seed is 'x': not a whole number"),
        ({"n": 1, "seed": 1.5}, "seed is 1.5"),
        ({"n": 1, "first": 0.0}, "first is 0.0"),
        ({"n": -3}, "-3 images were asked for"),
        ({"n": 2, "first": -1}, "no image -1"),
        ({"n": 2, "first": 2**47 - 1}, f"no image {2**47}"),
        ({"n": 0, "seed": 2**63}, "seed 9223372036854775808 does not fit 64 bits"),
        ({"n": 1, "seed": -(2**63) - 1}, "does not fit 64 bits"),
    ],
)
def test_images_and_latents_refuse_the_same(both: list[Generator], arguments: dict[str, Any], message: str) -> None:
    """As a GantoolError that is also a ValueError."""
    for ask in (both[0].sample, both[1].sample, both[0].latents):
        with pytest.raises(GantoolError, match=message) as error:
            ask(**arguments)
        assert isinstance(error.value, ValueError)


def test_integers_of_numpy_are_whole_numbers(both: list[Generator]) -> None:
    for generator in both:
        made = generator.sample(np.int32(3), np.uint64(7), np.int64(2))
        np.testing.assert_array_equal(made, generator.sample(3, 7, 2))
    np.testing.assert_array_equal(both[0].latents(np.int8(2), np.uint8(1)), both[0].latents(2, 1))


@pytest.mark.parametrize("path", [3, None, b"generator.onnx"])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(GantoolError, match="is no path"):
        Generator(path)


# any images


@pytest.mark.parametrize("index", [[3], [70, 3, 3, 0, 129], range(5, 135), np.array([9, 2], np.uint8), [2**47 - 1], []])
def test_images_by_their_numbers(both: list[Generator], index: Any) -> None:
    for generator in both:
        wanted = [generator.sample(1, 5, int(number))[0] for number in index]
        images = generator.sample(seed=5, index=index)
        assert images.shape == (len(index), 8, 8, 1)
        np.testing.assert_array_equal(images, np.array(wanted, np.uint8).reshape(images.shape))


def test_labels_of_images_by_their_numbers(conditional: list[Generator]) -> None:
    """Without labels an image has the class that it has in a row."""
    for generator in conditional:
        in_a_row = generator.sample(100, seed=1)
        index = np.random.default_rng(0).permutation(100)
        np.testing.assert_array_equal(generator.sample(seed=1, index=index), in_a_row[index])
        np.testing.assert_array_equal(generator.sample(seed=1, index=index, labels=index % 3), in_a_row[index])
        one = generator.sample(100, seed=1, labels=2)
        np.testing.assert_array_equal(generator.sample(seed=1, index=index, labels=2), one[index])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"index": [0, -1]}, "index -1 is out of range"),
        ({"index": [2**47]}, f"index {2**47} is out of range"),
        ({"index": [0.5]}, "index is float64"),
        ({"index": [[1]]}, r"of shape \(1, 1\)"),
        ({"index": 3}, r"of shape \(\)"),
        ({"index": [1], "n": 1}, "`index` was given together with"),
        ({"index": [1], "first": 1}, "`index` was given together with"),
        ({"index": [1], "seed": 2**63}, "does not fit 64 bits"),
        ({"index": [1], "labels": [0, 1]}, "takes no labels"),
        ({"n": 1, "start": 1}, r"sample\(\) has no argument 'start'. It is called 'first' here"),
        ({"count": 1}, "'count'. It is called 'n' here"),
    ],
)
def test_numbers_that_are_refused(both: list[Generator], arguments: dict[str, Any], message: str) -> None:
    for generator in both:
        with pytest.raises(GantoolError, match=message):
            generator.sample(**arguments)


# labels


def test_without_labels_the_classes_come_in_turn(conditional: list[Generator]) -> None:
    for generator in conditional:
        in_turn = generator.sample(100, seed=1, first=2)
        given = generator.sample(100, seed=1, first=2, labels=[(2 + i) % 3 for i in range(100)])
        np.testing.assert_array_equal(in_turn, given)


def test_a_label_decides_the_image(conditional: list[Generator]) -> None:
    plain, seeded = conditional
    images = [plain.sample(70, labels=label) for label in (0, 1)]
    assert (images[0] != images[1]).any()
    np.testing.assert_array_equal(images[1], seeded.sample(70, labels=np.ones(70, int)))
    np.testing.assert_array_equal(
        plain.from_latents(plain.latents(3), labels=2), plain.run({"z": plain.latents(3), "label": np.full(3, 2)})
    )
    assert plain.sample(0, labels=[]).shape == (0, 8, 8, 1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (3, "There is no class 3: the labels of 3 classes are 0 to 2"),
        ([0, -1], "There is no class -1"),
        ([0, 1, 2], r"wanted: one whole number, or 2"),
        ([0.5, 1.0], "float64"),
        ("one", "no class 'one': the classes are 0 to 2"),
        ([["0", "1"]], "wanted: one whole number"),
        (2**70, "object"),
    ],
)
def test_labels_that_are_none(conditional: list[Generator], labels: object, message: str) -> None:
    for generator in conditional:
        with pytest.raises(GantoolError, match=message):
            generator.sample(2, labels=labels)


# own latents, and the graph itself


def test_own_latents_are_the_twin_of_the_graph(plain: Generator, seeded: Generator) -> None:
    z = plain.latents(70, seed=9, first=3)
    np.testing.assert_array_equal(z, latents.normals(9, np.arange(3, 73), 4))
    made = plain.from_latents(z)
    assert made.dtype == np.float32
    assert made.shape == (70, 1, 8, 8)
    assert np.abs(made).max() <= 1
    np.testing.assert_array_equal(latents.pixels(made), seeded.sample(70, seed=9, first=3))
    np.testing.assert_array_equal(made, plain.run({"z": z}))
    assert plain.from_latents(z[:0]).shape == (0, 1, 8, 8)
    np.testing.assert_allclose(plain.from_latents(z.astype(np.float64)), made)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (np.zeros(4, np.float32), r"float32 \(4,\); wanted: float32 \(n, 4\)"),
        (np.zeros((2, 5), np.float32), r"\(2, 5\); wanted"),
        (np.zeros((2, 4), np.int64), "int64"),
        (np.array([["a"] * 4]), "wanted: float32"),
    ],
)
def test_latents_of_another_shape(plain: Generator, z: np.ndarray, message: str) -> None:
    with pytest.raises(GantoolError, match=message):
        plain.from_latents(z)


def test_a_seeded_file_takes_no_latents(seeded: Generator) -> None:
    with pytest.raises(GantoolError, match="draws its latents itself") as error:
        seeded.from_latents(np.zeros((2, 4), np.float32))
    assert "--onnx" in error.value.hint


def test_the_graph_of_a_seeded_file(seeded: Generator) -> None:
    index = np.array([5, 70, 3] * 30)
    images = seeded.run({"seed": [2], "index": index})
    np.testing.assert_array_equal(images, seeded.sample(71, seed=2)[index])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "takes z, label; given were"),
        ({"z": np.zeros((2, 4))}, "given were z"),
        ({"z": np.zeros((2, 4)), "label": [0, 1], "seed": [0]}, "given were label, seed, z"),
        ({"z": np.zeros((2, 4)), "label": [0]}, "different lengths: z 2, label 1"),
        ({"z": np.zeros((2, 4)), "label": [[0], [1]]}, r"label is int64 \(2, 1\); wanted: int64 \(n\)"),
        ({"z": np.zeros((2, 4)), "label": [0.0, 1.0]}, "label is float64"),
        ({"z": np.zeros((2, 3)), "label": [0, 1]}, r"z is float64 \(2, 3\); wanted: float32 \(n, 4\)"),
        ({"z": "noise", "label": [0, 1]}, "z is <U5"),
        ({"z": np.zeros((2, 4)), "label": [0, 3]}, "There is no class 3: the labels of 3 classes are 0 to 2"),
        ({"z": np.zeros((2, 4)), "label": [-1, 0]}, "There is no class -1"),
        ({"z": np.zeros((2, 4), np.int64), "label": [0, 1]}, r"z is int64 \(2, 4\); wanted: float32"),
    ],
)
def test_inputs_that_the_graph_does_not_take(
    conditional: list[Generator], inputs: dict[str, object], message: str
) -> None:
    with pytest.raises(GantoolError, match=message):
        conditional[0].run(inputs)


def test_the_graph_of_a_seeded_file_takes_what_sample_takes(seeded: Generator) -> None:
    for inputs, message in (
        ({"seed": [2**63], "index": [0]}, "seed 9223372036854775808 does not fit 64 bits"),
        ({"seed": [0], "index": [-1]}, "index -1 is out of range"),
        ({"seed": [0], "index": [0, 2**47]}, f"index {2**47} is out of range"),
    ):
        with pytest.raises(GantoolError, match=message):
            seeded.run(inputs)


def test_a_generator_of_images_is_run_by_hand(plain: Generator, tmp_path: Path) -> None:
    """No seed gives an input from data, as Pix2Pix has. A picture of bytes has to be scaled to [-1, 1] first."""

    def from_data(described: Manifest) -> Manifest:
        inputs = (dataclasses.replace(described.inputs[0], distribution="data"),)
        return dataclasses.replace(described, inputs=inputs, latents=(), golden=())

    generator = Generator(described_as(plain.path, tmp_path / "data.onnx", from_data))
    for ask in (lambda: generator.sample(2), lambda: generator.latents(2), generator.self_test):
        with pytest.raises(GantoolError):
            ask()
    assert generator.run({"z": np.zeros((2, 4))}).shape == (2, 1, 8, 8)
    with pytest.raises(GantoolError, match=r"z is uint8 \(2, 4\); wanted: float32 \(n, 4\)") as error:
        generator.run({"z": np.zeros((2, 4), np.uint8)})
    assert "Scale a picture of bytes to [-1, 1]" in error.value.hint


# a fixed batch


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 4, 5, 130])
def test_a_fixed_batch_makes_the_same_images(plain: Generator, tmp_path: Path, kind: str, n: int) -> None:
    path = plain.path.parent / manifest.FILES[kind]
    by_four = Generator(fixed(path, tmp_path / "g.onnx", 4))
    (batch, *_) = by_four.session.get_outputs()[0].shape
    assert batch == 4
    np.testing.assert_array_equal(by_four.sample(n, seed=5, first=7), Generator(path).sample(n, seed=5, first=7))
    np.testing.assert_array_equal(by_four.sample(seed=5, index=range(7, 7 + n)), by_four.sample(n, seed=5, first=7))
    assert by_four.self_test().worst <= 1
    inputs = {i.name: [3] if i.name == "seed" else np.arange(n) for i in by_four.manifest.inputs}
    if kind == "onnx":
        inputs = {"z": by_four.latents(n, seed=5)}
        np.testing.assert_array_equal(by_four.from_latents(inputs["z"]), plain.from_latents(inputs["z"]))
    np.testing.assert_array_equal(by_four.run(inputs), Generator(path).run(inputs))


def test_a_fixed_batch_of_every_kind_of_input(conditional: list[Generator], tmp_path: Path) -> None:
    """Labels are repeated like latents; and what comes from data is, too."""
    for number, generator in enumerate(conditional):
        by_four = Generator(fixed(generator.path, tmp_path / f"{number}.onnx", 4))
        for labels in (None, 2, [0, 1, 2, 1, 0, 2]):
            made = by_four.sample(6, seed=1, labels=labels)
            np.testing.assert_array_equal(made, generator.sample(6, seed=1, labels=labels))

    def from_data(described: Manifest) -> Manifest:
        z, label = described.inputs
        return dataclasses.replace(
            described, inputs=(dataclasses.replace(z, distribution="data"), label), latents=(), golden=()
        )

    by_four = Generator(fixed(conditional[0].path, tmp_path / "data.onnx", 4, from_data))
    inputs = {"z": conditional[0].latents(6), "label": np.arange(6) % 3}
    np.testing.assert_array_equal(by_four.run(inputs), conditional[0].run(inputs))


def test_a_batch_that_the_graph_does_not_have(plain: Generator, tmp_path: Path) -> None:
    def says(batch: int | None) -> Callable[[Manifest], Manifest]:
        return lambda described: dataclasses.replace(described, batch=batch)

    by_four = fixed(plain.path, tmp_path / "four.onnx", 4)
    for batch, told in ((None, r"\(n, 4\)"), (5, r"\(5, 4\)")):
        with pytest.raises(GantoolError, match=rf"has z of \(4, 4\); its manifest says {told}"):
            Generator(described_as(by_four, tmp_path / "g.onnx", says(batch)))


# many cores


@pytest.fixture(scope="module", params=["mlp", "dcgan", "sngan", pytest.param("wgan", marks=pytest.mark.slow)])
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The plain and the seeded file of a known architecture, small."""
    options: dict[str, Any] = {"widths": (64, 128)} if request.param == "mlp" else {"width": 16}
    folder = tmp_path_factory.mktemp(request.param)
    made = exporting.write(source_of(request.param, 16, **options), KINDS, folder, exporting.Options(optimize=False))
    return [item.path for item in made]


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int, int], Generator]:
    """A generator of `threads` cores with calls of at most `rows` images, however cheap they are."""

    def force(path: Path, threads: int, rows: int) -> Generator:
        seconds = scheduling.CALL_SECONDS / rows
        monkeypatch.setattr(scheduling, "image_seconds", lambda size, convolutional: seconds)
        monkeypatch.setattr(scheduling, "WORTH_SECONDS", seconds)
        monkeypatch.setattr(scheduling, "WEIGHTS_ROWS", 1)
        generator = Generator(path, threads=threads)
        assert generator.plan(1).rows == rows
        return generator

    return force


def test_images_depend_on_no_plan(known: list[Path], forced: Callable[[Path, int, int], Generator]) -> None:
    """Whatever the threads and the images a call: bytes and floats are those of one image at a time."""
    alone = Generator(known[0], threads=1)
    images = np.concatenate([alone.sample(1, seed=3, first=first) for first in range(5, 102)])
    z = alone.latents(97, seed=3, first=5)
    floats = np.concatenate([alone.from_latents(z[row : row + 1]) for row in range(97)])
    for threads, rows in ((1, 1), (1, 16), (1, 512), (2, 1), (2, 8), (3, 32), (5, 64), (4, 512)):
        for path in known:
            generator = forced(path, threads, rows)
            assert generator.plan(97).threads == threads
            np.testing.assert_array_equal(generator.sample(97, seed=3, first=5), images)
            np.testing.assert_array_equal(generator.sample(7, seed=3, first=5), images[:7])
            np.testing.assert_array_equal(generator.sample(seed=3, index=np.arange(101, 4, -1)), images[::-1])
        np.testing.assert_array_equal(forced(known[0], threads, rows).from_latents(z), floats)


def test_what_runs_by_itself_makes_the_same(known: list[Path]) -> None:
    wanted = Generator(known[1], threads=1).sample(1025, seed=1)
    for path in known:
        np.testing.assert_array_equal(Generator(path).sample(1025, seed=1), wanted)


@pytest.mark.parametrize("n", [1, 2, 31, 130])
def test_labels_on_many_cores(
    conditional: list[Generator], forced: Callable[[Path, int, int], Generator], n: int
) -> None:
    wanted: dict[str, np.ndarray] = {}
    for generator in conditional:
        for labels in (None, 1, [i * i % 3 for i in range(n)], np.arange(n, dtype=np.uint8) % 2):
            for made in (generator, forced(generator.path, 3, 4), forced(generator.path, 2, 1)):
                images = made.sample(n, seed=2, first=7, labels=labels)
                np.testing.assert_array_equal(images, wanted.setdefault(str(labels), images))
    assert len({images.tobytes() for images in wanted.values()}) == (4 if n > 2 else len(wanted) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fixed_batch_on_many_cores(
    plain: Generator, tmp_path: Path, forced: Callable[[Path, int, int], Generator], kind: str
) -> None:
    """No plan changes the batch of the graph."""
    by_four = forced(fixed(plain.path.parent / manifest.FILES[kind], tmp_path / "g.onnx", 4), 3, 4)
    assert by_four.plan(97) == scheduling.Plan(3, 4)
    for n in (1, 4, 5, 12, 97):
        np.testing.assert_array_equal(by_four.sample(n, seed=2, first=1), plain.sample(n, seed=2, first=1))


def test_many_threads_may_call_at_once(known: list[Path], forced: Callable[[Path, int, int], Generator]) -> None:
    """From the very first call on, when the second session is not open yet."""
    wanted = Generator(known[1], threads=1).sample(120, seed=4)
    for path in known:
        generator = forced(path, 3, 8)
        together = threading.Barrier(6, timeout=30)

        def call(number: int, generator: Generator = generator, together: threading.Barrier = together) -> np.ndarray:
            together.wait()
            parts = [generator.sample(n, 4, first) for first, n in ((number, 1), (number * 20, 20), (number, 50))]
            return np.concatenate(parts)

        with ThreadPoolExecutor(6) as callers:
            for number, images in enumerate(callers.map(call, range(6))):
                expected = wanted[[number, *range(number * 20, number * 20 + 20), *range(number, number + 50)]]
                np.testing.assert_array_equal(images, expected)


def test_the_second_session_is_of_the_same_bytes(plain: Generator, tmp_path: Path) -> None:
    """It is opened when the first large request comes, once; the file may be another by then."""
    opened = []
    path = tmp_path / "g.onnx"
    path.write_bytes(plain.path.read_bytes())
    generator = Generator(path, threads=2)
    path.write_bytes(b"something else")
    with pytest.MonkeyPatch.context() as patch:
        honest = ort.InferenceSession
        patch.setattr(ort, "InferenceSession", lambda *args, **rest: opened.append(1) or honest(*args, **rest))
        generator.sample(8)
        assert not opened
        images = generator.sample(3000)
        np.testing.assert_array_equal(generator.sample(3000), images)
        assert len(opened) == 1
    np.testing.assert_array_equal(images[2990:], plain.sample(10, first=2990))


def test_an_error_of_one_call_is_that_of_the_request(
    conditional: list[Generator], tmp_path: Path, forced: Callable[[Path, int, int], Generator]
) -> None:
    """The manifest claims a fourth class, for which the graph has no embedding."""

    def more(described: Manifest) -> Manifest:
        z, label = described.inputs
        return dataclasses.replace(described, inputs=(z, dataclasses.replace(label, classes=4)))

    generator = forced(described_as(conditional[0].path, tmp_path / "g.onnx", more), 3, 4)
    labels = np.zeros(100, int)
    labels[61] = 3
    for _ in range(2):
        with pytest.raises(GantoolError, match="failed to run"):
            generator.sample(100, labels=labels)
    assert len(generator.sample(100, labels=2)) == 100


@pytest.mark.parametrize("n", [2**47, 2**46])
def test_more_than_any_memory(both: list[Generator], n: int) -> None:
    for generator in both:
        with pytest.raises(GantoolError, match=rf"{n} samples of \(8, 8, 1\) do not fit") as error:
            generator.sample(n)
        assert ".stream()" in error.value.hint


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Generator]:
    """A generator that takes the CPU for CUDA, with calls of at most `rows` images."""
    honest = ort.InferenceSession

    def session(data: bytes, options: object, providers: list[str], **rest: object) -> object:
        made = honest(data, providers=["CPUExecutionProvider"])
        monkeypatch.setattr(made, "get_providers", lambda: providers)
        return made

    def opened(path: Path, rows: int | None = 8, **rest: Any) -> Generator:
        with monkeypatch.context() as patch:
            patch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
            patch.setattr(ort, "preload_dlls", lambda: None)
            patch.setattr(ort, "InferenceSession", session)
            if rows is not None:
                patch.setattr(scheduling, "device_rows", lambda memory, output: rows)
            generator = Generator(path, "cuda", **rest)
        if isinstance(generator.session, Bound):
            generator.session.device, generator.session.graph = "cpu", False
        return generator

    # the class itself, for `isinstance`, is that of the CPU's sessions
    return opened


# requests on a GPU


@pytest.mark.parametrize("settings", [None, {"enable_cuda_graph": "1"}], ids=["plain", "graph"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 3, 8, 9, 17, 61])
def test_a_request_on_a_gpu_makes_the_same_images(
    plain: Generator, kind: str, on_cuda: Callable[..., Generator], settings: dict[str, str] | None, n: int
) -> None:
    path = plain.path.parent / manifest.FILES[kind]
    generator = on_cuda(path, settings=settings)
    wanted = Generator(path).sample(n, seed=5, first=11)
    for _ in range(2):
        np.testing.assert_array_equal(generator.sample(n, seed=5, first=11), wanted)
    parts = list(generator.stream(n, 5, 11, part=20))
    np.testing.assert_array_equal(np.concatenate([wanted[:0], *parts]), wanted)
    if not generator.seeded:
        z = generator.latents(n, 5, 11)
        np.testing.assert_array_equal(generator.from_latents(z), Generator(path).from_latents(z))


def test_calls_on_a_gpu_are_of_few_sizes(seeded: Generator, on_cuda: Callable[..., Generator]) -> None:
    """Each new one is slow at first, and has a graph of its own."""
    generator = on_cuda(seeded.path, 16, settings={"enable_cuda_graph": "1"})
    bound = generator.session
    assert isinstance(bound, Bound)
    seen = []
    honest = bound.run
    bound.run = lambda names, feeds: seen.append(len(feeds["index"])) or honest(names, feeds)  # type: ignore[method-assign, func-returns-value]
    for n in (1, 2, 3, 5, 16, 17, 47):
        assert len(generator.sample(n)) == n
    assert seen == [1, 2, 4, 8, 16, 16, 1, 16, 16, 16]


def test_two_calls_at_once_on_a_gpu(
    seeded: Generator, on_cuda: Callable[..., Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is copied while the other computes; a CUDA graph has one stream."""
    generator = on_cuda(seeded.path)
    assert generator.plan(8) == scheduling.Plan(1, 8)
    assert generator.plan(9) == scheduling.Plan(2, 8)
    assert on_cuda(seeded.path, settings={"enable_cuda_graph": "1"}).plan(1000) == scheduling.Plan(1, 8)
    together = threading.Barrier(2, timeout=30)
    honest, calls = generator.session.run_with_iobinding, itertools.count()

    def meet(binding: object) -> None:
        if next(calls) < 2:  # neither of the first two calls could go on alone
            together.wait()
        honest(binding)

    monkeypatch.setattr(generator.session, "run_with_iobinding", meet)
    np.testing.assert_array_equal(generator.sample(40, seed=1), seeded.sample(40, seed=1))


def test_a_call_that_fails_on_a_gpu_is_told(
    seeded: Generator, on_cuda: Callable[..., Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = on_cuda(seeded.path)

    def fails(binding: object) -> None:
        raise RuntimeError("CUDA failure 2: out of memory")

    monkeypatch.setattr(generator.session, "run_with_iobinding", fails)
    with pytest.raises(GantoolError, match=r"seeded\.onnx failed to run: CUDA failure 2: out of memory"):
        generator.sample(40)


@pytest.mark.parametrize("batch", [4, 6])
def test_a_fixed_batch_on_a_gpu(
    seeded: Generator, on_cuda: Callable[..., Generator], tmp_path: Path, batch: int
) -> None:
    generator = on_cuda(fixed(seeded.path, tmp_path / "g.onnx", batch))
    for n in (1, batch, 25):
        np.testing.assert_array_equal(generator.sample(n, 3), seeded.sample(n, 3))


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
    assert scheduling.device_rows(memory, output) == rows


def test_the_memory_of_the_device_is_what_nvml_says(
    seeded: Generator, on_cuda: Callable[..., Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml, "open_device", lambda: SimpleNamespace(total_mb=lambda: 20.0))
    assert on_cuda(seeded.path, rows=None).plan(1000) == scheduling.Plan(2, 64)


# streams


@pytest.mark.parametrize(("n", "part"), [(0, 10), (1, 10), (10, 10), (61, 10), (130, 64), (5, 1), (7, None)])
def test_a_stream_is_the_sample_in_parts(conditional: list[Generator], n: int, part: int | None) -> None:
    for generator in conditional:
        for labels in (None, 2, [i * i % 3 for i in range(n)]):
            parts = list(generator.stream(n, 6, 11, labels, part))
            assert [len(images) for images in parts] == [min(part or n, n - at) for at in range(0, n, part or 10)]
            wanted = generator.sample(n, 6, 11, labels)
            np.testing.assert_array_equal(np.concatenate([wanted[:0], *parts]), wanted)


def test_a_stream_is_one_part_ahead(plain: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next part is made while the caller uses one, and no more than that."""
    begun: list[int] = []
    honest = plain.session.run
    monkeypatch.setattr(plain.session, "run", lambda *args: begun.append(1) or honest(*args))
    alive: list[weakref.ref[np.ndarray]] = []
    parts = plain.stream(10_000_000, part=3)  # a call a part
    for number in range(1, 9):
        images = next(parts)
        alive.append(weakref.ref(images))
        del images
        assert number <= len(begun) <= number + 1
        assert sum(kept() is not None for kept in alive) <= 1
    parts.close()  # type: ignore[attr-defined]
    assert len(begun) <= 9
    assert not any(thread.name.startswith("gantool-stream") for thread in threading.enumerate())


class Slow:
    """A generator that takes 0.05 s an image after the first 100; counts them, and tells when the 101st begins."""

    def __init__(self, generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.generator, self.begun, self.images = generator, threading.Event(), 0
        self.honest = generator.session.run_with_iobinding
        monkeypatch.setattr(generator.session, "run_with_iobinding", self.run)

    def run(self, binding: object) -> None:
        self.images += 1
        if self.images > 100:
            self.begun.set()
            time.sleep(0.05)
        self.honest(binding)


@pytest.fixture
def slow(seeded: Generator, forced: Callable[[Path, int, int], Generator], monkeypatch: pytest.MonkeyPatch) -> Slow:
    return Slow(forced(seeded.path, 1, 1), monkeypatch)


def test_close_ends_a_stream_within_a_part(slow: Slow) -> None:
    parts = slow.generator.stream(300, part=100)
    next(parts)
    assert slow.begun.wait(30)  # the second part, which takes 5 seconds
    parts.close()  # type: ignore[attr-defined]
    assert slow.images < 200
    assert not any(thread.name.startswith("gantool-stream") for thread in threading.enumerate())


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no pthread_kill")
def test_ctrl_c_ends_a_stream_within_a_part(slow: Slow) -> None:
    def interrupt() -> None:
        assert slow.begun.wait(30)
        time.sleep(0.3)  # until the main thread waits: a signal right before that is only seen after the wait
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        for _ in slow.generator.stream(300, part=100):
            pass
    assert slow.images < 200
    sender.join()


def test_parts_are_of_bounded_size(plain: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_module, "PART_BYTES", 1000)
    assert [len(images) for images in plain.stream(40)] == [15, 15, 10]  # of 64 bytes each
    monkeypatch.setattr(generator_module, "PART_BYTES", 1)
    assert [len(images) for images in plain.stream(2)] == [1, 1]
    monkeypatch.undo()
    assert next(plain.stream(2**40)).shape == (generator_module.MAX_PART, 8, 8, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": -1}, "-1 images"),
        ({"n": 1.5}, "not a whole number"),
        ({"n": 2, "first": 2**47 - 1}, "no image"),
        ({"n": 1, "seed": 2**63}, "does not fit"),
        ({"n": 2, "labels": [0, 9]}, "There is no class 9"),
        ({"n": 2, "part": 0}, "Parts of 0 images"),
        ({"n": 2, "part": "x"}, "part is 'x'"),
    ],
)
def test_a_stream_refuses_at_once(conditional: list[Generator], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(GantoolError, match=message):
        conditional[1].stream(**arguments)


def test_a_stream_that_fails_says_so(plain: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, calls = plain.session.run, itertools.count()

    def fails(*args: Any) -> Any:
        if next(calls) == 2:
            raise RuntimeError("The machine is on fire.")
        return honest(*args)

    monkeypatch.setattr(plain.session, "run", fails)
    parts = plain.stream(10, part=2)
    assert len(next(parts)) == len(next(parts)) == 2
    with pytest.raises(GantoolError, match="failed to run: The machine is on fire"):
        next(parts)


# sessions


def test_settings_of_sessions(plain: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO computes in float32; threads that wait do so in a loop for a moment only."""
    seen: list[tuple[ort.SessionOptions, Any]] = []
    honest = ort.InferenceSession

    def session(data: bytes, options: ort.SessionOptions, providers: list[str], **rest: Any) -> object:
        seen.append((options, rest["provider_options"]))
        made = honest(data, providers=["CPUExecutionProvider"])
        monkeypatch.setattr(made, "get_providers", lambda: providers)
        return made

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["OpenVINOExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    Generator(plain.path, "openvino")
    Generator(plain.path, "openvino", settings={"precision": "ACCURACY", "device_type": "GPU"})
    generator = Generator(plain.path, threads=5)
    generator.sample(5000)
    assert [own for _, own in seen] == [
        [{"precision": "FP32"}],
        [{"precision": "ACCURACY", "device_type": "GPU"}],
        None,
        None,
    ]
    assert [options.intra_op_num_threads for options, _ in seen[2:]] == [5, 1]
    for options, _ in seen[2:]:
        assert options.get_session_config_entry("session.intra_op.spin_duration_us") == "300"


# audio, threads, self-test


def test_audio_keeps_its_axes(tiny_export: Callable[..., Path]) -> None:
    generator = Generator(tiny_export(2, 16) / "generator.onnx")
    assert generator.shape == (16, 2)
    assert generator.sample(0).shape == (0, 16, 2)
    assert generator.sample(3).dtype == generator.sample(0).dtype == np.int16
    np.testing.assert_array_equal(np.concatenate(list(generator.stream(5, part=2))), generator.sample(5))


def test_threads_that_are_none(plain: Generator) -> None:
    with pytest.raises(GantoolError, match="0 threads"):
        Generator(plain.path, threads=0)


def test_the_self_test_is_exact_here(both: list[Generator]) -> None:
    for generator in both:
        test = generator.self_test()
        assert (test.exact, test.images, test.worst) == (True, 12, 0)


def other_pixel(by: int) -> Callable[[Manifest], Manifest]:
    def change(described: Manifest) -> Manifest:
        first, *rest = described.golden
        (image, row, column, (value,)), *pixels = first.pixels
        value = value + by if value + by < 256 else value - by
        first = dataclasses.replace(first, sha256="0" * 64, pixels=((image, row, column, (value,)), *pixels))
        return dataclasses.replace(described, golden=(first, *rest))

    return change


@pytest.mark.parametrize("tolerance", [0, 1, 3])
def test_the_self_test_allows_what_the_manifest_says(plain: Generator, tmp_path: Path, tolerance: int) -> None:
    def off(by: int) -> Generator:
        def change(described: Manifest) -> Manifest:
            return dataclasses.replace(other_pixel(by)(described), tolerance=tolerance)

        return Generator(described_as(plain.path, tmp_path / f"{by}.onnx", change))

    test = off(tolerance).self_test()
    assert (test.exact, test.worst) == (False, tolerance)
    with pytest.raises(GantoolError, match=f"by up to {tolerance + 1} levels"):
        off(tolerance + 1).self_test()


def brighter(model: onnx.ModelProto) -> None:
    bias = next(t for t in model.graph.initializer if len(t.dims) == 1 and t.dims[0] == 64)
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.5), bias.name))


def test_the_self_test_finds_changed_weights(plain: Generator, tmp_path: Path) -> None:
    """Even where the digests of the manifest were changed with them."""
    with pytest.raises(GantoolError, match="makes other images here"):
        Generator(edited(plain.path, tmp_path / "g.onnx", brighter)).self_test()


def test_too_many_golden_images_are_not_made(plain: Generator, tmp_path: Path) -> None:
    def many(described: Manifest) -> Manifest:
        golden = dataclasses.replace(described.golden[0], count=manifest.MAX_GOLDEN)
        return dataclasses.replace(described, golden=(golden,) * 1000)

    with pytest.raises(GantoolError, match="should have 1024 samples at most in 'golden'"):
        Generator(described_as(plain.path, tmp_path / "g.onnx", many))


def test_a_golden_pixel_outside_the_image(plain: Generator, tmp_path: Path) -> None:
    def outside(described: Manifest) -> Manifest:
        golden = dataclasses.replace(described.golden[0], pixels=((0, 8, 0, (0,)),))
        return dataclasses.replace(described, golden=(golden,))

    with pytest.raises(GantoolError, match="lies outside its samples"):
        Generator(described_as(plain.path, tmp_path / "g.onnx", outside)).self_test()


def test_latents_of_another_generation_are_not_guessed(plain: Generator, tmp_path: Path) -> None:
    path = described_as(plain.path, tmp_path / "g.onnx", lambda m: dataclasses.replace(m, rng="squares32-table16/2"))
    with pytest.raises(GantoolError, match="squares32-table16/2; this gantool draws by squares32-table16/1") as error:
        Generator(path).sample(1)
    assert "Upgrade" in error.value.hint


def test_the_runtime_loads_nothing_heavy() -> None:
    code = (
        "import sys; from gantool.runtime import Generator;"
        "print(sorted({'torch', 'typer', 'pydantic', 'pluggy', 'onnx', 'rich', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
