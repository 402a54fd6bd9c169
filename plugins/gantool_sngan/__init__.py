"""`sngan`: residual networks, spectral normalisation in the discriminator, hinge loss (Miyato, Kataoka, Koyama &
Yoshida 2018, arXiv:1802.05957).

The networks are those of the paper's appendix B.4 (tables 4 to 6), and so is the recipe (Adam with betas 0 and 0.9,
batches of 64), but for the discriminator's steps and the step size, for which there are figures beside it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gantool.plugin import Architecture, ObjectiveOptions, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Game


class SNGANConfig(ObjectiveOptions):
    objective: Literal["nonsaturating", "lsgan", "hinge"] = Field("hinge", description="pair of losses")
    latent_dim: int = Field(128, ge=1, le=4096, description="size of z")
    width: int = Field(32, ge=1, le=1024, description="channels of the block next to the image")
    max_width: int = Field(
        256, ge=1, le=4096, description="most channels of any block; they double away from the image"
    )


def build(config: SNGANConfig, spec: SampleSpec, recipe: Recipe) -> Game:
    from gantool.plugin import objectives, two_player
    from gantool_sngan.networks import Discriminator, Generator, follow

    discriminator = Discriminator(spec, config.width, config.max_width)
    game = two_player(
        Generator(spec, config.latent_dim, config.width, config.max_width),
        discriminator,
        objectives.make(config.objective, label_smoothing=config.label_smoothing),
        spec=spec,
        latent_dim=config.latent_dim,
    )
    judge, maker = game.players
    return replace(game, players=(replace(judge, after_step=lambda: follow(discriminator)), maker))


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="sngan",
            summary="residual networks, spectral normalisation, hinge loss; images of 16 to 128 pixels a side",
            config=SNGANConfig,
            # The paper takes five discriminator steps and 2e-4. On the digits at 32 pixels (width 16), in the same time
            # (90 s of one core), the Fréchet distance fell to 279 in 150 iterations of five, to 123 in 530 of one.
            # With twice the step size it was 76 after 800, 31 after 1,600 (six minutes of one core).
            recipe=Recipe(steps=3_000, batch_size=64, learning_rate=4e-4, betas=(0.0, 0.9), ema_decay=0.999),
            build=build,
            examples=(SampleSpec((1, 28, 28)), SampleSpec((3, 16, 16))),
        )
    ]
