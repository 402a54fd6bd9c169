"""A tiny relativistic GAN with R1 and R2 (Huang et al. 2024, arXiv:2501.05441), schedules, and its own optimizer."""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel, Field

from gantool.plugin import objectives
from gantool.plugin.architecture import Architecture, Optimizer, Recipe, SampleSpec
from gantool.plugin.game import Game, two_player
from gantool.plugin.hookspecs import hookimpl
from support.tiny_r1 import discriminator
from support.trainings import TinyGenerator


class Config(BaseModel, frozen=True, extra="forbid"):
    gamma: float = Field(2.0, ge=0, description="weight of R1 and R2 at the beginning")


def build(config: Config, spec: SampleSpec, recipe: Recipe) -> Game:
    game = two_player(
        TinyGenerator(spec),
        discriminator(spec, bias=False),  # differences of scores have no gradient by it but rounding
        objectives.Relativistic(),
        spec=spec,
        latent_dim=4,
        zero_centred=objectives.scheduled(recipe, config.gamma, config.gamma / 10),
    )
    judge, maker = game.players
    own = Optimizer(recipe.learning_rate / 2, betas=(0.0, 0.9))
    return replace(game, players=(judge, replace(maker, optimizer=own)))


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="tiny-r3",
            summary="two linear layers, relativistic, R1 and R2",
            config=Config,
            recipe=Recipe(
                steps=100,
                batch_size=8,
                betas=(0.0, 0.9),
                ema_half_life=64,
                ema_ramp=0.05,
                schedule="cosine",
                schedule_until=0.8,
                final_rate=0.25,
                final_beta2=0.99,
            ),
            build=build,
            examples=(SampleSpec((1, 8, 8)),),
        )
    ]
