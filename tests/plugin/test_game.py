"""What a game declares, and the common two-player game."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.trainings import NoOptions, TinyDiscriminator, TinyGenerator, dataset, tiny_game
from torch import Tensor, nn

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.plugin import objectives
from gantool.plugin.architecture import Architecture, Input, Recipe, SampleSpec
from gantool.plugin.game import Export, Game, Loss, Player, Rows, two_player
from gantool.training import finetune
from gantool.training.sampler import Sampler
from gantool.training.state import State
from gantool.training.step import iterate

SPEC = SampleSpec((1, 4, 4))


def _nothing(batch: object) -> Loss:
    return Loss({})


def _player(name: str, *draws: str, **modules: nn.Module) -> Player:
    return Player(name, "generator", modules, _nothing, draws)


def test_a_player_that_draws_what_nobody_declares_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"player 'a' draws \['y'\], but the game declares \['z', 'real'\]"):
        Game(
            nn.Identity(),
            (_player("a", "z", "y"),),
            (Input("z", (2,), "normal"),),
            (Input("real", (2,), "data"),),
            SPEC,
        )


def test_two_players_of_one_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="two players have one name"):
        Game(nn.Identity(), (_player("a"), _player("a")), (), (), SPEC)


def test_a_player_shares_an_optimizer_that_another_has_and_of_its_parameters_alone() -> None:
    net, other = nn.Linear(1, 1), nn.Linear(1, 1)
    owner = _player("a", net=net)
    for player, said in (
        (replace(_player("b", net=net), shares="c"), "shares the optimizer of 'c'; those with one are"),
        (replace(_player("b", net=net), shares="b"), "shares the optimizer of 'b'; those with one are"),
        (replace(_player("b", net=net, other=other), shares="a"), "can move parameters of that player only"),
    ):
        with pytest.raises(ValueError, match=said):
            Game(nn.Identity(), (owner, player), (), (), SPEC)


def test_a_module_shared_by_players_is_named_once() -> None:
    shared, own = nn.Linear(1, 1), nn.Linear(1, 1)
    players = (_player("a", shared=shared), _player("b", again=shared, own=own))
    assert list(Game(shared, players, (), (), SPEC).modules()) == ["a.shared", "b.own"]


def test_a_generator_that_no_player_owns_is_a_module_when_it_has_state() -> None:
    owned, average = nn.Linear(1, 1), nn.Linear(1, 1)
    players = (_player("a", net=owned),)
    assert list(Game(average, players, (), (), SPEC).modules()) == ["a.net", "generator"]
    assert list(Game(nn.Identity(), players, (), (), SPEC).modules()) == ["a.net"]


def test_parameters_of_a_player_are_each_named_once_and_trainable() -> None:
    shared = nn.Linear(2, 2)
    frozen = nn.Linear(2, 2).requires_grad_(False)
    player = _player("a", one=nn.Sequential(shared), two=shared, three=frozen)
    assert [id(p) for p in player.parameters()] == [id(p) for p in shared.parameters()]


@pytest.mark.parametrize("objective", objectives.OBJECTIVES)
def test_two_player_losses_are_the_objective_of_the_scores(objective: str) -> None:
    torch.manual_seed(0)
    generator, discriminator = TinyGenerator(SPEC), TinyDiscriminator(SPEC)
    losses = objectives.make(objective)
    game = two_player(generator, discriminator, losses, spec=SPEC, latent_dim=4)
    judge, maker = game.players
    batch = {"real": torch.randn(6, *SPEC.shape), "z": torch.randn(6, 4)}
    real, fake = discriminator(batch["real"]), discriminator(generator(batch["z"]))
    terms, measures = losses.discriminator(real, fake)
    loss = judge.loss(batch)
    torch.testing.assert_close(dict(loss.terms), terms)
    torch.testing.assert_close(dict(loss.measures), measures)
    torch.testing.assert_close(dict(maker.loss(batch).terms), {"adversarial": losses.generator(fake, real)})
    assert (judge.role, maker.role) == ("discriminator", "generator")
    assert game.inputs == (Input("z", (4,), "normal"),)


@pytest.mark.parametrize("zero_centred", [0.0, 2.0])
@pytest.mark.parametrize("width", [1, 3])
def test_scores_of_several_parts_are_each_of_their_sample(width: int, zero_centred: float) -> None:
    """As of a discriminator of patches, (N, patches): reals and fakes go through it together, and come apart again."""

    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(SPEC.elements, width)

        def forward(self, sample: Tensor) -> Tensor:
            return self.linear(sample.flatten(1)).square()

    torch.manual_seed(0)
    generator, judge, losses = TinyGenerator(SPEC), Patches(), objectives.NonSaturating()
    game = two_player(generator, judge, losses, spec=SPEC, latent_dim=4, zero_centred=zero_centred)
    batch = {"real": torch.randn(6, *SPEC.shape), "z": torch.randn(6, 4)}
    fake = generator(batch["z"]).detach()
    loss = game.players[0].loss(batch)
    terms, measures = losses.discriminator(judge(batch["real"]), judge(fake))
    if zero_centred:
        terms |= {f"r{n}": 2 * objectives.r1(judge, of) for n, of in enumerate((batch["real"], fake), 1)}
    torch.testing.assert_close(dict(loss.terms), terms)
    torch.testing.assert_close(dict(loss.measures), measures)


def test_a_judge_with_batch_statistics_sees_reals_and_fakes_apart() -> None:
    """One normalised batch of both would let it tell them by their mixture: another algorithm."""
    sizes: list[int] = []

    class Normalised(TinyDiscriminator):
        def __init__(self) -> None:
            super().__init__(SPEC)
            self.norm = nn.BatchNorm2d(1)

        def forward(self, sample: Tensor) -> Tensor:
            sizes.append(len(sample))
            return super().forward(self.norm(sample))

    class Plain(TinyDiscriminator):
        def forward(self, sample: Tensor) -> Tensor:
            sizes.append(len(sample))
            return super().forward(sample)

    batch = {"real": torch.randn(6, *SPEC.shape), "z": torch.randn(6, 4)}
    tiny_game(SPEC, discriminator=Normalised()).players[0].loss(batch)
    tiny_game(SPEC, discriminator=Plain(SPEC)).players[0].loss(batch)
    assert sizes == [6, 6, 12]
    declared = Plain(SPEC)
    declared.linear.batch_statistics = True  # type: ignore[assignment]
    tiny_game(SPEC, discriminator=declared).players[0].loss(batch)
    assert sizes[3:] == [6, 6]


def test_further_inputs_go_to_the_generator_alone() -> None:
    class Noisy(TinyGenerator):
        def forward(self, z: Tensor, label: Tensor, noise: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(z + label[:, None]) + noise

    class Labelled(TinyDiscriminator):
        def forward(self, sample: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(sample) + label

    noise = Input("noise", SPEC.shape, "normal")
    networks, objective = (Noisy(SPEC), Labelled(SPEC)), objectives.make("hinge")
    game = two_player(*networks, objective, spec=SPEC, latent_dim=4, classes=3, further=(noise,))
    assert [item.name for item in game.inputs] == ["z", "label", "noise"]
    assert game.inputs[2] is noise
    batch = {"z": torch.randn(6, 4), "label": torch.arange(6) % 3, "noise": torch.randn(6, *SPEC.shape)}
    reals = {"real": torch.randn(6, *SPEC.shape), "real_label": torch.zeros(6, dtype=torch.int64)}
    fake = networks[1](networks[0](**batch), batch["label"])
    judge, maker = game.players
    terms, _ = objective.discriminator(networks[1](*reals.values()), fake)
    torch.testing.assert_close(dict(judge.loss({**batch, **reals}).terms), terms)
    torch.testing.assert_close(maker.loss(batch).terms["adversarial"], objective.generator(fake))


def test_the_judge_of_fakes_sends_no_gradient_into_the_generator() -> None:
    game = tiny_game(SPEC)
    batch = {"real": torch.randn(6, *SPEC.shape), "z": torch.randn(6, 4)}
    sum(game.players[0].loss(batch).terms.values()).backward()
    assert all(p.grad is None for p in game.generator.parameters())


def test_the_penalty_is_a_term_of_its_own_with_its_weight() -> None:
    torch.manual_seed(0)
    generator, critic = TinyGenerator(SPEC), TinyDiscriminator(SPEC)
    game = two_player(generator, critic, objectives.Wasserstein(), spec=SPEC, latent_dim=4, penalty=7.0)
    batch = {"real": torch.randn(6, *SPEC.shape), "z": torch.randn(6, 4)}
    term = game.players[0].loss(batch).terms["gradient_penalty"]
    norm = critic.linear.weight.norm()
    torch.testing.assert_close(term, 7 * (norm - 1).square())


@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (1, 4, -1), (1, 2, 2, 2, 2)])
def test_a_sample_has_a_channel_and_one_to_three_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a channel and one to three spatial axes"):
        SampleSpec(shape)


@pytest.mark.parametrize(
    ("shape", "kind"), [((2, 100), "audio"), ((3, 4, 5), "image"), ((1, 4, 4, 4), "volume")], ids=str
)
def test_its_axes_say_what_a_sample_is(shape: tuple[int, ...], kind: str) -> None:
    assert SampleSpec(shape).kind == kind
    if kind != "audio":
        with pytest.raises(ValueError, match="a rate is positive, and of audio"):
            SampleSpec(shape, rate=8000)


def test_a_spec_says_what_it_is() -> None:
    image, audio = SampleSpec((3, 4, 5)), SampleSpec((2, 100))
    assert (image.channels, image.sides, image.elements, image.is_image) == (3, (4, 5), 60, True)
    assert (audio.is_image, str(audio), str(image)) == (False, "2×100", "3×4×5")


@pytest.mark.parametrize("fault", [{"classes": 0}, {"classes": 2, "shape": (1,)}])
def test_a_label_has_classes_and_no_shape(fault: dict[str, object]) -> None:
    given = SimpleNamespace(**{"shape": (), "classes": 2, **fault})
    with pytest.raises(ValueError, match="'y': a label has shape"):
        Input("y", given.shape, "label", classes=given.classes)


def test_inputs_know_their_dtype() -> None:
    assert Input("z", (1,), "normal").dtype == "float32"
    assert Input("y", (), "label", classes=2).dtype == "int64"
    assert Input("x", (1, 2, 2), "data").dtype == "float32"
    assert Input("y", (), "data", array="labels").dtype == "int64"


def test_a_recipe_refuses_decay_rates_that_no_optimizer_takes() -> None:
    for betas in ((1.0, 0.9), (0.5, -0.1), (2.0, 3.0), (float("nan"), 0.9)):
        with pytest.raises(ValueError, match="at least 0 and less than 1"):
            Recipe(betas=betas)


def test_each_role_has_its_step_size() -> None:
    assert Recipe(learning_rate=0.1).learning_rate_of("discriminator") == 0.1
    both = Recipe(learning_rate=0.1, discriminator_rate=0.3)
    assert (both.learning_rate_of("generator"), both.learning_rate_of("discriminator")) == (0.1, 0.3)


class _Centred(nn.Module):
    """A generator of a third party, whose samples lie around the mean of the data."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__()
        self.body = TinyGenerator(spec)
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(spec.shape))

    def forward(self, z: Tensor) -> Tensor:
        made: Tensor = self.body(z) + self.mean
        return made


def test_a_game_reads_the_data_before_its_first_step_and_a_checkpoint_keeps_what_it_learned() -> None:
    calls: list[int] = []

    def build(config: object, spec: SampleSpec, recipe: Recipe) -> Game:
        torch.manual_seed(0)
        generator = _Centred(spec)

        def begin(rows: Rows) -> None:
            read = torch.cat(list(rows("real", 1000)))
            calls.append(len(read))
            generator.mean.copy_(read.mean(0))

        objective = objectives.make("hinge")
        game = two_player(generator, TinyDiscriminator(spec), objective, spec=spec, latent_dim=4)
        return replace(game, begin=begin)

    architecture, recipe = Architecture("centred", "", NoOptions, build), Recipe(batch_size=4)

    def state(data: Dataset) -> State:
        return State(architecture, NoOptions(), recipe, data, seed=0, device=torch.device("cpu"), precision="fp32")

    def mean(data: Dataset) -> Tensor:
        return torch.from_numpy(data.images.astype("float32")).mean(0) / 127.5 - 1

    many, few = dataset(30, (1, 4, 4)), dataset(7, (1, 4, 4))
    one = state(many)
    assert calls == [30]
    assert torch.allclose(one.sampling_generator().mean, mean(many), atol=1e-5)
    iterate(one)
    saved = one.state_dict()
    other = state(few)
    assert torch.allclose(other.sampling_generator().mean, mean(few), atol=1e-5)
    other.load_state_dict(saved)
    assert torch.allclose(other.sampling_generator().mean, mean(many), atol=1e-5)
    # a fine-tuned one learns of its own data, after it took the weights
    tuned = state(few)
    finetune.take(tuned, saved, "one")
    assert calls == [30, 7, 7, 7]
    for module in (tuned.game.generator, tuned.sampling_generator()):
        assert torch.allclose(module.mean, mean(few), atol=1e-5)
    assert torch.equal(tuned.game.generator.body.linear.weight, one.game.generator.body.linear.weight)


class _Counted(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.module(x)  # type: ignore[no-any-return]


def _alternating(recipe: Recipe, steps: int = 4) -> tuple[State, _Counted]:
    counted: list[_Counted] = []

    def build(config: object, spec: SampleSpec, recipe: Recipe) -> Game:
        torch.manual_seed(0)
        counted.append(_Counted(TinyGenerator(spec)))
        networks = counted[0], TinyDiscriminator(spec)
        return two_player(*networks, objectives.make("nonsaturating"), spec=spec, latent_dim=4)

    architecture = Architecture("tiny", "", NoOptions, build, recipe)
    data = dataset(shape=(1, 4, 4))
    state = State(architecture, NoOptions(), recipe, data, seed=0, device=torch.device("cpu"), precision="fp32")
    for module in state.game.modules().values():
        module.double()
    draw = state.sampler.draw
    state.sampler.draw = lambda names: {k: t.double() for k, t in draw(names).items()}  # type: ignore[method-assign]
    for _ in range(steps):
        iterate(state)
    return state, counted[0]


def _by_hand(recipe: Recipe, steps: int = 4, together: bool = False) -> tuple[nn.Module, nn.Module]:
    """The loop of the DCGAN tutorial; `together`: both gradients at the weights that the iteration began with."""
    spec, data = SampleSpec((1, 4, 4)), dataset(shape=(1, 4, 4))
    torch.manual_seed(0)
    generator, discriminator = TinyGenerator(spec).double(), TinyDiscriminator(spec).double()
    sampler = Sampler(_alternating(recipe, 0)[0].game.draws, data, recipe.batch_size, 0, torch.device("cpu"))
    rates = {"lr": recipe.learning_rate, "betas": recipe.betas}
    adam_g = torch.optim.Adam(generator.parameters(), **rates)  # type: ignore[arg-type]
    adam_d = torch.optim.Adam(discriminator.parameters(), **rates)  # type: ignore[arg-type]
    loss = nn.BCEWithLogitsLoss()
    for _ in range(steps):
        real, z = (t.double() for t in sampler.draw(("real", "z")).values())
        fake = generator(z)
        ones, zeros = torch.ones(len(real), dtype=real.dtype), torch.zeros(len(real), dtype=real.dtype)
        judged = discriminator(fake) if together else None
        adam_d.zero_grad()
        (loss(discriminator(real), ones) + loss(discriminator(fake.detach()), zeros)).backward()
        gradients = [p.grad.clone() for p in discriminator.parameters() if p.grad is not None]
        if judged is None:
            adam_d.step()
        adam_g.zero_grad()
        loss(discriminator(fake) if judged is None else judged, ones).backward()
        if judged is not None:
            for parameter, gradient in zip(discriminator.parameters(), gradients, strict=True):
                parameter.grad = gradient
            adam_d.step()
        adam_g.step()
    return generator, discriminator


@pytest.mark.parametrize("updates", ["alternating", "simultaneous"])
def test_an_iteration_is_the_tutorials_and_makes_its_fakes_once(updates: str) -> None:
    recipe = Recipe(batch_size=8, learning_rate=0.01, updates=updates, ema_decay=0)  # type: ignore[arg-type]
    state, counted = _alternating(recipe)
    assert counted.calls == 4
    generator, discriminator = _by_hand(recipe, together=updates == "simultaneous")
    for mine, wanted in ((counted.module, generator), (state.game.players[0].modules["discriminator"], discriminator)):
        for one, two in zip(mine.parameters(), wanted.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


def test_fakes_of_other_latents_are_made_anew() -> None:
    spec = SampleSpec((1, 4, 4))
    counted = _Counted(TinyGenerator(spec))
    game = two_player(counted, TinyDiscriminator(spec), objectives.make("hinge"), spec=spec, latent_dim=4)
    judge, make = game.players
    z, other = torch.randn(3, 4), torch.randn(3, 4)
    judge.loss({"real": torch.zeros(3, 1, 4, 4), "z": z})
    first = make.loss({"z": other}).terms["adversarial"]
    assert counted.calls == 2
    assert torch.equal(first, make.loss({"z": other}).terms["adversarial"])
    assert counted.calls == 3
    with torch.no_grad():
        judge.loss({"real": torch.zeros(3, 1, 4, 4), "z": z})
    assert make.loss({"z": z}).terms["adversarial"].requires_grad


def test_simultaneous_updates_are_refused_where_they_mean_nothing() -> None:
    with pytest.raises(GantoolError, match="every player moves once") as caught:
        _alternating(Recipe(updates="simultaneous", discriminator_steps=2))
    assert "--discriminator-steps 1" in caught.value.hint


def test_a_game_of_several_generators_has_each_as_the_first() -> None:
    to_b, to_a = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    spec = SampleSpec((1, 4, 4))
    a, b = Input("a", spec.shape, "data", label=0), Input("b", spec.shape, "data", label=1)
    game = Game(
        to_b, (_player("x", "a", "b"),), (a,), (b,), spec, name="a-to-b", others={"b-to-a": Export(to_a, (b,), spec)}
    )
    assert list(game.exports) == ["a-to-b", "b-to-a"]
    assert game.compared == b
    other = game.of("b-to-a")
    assert (other.generator, other.inputs, other.compared, other.name) == (to_a, (b,), a, "b-to-a")
    assert other.of("a-to-b") == game
    assert {name.split(".")[0] for name in game.generators.state_dict()} == {"a-to-b", "b-to-a"}


@pytest.mark.parametrize("name", ["", "A to B", "../a", "b-to-a"])
def test_a_name_that_no_generator_can_have_is_an_error(name: str) -> None:
    spec = SampleSpec((1, 4, 4))
    with pytest.raises(ValueError, match="needs a name of its own"):
        Game(nn.Identity(), (), (), (), spec, name=name, others={"b-to-a": Export(nn.Identity(), (), spec)})


@pytest.mark.parametrize("item", [("z", (4,), "normal"), ("a", (1, 4, 6), "data")])
def test_only_pictures_of_fitting_sides_have_a_multiple(item: tuple[str, tuple[int, ...], Any]) -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        Input(*item, multiple=4)
    assert Input("a", (1, 4, 8), "data", multiple=4).is_picture
