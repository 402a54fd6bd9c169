"""`gan3d`: volumes by three-dimensional convolutions (Wu, Zhang, Xue, Freeman & Tenenbaum 2016, arXiv:1610.07584).

The networks are those of 3D-GAN; the preset `paper` has its sizes. The loss is the relativistic one of R3GAN (Huang et
al. 2024, arXiv:2501.05441) with zero-centred gradient penalties, so the discriminator has no normalisation, and needs
none of the paper's rule when to skip its steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gantool_r3gan import short_recipe
from pydantic import BaseModel, Field

from gantool.plugin import Architecture, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Game

GAMMA, GAMMA_BATCH, GAMMA_SIDE = 1.0, 64, 16  # weight of R1 and R2: for which batch size and side


class GAN3DConfig(BaseModel, frozen=True, extra="forbid"):
    latent_dim: int = Field(200, ge=1, le=4096, description="size of z")
    width: int = Field(
        32, ge=1, le=4096, description="channels of the smallest map, 4 voxels a side; halved each time that is doubled"
    )
    embed_dim: int = Field(64, ge=1, le=4096, description="size of a class, where the data has labels")
    gamma: float | None = Field(
        None, gt=0, description="weight of R1 and R2 at the beginning; none: by side and batch size"
    )


def build(config: GAN3DConfig, spec: SampleSpec, recipe: Recipe) -> Game:
    """GantoolError for data that is no cubes of a side it can make."""
    from gantool.plugin import objectives, two_player
    from gantool_gan3d.networks import Discriminator, Generator, widths

    channels = widths(spec, config.width)
    embed = config.embed_dim if spec.classes else 0
    gamma = config.gamma or GAMMA * GAMMA_BATCH / recipe.batch_size * (spec.sides[0] / GAMMA_SIDE) ** 3
    return two_player(
        Generator(spec, channels, config.latent_dim, embed),
        Discriminator(spec, channels, embed),
        objectives.Relativistic(),
        spec=spec,
        latent_dim=config.latent_dim,
        zero_centred=objectives.scheduled(recipe, gamma, gamma / 10),
        classes=spec.classes,
    )


LONGER = {"steps": 20_000, "ema_half_life": 20_000.0}


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="gan3d",
            summary="volumes of 16, 32 or 64 voxels a side; relativistic loss, R1 and R2",
            config=GAN3DConfig,
            recipe=short_recipe(steps=4_000, batch_size=32),
            build=build,
            presets={
                "tiny": {},
                "small": {"width": 128, "batch_size": 64, "learning_rate": 5e-4, **LONGER},
                "paper": {"width": 512, "batch_size": 100, "learning_rate": 2e-4, **LONGER},
            },
            examples=(SampleSpec((1, 32, 32, 32)), SampleSpec((1, 16, 16, 16), classes=3)),
        )
    ]
