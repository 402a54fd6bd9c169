"""The proof catches a runtime that returns old or wrong images, and passes one that is sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from gantool import __version__
from gantool.artifact import manifest, onnxfile
from gantool.artifact.manifest import InputInfo, Manifest, OutputInfo
from gantool.benching.matrix import Cell, Request
from gantool.benching.measure import measure
from gantool.benching.proof import Limits, difference, limits, maker, prove, sources
from gantool.errors import GantoolError
from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.runtime.session import Bound

KINDS = ("generator.onnx", "generator.seeded.onnx")

Spoil = Callable[[np.ndarray, int, int], np.ndarray]  # (output, batch, run) → what the session returns instead


@pytest.fixture
def exported(exported_run: RunDir) -> Path:
    return exported_run.export


def graph(
    path: Path, *ops: str, distribution: str = "data", shape: tuple[int, ...] = (3, 4, 4), layout: str = "CHW"
) -> Path:
    """A generator of these operators in a row, input `x` → output `image`, without golden images."""
    axes, names = ["n", *shape], ["x", *(f"v{i}" for i in range(1, len(ops))), "image"]
    nodes = [helper.make_node(op, [a], [b]) for op, a, b in zip(ops, names[:-1], names[1:], strict=True)]
    about = Manifest(
        kind="onnx", gantool=__version__, created="now", architecture={"name": ops[0]}, training={}, data={},
        inputs=(InputInfo("x", shape, "float32", distribution),),
        latents=(InputInfo("x", shape, "float32", "normal"),) if distribution == "normal" else (),
        output=OutputInfo("image", shape, "float32", layout),
        rng=None, opset=18, exporter="a test", licence="", weights_sha256="",
    )  # fmt: skip
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in ("x", "image"))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    about = dataclasses.replace(about, graph_sha256=onnxfile.parse(model.SerializeToString(), "g").graph_sha256)
    helper.set_model_props(model, {manifest.KEY: about.to_json()})
    onnx.save_model(model, str(path))
    return path


class Faulty:
    """A session that returns what `spoil` makes of its output."""

    def __init__(self, session: Any, spoil: Spoil) -> None:
        self.session, self.spoil, self.runs = session, spoil, 0

    def run(self, names: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        output = self.session.run(names, feeds)[0]
        self.runs += 1
        return [self.spoil(output, len(output), self.runs)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


def opener(path: Path, fault: Callable[[], Spoil]) -> Callable[[], Generator]:
    """Opens the generator with a fault: `fault` is called for each session."""

    def opened() -> Generator:
        generator = Generator(path, threads=1)
        generator.session = Faulty(generator.session, fault())
        return generator

    return opened


def sound() -> Spoil:
    return lambda output, batch, run: output


def previous_of_shape() -> Spoil:
    """Always one call late, a shape at a time."""
    kept: dict[int, np.ndarray] = {}

    def spoil(output: np.ndarray, batch: int, run: int) -> np.ndarray:
        late = kept.get(batch, output)
        kept[batch] = output
        return late

    return spoil


def frozen_after_timing(batch_at_fault: int) -> Callable[[], Spoil]:
    """Right at first; from the 12th run of one batch on, what it gave then (the timing takes 21 runs and more)."""

    def make() -> Spoil:
        kept: list[np.ndarray] = []

        def spoil(output: np.ndarray, batch: int, run: int) -> np.ndarray:
            if batch != batch_at_fault:
                return output
            kept.append(output)
            return kept[min(len(kept), 12) - 1]

        return spoil

    return make


def always_the_first() -> Spoil:
    """The first image, whatever the input."""
    kept: list[np.ndarray] = []

    def spoil(output: np.ndarray, batch: int, run: int) -> np.ndarray:
        kept.append(output[:1])
        return np.repeat(kept[0], batch, axis=0)

    return spoil


def wrong_pixels() -> Spoil:
    """The same wrong images at every batch: only the golden ones tell."""
    return lambda output, batch, run: output[:, ::-1] if output.dtype == np.uint8 else -output


def wrong_in_batches() -> Spoil:
    """Two images of a batch of 8 swapped."""
    return lambda output, batch, run: output[[1, 0, *range(2, 8)]] if batch == 8 else output


def wrong_alone() -> Spoil:
    """New images every time, and wrong ones, at batch 1 only."""
    return lambda output, batch, run: -output if batch == 1 else output


def request(path: Path, *batches: int, reference: Path | None = None) -> Request:
    """Without a second of timing: the least number of runs."""
    return Request(Cell(str(path), threads=1), batches or (1, 8), 0.0, None if reference is None else str(reference))


# old and wrong images


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault",
    [
        previous_of_shape, frozen_after_timing(1), frozen_after_timing(8), always_the_first, wrong_pixels,
        wrong_in_batches,
    ],
    ids=["one call late", "batch 1 stale", "batch 8 stale", "one image", "wrong pixels", "wrong in batches"],
)  # fmt: skip
def test_a_fault_is_caught(exported: Path, kind: str, fault: Any) -> None:
    with pytest.raises(GantoolError, match=r"stale|makes other images"):
        measure(request(exported / kind), open_generator=opener(exported / kind, fault))


@pytest.mark.parametrize(
    "fault", [previous_of_shape, frozen_after_timing(1), wrong_alone], ids=["one call late", "frozen", "wrong"]
)
@pytest.mark.parametrize("distribution", ["data", "normal"])
def test_a_faulty_batch_of_one_is_caught_without_golden_images(tmp_path: Path, distribution: str, fault: Any) -> None:
    path = graph(tmp_path / "g.onnx", "Tanh", distribution=distribution)
    with pytest.raises(GantoolError, match="stale"):
        measure(request(path, 1), open_generator=opener(path, fault))


def test_a_sound_session_passes(exported: Path) -> None:
    path = exported / KINDS[0]
    assert measure(request(path), open_generator=opener(path, sound))["proof"]["golden"]["exact"]


def test_a_generator_that_repeats_is_told_from_a_stale_session(tmp_path: Path) -> None:
    # ceil(|x|) of a value in (-1, 1) is 1: always one white image, and rightly so
    report = measure(request(graph(tmp_path / "white.onnx", "Abs", "Ceil")))
    assert report["proof"]["repeated"] == report["proof"]["fresh_images"] == 8
    assert "it is the generator that repeats" in " ".join(report["proof"]["words"])
    # a session that always returns its first image, where a session of its own returns others
    path = graph(tmp_path / "sound.onnx", "Tanh")
    generator = opener(path, always_the_first)()
    timed = {1: maker(generator, 1, 0, 1)()}
    with pytest.raises(GantoolError, match="old images for new seeds"):
        prove(generator, timed, lambda: Generator(path))


def test_a_generator_that_takes_an_image(tmp_path: Path) -> None:
    proof = measure(request(graph(tmp_path / "g.onnx", "Tanh")))["proof"]
    assert proof["golden"] is None
    assert proof["repeated"] == 0
    assert any(sentence.startswith("Not proven") for sentence in proof["words"])


def test_data_inputs_depend_on_seed_and_index_alone(tmp_path: Path) -> None:
    generator = Generator(graph(tmp_path / "g.onnx", "Identity", layout="C…"))
    together = maker(generator, 5, 0, 4)()
    assert np.array_equal(maker(generator, 5, 2, 1)()[0], together[2])
    assert len(np.unique(together, axis=0)) == 4
    assert not np.array_equal(maker(generator, 6, 0, 4)(), together)
    assert -1 <= together.min() < -0.5 < 0.5 < together.max() <= 1


def test_pictures_depend_on_seed_and_index_alone(translator: Callable[[str], Path]) -> None:
    generator = Generator(translator("residual") / "generator.seeded.onnx")
    together = maker(generator, 5, 0, 4)()
    assert together.dtype == np.uint8
    assert np.array_equal(maker(generator, 5, 2, 1)()[0], together[2])
    assert len(np.unique(together, axis=0)) == 4
    many = sources(generator.require_picture(), 5, 0, 600)
    assert len({picture.tobytes() for picture in many}) == 600
    proof = prove(generator, {1: maker(generator, 1, 0, 1)()}, lambda: generator)
    assert proof["repeated"] == 0
    assert proof["golden"]["exact"]


def test_not_a_number_is_wrong(tmp_path: Path) -> None:
    path = graph(tmp_path / "g.onnx", "Log", layout="C…")  # of negative values
    with pytest.raises(GantoolError, match="stale or wrong"):
        measure(request(path))


@pytest.mark.parametrize(
    ("images", "wanted", "worst", "share"),
    [
        (np.uint8([[0, 255]]), np.uint8([[1, 255]]), 1, 0.5),
        (np.uint8([[0, 255]]), np.uint8([[255, 255]]), 255, 0.5),
        (np.float32([[-1, 1]]), np.float32([[1, 1]]), 255, 0.5),
        (np.float32([[0, 1e-5]]), np.float32([[0, 0]]), 1e-5 * 127.5, 0),
        (np.float32([[np.nan, 0]]), np.float32([[np.nan, 0]]), np.inf, 1),
        (np.uint8([[0]]), np.uint8([[0], [0]]), np.inf, 1),
        (np.empty((0, 2), np.uint8), np.empty((0, 2), np.uint8), 0, 0),
    ],
)
def test_difference(images: np.ndarray, wanted: np.ndarray, worst: float, share: float) -> None:
    found = difference(images, wanted)
    assert found.worst == pytest.approx(worst)
    assert found.share == pytest.approx(share)


@pytest.mark.parametrize(
    ("size", "off", "level", "tolerance", "passes"),
    [
        (64, 0, 0, 0, True),
        (64, 8, 1, 1, True),
        (64, 9, 1, 1, False),
        (64, 1, 2, 1, False),
        (64, 64, 2, 2, True),
        (100_000, 100, 1, 1, True),
        (100_000, 101, 1, 1, False),
    ],
)
def test_rounding_is_one_level_on_few_values(size: int, off: int, level: int, tolerance: int, passes: bool) -> None:
    wanted = np.zeros((1, size), np.uint8)
    images = wanted.copy()
    images[0, :off] = level
    assert difference(images, wanted).within(tolerance) is passes


# against the float32 file


def test_images_of_another_generator_than_the_reference_are_wrong(exported: Path, tmp_path: Path) -> None:
    from support.exports import source_of

    from gantool.exporting import write

    write(source_of("mlp", 8, latent_dim=4, widths=(16,)), ["onnx"], tmp_path)
    with pytest.raises(GantoolError, match=r"makes other images than .*generator\.onnx on the CPU"):
        measure(request(exported / KINDS[1], reference=tmp_path / KINDS[0]))


def test_tf32_may_differ_more_and_is_named(exported: Path) -> None:
    path = exported / KINDS[0]

    def off(output: np.ndarray, batch: int, run: int) -> np.ndarray:
        output = output.copy()
        output[:, :, 0] = np.clip(output[:, :, 0] + np.float32(3 / 127.5), -1, 1)  # a row of each image
        return output

    def opened(spoil: Spoil) -> tuple[Generator, dict[int, np.ndarray]]:
        generator = opener(path, lambda: spoil)()
        return generator, {1: maker(generator, 1, 0, 1)()}

    reference = Generator(path)
    with pytest.raises(GantoolError, match="makes other images"):
        prove(*opened(off), lambda: reference, reference=reference)
    proof = prove(*opened(off), lambda: reference, reference=reference, arithmetic="TF32")
    assert proof["arithmetic"] == "TF32"
    assert 2 < proof["reference"]["worst_level"] < 5
    assert proof["reference"]["limits"] == {"worst": 8, "mean": 1}
    assert "TF32 keeps 10 bits" in " ".join(proof["words"])
    with pytest.raises(GantoolError, match=r"makes other images|stale"):  # wrong images are further off
        prove(*opened(wrong_pixels()), lambda: reference, reference=reference, arithmetic="TF32")


def test_limits_are_those_of_the_export(exported: Path) -> None:
    about = Generator(exported / KINDS[0]).manifest
    assert limits(about, exported / KINDS[0]) == Limits(1, 1)
    parity = {"levels off float32, worst": {"value": 3, "limit": 64}, "levels off float32, mean": {"limit": 2.0}}
    int8 = dataclasses.replace(about, precision="int8", parity=parity, tolerance=8)
    assert limits(int8, exported / "generator.int8.onnx") == Limits(64, 2)
    # those of a seeded file stand in the plain one beside it; there is none
    assert limits(dataclasses.replace(int8, parity={}), exported / "generator.int8.seeded.onnx") == Limits(8, 8)


# at fixed places on the device: the CPU's memory stands in for it


def bound(path: Path) -> Callable[[], Generator]:
    def opened() -> Generator:
        generator = Generator(path, threads=1)
        generator.session = Bound(generator.session, device="cpu")
        return generator

    return opened


@pytest.mark.parametrize("kind", KINDS)
def test_a_bound_session_makes_the_same_images(exported: Path, kind: str) -> None:
    report = measure(request(exported / kind, reference=exported / KINDS[0]), open_generator=bound(exported / kind))
    assert report["proof"]["reference"]["worst_level"] == 0
    assert report["proof"]["golden"]["exact"]
    for row in report["batches"]:
        assert set(row["copies"]) == {"to_device_ms", "compute_ms", "to_host_ms"}
        assert row["copies"]["compute_ms"] > 0


def test_a_bound_session_that_copies_no_new_inputs_is_caught(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten update: the device always computes the first latents."""
    monkeypatch.setattr(ort.OrtValue, "update_inplace", lambda value, array: None)
    with pytest.raises(GantoolError, match=r"stale|makes other images"):
        measure(request(exported / KINDS[0]), open_generator=bound(exported / KINDS[0]))


def test_sounds_are_compared_in_steps_of_16_bits_and_judged_in_levels_of_255() -> None:
    silence = np.zeros((1, 100, 1), np.int16)
    off = difference(silence + np.int16(514), silence)
    assert (off.worst, off.worst_of_255, off.mean_of_255) == (514, 2, 2)
    assert not off.within(1)
    one = silence.copy()
    one[0, :5] = 1  # as sums that are rounded otherwise
    assert difference(one, silence).within(1)
    assert not difference(silence + np.int16(1), silence).within(1)
