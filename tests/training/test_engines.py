"""Every engine against the eager reference, in float64, and the choice among them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from support import tiny_cgan, tiny_cyclegan, tiny_r1, tiny_r3
from support.trainings import SMALL, dataset, different, in_float64, needs_cuda, run_until, start
from torch import Tensor

from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.options import resolve
from gantool.run import checkpoint
from gantool.training import engines, session
from gantool.training.state import State
from gantool.training.step import iterate

CPU = torch.device("cpu")
compiler = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler; there is no g++")


THIRD = {"tiny-cgan": tiny_cgan, "tiny-cyclegan": tiny_cyclegan, "tiny-r1": tiny_r1, "tiny-r3": tiny_r3}
AUGMENTED = ("color", "translation", "cutout")


def _state(name: str, engine: str, device: torch.device = CPU, **given: Any) -> State:
    """A small training in float64 without dropout. `given`: config, recipe, and `diffaugment`."""
    found = THIRD[name].gantool_architectures()[0] if name in THIRD else registry.find(name).architecture
    policies = given.pop("diffaugment", ())
    config, recipe = resolve(found, {"batch_size": 6, **SMALL.get(name, {}), **given})
    of_images = any(spec.is_image for spec in found.examples)
    shape = (3, 16, 16) if policies else (1, 16, 16) if of_images else found.examples[-1].shape
    data = dataset(shape=shape, sources="sources" in found.examples[0].arrays)
    return in_float64(
        State(found, config, recipe, data, seed=0, device=device, precision="fp32", engine=engine, diffaugment=policies)
    )


def _weights(state: State, steps: int) -> dict[str, Tensor]:
    for _ in range(steps):
        iterate(state)
    assert state.ema is not None
    every = {**state.game.modules(), "ema": state.ema.module}
    return {f"{name}.{key}": t for name, module in every.items() for key, t in module.state_dict().items()}


def _assert_same(one: dict[str, Tensor], two: dict[str, Tensor], tolerance: float) -> None:
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(
            one[name], two[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


CASES: list[tuple[str, dict[str, Any]]] = [
    ("mlp", {}),
    ("mlp", {"updates": "simultaneous"}),
    ("dcgan", {}),
    ("dcgan", {"objective": "hinge"}),
    ("cgan", {}),
    ("cgan", {"body": "dcgan"}),
    ("cgan", {"updates": "simultaneous", "discriminator_steps": 1}),
    ("sngan", {}),
    ("wgan", {}),
    ("wgan", {"loss": "clip"}),
    ("stylegan2", {}),
    ("wavegan", {}),
    ("gan3d", {}),
    ("pix2pix", {}),
    ("cyclegan", {"history": 7}),
    ("tiny-r1", {}),
    ("tiny-r3", {"steps": 5}),
]
WITH_DIFFAUGMENT = [
    (name, {**given, "diffaugment": AUGMENTED})
    for name, given in (
        # projected sees images after the augmentation as it does without one, and takes half of the time
        *((name, {}) for name in (*registry.architecture_names("image"), *THIRD) if name != "projected"),
        ("mlp", {"updates": "simultaneous"}),
        ("wgan", {"loss": "clip"}),
    )
]
COMPILED = [case for case in WITH_DIFFAUGMENT if case[0] in ("mlp", "dcgan", "wgan") and len(case[1]) == 1]


def _id(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(map(str, value.values())) or "default"


@pytest.mark.parametrize(("name", "given"), CASES + WITH_DIFFAUGMENT, ids=_id)
def test_rewritten_is_eager_to_rounding(name: str, given: dict[str, Any]) -> None:
    eager, rewritten = (_weights(_state(name, engine, **given), 5) for engine in ("eager", "rewritten"))
    _assert_same(eager, rewritten, 1e-8)


@compiler
@pytest.mark.slow
@pytest.mark.parametrize(("name", "given"), CASES + COMPILED, ids=_id)
def test_compiled_is_eager_to_rounding(name: str, given: dict[str, Any]) -> None:
    torch.compiler.reset()
    # compiled code draws random numbers of its own, unless told to draw eager's
    with torch._inductor.config.patch(fallback_random=True):
        eager, compiled = (_weights(_state(name, engine, **given), 4) for engine in ("eager", "compiled"))
    # a compiled turn makes its fakes anew, so that buffers see them twice: only the weights are the same
    kept = [key for key in eager if not any(name in key for name in ("running", "num_batches", "w_avg"))]
    _assert_same({k: eager[k] for k in kept}, {k: compiled[k] for k in kept}, 1e-8)


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize(("name", "given"), CASES, ids=_id)
def test_graph_is_eager_to_rounding(name: str, given: dict[str, Any]) -> None:
    cuda = torch.device("cuda")
    eager, graph = (_weights(_state(name, engine, cuda, **given), 12) for engine in ("eager", "graph"))
    _assert_same(eager, graph, 1e-8)


@needs_cuda
@pytest.mark.gpu
def test_graph_draws_the_dropout_masks_of_eager(tmp_path: Path) -> None:
    finals = []
    for engine in ("eager", "graph"):
        opened = start("mlp", tmp_path / engine, device="cuda", engine=engine, precision="fp32")
        run_until(opened)
        finals.append({k: t.cpu() for k, t in opened.state.game.generator.state_dict().items()})
    _assert_same(finals[0], finals[1], 1e-4)


@needs_cuda
@pytest.mark.gpu
def test_graph_resumes_exactly(tmp_path: Path) -> None:
    whole = start("mlp", tmp_path, device="cuda", engine="graph", name="whole")
    run_until(whole)
    half = start("mlp", tmp_path, device="cuda", engine="graph", name="half")
    run_until(half, stop=20)
    resumed = session.resume(half.run)
    run_until(resumed)
    assert different(checkpoint.load(whole.run.checkpoint(40)), checkpoint.load(resumed.run.checkpoint(40))) == []


def test_all_warm_ups_have_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that was freed on one stream is not used on another."""
    used: list[object] = []

    @contextlib.contextmanager
    def on(stream: object) -> Iterator[None]:
        used.append(stream)
        yield

    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: mock.Mock())
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: mock.Mock())
    monkeypatch.setattr(torch.cuda, "stream", on)
    graph = engines.Graph()
    for number in range(3):
        turns = (mock.Mock(),)
        for _ in range(2 if number else engines.WARM_UP):
            with mock.patch.object(engines.step, "move"):
                graph.run(mock.Mock(device=CPU), turns, [{}])
    assert len(used) == engines.WARM_UP + 4
    assert len(set(used)) == 1


def test_auto_is_rewritten_on_a_cpu_and_a_graph_on_cuda() -> None:
    assert engines.choose("auto", CPU) == "rewritten"
    assert engines.choose("auto", torch.device("cuda")) == "graph"
    assert engines.make("auto", CPU).name == "rewritten"


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [("fast", "no engine 'fast'", "rewritten"), ("graph", "'graph' captures CUDA graphs", "--engine auto")],
)
def test_an_engine_that_can_not_be_had_is_named(name: str, message: str, hint: str) -> None:
    with pytest.raises(GantoolError, match=message) as caught:
        engines.make(name, CPU)
    assert hint in caught.value.hint


def test_compiled_needs_a_compiler_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(GantoolError, match="needs a C\\+\\+ compiler"):
        engines.make("compiled", CPU)


def test_the_engine_is_recorded_and_a_resume_keeps_it_or_takes_another(tmp_path: Path) -> None:
    first = start("mlp", tmp_path)
    assert first.run.read().engine == "rewritten"
    run_until(first, stop=20)
    run, first = first.run, None  # type: ignore[assignment]  # its lock goes with it
    assert session.resume(run).state.engine.name == "rewritten"
    other = session.resume(run, engine="eager")
    assert (other.state.engine.name, other.info.engine) == ("eager", "eager")
    assert run_until(other) == "finished"


def test_a_checkpoint_of_another_kind_of_device_takes_this_ones_optimizer_settings(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path)
    run_until(opened, stop=5)
    saved = opened.state.state_dict()
    for optimizer in saved["optimizers"].values():
        optimizer["param_groups"][0]["capturable"] = True  # as the graph engine saves it
    opened.state.load_state_dict(saved)
    assert not any(m.optimizer.param_groups[0]["capturable"] for m in opened.state.movers)
    iterate(opened.state)  # torch refuses capturable optimizers on a CPU


def test_a_tensor_shared_by_batches_has_one_buffer() -> None:
    z, real = torch.arange(3.0), torch.arange(4.0)
    batches = [{"real": real, "z": z}, {"z": z}]
    buffers = engines.buffers_like(batches)
    assert buffers[0]["z"] is buffers[1]["z"]
    assert buffers[0]["z"] is not z
    engines.fill(buffers, batches)
    assert torch.equal(buffers[1]["z"], z)
    assert torch.equal(buffers[0]["real"], real)
