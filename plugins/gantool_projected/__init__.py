"""`projected`: a light generator, judged by the features of a trained network (Sauer, Chitta, Müller & Geiger 2021,
arXiv:2111.01007).

The discriminators see frozen features of EfficientNet-Lite0 at four scales, mixed by random projections. Training needs
far fewer images than without. The generator is FastGAN's (Liu, Zhu, Song & Elgammal 2021, arXiv:2101.04775), without
its noise: an image is a function of z alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from gantool.plugin import Architecture, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Game


class ProjectedConfig(BaseModel, frozen=True, extra="forbid"):
    latent_dim: int = Field(256, ge=1, le=4096, description="size of z")
    width: int = Field(
        16, ge=4, le=256, description="channels of the generator's map of 64 pixels; smaller maps have more"
    )
    judge_width: int = Field(32, ge=8, le=256, description="channels of the finest features; coarser ones have more")
    view: int | None = Field(
        None,
        ge=64,
        le=512,
        multiple_of=32,
        description="side to which images are resized for the features; default: that of the images, at least 64",
    )


def build(config: ProjectedConfig, spec: SampleSpec, recipe: Recipe) -> Game:
    from gantool_sngan.networks import follow

    from gantool.plugin import objectives, two_player
    from gantool_projected.networks import Discriminator, Generator

    discriminator = Discriminator(spec, config.judge_width, config.view)
    game = two_player(
        Generator(spec, config.latent_dim, config.width),
        discriminator,
        objectives.Hinge(),
        spec=spec,
        latent_dim=config.latent_dim,
    )
    judge, maker = game.players
    return replace(game, players=(replace(judge, after_step=lambda: follow(discriminator)), maker))


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="projected",
            summary="judged by features of a trained network: good soon; images of 16 to 256 pixels a side",
            config=ProjectedConfig,
            # The paper's: Adam 2e-4 with betas 0 and 0.99, batches of 64.
            recipe=Recipe(steps=4_000, batch_size=64, learning_rate=2e-4, betas=(0.0, 0.99), ema_decay=0.998),
            build=build,
            # on a CPU the generator takes most of a step; FastGAN has 64 channels at 64 pixels
            presets={
                "tiny": {},
                "small": {"width": 32},
                "paper": {"width": 64, "judge_width": 64},
            },
            examples=(SampleSpec((1, 28, 28)), SampleSpec((3, 16, 16))),
        )
    ]
