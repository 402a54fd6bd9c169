"""Units that a test planted are found: where they are, what they draw, and that their ablation removes it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from support.exports import Tiny, source, source_of
from support.trainings import small_config
from torch import Tensor, nn

from gantool import exporting
from gantool.control.classes import Linear
from gantool.control.dissect import Layer, dissect, layers_of, work
from gantool.errors import ArgumentError, GantoolError
from gantool.exporting import Source, verify
from gantool.exporting.app.atlas import changeable
from gantool.exporting.onnx_files import graph, optimize
from gantool.metrics.extractors import Extractor, Outputs, Pixels
from gantool.plugin import registry
from gantool.plugin.architecture import Input, Recipe, SampleSpec
from gantool.training.state import build_game

SQUARE, STRIPE = 3, 6  # the planted units


class Planted(nn.Module):
    """z (N, 4) → image (1, 8, 8): unit 3 draws a square at the top left, unit 6 a faint stripe below.

    The other units do little. The stripe is there in every second sample, by the sign of z.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(4, 8 * 8 * 8)
        self.features = nn.Sequential(nn.Unflatten(1, (8, 8, 8)), nn.ReLU())
        self.last = nn.Conv2d(8, 1, 1)
        with torch.no_grad():
            self.first.weight.mul_(0.01)
            self.first.bias.fill_(0.1)
            planted = self.first.bias.view(8, 8, 8)
            planted[SQUARE], planted[STRIPE] = 0.0, 0.0
            planted[SQUARE, :4, :4] = 1.0
            self.first.weight.view(8, 8, 8, 4)[STRIPE, 6] = torch.tensor([1.0, 0, 0, 0])
            self.last.weight.fill_(0.01)
            self.last.weight[0, SQUARE], self.last.weight[0, STRIPE] = 0.9, 0.4
            self.last.bias.fill_(-0.5)

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.features(self.first(z))).tanh()


class Saturated(Planted):
    """The square is so strong that samples don't move with a small change of its unit; and every eighth has it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Dropout()
        with torch.no_grad():
            self.first.weight.view(8, 8, 8, 4)[SQUARE] = 0
            self.last.weight[0, SQUARE] = 12

    def forward(self, z: Tensor) -> Tensor:
        features = self.features(self.first(z))
        square = torch.eye(8)[SQUARE]
        there = (z[:, :1] > 1.15).float() * square + 1 - square
        return self.last(self.gate(features * there[:, :, None, None])).tanh()


class Bare(nn.Module):
    """Without modules."""

    def forward(self, z: Tensor) -> Tensor:
        return z.reshape(-1, 1, 2, 2).repeat(1, 1, 4, 4).tanh()


class Corner(Extractor):
    """Two classes: whether there is something at the top left."""

    name, class_names, dimension = "corner", ("nothing", "a square"), 1

    def _outputs(self, samples: Tensor) -> Outputs:
        light = samples[:, 0, :4, :4].mean((1, 2))
        return Outputs(light[:, None], torch.stack([light < 0, light >= 0], 1).float())


def look(planted: Source, **options: object) -> tuple[Layer, ...]:
    given = {"units": 4, "samples": 40, "seed": 1} | options
    return dissect(planted, layers_of(planted), **given)  # type: ignore[arg-type]


def test_planted_units_are_found_first_and_where_they_are() -> None:
    planted = source(Planted())
    assert layers_of(planted) == {"features": (8, 8, 8)}  # the ReLU's, and not the image's own
    (layer,) = dissect(planted, layers_of(planted), units=4, samples=40, seed=1, extractor=Corner(torch.device("cpu")))
    square, stripe = layer.units[:2]
    assert (square.number, stripe.number) == (SQUARE, STRIPE)
    corner = np.zeros((8, 8), bool)
    corner[:4, :4] = True
    for place in (square.map, square.off.where):
        assert place[corner].min() > 10 * place[~corner].max()
    assert set(np.argwhere(stripe.off.where > 1)[:, 0]) == {6}
    assert square.off.classes == 1  # the square is gone
    assert square.off.flips == (("a square", "nothing", 1.0),)
    assert stripe.off.classes == 0
    assert layer.units[2].off.pixels < 0.2 * stripe.off.pixels
    # by hand: with the unit at 0 the image is what the bias and the other units make
    z = planted.drawn(1, np.arange(40))["z"]
    with torch.no_grad():
        features = planted.generator.features(planted.generator.first(z))
        whole = planted.generator.last(features).tanh()
        features[:, SQUARE] = 0
        moved = (planted.generator.last(features).tanh() - whole).abs()
    assert square.off.pixels == pytest.approx(float(moved.mean()) * 127.5, rel=1e-4)
    assert square.peak == pytest.approx(1.0, abs=0.1)
    best = planted.generator.first(z).view(40, 8, 8, 8)[:, STRIPE].amax((1, 2)).topk(4).indices
    assert stripe.top == tuple(best.tolist())


def test_a_saturated_and_rare_unit_is_found_among_all() -> None:
    planted = source(Saturated())
    (layer,) = dissect(planted, layers_of(planted), units=2, samples=60, seed=1)
    assert layer.name == "gate"
    assert {unit.number for unit in layer.units} == {SQUARE, STRIPE}


def test_few_samples_and_all_units_in_any_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = source(Planted())
    (whole,) = look(planted, units=100)
    monkeypatch.setattr("gantool.control.dissect.ELEMENTS", 64 * 7)
    (parts,) = look(planted, units=100)
    assert [unit.number for unit in whole.units] == [unit.number for unit in parts.units]
    assert len(whole.units) == 8
    assert [unit.top for unit in whole.units] == [unit.top for unit in parts.units]
    assert np.allclose([u.off.pixels for u in whole.units], [u.off.pixels for u in parts.units], rtol=1e-4)
    told: list[int] = []
    (one,) = look(planted, samples=1, advance=told.append)
    assert sum(told) == work(layers_of(planted), 4, 1)
    assert one.units[0].top == (0,)


def test_classes_by_a_linear_classifier_on_any_extractor() -> None:
    dice = np.random.default_rng(0)
    labels = torch.from_numpy(dice.integers(0, 3, 300))
    places = torch.zeros(300, 1, 8, 8)
    places[:, 0] = labels[:, None, None] / 2 + torch.from_numpy(dice.normal(0, 0.05, (300, 8, 8)))
    pixels = Pixels(SampleSpec((1, 8, 8)), torch.device("cpu"))
    linear = Linear(pixels, pixels.features(places), labels, ["dark", "grey", "light"])
    assert (linear.right, linear.class_names) == (1.0, ("dark", "grey", "light"))
    told = linear.probabilities(places)
    assert told is not None
    assert torch.equal(told.argmax(1), labels)
    mixed = labels[torch.from_numpy(dice.permutation(300))]
    assert Linear(pixels, pixels.features(places), mixed, ["a", "b", "c"]).right < 0.5


def test_layers_are_told_apart() -> None:
    assert layers_of(source_of("mlp", 8, widths=(8, 16))) == {"layers.1": (8,), "layers.3": (16,)}
    dcgan = source_of("dcgan", 32, width=8)
    assert list(layers_of(dcgan)) == ["layers.1", "layers.4", "layers.7"]  # ReLUs: all before them passes through them
    assert [shape[1:] for shape in layers_of(dcgan).values()] == [(4, 4), (8, 8), (16, 16)]
    sngan = source_of("sngan", 16, width=8)
    assert list(layers_of(sngan))[-1] == "last.1"
    assert set(layers_of(sngan)) < set(layers_of(sngan, ["all"]))  # by default one of each size
    assert list(layers_of(dcgan, ["layers.4"])) == ["layers.4"]
    with pytest.raises(ArgumentError, match=r"no layer 'layers\.2'"):
        layers_of(dcgan, ["layers.2"])
    with pytest.raises(GantoolError, match="No module of this generator has units"):
        layers_of(source(Bare()))
    with pytest.raises(GantoolError, match="makes its samples of data"):
        layers_of(replace(source(Tiny()), inputs=(Input("photo", (1, 8, 8), "data"),)))


def equal_with_ones(plain: Source) -> None:
    """With factors of 1 the graph with factors makes the samples of the file, bit for bit."""
    layers = layers_of(plain)
    changed = changeable(plain, layers)
    inputs = verify.reference_inputs(changed.inputs, 7, plain.rows)
    made = []
    for which in (plain, changed):
        model, _ = optimize.optimize(graph.to_onnx(which.generator, which.inputs, which.output), inputs)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        ones = {item.name: np.ones_like(inputs[item.name]) for item in changed.inputs[len(plain.inputs) :]}
        given = {item.name: (inputs | ones)[item.name] for item in which.inputs}
        made.append(session.run(None, given)[0])
    assert np.array_equal(*made)


def of_noise(name: str) -> Source:
    """An architecture of few weights, for its first example."""
    architecture = registry.find(name).architecture
    assert architecture is not None
    game = build_game(architecture, small_config(architecture), architecture.examples[0], Recipe(), seed=0)
    if any(item.distribution == "data" for item in game.inputs):
        pytest.skip("it translates")
    return exporting.from_game(game, architecture={"name": name}, training={}, data={})


@pytest.mark.parametrize("name", ["mlp", pytest.param("dcgan", marks=pytest.mark.slow)])
def test_factors_of_one_change_no_bit(name: str) -> None:
    equal_with_ones(of_noise(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in registry.architecture_names() if name not in ("mlp", "dcgan")])
def test_every_architecture(name: str) -> None:
    made = of_noise(name)
    equal_with_ones(made)
    found = look(made, samples=3, units=2)
    assert found
    assert all(np.isfinite([unit.off.pixels, unit.boost.pixels]).all() for layer in found for unit in layer.units)
