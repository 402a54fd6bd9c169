"""The adversarial game: players, each with a loss of its own, and the generator that is exported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from gantool.plugin import objectives
from gantool.plugin.architecture import Input, Optimizer, Role, SampleSpec
from gantool.plugin.objectives import Objective

Batch = Mapping[str, Tensor]
Rows = Callable[[str, int], Iterator[Tensor]]
"""(name of a `data` input, n) → n rows of it, or all where there are fewer, at random and some at a time (N, *shape).

Always the same rows; samples are float32 in [-1, 1].
"""
_NAME = re.compile("[a-z0-9]+(-[a-z0-9]+)*")  # of a generator: part of paths and options


@dataclass(frozen=True)
class Loss:
    """What a player's loss function returns: scalar terms, whose sum is minimised, and scalar measures.

    Both are logged under the player's name; measures (an accuracy, a distance) are only logged.
    """

    terms: Mapping[str, Tensor]
    measures: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Player:
    """One side of a game: it owns `modules` and minimises `loss`.

    `loss(batch)` gets the inputs named in `draws`, freshly drawn; it never samples, zeroes, steps or reads a value
    back. While a player moves, the loop freezes the parameters of all others, so a loss needs no `detach`.
    `steps`: moves an iteration (None: the recipe's for a discriminator, 1 for a generator). `every`: move in every
    n-th iteration only (lazy regularisers). `after_step`: run without gradients after each move (weight clipping).
    `shares`: the name of the player whose optimizer it moves with, some of whose parameters it has; None: it has an
    optimizer of its own. A lazy regulariser needs it: Adam divides a gradient by its usual size, so with an Adam of its
    own the weight of a loss cancels (StyleGAN2 has one optimizer for both; Karras et al. 2020, arXiv:1912.04958).
    `optimizer`: its kind, rate and betas; None: the recipe's.
    `reuses`: those of `draws` for which it gets the previous player's tensors of the same iteration, if there are any.
    """

    name: str
    role: Role
    modules: Mapping[str, nn.Module]
    loss: Callable[[Batch], Loss]
    draws: tuple[str, ...]
    steps: int | None = None
    every: int = 1
    after_step: Callable[[], None] | None = None
    reuses: tuple[str, ...] = ()
    shares: str | None = None
    optimizer: Optimizer | None = None

    def parameters(self) -> list[nn.Parameter]:
        """Trainable parameters of all modules, each once."""
        unique: dict[int, nn.Parameter] = {}
        for module in self.modules.values():
            unique.update((id(p), p) for p in module.parameters() if p.requires_grad)
        return list(unique.values())


@dataclass(frozen=True)
class Export:
    """One of several generators of a game. The fields are as in `Game`."""

    generator: nn.Module
    inputs: tuple[Input, ...]
    output: SampleSpec
    reals: str = ""


@dataclass(frozen=True)
class Game:
    """A generator, or several, and the players that train them.

    `inputs`: what the generator takes, in call order; they become the inputs of the exported files. `data`: what else a
    batch can hold (the reals). `output`: the sample that the generator makes. `together(batch)`: for recipes with
    simultaneous updates, the losses of all players by name, from one pass at the same weights; its batch holds what all
    players draw. None: the players can only alternate.

    `reals`: the data that figures compare samples with; "": the first of the shape of `output` that the generator does
    not take. When the generator takes a picture and they are drawn together, each sample has a real of its own.

    `others`: further generators by name, as CycleGAN (Zhu et al. 2017, arXiv:1703.10593) has two; `name` is then that
    of the first. Each gets an average, a grid of samples and exported files of its own.

    `begin(rows)`: fills buffers of the game's modules with what it must know of the data (means, components, examples).
    It is called when a training is opened, before the first step. A checkpoint holds the buffers; a resume calls it,
    too, and then loads them. When a training starts from the weights of another (`--init-from`) it is called a second
    time, after these were loaded.
    """

    generator: nn.Module
    players: tuple[Player, ...]
    inputs: tuple[Input, ...]
    data: tuple[Input, ...]
    output: SampleSpec
    together: Callable[[Batch], Mapping[str, Loss]] | None = None
    reals: str = ""
    name: str = ""
    others: Mapping[str, Export] = field(default_factory=dict)
    begin: Callable[[Rows], None] | None = None

    def __post_init__(self) -> None:
        known = list(dict.fromkeys(item.name for item in (*self.inputs, *self.data, *self.draws.values())))
        for player in self.players:
            missing = [name for name in player.draws if name not in known]
            if missing:
                raise ValueError(f"player {player.name!r} draws {missing}, but the game declares {known}")
        if len({p.name for p in self.players}) != len(self.players):
            raise ValueError("two players have one name")
        for export in self.exports.values():
            if any(item.distribution == "progress" for item in export.inputs):
                raise ValueError(
                    "a generator can't take the progress of a training, which an exported file has none of"
                )
            if export.reals and (export.reals not in known or self.draws[export.reals].shape != export.output.shape):
                raise ValueError(f"the reals {export.reals!r} are no data of the shape {export.output}")
        wrong = [name for name in self.exports if not _NAME.fullmatch(name)] if self.name or self.others else []
        if wrong or len(self.exports) != 1 + len(self.others):
            raise ValueError(f"each of several generators needs a name of its own, in a-z, 0-9 and '-': {wrong}")
        for player in self.players:
            self._check_shares(player)

    def _check_shares(self, player: Player) -> None:
        owners = {p.name: p for p in self.players if p.shares is None}
        if player.shares is None:
            return
        if player.optimizer:
            raise ValueError(f"player {player.name!r} shares an optimizer, so it can have none of its own")
        if player.shares not in owners:
            raise ValueError(
                f"player {player.name!r} shares the optimizer of {player.shares!r}; those with one are {list(owners)}"
            )
        owned = {id(parameter) for parameter in owners[player.shares].parameters()}
        if any(id(parameter) not in owned for parameter in player.parameters()):
            raise ValueError(
                f"player {player.name!r} shares the optimizer of {player.shares!r}, "
                "so it can move parameters of that player only"
            )

    @property
    def draws(self) -> dict[str, Input]:
        """Everything that a batch can hold, by name."""
        taken = [item for export in self.exports.values() for item in export.inputs]
        return {i.name: i for i in (*self.data, *taken)}

    @property
    def exports(self) -> dict[str, Export]:
        """All generators, by name; the only one of a game is called ""."""
        return {self.name: Export(self.generator, self.inputs, self.output, self.reals), **self.others}

    @property
    def generators(self) -> nn.Module:
        """All generators as one module: the only one itself, or a ModuleDict by name."""
        if not self.others:
            return self.generator
        return nn.ModuleDict({name: export.generator for name, export in self.exports.items()})

    def of(self, which: str) -> Game:
        """The same game with another of its generators as the first."""
        others = self.exports
        return replace(self, **vars(others.pop(which)), name=which, others=others)

    @property
    def compared(self) -> Input | None:
        """The data that figures compare the first generator's samples with; None: there are none of that shape."""
        if self.reals:
            return self.draws[self.reals]
        taken = [item.name for item in self.inputs]
        fits = [i for i in self.draws.values() if i.distribution == "data" and i.shape == self.output.shape]
        return next((i for i in fits if i.name not in taken), fits[0] if fits else None)

    @property
    def source(self) -> Input | None:
        """The picture that the first generator takes; None: it takes none."""
        return next((item for item in self.inputs if item.is_picture), None)

    def modules(self) -> dict[str, nn.Module]:
        """Every module of the game under a stable name; one shared by several players appears once."""
        named: dict[str, nn.Module] = {}
        seen: set[int] = set()
        for player in self.players:
            for name, module in player.modules.items():
                if id(module) not in seen:
                    seen.add(id(module))
                    named[f"{player.name}.{name}"] = module
        for name, export in self.exports.items():
            if id(export.generator) not in seen and any(True for _ in export.generator.state_dict()):
                seen.add(id(export.generator))
                named[f"generator {name}".rstrip()] = export.generator
        return named


def two_player(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    spec: SampleSpec,
    latent_dim: int,
    penalty: float = 0.0,
    zero_centred: float | Callable[[Tensor], Tensor] = 0.0,
    clip: float = 0.0,
    classes: int = 0,
    further: tuple[Input, ...] = (),
) -> Game:
    """The common game: z (N, latent_dim) → sample (N, *spec.shape), judged by a discriminator → score (N,).

    `penalty`: weight of the gradient penalty (Gulrajani et al. 2017); `zero_centred`: weight γ of R1 and R2 in every
    step (`objectives.zero_centred`), a number or a function of the progress of the training (float32 scalar in [0, 1]),
    such as `objectives.scheduled` makes; `clip`: bound of the discriminator's weights after each of its steps (Arjovsky
    et al. 2017); 0 turns each off. With `zero_centred` the players can only alternate.

    `classes`: the number of classes of a conditional game, 0 for none. With classes both networks take a label (N,)
    int64 as their second argument: that of the real, or the one that the fake was made for. The data must have labels.
    Fakes have each class as often as the data does, as in StyleGAN2-ADA (Karras et al. 2020). If the frequencies
    differed, the best discriminator's score would contain log q(y) - log p(y) (Miyato & Koyama 2018, section 3): it
    could tell fakes by their label alone, which no generator can change, and a hinge loss would give rare classes no
    gradient. So a rare class is also trained rarely.

    `further`: what the generator takes after z and the label, such as noise; the discriminator does not get it.
    """
    separate = _has_batch_statistics(discriminator)
    fakes = Fakes(generator)
    inputs: tuple[Input, ...] = (Input("z", (latent_dim,), "normal"),)
    data: tuple[Input, ...] = (Input("real", spec.shape, "data"),)
    if classes:
        inputs += (Input("label", (), "label", classes, like_data=True),)
        data += (Input("real_label", (), "data", array="labels"),)
    labels = inputs[1:]
    inputs += further
    of_fakes, of_labels, of_reals = (tuple(item.name for item in items) for items in (inputs, labels, data))
    of_weight = ("progress",) if callable(zero_centred) else ()
    data += tuple(Input(name, (), "progress") for name in of_weight)
    of_generator = (*of_fakes, *(of_reals if objective.sees_reals else ()))

    def judged(batch: Batch, fake: Tensor, judge: Callable[..., tuple[Tensor, ...]]) -> tuple[tuple[Tensor, ...], ...]:
        """What `judge` makes of the reals and of the fakes; each tensor of it has a row a sample."""
        reals, others = _of(batch, of_reals), (fake, *_of(batch, of_labels))
        if separate:  # mixed batch statistics would be another algorithm
            return judge(*reals), judge(*others)
        made = judge(*(torch.cat(pair) for pair in zip(reals, others, strict=True)))  # the same in one pass
        return tuple(zip(*(tensor.tensor_split(2) for tensor in made), strict=True))

    def scores(batch: Batch, fake: Tensor) -> tuple[Tensor, Tensor]:
        (scores_real,), (scores_fake,) = judged(batch, fake, lambda *samples: (discriminator(*samples),))
        return scores_real, scores_fake

    def with_slopes(samples: Tensor, *label: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, and what the penalties are the means of (N,)."""
        return objectives.zero_centred(lambda images: discriminator(images, *label), samples)

    def penalised(batch: Batch, fake: Tensor) -> Loss:
        (scores_real, slopes_real), (scores_fake, slopes_fake) = judged(batch, fake, with_slopes)
        loss = loss_of_scores(batch, fake, scores_real, scores_fake)
        weight = zero_centred(batch["progress"]) if callable(zero_centred) else zero_centred
        penalties = {"r1": weight * slopes_real.mean(), "r2": weight * slopes_fake.mean()}
        return Loss({**loss.terms, **penalties}, loss.measures)

    def loss_of_scores(batch: Batch, fake: Tensor, scores_real: Tensor, scores_fake: Tensor) -> Loss:
        terms, measures = objective.discriminator(scores_real, scores_fake)
        if penalty:
            real, *label = _of(batch, of_reals)
            slope = objectives.gradient_penalty(lambda samples: discriminator(samples, *label), real, fake)
            terms["gradient_penalty"] = penalty * slope
        return Loss(terms, measures)

    def discriminator_loss(batch: Batch) -> Loss:
        fake = fakes.make(_of(batch, of_fakes))
        return penalised(batch, fake) if zero_centred else loss_of_scores(batch, fake, *scores(batch, fake))

    def generator_loss(batch: Batch) -> Loss:
        scores_fake = discriminator(fakes.take(_of(batch, of_fakes)), *_of(batch, of_labels))
        # no gradient passes through the scores of reals, so they need no graph: a pass of their own
        reals = discriminator(*_of(batch, of_reals)) if objective.sees_reals else None
        return Loss({"adversarial": objective.generator(scores_fake, reals)})

    def together(batch: Batch) -> dict[str, Loss]:
        fake = generator(*_of(batch, of_fakes))
        scores_real, scores_fake = scores(batch, fake)
        return {
            "discriminator": loss_of_scores(batch, fake.detach(), scores_real, scores_fake),
            "generator": Loss({"adversarial": objective.generator(scores_fake, scores_real.detach())}),
        }

    def clip_weights() -> None:
        for parameter in discriminator.parameters():
            parameter.clamp_(-clip, clip)

    return Game(
        generator=generator,
        players=(
            Player(
                "discriminator",
                "discriminator",
                {"discriminator": discriminator},
                discriminator_loss,
                draws=(*of_reals, *of_fakes, *of_weight),
                after_step=clip_weights if clip else None,
            ),
            Player(
                "generator", "generator", {"generator": generator}, generator_loss, of_generator, reuses=of_generator
            ),
        ),
        inputs=inputs,
        data=data,
        output=spec,
        together=None if zero_centred else together,
    )


@contextmanager
def taking_gradients(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """A context in which frozen `parameters` take gradients."""
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    yield
    for parameter in frozen:
        parameter.requires_grad_(False)


class Fakes:
    """The fakes of one iteration, made once: the discriminator's turn makes them, the generator's turn reuses them.

    This is the loop of the DCGAN tutorial: both turns have the same latents and the same generator weights.
    """

    def __init__(self, generator: nn.Module) -> None:
        self.generator = generator
        self._kept: tuple[tuple[Tensor, ...], Tensor] | None = None

    def make(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Samples without gradient; their graph is kept for `take`."""
        if torch.compiler.is_compiling():  # no graph outlives a compiled turn
            with torch.no_grad():
                return self.generator(*inputs)  # type: ignore[no-any-return]
        with taking_gradients(self.generator.parameters()):
            fake = self.generator(*inputs)
        self._kept = (inputs, fake) if fake.requires_grad else None
        return fake.detach()  # type: ignore[no-any-return]

    def take(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Samples with gradient: those of `make` if they were made from these very tensors."""
        kept, self._kept = self._kept, None
        same = kept is not None and all(one is two for one, two in zip(kept[0], inputs, strict=True))
        return kept[1] if kept and same else self.generator(*inputs)


def _of(batch: Batch, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    return tuple(batch[name] for name in names)


def _has_batch_statistics(module: nn.Module) -> bool:
    return any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) or getattr(m, "batch_statistics", False)
        for m in module.modules()
    )
