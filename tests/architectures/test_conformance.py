"""check_architecture passes every installed architecture, and names each planted mistake with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, Field
from support import tiny_r1, tiny_r3
from support.tiny_cgan import gantool_architectures as conditional
from support.trainings import NoOptions, TinyGenerator, architecture, small_config, tiny_game
from torch import Tensor, nn

from gantool.errors import GantoolError
from gantool.plugin.architecture import Architecture, Input, Optimizer, Recipe, SampleSpec
from gantool.plugin.game import Batch, Game, Loss
from gantool.plugin.registry import architecture_names, find
from gantool.testing import check_architecture, synthetic

Build = Callable[[SampleSpec], Game]


# Exports take most of the time, and the slow test below makes all of them. tests/exporting makes those of mlp, dcgan
# and sngan, and of networks as pix2pix's and cyclegan's; cgan's, wgan's and r3gan's have the layers of others.
EXPORTED_ELSEWHERE = ("mlp", "dcgan", "sngan", "wgan", "cgan", "r3gan", "pix2pix", "cyclegan")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "projected")) for n in architecture_names()]
)
def test_installed_architectures_conform(name: str) -> None:
    made = find(name).architecture
    assert made is not None
    check_architecture(
        replace(made, examples=made.examples[-1:]), small_config(made), artifacts=name not in EXPORTED_ELSEWHERE
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", architecture_names())
def test_installed_architectures_conform_at_all_examples(name: str) -> None:
    made = find(name).architecture
    assert made is not None
    check_architecture(made)


def test_a_lazy_regulariser_conforms() -> None:
    check_architecture(tiny_r1.gantool_architectures()[0], artifacts=False)


def test_the_game_that_mistakes_are_planted_in_conforms() -> None:
    check_architecture(architecture(tiny_game))


class FixedBatch(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).tanh().view(8, *self.shape)


class WithoutTanh(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).unflatten(1, self.shape)


class WithNoise(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z + 0.1 * torch.randn_like(z))


class WithBatchStatistics(TinyGenerator):
    def __init__(self, spec: SampleSpec) -> None:
        super().__init__(spec)
        self.norm = nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(self.norm(z))


class Centred(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z - z.mean(0))


class WithSpare(TinyGenerator):
    def __init__(self, spec: SampleSpec) -> None:
        super().__init__(spec)
        self.spare = nn.Linear(4, 4)


class Square(TinyGenerator):
    """28×28 whatever was asked for."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__(SampleSpec((1, 28, 28)))


class InPlace(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        z *= 2
        return super().forward(z)


class Undefined(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z / (z - z))


class Deciding(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z if z.mean() > 0 else -z)


class IgnoringInput(TinyGenerator):
    """The same samples from any z, though a gradient reaches each weight."""

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(torch.ones_like(z))


class Double(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z).double()


class FrozenShape(TinyGenerator):
    """Works at any batch in eager mode; a trace keeps the batch that it saw."""

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).tanh().view(int(z.shape[0]), *self.shape) * torch.ones(int(z.shape[0]), 1, 1, 1)


class Counting(TinyGenerator):
    """Counts its calls outside of its state_dict."""

    calls = 0

    def forward(self, z: Tensor) -> Tensor:
        self.calls += self.training
        return super().forward(z / (1 + self.calls))


class Pair(TinyGenerator):
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(z), z


class WithFixedNoise(TinyGenerator):
    """Adds `held(noise)`, drawn once; `keep(generator, noise)` says where it is."""

    def __init__(self, spec: SampleSpec, keep: Callable[[TinyGenerator, Tensor], object]) -> None:
        super().__init__(spec)
        keep(self, 0.1 * torch.randn(4))

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z + self.noise())


def fixed_noise(how: str) -> Build:
    """The tiny game with noise drawn when it is built, kept in one of the ways that no checkpoint holds."""

    def keep(generator: Any, noise: Tensor) -> None:
        if how == "buffer":
            generator.linear.register_buffer("fixed", noise, persistent=False)
        elif how == "attribute":
            generator.fixed = [{"noise": noise}]
        elif how == "numpy":
            generator.fixed = np.random.randn(4).astype(np.float32)
        noises = {
            "buffer": lambda: generator.linear.fixed,
            "attribute": lambda: generator.fixed[0]["noise"],
            "numpy": lambda: torch.from_numpy(generator.fixed),
            "closure": lambda: noise,
        }
        generator.noise = noises[how]

    return lambda spec: tiny_game(spec, WithFixedNoise(spec, keep))


def noise_in_a_loss(spec: SampleSpec) -> Game:
    noise = torch.randn(())
    return mapped(lambda term: term * (1 + noise.abs()))(spec)


class OneMore(TinyGenerator):
    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        return super().forward(z + noise)


def made_by(generator: Callable[[SampleSpec], nn.Module]) -> Build:
    return lambda spec: tiny_game(spec, generator(spec))


def with_loss(change: Callable[[Loss, Batch], object], player: int = 1) -> Build:
    """The tiny game; what the loss of player `player` returns is changed."""

    def build(spec: SampleSpec) -> Game:
        game = tiny_game(spec)
        players = list(game.players)
        sound = players[player]
        players[player] = replace(sound, loss=lambda batch: change(sound.loss(batch), batch))
        return replace(game, players=tuple(players))

    return build


def with_foreign_network(spec: SampleSpec) -> Game:
    """A third network that no player has."""
    encoder = nn.Linear(spec.elements, 4)

    def change(loss: Loss, batch: Batch) -> Loss:
        return Loss({**loss.terms, "code": encoder(batch["real"].flatten(1)).square().mean()})

    return with_loss(change, player=0)(spec)


def without_its_network(spec: SampleSpec) -> Game:
    game = tiny_game(spec)
    judge, maker = game.players
    return replace(game, players=(judge, replace(maker, modules={})))


def adding_to_reals(loss: Loss, batch: Batch) -> Loss:
    batch["real"].add_(0.1)
    return loss


def half_of_the_losses(spec: SampleSpec) -> Game:
    game = tiny_game(spec)
    sound = game.together
    assert sound is not None
    return replace(game, together=lambda batch: {"generator": sound(batch)["generator"]})


def mapped(function: Callable[[Tensor], object]) -> Build:
    return with_loss(lambda loss, _: Loss({name: function(term) for name, term in loss.terms.items()}))


def regularised(**changes: Any) -> Build:
    """The tiny game with a lazy R1 that has `changes`."""

    def build(spec: SampleSpec) -> Game:
        game = tiny_r1.build(tiny_r1.Config(), spec, Recipe())
        judge, maker, r1 = game.players
        return replace(game, players=(judge, maker, replace(r1, **changes)))

    return build


def clipped(spec: SampleSpec) -> Game:
    game = regularised()(spec)
    judge, maker, r1 = game.players
    return replace(game, players=(replace(judge, after_step=lambda: None), maker, r1))


def progressing(change: Callable[[Tensor, Tensor], Tensor]) -> Build:
    """The tiny game; each term of the generator's loss is `change(term, progress)`."""

    def build(spec: SampleSpec) -> Game:
        game = tiny_game(spec)
        judge, maker = game.players

        def loss(batch: Batch) -> Loss:
            return Loss({name: change(term, batch["progress"]) for name, term in maker.loss(batch).terms.items()})

        progress = Input("progress", (), "progress")
        moved = replace(maker, draws=(*maker.draws, "progress"), loss=loss)
        return replace(game, players=(judge, moved), data=(*game.data, progress), together=None)

    return build


def progress_in_the_generator(spec: SampleSpec) -> Game:
    game = tiny_game(spec)
    return replace(game, inputs=(*game.inputs, Input("progress", (), "progress")))


def drawing(array: str, shape: tuple[int, ...]) -> Build:
    """The tiny game with one more data input."""

    def build(spec: SampleSpec) -> Game:
        game = tiny_game(spec)
        return replace(game, data=(*game.data, Input("more", shape, "data", array=array)))

    return build


def with_a_number(loss: Loss, batch: Batch) -> Loss:
    return Loss({**loss.terms, "penalty": loss.terms["real"].detach()})


# what is wrong → what the author reads: the fault, and what to do
MISTAKES: dict[str, tuple[Build, str, str]] = {
    "a fixed batch": (made_by(FixedBatch), "no 3 samples", r"Is a batch size fixed .* It gets z \(3, 4\)"),
    "no tanh": (made_by(WithoutTanh), r"not within \[-1, 1\]", "end the generator in tanh"),
    "noise inside": (made_by(WithNoise), "draws random numbers inside its forward", r"Input\(name, shape, 'normal'\)"),
    "batch statistics": (
        made_by(WithBatchStatistics),
        "no sample alone: Expected more than 1 value per channel",
        "BatchNorm with track_running_stats=False",
    ),
    "a mean of the batch": (
        made_by(Centred),
        "a sample alone differs from the same among 3 by",
        "depend on those beside them",
    ),
    "an unused layer": (made_by(WithSpare), r"\(generator.spare.weight, generator.spare.bias\)", "take them out"),
    "another shape": (made_by(Square), r"have shape \(3, 1, 28, 28\), declared is \(1, 8, 8\)", r"of spec\.shape\?"),
    "another dtype": (made_by(Double), "samples are torch.float64, not float32", r"end in \.float\(\)"),
    "state outside the modules": (made_by(Counting), "after a save and a load, .* goes another way", "register_buffer"),
    "an input changed in place": (made_by(InPlace), "changes its input 'z' in place", r"write x = x \+ 1"),
    "NaN in the samples": (made_by(Undefined), "hold NaN or infinity", "look for a division"),
    "an if on a tensor": (made_by(Deciding), "decides by values in its forward", "keeps one way only"),
    "an input unused": (made_by(IgnoringInput), "another 'z' makes the same samples", "use it in the forward"),
    "two outputs": (made_by(Pair), "returns a tuple, not a tensor", "return the samples alone"),
    "an input undeclared": (made_by(OneMore), "missing 1 required positional argument: 'noise'", r"It gets z \(3, 4\)"),
    "a module of nobody's": (with_foreign_network, r"uses 2 parameters \(shapes .*\) of a module", "Add it to modules"),
    "a player without modules": (without_its_network, "generator owns no trainable parameter", "put its networks into"),
    "reals changed in place": (with_loss(adding_to_reals, 0), "the loss changes its input 'real' in place", "not x"),
    "item in the loss": (mapped(lambda term: term * term.item()), "waits for the device", "the loop reads them"),
    "an if in the loss": (mapped(lambda term: term if term > 0 else -term), "an `if` on a tensor", "Return tensors"),
    "a term for each sample": (mapped(lambda term: term.expand(8)), r"has shape \(8,\), not a scalar", r"its mean\(\)"),
    "a term that is a number": (mapped(lambda term: 0.5), "adversarial is a float, not a tensor", r"no \.item\(\)"),
    "a dictionary for a loss": (with_loss(lambda loss, _: loss.terms), "returns a dict", r"plugin\.Loss\("),
    "a loss without terms": (with_loss(lambda loss, _: Loss({})), "returns no loss term", "'adversarial'"),
    "a player that stands still": (
        mapped(lambda term: 0 * term),
        "generator did not move in 3 steps",
        "gradients zero",
    ),
    "a loss detached": (mapped(Tensor.detach), "no term depends on its parameters", r"take detach\(\) and"),
    "a loss that is NaN": (mapped(lambda term: (term - 100).log()), "adversarial is nan", "look for a log"),
    "a root of zero": (mapped(lambda term: term + (term - term).sqrt()), "a gradient is not finite", "add 1e-12"),
    "a buffer drawn, not saved": (fixed_noise("buffer"), r"draws generator\.linear\.fixed,", "self.register_buffer"),
    "a tensor drawn, not saved": (fixed_noise("attribute"), r"draws generator\.fixed\.0\.noise,", "without random"),
    "an array drawn, not saved": (fixed_noise("numpy"), r"draws generator\.fixed,", "without random"),
    "a hidden tensor drawn": (fixed_noise("closure"), "draws something that changes the samples", "register_buffer"),
    "a tensor drawn for a loss": (noise_in_a_loss, "changes the loss of player generator", "player's modules"),
    "a regulariser with an Adam of its own": (
        lambda spec: tiny_r1.build(tiny_r1.Config(shares=False), spec, Recipe()),
        "player r1 has parameters of player discriminator and an optimizer of its own",
        r"Player\(shares='discriminator'\)",
    ),
    "a term without a gradient": (with_loss(with_a_number, 0), "penalty is minimised, but has no", "create_graph=True"),
    "a regulariser that shares with nobody": (
        regularised(shares="critic"),
        "shares the optimizer of 'critic'; those with one are",
        "'discriminator', 'generator'",
    ),
    "a regulariser that shares with the generator": (
        regularised(shares="generator"),
        "player 'r1' shares the optimizer of 'generator'",
        "it can move parameters of that player only",
    ),
    "a clip that a regulariser undoes": (clipped, "discriminator, whose after_step is not run then", "give both"),
    "an optimizer that there is not": (
        lambda spec: regularised(shares=None, optimizer=Optimizer(1e-3, "sgd"))(spec),  # type: ignore[arg-type]
        "an optimizer is 'adam' or 'rmsprop'",
        "not 'sgd'",
    ),
    "an optimizer without a rate": (
        lambda spec: regularised(shares=None, optimizer=Optimizer(0.0))(spec),
        r"rate is in \(0, 1\]",
        "got 0.0",
    ),
    "progress in the generator": (progress_in_the_generator, "a generator can't take the progress", "has none of"),
    "a division by the progress": (
        progressing(lambda term, progress: term * (0.1 + progress) / (0.5 - progress)),
        "adversarial is (-)?inf when 50% of the training is over",
        "look for a division by the progress",
    ),
    "progress unused": (
        progressing(lambda term, progress: term),
        "player generator: its loss is the same from beginning to end",
        "take 'progress' from its draws",
    ),
    "an array undeclared": (
        drawing("depths", (1, 4, 4)),
        "'more' takes the array 'depths', which the example does not have",
        r"arrays=\{'depths': \(1, 4, 4\)\}",
    ),
    "labels undeclared": (drawing("labels", ()), "takes the array 'labels'", r"SampleSpec\(shape, classes=N\)"),
    "images of another shape": (
        drawing("images", (1, 4, 4)),
        r"has the shape \(1, 4, 4\), its array 'images' \(1, 8, 8\)",
        "take the shape from the spec",
    ),
    "losses together of one alone": (half_of_the_losses, r"gives losses of \['generator'\]", "'discriminator'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_the_way_out(mistake: str) -> None:
    build, fault, advice = MISTAKES[mistake]
    made = architecture(build)
    made = replace(made, recipe=made.recipe_for(NoOptions()).model_copy(update={"schedule": "linear"}))
    with pytest.raises(AssertionError, match=f"(?s){fault}.*{advice}") as caught:
        check_architecture(made, artifacts=False)
    assert str(caught.value).startswith("planted at 1×8×8")


def test_a_schedule_that_is_followed_conforms_and_a_constant_one_needs_no_progress() -> None:
    check_architecture(tiny_r3.gantool_architectures()[0], artifacts=False)
    check_architecture(architecture(progressing(lambda term, progress: term)), artifacts=False)


def paired(build: Build) -> Architecture:
    example = SampleSpec((1, 8, 8), arrays={"depths": (1, 4, 4)})
    return replace(architecture(build), examples=(example,))


def test_arrays_that_are_taken_conform_and_one_that_is_not_is_named() -> None:
    check_architecture(paired(drawing("depths", (1, 4, 4))), artifacts=False)
    with pytest.raises(AssertionError, match="no input takes the array depths of the example"):
        check_architecture(paired(tiny_game), artifacts=False)


def test_data_without_an_array_have_to_be_refused_in_words() -> None:
    def careless(spec: SampleSpec) -> Game:
        return drawing("depths", spec.arrays["depths"])(spec)

    def careful(spec: SampleSpec) -> Game:
        if "depths" not in spec.arrays:
            raise GantoolError("It learns from depths, too.", "Give a .npz with an array 'depths'.")
        return careless(spec)

    check_architecture(paired(careful), artifacts=False)
    with pytest.raises(AssertionError, match=r"without its arrays `build` raises KeyError.* raise GantoolError"):
        check_architecture(paired(careless), artifacts=False)


def test_modules_that_depend_on_the_recipe_are_named() -> None:
    def build(config: BaseModel, spec: SampleSpec, recipe: Recipe) -> Game:
        game = tiny_game(spec)
        game.generator.register_buffer("seen", torch.zeros(recipe.batch_size))
        return game

    with pytest.raises(AssertionError, match=r"with another recipe .* other tensors \(generator.generator.seen\)"):
        check_architecture(replace(architecture(tiny_game), build=build), artifacts=False)


def test_the_line_that_reads_a_value_is_in_the_traceback() -> None:
    with pytest.raises(AssertionError) as caught:
        check_architecture(architecture(made_by(Deciding)), artifacts=False)
    assert any("z.mean() > 0" in str(entry.statement) for entry in caught.traceback)


def test_a_batch_size_that_a_trace_would_freeze_is_named() -> None:
    with pytest.raises(GantoolError, match="The batch of 'z' was frozen at 2"):
        check_architecture(architecture(made_by(FrozenShape)))


def test_an_architecture_without_examples_is_told_so() -> None:
    with pytest.raises(AssertionError, match="names no example sample specs"):
        check_architecture(replace(architecture(tiny_game), examples=()))


class Incomplete(BaseModel):
    width: int = Field(ge=1, description="hidden units")


def test_a_field_without_a_default_is_named() -> None:
    with pytest.raises(GantoolError, match="can't be made from its defaults: width") as caught:
        check_architecture(replace(architecture(tiny_game), config=Incomplete))
    assert caught.value.hint == "Give every field a valid default."


class Wound(TinyGenerator):
    """Through an operator that ONNX has no counterpart of."""

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(torch.special.bessel_j0(z))


@pytest.mark.slow
def test_an_operator_that_no_format_has_is_named() -> None:
    with pytest.raises(GantoolError, match=r"bessel_j0") as caught:
        check_architecture(architecture(made_by(Wound)))
    assert "What exports" in caught.value.hint


# classes


def labelled(classes: int) -> Architecture:
    (made,) = conditional()
    return replace(made, examples=(SampleSpec((1, 8, 8), classes=classes),))


@pytest.mark.parametrize("classes", [1, 2, 40])
def test_examples_with_classes_get_as_many(classes: int) -> None:
    spec = SampleSpec((1, 8, 8), classes=classes)
    assert synthetic(spec).spec == spec
    check_architecture(labelled(classes), artifacts=False)


def test_examples_without_classes_have_no_labels() -> None:
    assert synthetic(SampleSpec((1, 8, 8))).labels is None
    with pytest.raises(GantoolError, match="needs labelled data"):
        check_architecture(labelled(0), artifacts=False)


@pytest.mark.parametrize(("place", "name"), [(1, "label"), (2, "light")])
def test_an_input_without_effect_is_named(place: int, name: str) -> None:
    made = labelled(3)

    def build(config: BaseModel, spec: SampleSpec, recipe: Recipe) -> Game:
        game = made.build(config, spec, recipe)
        game.generator.register_forward_pre_hook(
            lambda _, inputs: tuple(0 * x + (i == 2) if i == place else x for i, x in enumerate(inputs))
        )
        return game

    with pytest.raises(AssertionError, match=f"1×8×8, 3 classes: another {name!r} makes the same samples"):
        check_architecture(replace(made, build=build), artifacts=False)
