"""The measured process, its report, and the proof that catches a runtime which gives old or wrong images."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from support.changed import edited

from gantool import __version__
from gantool.artifact import manifest, onnxfile
from gantool.artifact.manifest import MAX_BATCH, InputInfo, Manifest, OutputInfo
from gantool.benching import images, machine, measure, runner
from gantool.benching.binding import Bound
from gantool.benching.cell import Cell, Request, arithmetic
from gantool.benching.proof import Limits, limits, prove
from gantool.benching.runner import CellError, check_batches, measure_cell
from gantool.errors import GantoolError
from gantool.runtime import Generator

KINDS = ("generator.onnx", "generator.seeded.onnx")
CELL = {
    "file", "provider", "threads", "options", "status", "placement", "settings", "cold", "batches", "proof",
    "versions", "torch_loaded", "arithmetic",
}  # fmt: skip
ROW = {
    "batch", "plan", "first_ms", "settled", "warm_runs", "runs", "seconds", "images_per_second", "p50_ms", "p90_ms",
    "p99_ms",
    "max_ms", "variation", "windows", "copies", "peak_memory_mb", "device_memory_mb", "cpu_seconds_per_1000",
    "joules_per_1000",
}  # fmt: skip
COLD = {"interpreter_ms", "import_ms", "session_ms", "first_image_ms", "total_ms"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both ONNX files of a small `mlp`."""
    from support.exports import source_of

    from gantool.exporting import write

    folder = tmp_path_factory.mktemp("export")
    write(source_of("mlp", 8, latent_dim=8, widths=(16,)), ["onnx", "onnx-seeded"], folder)
    return folder


def graph(path: Path, op: str, *, distribution: str = "data", shape: tuple[int, ...] = (3, 4, 4)) -> Path:
    """A generator of one operator, input `x` → output `image`, without golden images."""
    axes = ["n", *shape]
    node = helper.make_node(op, ["x"], ["image"])
    described = Manifest(
        kind="onnx", gantool=__version__, created="now", architecture={"name": op}, training={}, data={},
        inputs=(InputInfo("x", shape, "float32", distribution),),
        latents=(InputInfo("x", shape, "float32", "normal"),) if distribution == "normal" else (),
        output=OutputInfo("image", shape, "float32", "CHW"),
        rng=None, opset=18, exporter="a test", licence="", weights_sha256="",
    )  # fmt: skip
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in ("x", "image"))
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    described = dataclasses.replace(
        described, graph_sha256=onnxfile.parse(model.SerializeToString(), "the model").graph_sha256
    )
    helper.set_model_props(model, {manifest.KEY: described.to_json()})
    onnx.save_model(model, str(path))
    return path


class Planted:
    """A session with a fault: `spoil(output, batch, run)` gives what it returns instead."""

    def __init__(self, session: Any, spoil: Callable[[np.ndarray, int, int], np.ndarray]) -> None:
        self.session, self.spoil, self.runs = session, spoil, 0

    def run(self, names: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        output = self.session.run(names, feeds)[0]
        self.runs += 1
        return [self.spoil(output, len(output), self.runs)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


def opener(path: Path, spoil: Callable[[], Callable[[np.ndarray, int, int], np.ndarray]]) -> Callable[[], Generator]:
    def opened() -> Generator:
        generator = Generator(path, threads=1)
        generator.session = Planted(generator.session, spoil())
        return generator

    return opened


def previous_of_shape() -> Callable[[np.ndarray, int, int], np.ndarray]:
    """Always one call late, a shape at a time."""
    kept: dict[int, np.ndarray] = {}

    def spoil(output: np.ndarray, batch: int, run: int) -> np.ndarray:
        late = kept.get(batch, output)
        kept[batch] = output
        return late

    return spoil


def frozen_after_timing(batch_at_fault: int) -> Callable[[], Callable[[np.ndarray, int, int], np.ndarray]]:
    """Right at first; from the 12th run of one batch on, what it gave then (the timing takes 21 runs and more)."""

    def make() -> Callable[[np.ndarray, int, int], np.ndarray]:
        kept: list[np.ndarray] = []

        def spoil(output: np.ndarray, batch: int, run: int) -> np.ndarray:
            if batch != batch_at_fault:
                return output
            kept.append(output)
            return kept[min(len(kept), 12) - 1]

        return spoil

    return make


def same_for_ever() -> Callable[[np.ndarray, int, int], np.ndarray]:
    """The first image, whatever was asked for."""
    kept: list[np.ndarray] = []

    def spoil(output: np.ndarray, batch: int, run: int) -> np.ndarray:
        kept.append(output[:1])
        return np.repeat(kept[0], batch, axis=0)

    return spoil


def wrong_pixels() -> Callable[[np.ndarray, int, int], np.ndarray]:
    """The same wrong images at every batch: only the golden ones tell."""
    return lambda output, batch, run: output[:, ::-1] if output.dtype == np.uint8 else -output


def wrong_in_batches() -> Callable[[np.ndarray, int, int], np.ndarray]:
    """Two images of a batch of 8 swapped."""
    return lambda output, batch, run: output[[1, 0, *range(2, 8)]] if batch == 8 else output


def wrong_alone() -> Callable[[np.ndarray, int, int], np.ndarray]:
    """New images every time, and wrong ones, at batch 1 only."""
    return lambda output, batch, run: -output if batch == 1 else output


def request(path: Path, *batches: int, reference: Path | None = None, **cell: Any) -> Request:
    """Without a second of timing: the least number of runs."""
    threads = cell.pop("threads", 1)
    return Request(
        Cell(str(path), threads=threads, **cell), batches or (1, 8), 0.0, None if reference is None else str(reference)
    )


def measured(path: Path, *batches: int, timeout: float = 120.0, **cell: Any) -> dict[str, Any]:
    """In a process of its own."""
    return measure_cell(request(path, *batches, **cell), timeout)


@pytest.mark.parametrize("kind", KINDS)
def test_report(exported: Path, kind: str) -> None:
    heard: list[str] = []
    report = measure_cell(request(exported / kind, 1, 8, 70, reference=exported / KINDS[0]), 120.0, heard.append)
    assert set(report) == CELL
    assert set(report["cold"]) == COLD
    assert report["cold"]["total_ms"] == pytest.approx(sum(report["cold"].values()) - report["cold"]["total_ms"])
    assert min(report["cold"].values()) > 0
    assert [row["batch"] for row in report["batches"]] == [1, 8, 70]
    for row in report["batches"]:
        assert set(row) == ROW
        assert row["runs"] == 10
        assert row["warm_runs"] >= 10
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["max_ms"]
        assert row["images_per_second"] == pytest.approx(row["batch"] * row["runs"] / row["seconds"])
        assert len(row["windows"]) == 10
        assert row["cpu_seconds_per_1000"] > 0
        assert row["copies"] is row["device_memory_mb"] is row["joules_per_1000"] is None
    assert report["file"]["kind"] == Generator(exported / kind).manifest.kind
    assert (report["file"]["architecture"], report["file"]["precision"]) == ("mlp", "float32")
    assert (report["provider"], report["threads"], report["options"]) == ("cpu", 1, [])
    assert set(report["placement"]) <= {"CPUExecutionProvider"}
    assert report["versions"]["gantool"] == __version__
    assert report["versions"]["onnxruntime"] == ort.__version__
    assert report["proof"]["golden"] == {"images": 12, "exact": True, "worst_level": 0}
    assert report["proof"]["reference"]["file"] == KINDS[0]
    assert (report["proof"]["reference"]["images"], report["proof"]["reference"]["worst_level"]) == (70, 0)
    assert report["proof"]["one_at_a_time"]["batches"] == [1, 7, 8, 70]
    assert (report["proof"]["fresh_images"], report["proof"]["repeated"]) == (70, 0)
    assert heard == ["first image", "batch 1", "batch 8", "batch 70", "proof"]
    json.dumps(report, allow_nan=False)


def test_measured_process_has_no_torch(exported: Path) -> None:
    import torch  # here it is loaded, and large

    report = measured(exported / KINDS[1], 1, threads=None)
    assert torch.__version__
    assert report["torch_loaded"] is False
    peak = report["batches"][0]["peak_memory_mb"]
    assert peak is None or 10 < peak < 250, "the memory is that of the process, not of the one that started it"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "spoil",
    [previous_of_shape, frozen_after_timing(1), frozen_after_timing(8), same_for_ever, wrong_pixels, wrong_in_batches],
    ids=["one call late", "batch 1 stale", "batch 8 stale", "one image", "wrong pixels", "wrong in batches"],
)
def test_planted_fault_is_caught(exported: Path, kind: str, spoil: Any) -> None:
    with pytest.raises(GantoolError, match=r"stale|makes other images"):
        measure.measure(request(exported / kind), open_generator=opener(exported / kind, spoil))


@pytest.mark.parametrize(
    "spoil", [previous_of_shape, frozen_after_timing(1), wrong_alone], ids=["one call late", "frozen", "wrong"]
)
@pytest.mark.parametrize("distribution", ["data", "normal"])
def test_faulty_batch_of_one_is_caught_without_golden_images(tmp_path: Path, distribution: str, spoil: Any) -> None:
    path = graph(tmp_path / "g.onnx", "Tanh", distribution=distribution)
    with pytest.raises(GantoolError, match="stale"):
        measure.measure(request(path, 1), open_generator=opener(path, spoil))


def test_sound_planted_session_passes(exported: Path) -> None:
    path = exported / KINDS[0]
    report = measure.measure(request(path), open_generator=opener(path, lambda: lambda output, batch, run: output))
    assert report["proof"]["golden"]["exact"]


def test_old_images_for_new_seeds_are_told_from_a_generator_that_repeats(tmp_path: Path) -> None:
    # ceil(|x|) of a value in (-1, 1) is 1: one white image for ever, and rightly so
    def whiten(model: onnx.ModelProto) -> None:
        del model.graph.node[:]
        model.graph.node.extend([helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Ceil", ["a"], ["image"])])

    path = edited(graph(tmp_path / "g.onnx", "Tanh"), tmp_path / "white.onnx", whiten)
    report = measure.measure(request(path))
    assert report["proof"]["repeated"] == report["proof"]["fresh_images"] == 8
    assert "it is the generator that repeats" in " ".join(report["proof"]["words"])
    # the same images from a session that gives its first one for ever, where a session of its own gives others
    sound = graph(tmp_path / "sound.onnx", "Tanh")
    generator = opener(sound, same_for_ever)()
    timed = {1: images.maker(generator, 1, 0, 1)()}
    with pytest.raises(GantoolError, match="old images for new seeds"):
        prove(generator, timed, lambda: Generator(sound))


def test_generator_that_takes_an_image(tmp_path: Path) -> None:
    report = measured(graph(tmp_path / "g.onnx", "Tanh"), 1, 8)
    assert report["proof"]["golden"] is None
    assert report["proof"]["repeated"] == 0
    assert any(word.startswith("Not provable") for word in report["proof"]["words"])


def test_not_a_number_is_wrong(tmp_path: Path) -> None:
    path = graph(tmp_path / "g.onnx", "Log")  # of negative values
    with pytest.raises(GantoolError, match="stale or wrong"):
        measure.measure(request(path))


@pytest.mark.parametrize(
    ("images_", "wanted", "worst", "share"),
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
def test_difference(images_: np.ndarray, wanted: np.ndarray, worst: float, share: float) -> None:
    found = images.difference(images_, wanted)
    assert found.worst == pytest.approx(worst)
    assert found.share == pytest.approx(share)


@pytest.mark.parametrize(
    ("size", "off", "level", "close"),
    [
        (64, 8, 1, True),
        (64, 9, 1, False),
        (64, 1, 2, False),
        (100_000, 100, 1, True),
        (100_000, 101, 1, False),
        (64, 0, 0, True),
    ],
)
def test_close_is_one_level_on_few_values(size: int, off: int, level: int, close: bool) -> None:
    wanted = np.zeros((1, size), np.uint8)
    made = wanted.copy()
    made[0, :off] = level
    assert images.difference(made, wanted).close is close


def test_data_inputs_depend_on_seed_and_index_alone(tmp_path: Path) -> None:
    generator = Generator(graph(tmp_path / "g.onnx", "Identity"))
    together = images.maker(generator, 5, 0, 4)()
    assert np.array_equal(images.maker(generator, 5, 2, 1)()[0], together[2])
    assert len(set(images.digests(together))) == 4
    assert not np.array_equal(images.maker(generator, 6, 0, 4)(), together)
    assert -1 <= together.min() < -0.5 < 0.5 < together.max() <= 1


def test_missing_provider_is_said_as_in_process(exported: Path) -> None:
    if "OpenVINOExecutionProvider" in ort.get_available_providers():
        pytest.skip("this build of onnxruntime has OpenVINO")
    with pytest.raises(GantoolError) as inside:
        Generator(exported / KINDS[0], "openvino")
    with pytest.raises(GantoolError) as outside:
        measured(exported / KINDS[0], provider="openvino")
    assert (outside.value.message, outside.value.hint) == (inside.value.message, inside.value.hint)
    assert isinstance(outside.value, CellError)
    assert outside.value.status == "refused"


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_gpu_provider_without_a_gpu_never_falls_back(exported: Path, provider: str) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(GantoolError, match=provider):
        measured(exported / KINDS[0], 1, provider=provider)


@pytest.mark.parametrize("batches", [(), (0,), (1, -3), (MAX_BATCH + 1,)])
def test_batches_are_checked(batches: tuple[int, ...]) -> None:
    with pytest.raises(GantoolError, match="batch"):
        check_batches(batches)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('the reason, last')", ["exit code 1", "the reason, last"]),
        ('import os; os.write(1, b\'{"stage": "batch\'); os.abort()', ["killed by signal 6", "It said nothing"]),
        ("1 / 0", ["exit code 1", "ZeroDivisionError"]),
    ],
)
def test_crash_is_told_with_its_last_words(
    exported: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: list[str]
) -> None:
    monkeypatch.setattr(runner, "WORKER", (sys.executable, "-S", "-c", code))
    with pytest.raises(CellError) as caught:
        measured(exported / KINDS[0])
    assert caught.value.status == "crashed"
    assert all(part in caught.value.message for part in says)


def test_hang_is_stopped(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, time; print('waiting for a lock', file=sys.stderr, flush=True); time.sleep(60)"
    monkeypatch.setattr(runner, "WORKER", (sys.executable, "-S", "-c", code))
    with pytest.raises(CellError, match=r"silent for 0\.5 s") as caught:
        measured(exported / KINDS[0], timeout=0.5)
    assert caught.value.status == "hung"
    assert "waiting for a lock" in caught.value.message


def test_no_time_left_ends_a_cell_that_still_works(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = 'import time\nfor i in range(600): print(\'{"stage": "batch 1"}\', flush=True); time.sleep(0.05)'
    monkeypatch.setattr(runner, "WORKER", (sys.executable, "-S", "-c", code))
    with pytest.raises(CellError, match="no time was left") as caught:
        measure_cell(request(exported / KINDS[0]), timeout=60, limit=0.5)
    assert caught.value.status == "dropped"


def test_machine() -> None:
    described = machine.describe()
    assert set(described) == {"cpu", "cores", "system", "gpu"}
    assert described["cpu"]
    assert int(described["cores"] or 0) >= 1


# against the float32 file


def other_weights(tmp_path: Path) -> Path:
    """A generator of the same kind that makes other images."""
    from support.exports import source_of

    from gantool.exporting import write

    # its own weights: the source of `exported` has those of seed 0
    source = source_of("mlp", 8, latent_dim=8, widths=(16,))
    for parameter in source.generator.parameters():
        parameter.data.mul_(-1)
    write(source, ["onnx"], tmp_path)
    return tmp_path / KINDS[0]


def test_images_of_another_generator_than_the_reference_are_wrong(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=r"makes other images than .*generator\.onnx on the CPU"):
        measure.measure(request(exported / KINDS[1], reference=other_weights(tmp_path)))


def test_tf32_is_allowed_more_and_said(exported: Path) -> None:
    path = exported / KINDS[0]

    def off(output: np.ndarray, batch: int, run: int) -> np.ndarray:
        output = output.copy()
        output[:, :, 0] = np.clip(output[:, :, 0] + np.float32(3 / 127.5), -1, 1)  # a row of each image
        return output

    def made(spoil: Any) -> tuple[Generator, dict[int, np.ndarray]]:
        generator = opener(path, lambda: spoil)()
        return generator, {1: images.maker(generator, 1, 0, 1)()}

    reference = Generator(path)
    with pytest.raises(GantoolError, match="makes other images"):
        prove(*made(off), lambda: reference, reference=reference)
    proof = prove(*made(off), lambda: reference, reference=reference, arithmetic="TF32")
    assert proof.arithmetic == "TF32"
    assert proof.reference is not None
    assert 2 < proof.reference.worst_level < 5
    assert proof.reference.limits == Limits(8, 1)
    assert "multiplies in TF32" in " ".join(proof.words())
    with pytest.raises(GantoolError, match=r"makes other images|stale"):  # what is wrong is further off
        prove(*made(wrong_pixels()), lambda: reference, reference=reference, arithmetic="TF32")


@pytest.mark.parametrize(
    ("provider", "settings", "found"),
    [
        ("cpu", {}, None),
        ("cuda", {"use_tf32": "1"}, "TF32"),
        ("cuda", {"use_tf32": "0"}, None),
        ("cuda", {}, "TF32"),
        ("tensorrt", {"trt_fp16_enable": "1"}, "fp16"),
        ("tensorrt", {}, "TF32"),
    ],
)
def test_arithmetic(provider: str, settings: dict[str, str], found: str | None) -> None:
    assert arithmetic(provider, settings) == found


def test_limits_are_those_of_the_export(exported: Path) -> None:
    described = Generator(exported / KINDS[0]).manifest
    assert limits(described, exported / KINDS[0]) == Limits(1, 1)
    parity = {"levels off float32, worst": {"value": 3, "limit": 64}, "levels off float32, mean": {"limit": 2.0}}
    int8 = dataclasses.replace(described, precision="int8", parity=parity, tolerance=8)
    assert limits(int8, exported / "generator.int8.onnx") == Limits(64, 2)
    # a seeded file's stand in the plain one beside it; there is none
    assert limits(dataclasses.replace(int8, parity={}), exported / "generator.int8.seeded.onnx") == Limits(8, 8)


# where the graph runs


class OnTheCpu:
    """A session of a provider that leaves two nodes of its three to the CPU, as onnxruntime tells it."""

    def get_provider_graph_assignment_info(self) -> list[Any]:
        def part(provider: str, *nodes: str) -> Any:
            return SimpleNamespace(
                ep_name=provider,
                get_nodes=lambda: [SimpleNamespace(op_type=node, name=f"node_{node}") for node in nodes],
            )

        return [part("CUDAExecutionProvider", "Conv"), part("CPUExecutionProvider", "Gather", "Shape")]


def test_planted_fallback_to_the_cpu_is_refused_and_names_the_nodes(exported: Path) -> None:
    generator = Generator(exported / KINDS[0])
    generator.provider, generator.session = "cuda", OnTheCpu()
    with pytest.raises(GantoolError, match="elsewhere run Gather node_Gather, Shape node_Shape"):
        measure.measure(request(exported / KINDS[0], provider="cuda"), open_generator=lambda: generator)


def test_the_sessions_of_other_providers_may_not_fall_back(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime's own refusal is asked for, and becomes the cell's."""
    refusal = "This session contains graph nodes that are assigned to the default CPU EP, but fallback is disabled"

    def session(data: bytes, options: Any, **rest: Any) -> Any:
        assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        assert rest["provider_options"] == [{"use_tf32": "0"}]
        raise RuntimeError(refusal)

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    with pytest.raises(GantoolError, match="assigned to the default CPU EP"):
        measure.measure(request(exported / KINDS[0], provider="cuda", options=("no-tf32",)))


def test_nodes_that_would_fall_back_are_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime's refusal names none; a second session, which may fall back, tells."""
    refusal = (
        "This session contains graph nodes that are assigned to the default CPU EP, but fallback to it is disabled"
    )

    def session(data: bytes, options: Any, **rest: Any) -> Any:
        try:
            options.get_session_config_entry("session.disable_cpu_ep_fallback")
        except RuntimeError:  # not set
            lax = OnTheCpu()
            lax.get_providers = lambda: ["CUDAExecutionProvider"]  # type: ignore[attr-defined]
            return lax
        raise RuntimeError(refusal)

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    with pytest.raises(GantoolError, match="elsewhere run Gather node_Gather, Shape node_Shape"):
        measure.measure(request(exported / KINDS[0], provider="cuda"))


# at fixed places on the device: the CPU's memory stands in for it


def bound(path: Path, spoil: Callable[[Bound], None] = lambda session: None) -> Callable[[], Generator]:
    def opened() -> Generator:
        generator = Generator(path, threads=1)
        generator.session = Bound(generator.session, device="cpu")
        spoil(generator.session)
        return generator

    return opened


@pytest.mark.parametrize("kind", KINDS)
def test_bound_session_makes_the_same_images(exported: Path, kind: str) -> None:
    report = measure.measure(
        request(exported / kind, reference=exported / KINDS[0]), open_generator=bound(exported / kind)
    )
    assert report["proof"]["reference"]["worst_level"] == 0
    assert report["proof"]["golden"]["exact"]
    for row in report["batches"]:
        assert set(row["copies"]) == {"to_device_ms", "compute_ms", "to_host_ms"}
        assert row["copies"]["compute_ms"] > 0


def test_bound_session_that_copies_no_new_inputs_is_caught(exported: Path) -> None:
    """A forgotten update: the device computes the first latents for ever."""

    def forgetful(session: Bound) -> None:
        plan = session._plan

        def planned(feeds: dict[str, np.ndarray]) -> Any:
            made = plan(feeds)
            made.inputs = {name: SimpleNamespace(update_inplace=lambda array: None) for name in made.inputs}
            return made

        session._plan = planned  # type: ignore[method-assign]

    with pytest.raises(GantoolError, match=r"stale|makes other images"):
        measure.measure(request(exported / KINDS[0]), open_generator=bound(exported / KINDS[0], forgetful))
