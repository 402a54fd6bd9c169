"""The conformance kit for plugin authors: call `check_architecture` in a test of yours."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel

from gantool import export
from gantool.architecture import Architecture, Recipe, SampleSpec
from gantool.data import Dataset
from gantool.manifest import SEEDED
from gantool.options import default_config, options_of
from gantool.runtime import Generator
from gantool.training.state import State
from gantool.training.step import alone, iterate

ROWS = 32
BATCH = 8


def check_architecture(architecture: Architecture, config: BaseModel | None = None, *, artifacts: bool = True) -> None:
    """Raise AssertionError (or the GantoolError that a user would see) unless `architecture` keeps its contract.

    For each of its `examples`: the game builds; samples have the declared shape and lie in [-1, 1]; every player's
    loss is finite and its gradients reach its parameters; three steps of the shared loop move every player and stay
    finite; a saved state goes on exactly; and (`artifacts`) the generator exports to every format that fits it,
    verified, and the runtime makes equal images from each ONNX file. `config`: instead of the default one.
    """
    options_of(architecture)
    config = config or default_config(architecture)
    small = {
        "batch_size": BATCH,
        "discriminator_steps": min(2, architecture.recipe_for(config).discriminator_steps),
    }
    recipe = architecture.recipe_for(config).model_copy(update=small)
    assert architecture.examples, f"{architecture.name} names no example sample specs"
    for spec in architecture.examples:
        state = _state(architecture, config, recipe, spec)
        _check_samples(state, f"{architecture.name} at {spec}")
        _check_gradients(state, f"{architecture.name} at {spec}")
        _check_steps(state, f"{architecture.name} at {spec}")
        _check_resume(state, _state(architecture, config, recipe, spec), f"{architecture.name} at {spec}")
    if artifacts:
        _check_artifacts(state, synthetic(architecture.examples[-1]), architecture)


def synthetic(spec: SampleSpec, rows: int = ROWS) -> Dataset:
    """Smooth random samples of a spec, with two classes: enough to step on, nothing to learn."""
    random = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(0, 2 * math.pi, side) for side in spec.sides), indexing="ij")
    phase = random.uniform(0, 2 * math.pi, (rows, spec.channels) + (1,) * len(spec.sides))
    waves = np.sin(np.sum(axes, axis=0)[None, None] + phase)
    images = ((waves + 1) * 127.5).astype(np.uint8)
    return Dataset(
        "synthetic", "synthetic", {"images": images, "labels": np.arange(rows, dtype=np.int64) % max(2, spec.classes)}
    )


def _state(architecture: Architecture, config: BaseModel, recipe: Recipe, spec: SampleSpec) -> State:
    cpu = torch.device("cpu")
    return State(architecture, config, recipe, synthetic(spec), seed=0, device=cpu, precision="fp32")


def _check_samples(state: State, what: str) -> None:
    game = state.game
    assert game.inputs, f"{what}: the game declares no inputs of its generator"
    try:
        with torch.no_grad():
            samples = state.sampling_generator()(*state.fixed_inputs(3))
    except RuntimeError as error:
        raise AssertionError(f"{what}: no 3 samples: {error}. Is a batch size fixed in the forward?") from error
    assert samples.shape == (3, *game.output.shape), (
        f"{what}: 3 samples have shape {tuple(samples.shape)}, declared is {game.output.shape}"
    )
    assert samples.dtype == torch.float32, f"{what}: samples are {samples.dtype}, not float32"
    low, high = float(samples.min()), float(samples.max())
    assert -1.0001 <= low <= high <= 1.0001, f"{what}: samples run from {low:.3g} to {high:.3g}, not within [-1, 1]"


def _check_gradients(state: State, what: str) -> None:
    for mover in state.movers:
        name = f"{what}: player {mover.player.name}"
        assert mover.parameters, f"{name} owns no trainable parameter"
        with alone(mover).gradients():
            loss = mover.player.loss(state.sampler.draw(mover.player.draws))
            assert loss.terms, f"{name} returns no loss term"
            for term, value in {**loss.terms, **loss.measures}.items():
                assert value.dim() == 0, f"{name}: {term} has shape {tuple(value.shape)}, not a scalar"
                assert bool(value.isfinite()), f"{name}: {term} is {float(value.detach())}"
            torch.stack(list(loss.terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            unreached = sum(p.grad is None for p in mover.parameters)
            assert not unreached, f"{name}: no gradient reaches {unreached} of its {len(mover.parameters)} parameters"
            finite = all(bool(p.grad.isfinite().all()) for p in mover.parameters if p.grad is not None)
            assert finite, f"{name}: a gradient is not finite"
        for parameter in mover.parameters:
            parameter.grad = None


def _check_steps(state: State, what: str) -> None:
    before = {m.player.name: [p.detach().clone() for p in m.parameters] for m in state.movers}
    for _ in range(max(3, *(m.player.every for m in state.movers))):
        iterate(state)
    state.meter.read()
    assert state.broken_weights() is None, (
        f"{what}: the weights of {state.broken_weights()} are not finite after 3 steps"
    )
    for mover in state.movers:
        pairs = zip(before[mover.player.name], mover.parameters, strict=True)
        moved = any(not torch.equal(old, new) for old, new in pairs)
        assert moved, f"{what}: player {mover.player.name} did not move in 3 steps"


def _check_resume(state: State, other: State, what: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"
        torch.save(state.state_dict(), path)
        other.load_state_dict(torch.load(path, weights_only=True))
    # the CPU's random stream is one for the process: give both the same
    stream = torch.get_rng_state()
    iterate(state)
    torch.set_rng_state(stream)
    iterate(other)
    for (name, one), two in zip(_tensors(state).items(), _tensors(other).values(), strict=True):
        assert torch.equal(one, two), (
            f"{what}: after a save and a load, {name} goes another way: is it in a player's modules?"
        )


def _tensors(state: State) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value
        for name, module in state.game.modules().items()
        for key, value in module.state_dict().items()
    }


def _check_artifacts(state: State, data: Dataset, architecture: Architecture) -> None:
    source = export.from_game(
        state.game,
        architecture={"name": architecture.name, "plugin": "", "plugin_version": "", "config": {}},
        training={},
        data={},
        dataset=data,
    )
    kinds = [kind for kind in export.FILES if source.seedable or kind not in SEEDED]
    with tempfile.TemporaryDirectory() as folder:
        # what is rewritten depends on the machine's speed, which is not the architecture's business
        made = export.write(source, kinds, Path(folder), export.Options(optimize="none"))
        onnx = [Generator(item.path) for item in made if item.path.suffix == ".onnx"]
        if source.seedable:
            first, *rest = (generator.sample(5, seed=3, first=2) for generator in onnx)
            for images in rest:
                assert np.array_equal(first, images), f"{architecture.name}: two ONNX files make different images"
