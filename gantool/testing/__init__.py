"""Conformance tests for plugin authors: call `check_architecture` in a test of yours."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from pydantic import BaseModel

from gantool.data import Dataset
from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.options import default_config, options_of
from gantool.testing.builds import check_builds
from gantool.testing.declared import (
    built,
    check_arrays,
    check_optimizers,
    check_schedules,
    check_without_arrays,
)
from gantool.testing.generator import check_files, check_inputs_matter, check_samples
from gantool.testing.players import check_gradients, check_players, check_resume, check_steps, check_together
from gantool.training.state import State, build_game

ROWS = 32
BATCH = 8


def synthetic(spec: SampleSpec, rows: int = ROWS) -> Dataset:
    """Smooth random samples of a spec, with its labels and other arrays (uint8 noise): enough for a few steps."""
    rows = max(rows, spec.classes)
    random = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(0, 2 * math.pi, side) for side in spec.sides), indexing="ij")
    phase = random.uniform(0, 2 * math.pi, (rows, spec.channels) + (1,) * len(spec.sides))
    waves = np.sin(np.sum(axes, axis=0)[None, None] + phase)
    arrays: dict[str, np.ndarray] = {"images": ((waves + 1) * 127.5).astype(np.uint8)}
    for name, shape in spec.arrays.items():
        arrays[name] = random.integers(0, 256, (rows, *shape), np.uint8)
    if spec.classes:
        arrays["labels"] = np.arange(rows, dtype=np.int64) % spec.classes
    return Dataset("synthetic", "synthetic", arrays, rate=spec.rate)


def check_architecture(
    architecture: Architecture,
    config: BaseModel | None = None,
    *,
    artifacts: bool = True,
    data: Callable[[SampleSpec], Dataset] = synthetic,
) -> None:
    """Raise AssertionError (or the GantoolError that a user would see) unless `architecture` keeps its contract.

    For each of its `examples`, and each generator of a game that has several, it checks that

    - the game builds; its inputs take the arrays that the example declares; a checkpoint holds all that `build` draws;
      another recipe builds the same modules; data without those arrays or labels is a GantoolError, or another game;
    - samples have the declared shape, lie in [-1, 1], and depend on all of their inputs and on nothing else;
    - every player's loss is finite, at each stage of a training where it follows the progress, leaves its batch
      unchanged and never waits for the device; each term has a gradient; the gradients reach the player's parameters
      and none outside the game;
    - a player that shares an optimizer moves parameters of its owner, and does after a move what the owner does;
    - three steps of the shared loop move every player and stay finite;
    - a run resumed from a saved state continues exactly;
    - with `artifacts`, the last example's generators export to every format that fits it, verified, and the runtime
      makes equal images from each ONNX file.

    `config`: used in place of the default. `data(spec)`: the data of an example, in place of `synthetic`. Each message
    names the example and the player, and says what to do.
    """
    options_of(architecture)
    config = config or default_config(architecture)
    small = {
        "batch_size": BATCH,
        "discriminator_steps": min(2, architecture.recipe_for(config).discriminator_steps),
    }
    recipe = architecture.recipe_for(config).model_copy(update=small)
    assert architecture.examples, (
        f"{architecture.name} names no example sample specs: give it examples=(SampleSpec((1, 28, 28)), …)"
    )
    for spec in architecture.examples:
        classes = f", {spec.classes} classes" if spec.classes else ""
        what = f"{architecture.name} at {spec}{classes}"
        drawn = data(spec)
        assert drawn.spec == spec, (
            f"{what}: the data has {drawn.spec.classes} classes and arrays {dict(drawn.spec.arrays)} of {drawn.spec}"
        )
        game = built(lambda s=spec: build_game(architecture, config, s, recipe, seed=0), what)  # type: ignore[misc]
        check_players(game, what)
        check_optimizers(game, what)
        check_arrays(game, spec, what)
        check_without_arrays(architecture, config, spec, recipe, what)
        state, other = (_state(architecture, config, recipe, drawn) for _ in range(2))
        check_samples(state, what)
        check_gradients(state, what)
        check_schedules(state, recipe, what)
        check_together(state, what)
        check_builds(architecture, config, spec, recipe, state, what)
        check_steps(state, what)
        check_inputs_matter(state, what)
        check_resume(state, other, what)
        if artifacts and spec is architecture.examples[-1]:
            check_files(state, drawn, architecture.name)


def _state(architecture: Architecture, config: BaseModel, recipe: Recipe, data: Dataset) -> State:
    cpu = torch.device("cpu")
    return State(architecture, config, recipe, data, seed=0, device=cpu, precision="fp32")
