"""Trainings small enough for a test: data of a few dozen pixels, networks of a few weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from gantool.data import Dataset
from gantool.plugin import objectives, registry
from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.game import Batch, Game, Loss, Player, two_player
from gantool.plugin.registry import Plugin
from gantool.plugin.train_options import TrainOptions
from gantool.run.rundir import Status
from gantool.training import loop, session
from gantool.training.session import Session
from gantool.training.state import State

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"widths": (16, 24), "latent_dim": 5},
    "cgan": {"widths": (16, 24), "width": 4, "max_width": 8, "latent_dim": 5, "embed_dim": 3},
    "cyclegan": {"width": 4, "blocks": 1},
    "dcgan": {"width": 4, "max_width": 8, "latent_dim": 5},
    "pix2pix": {"width": 4, "levels": 3},
    "projected": {"width": 4, "judge_width": 8, "latent_dim": 8},
    "sngan": {"width": 4, "max_width": 8, "latent_dim": 5, "discriminator_steps": 2},
    "wavegan": {"width": 1, "max_width": 8, "latent_dim": 5, "embed_dim": 3},
    "gan3d": {"width": 8, "latent_dim": 5, "embed_dim": 3},
    "icgan": {"width": 4, "max_width": 8, "latent_dim": 3, "code_dim": 4, "instances": 6},
    "wgan": {"width": 4, "max_width": 8, "latent_dim": 5, "discriminator_steps": 2},
    "r3gan": {"channel_base": 64, "max_width": 8, "group_width": 8, "latent_dim": 5, "embed_dim": 3},
    "stylegan2": {"channel_base": 64, "max_width": 8, "latent_dim": 5},
}


def small_config(made: Architecture) -> BaseModel:
    """The config of an installed architecture with networks of a few weights."""
    return made.config(**{k: value for k, value in SMALL[made.name].items() if k in made.config.model_fields})


class Silent:
    """A listener that keeps the records and the notes."""

    def __init__(self) -> None:
        self.records: list[dict[str, float]] = []
        self.notes: list[str] = []

    def stepped(self, step: int) -> None:
        pass

    def ticked(self, record: dict[str, float]) -> None:
        self.records.append(record)

    def noted(self, text: str) -> None:
        self.notes.append(text)


def dataset(
    rows: int = 50, shape: tuple[int, ...] = (1, 16, 16), classes: int = 2, *, sources: bool = False
) -> Dataset:
    """Random uint8 samples with labels in turn; with `sources` also their negatives."""
    images = np.random.default_rng(0).integers(0, 256, (rows, *shape), dtype=np.uint8)
    arrays = {"images": images, "labels": np.arange(rows) % classes}
    return Dataset("noise", "noise", {**arrays, "sources": 255 - images} if sources else arrays)


def save_npz(path: Path, rows: int = 50, side: int = 16, channels: int = 1) -> Path:
    """The same as a file that `gantool train --data` takes."""
    data = dataset(rows, (channels, side, side))
    np.savez(path, **data.arrays)
    return path


def run_until(opened: Session, stop: int | None = None) -> Status:
    """Train `opened` to its end, or as if Ctrl-C came in step `stop`."""
    state, run, info, _ = opened.state, opened.run, opened.info, opened.data
    return loop.train(state, run, info, Silent(), lambda: state.step == stop)


def start(plugin: str | Plugin, folder: Path, **given: Any) -> Session:
    """A new run of 40 steps in `folder`/runs, on noise and the CPU unless told; options as in `gantool train`."""
    common = {key: given.pop(key) for key in TrainOptions.model_fields if key in given}
    data = common.pop("data", folder / "noise.npz")
    if data == folder / "noise.npz" and not data.exists():
        save_npz(data)
    found = registry.find(plugin) if isinstance(plugin, str) else plugin
    own = {"steps": 40, "batch_size": 8, **SMALL.get(found.name, {}), **given}
    options = {"device": "cpu", "tick": 20, "data": str(data), "runs": folder / "runs", **common}
    return session.start(found, own, TrainOptions(**options))


def flat(state: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """The leaves of a nested state, by their paths; seconds, which no seed decides, left out."""
    leaves: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, Mapping):
            leaves |= flat(value, f"{name}{key}.")
        elif isinstance(value, list):
            leaves |= flat(dict(enumerate(value)), f"{name}{key}.")
        elif key != "seconds":
            leaves[f"{name}{key}"] = value
    return leaves


def different(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    """Names of the leaves that are not bit-equal in both states; [] when all are."""
    first, second = flat(one), flat(two)
    wrong = sorted(first.keys() ^ second.keys())
    for name in first.keys() & second.keys():
        a, b = first[name], second[name]
        equal = torch.equal(a, b) if isinstance(a, Tensor) else a == b
        if not equal:
            wrong.append(name)
    return wrong


class NoOptions(BaseModel, frozen=True, extra="forbid"):
    """The config of an architecture without options."""


class TinyGenerator(nn.Module):
    """z (N, 4) → sample in [-1, 1], by one linear layer."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__()
        self.shape = spec.shape
        self.linear = nn.Linear(4, spec.elements)

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).tanh().unflatten(1, self.shape)


class TinyDiscriminator(nn.Module):
    """Sample → logit (N,), by one linear layer."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.elements, 1)

    def forward(self, sample: Tensor) -> Tensor:
        return self.linear(sample.flatten(1)).squeeze(1)


def tiny_game(
    spec: SampleSpec, generator: nn.Module | None = None, discriminator: nn.Module | None = None, latent_dim: int = 4
) -> Game:
    """The common two-player game of the tiny networks, or of others in their place."""
    return two_player(
        generator or TinyGenerator(spec),
        discriminator or TinyDiscriminator(spec),
        objectives.NonSaturating(),
        spec=spec,
        latent_dim=latent_dim,
    )


def architecture(build: Any, name: str = "planted", examples: tuple[SampleSpec, ...] = ()) -> Architecture:
    """An architecture without options from `build(spec)`."""
    return Architecture(
        name=name,
        summary="for a test",
        config=NoOptions,
        recipe=Recipe(batch_size=8),
        build=lambda config, spec, recipe: build(spec),
        examples=examples or (SampleSpec((1, 8, 8)),),
    )


def plugin(build: Any, name: str = "planted") -> Plugin:
    return Plugin(name, "tests", "1", architecture(build, name))


def tiny_state(data: Dataset | None = None, build: Any = tiny_game, **changes: Any) -> State:
    """A state of the tiny game on the CPU, not in any run. `changes`: of the recipe, or how it sees the data."""
    seen = {key: changes.pop(key) for key in ("place", "flip", "diffaugment", "ada") if key in changes}
    recipe = Recipe(**{"batch_size": 8, **changes})
    made = architecture(build)
    cpu = torch.device("cpu")
    return State(made, NoOptions(), recipe, data or dataset(), seed=0, device=cpu, precision="fp32", **seen)


def nan_game(bad: Callable[[int], bool], factor: float = torch.nan) -> Plugin:
    """The tiny game; its generator's loss is times `factor` in its move 1, 2, … of this process when `bad(move)`."""
    moves = 0

    def build(spec: SampleSpec) -> Game:
        game = tiny_game(spec)
        judge, maker = game.players

        def loss(batch: Batch) -> Loss:
            nonlocal moves
            moves += 1
            value = maker.loss(batch).terms["adversarial"]
            return Loss({"adversarial": value * factor if bad(moves) else value})

        return Game(
            game.generator,
            (judge, Player(maker.name, maker.role, maker.modules, loss, maker.draws)),
            game.inputs,
            game.data,
            game.output,
        )

    return plugin(build)


def in_float64(state: State) -> State:
    """The same state in float64 without dropout, whose masks each engine may draw its own way."""
    for module in (*state.game.modules().values(), *([state.ema.module] if state.ema else [])):
        module.double()
        for child in module.modules():
            if isinstance(child, nn.Dropout):
                child.p = 0.0
    draw = state.sampler.draw

    def drawn_double(names: Iterable[str]) -> dict[str, Tensor]:
        return {name: t.double() if t.is_floating_point() else t for name, t in draw(names).items()}

    state.sampler.draw = drawn_double  # type: ignore[method-assign]
    return state
