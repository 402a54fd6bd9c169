"""Generators of a few weights, as what `gantool.exporting` takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gantool import __version__, exporting
from gantool.exporting.edits import with_directions
from gantool.plugin import registry
from gantool.plugin.architecture import Input, Recipe, SampleSpec
from gantool.plugin.game import Game
from gantool.run.directions import Direction
from gantool.training.state import build_game

Z = Input("z", (4,), "normal")


class Tiny(nn.Module):
    """z (N, 4) → image (N, *shape); `wild` is applied to the image before the tanh, for planted faults."""

    def __init__(self, shape: tuple[int, ...] = (1, 8, 8)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shape = shape
        self.linear = nn.Linear(4, SampleSpec(shape).elements)

    def forward(self, z: Tensor) -> Tensor:
        return self.wild(self.linear(z).unflatten(1, self.shape)).tanh()

    def wild(self, x: Tensor) -> Tensor:
        return x


class Conditional(Tiny):
    """z and a label of 3 classes → image (N, *shape)."""

    def __init__(self, shape: tuple[int, ...] = (1, 8, 8)) -> None:
        super().__init__(shape)
        self.embed = nn.Embedding(3, SampleSpec(shape).elements)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return (self.linear(z) + self.embed(label)).unflatten(1, self.shape).tanh()


class TwoLatents(Tiny):
    """z (N, 4) and noise (N, 1, 8, 8) → image."""

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        return (self.linear(z).unflatten(1, self.shape) + noise).tanh()


class Dimmed(Conditional):
    """z, a label of 3 classes and `light` (N,) → image, times the light."""

    def forward(self, z: Tensor, label: Tensor, light: Tensor) -> Tensor:
        return super().forward(z, label) * light[:, None, None, None]


LIGHT = Input("light", (), "value", default=1.0, low=-0.5, high=1.5)


def dimmed() -> exporting.Source:
    """A generator that takes a label and a value."""
    return source(Dimmed(), Z, Input("label", (), "label", 3), LIGHT)


def sliders() -> exporting.Source:
    """The same with a named direction, `lean`."""
    lean = Direction(
        vector=(0.5, -1.0, 0.25, 0.0), input="z", method="sefa", about="sefa 1", step=0, name="lean", low=-2.0, high=3.0
    )
    return with_directions(dimmed(), [lean])


def source(generator: nn.Module, *inputs: Input, shape: tuple[int, ...] = (1, 8, 8), rate: int = 0) -> exporting.Source:
    game = Game(generator, (), inputs or (Z,), (), SampleSpec(shape, rate=rate))
    about = {"name": "tiny", "plugin": "tests", "plugin_version": "1", "config": {}}
    return exporting.from_game(game, architecture=about, training={"run": "none", "step": 0}, data={"name": "none"})


def sounds() -> exporting.Source:
    """Stereo sounds of 3 classes, whose rate is known: 300 samples, 8,000 a second."""
    return source(Conditional((2, 300)), Z, Input("label", (), "label", 3), shape=(2, 300), rate=8000)


def source_of(name: str, side: int, **options: object) -> exporting.Source:
    """An installed architecture with its first weights of seed 0, for one channel of `side` pixels, voxels or samples.

    As many axes and classes as its first example has.
    """
    architecture = registry.find(name).architecture
    assert architecture is not None
    example = architecture.examples[0]
    spec = SampleSpec((1, *[side] * len(example.sides)), example.classes)
    game = build_game(architecture, architecture.config(**options), spec, Recipe(), seed=0)
    about = {"name": name, "plugin": "gantool", "plugin_version": __version__, "config": {}}
    return exporting.from_game(game, architecture=about, training={}, data={})
