"""Every installed architecture keeps the contract, and the kit that says so sees each way to break it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.trainings import TinyDiscriminator, TinyGenerator, architecture, tiny_game
from torch import Tensor, nn

from gantool.errors import GantoolError
from gantool.plugin.architecture import SampleSpec
from gantool.plugin.game import Game, Loss, Player
from gantool.plugin.registry import architecture_names, find
from gantool.testing import check_architecture

SPEC = SampleSpec((1, 8, 8))


@pytest.mark.parametrize("name", architecture_names())
def test_installed_architectures_conform(name: str) -> None:
    made = find(name).architecture
    assert made is not None
    check_architecture(made)


def test_the_tiny_game_that_faults_are_planted_in_conforms() -> None:
    check_architecture(architecture(tiny_game))


class Loud(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return 3 * super().forward(z)


class WithDeadWeight(TinyGenerator):
    def __init__(self, spec: SampleSpec) -> None:
        super().__init__(spec)
        self.dead = nn.Parameter(torch.ones(3))


class Flat(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z).flatten(1)


class Double(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z).double()


class FrozenShape(TinyGenerator):
    """Works at any batch in eager mode; a trace keeps the batch that it saw."""

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).tanh().view(int(z.shape[0]), *self.shape) * torch.ones(int(z.shape[0]), 1, 1, 1)


class FrozenTwo(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z.view(2, -1))


class Noisy(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z + 0.1 * torch.randn_like(z))


class Counting(TinyGenerator):
    """Remembers outside of its state_dict how often it was called."""

    calls = 0

    def forward(self, z: Tensor) -> Tensor:
        self.calls += self.training
        return super().forward(z / (1 + self.calls))


class Exploding(TinyDiscriminator):
    def forward(self, sample: Tensor) -> Tensor:
        return super().forward(sample) * torch.nan


def _game(generator: Callable[[SampleSpec], nn.Module]) -> Callable[[SampleSpec], Game]:
    return lambda spec: tiny_game(spec, generator(spec))


def _with_generator_loss(change: Callable[[Loss], Loss]) -> Callable[[SampleSpec], Game]:
    """The tiny game with another loss of the generator's player."""

    def build(spec: SampleSpec) -> Game:
        game = tiny_game(spec)
        judge, maker = game.players
        other = Player(maker.name, maker.role, maker.modules, lambda batch: change(maker.loss(batch)), maker.draws)
        return Game(game.generator, (judge, other), game.inputs, game.data, game.output)

    return build


def _scaled(scale: float) -> Callable[[Loss], Loss]:
    return lambda loss: Loss({name: scale * term for name, term in loss.terms.items()})


FAULTS: dict[str, tuple[Callable[[SampleSpec], Game], str]] = {
    "output out of range": (_game(Loud), r"planted at 1×8×8: samples run from -\S+ to \S+, not within \[-1, 1\]"),
    "parameter out of reach": (_game(WithDeadWeight), "player generator: no gradient reaches 1 of its 3 parameters"),
    "another shape": (_game(Flat), r"3 samples have shape \(3, 64\), declared is \(1, 8, 8\)"),
    "another dtype": (_game(Double), "samples are torch.float64, not float32"),
    "state outside the modules": (_game(Counting), "after a save and a load, .* goes another way"),
    "player that stands still": (_with_generator_loss(_scaled(0.0)), "player generator did not move in 3 steps"),
    "loss that is no scalar": (
        _with_generator_loss(lambda loss: Loss({"x": loss.terms["adversarial"].expand(3)})),
        r"player generator: x has shape \(3,\), not a scalar",
    ),
    "loss without terms": (_with_generator_loss(lambda loss: Loss({})), "player generator returns no loss term"),
    "loss that is NaN": (
        lambda spec: tiny_game(spec, discriminator=Exploding(spec)),
        "player discriminator: real is nan",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_contract_is_named(fault: str) -> None:
    build, words = FAULTS[fault]
    with pytest.raises(AssertionError, match=words):
        check_architecture(architecture(build), artifacts=False)


def test_random_numbers_inside_the_generator_are_refused_with_the_way_out() -> None:
    with pytest.raises(AssertionError, match="draws random numbers inside its forward") as caught:
        check_architecture(architecture(_game(Noisy)))
    assert "Input(name, shape, 'normal')" in str(caught.value)


def test_a_batch_size_fixed_by_hand_is_asked_about() -> None:
    with pytest.raises(AssertionError, match=r"no 3 samples: .* Is a batch size fixed in the forward\?"):
        check_architecture(architecture(_game(FrozenTwo)))


def test_a_batch_size_that_a_trace_would_freeze_is_named() -> None:
    with pytest.raises(GantoolError, match="The batch of 'z' was frozen at 2"):
        check_architecture(architecture(_game(FrozenShape)))


def test_an_architecture_without_examples_is_told_so() -> None:
    made = find("mlp").architecture
    assert made is not None
    bare = type(made)(**{**vars(made), "examples": ()})
    with pytest.raises(AssertionError, match="mlp names no example sample specs"):
        check_architecture(bare)
