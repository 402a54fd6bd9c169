"""A tiny GAN with a lazy R1 penalty (Mescheder et al. 2018, arXiv:1801.04406), a player of every second iteration."""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel, Field
from torch import nn

from gantool.plugin import objectives
from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.game import Batch, Game, Loss, Player
from gantool.plugin.hookspecs import hookimpl
from support.trainings import tiny_game


class Config(BaseModel, frozen=True, extra="forbid"):
    gamma: float = Field(10.0, ge=0, description="weight of R1")
    every: int = Field(2, ge=1, description="iterations from one R1 to the next")
    shares: bool = Field(True, description="R1 moves with the discriminator's optimizer")


def discriminator(spec: SampleSpec, bias: bool = True) -> nn.Module:
    """Sample → logit (N,). The slope does not depend on the last bias: R1 gives it no gradient."""
    last = nn.Linear(16, 1, bias=bias)
    return nn.Sequential(nn.Flatten(), nn.Linear(spec.elements, 16), nn.Softplus(), last, nn.Flatten(0))


def build(config: Config, spec: SampleSpec, recipe: Recipe) -> Game:
    judge = discriminator(spec)
    game = tiny_game(spec, discriminator=judge)

    def loss(batch: Batch) -> Loss:
        return Loss({"r1": config.gamma * config.every * objectives.r1(judge, batch["real"])})

    owner = "discriminator" if config.shares else None
    r1 = Player("r1", "discriminator", {"judge": judge}, loss, ("real",), every=config.every, shares=owner)
    return replace(game, players=(*game.players, r1), together=None)


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="tiny-r1",
            summary="two linear layers and a lazy R1",
            config=Config,
            recipe=Recipe(steps=100, batch_size=8),
            build=build,
            examples=(SampleSpec((1, 8, 8)),),
        )
    ]
