"""`dcgan`: deep convolutional GAN (Radford, Metz & Chintala 2015, arXiv:1511.06434)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gantool.plugin import Architecture, ObjectiveOptions, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Game


class DCGANConfig(ObjectiveOptions):
    latent_dim: int = Field(100, ge=1, le=4096, description="size of z")
    width: int = Field(64, ge=1, le=1024, description="channels of the layer next to the image")
    max_width: int = Field(
        512, ge=1, le=4096, description="most channels of any layer; they double away from the image"
    )


def build(config: DCGANConfig, spec: SampleSpec, recipe: Recipe) -> Game:
    from gantool.plugin import objectives, two_player
    from gantool_dcgan.networks import Discriminator, Generator

    return two_player(
        Generator(spec, config.latent_dim, config.width, config.max_width),
        Discriminator(spec, config.width, config.max_width),
        objectives.make(config.objective, label_smoothing=config.label_smoothing),
        spec=spec,
        latent_dim=config.latent_dim,
    )


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="dcgan",
            summary="deep convolutional GAN; images of 16 to 256 pixels a side, or 28",
            config=DCGANConfig,
            # chosen by benchmarks/quality.py; the paper's 2e-4 and (0.5, 0.999) take several times as long
            recipe=Recipe(steps=5_000, batch_size=64, learning_rate=5e-4, betas=(0.5, 0.9), ema_decay=0.999),
            build=build,
            examples=(SampleSpec((1, 28, 28)), SampleSpec((3, 32, 32)), SampleSpec((1, 16, 16))),
        )
    ]
