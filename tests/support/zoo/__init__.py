"""The zoo: small generators with the layers and idioms of public GAN code, as a plugin `zoo-NAME` each.

`layers` has one layer each between a common stem and head; `idioms` has forwards of their own. `examine` trains,
exports and compares one of them; `keeper` runs that in child processes, which may crash.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from gantool.data import Dataset
from gantool.plugin import objectives
from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.game import Batch, Game, Loss, Player
from gantool.plugin.hookspecs import DataSource, hookimpl
from support.trainings import NoOptions
from support.zoo import idioms, layers
from support.zoo.member import Member

MEMBERS: dict[str, Member] = {**layers.MEMBERS, **idioms.MEMBERS}


class Judge(nn.Module):
    """Sample (N, …) → score (N,)."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.elements, 1)

    def forward(self, sample: Tensor) -> Tensor:
        return self.linear(sample.flatten(1)).squeeze(1)


def build(member: Member) -> Game:
    """A game of two players whose losses ask for samples alone: any inputs, and a tuple's first tensor."""
    spec = SampleSpec(member.shape, classes=member.classes)
    generator, judge = member.make(), Judge(spec)
    objective = objectives.NonSaturating()
    names = tuple(item.name for item in member.inputs)

    def made(batch: Batch) -> Tensor:
        sample = generator(*(batch[name] for name in names))
        return (sample[0] if isinstance(sample, tuple) else sample).float()

    def judge_loss(batch: Batch) -> Loss:
        return Loss(*objective.discriminator(judge(batch["real"]), judge(made(batch).detach())))

    def generator_loss(batch: Batch) -> Loss:
        return Loss({"adversarial": objective.generator(judge(made(batch)))})

    return Game(
        generator,
        (
            Player("discriminator", "discriminator", {"judge": judge}, judge_loss, ("real", *names)),
            Player("generator", "generator", {"generator": generator}, generator_loss, names),
        ),
        member.inputs,
        (member.real,),
        spec,
    )


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name=f"zoo-{name}",
            summary=name,
            config=NoOptions,
            recipe=Recipe(steps=1, batch_size=4, ema_decay=0.5),
            build=lambda config, spec, recipe, member=member: build(member),
            examples=(SampleSpec(member.shape, member.classes),),
        )
        for name, member in MEMBERS.items()
    ]


@hookimpl
def gantool_datasets() -> list[DataSource]:
    return [
        DataSource(f"zoo-{name}", name, lambda size, member=member: noise(member)) for name, member in MEMBERS.items()
    ]


def noise(member: Member) -> Dataset:
    """Random samples of its shape, with labels in turn."""
    samples = np.random.default_rng(0).integers(0, 256, (12, *member.shape), dtype=np.uint8)
    labels = {"labels": np.arange(12) % member.classes} if member.classes else {}
    return Dataset("noise", "noise", {"images": samples, **labels})
