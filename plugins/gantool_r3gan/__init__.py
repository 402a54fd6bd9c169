"""`r3gan`: a relativistic GAN with zero-centred gradient penalties (Huang, Gokaslan, Kuleshov & Tompkin 2024,
arXiv:2501.05441).

Networks, initialisation, loss and schedules are those of the paper; its sizes are the preset `paper`. The small presets
are for CPUs: their step sizes and number of images are not the paper's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from gantool.plugin import Architecture, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Game
    from gantool.plugin.objectives import Objective

# γ by the side of an image, for batches of GAMMA_BATCH. The paper has 0.05 in batches of 512 (CIFAR-10, 32 pixels), 2
# (FFHQ, 64) and 150 (FFHQ, 256) in batches of 256; other sides are in between. Small batches need more, in inverse
# proportion as in StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676): of digits in batches of 64, those of a class
# were all alike with 0.05 (after 250 steps), and are not with 0.4 (after 500)
GAMMAS = {16: 0.1, 28: 0.1, 32: 0.1, 48: 0.6, 64: 2.0, 96: 8.0, 128: 20.0, 256: 150.0}
GAMMA_BATCH = 256


class R3GANConfig(BaseModel, frozen=True, extra="forbid"):
    latent_dim: int = Field(64, ge=1, le=4096, description="size of z")
    channel_base: int = Field(
        320, ge=16, le=2**20, description="channels of a map times its side: 512 makes 16 at 32 pixels, 32 at 16"
    )
    max_width: int = Field(128, ge=8, le=4096, description="most channels of any map")
    blocks: int = Field(1, ge=1, le=16, description="residual blocks of each resolution, in each network")
    group_width: int = Field(8, ge=1, le=4096, description="channels of a group of a 3×3 convolution")
    embed_dim: int = Field(64, ge=1, le=4096, description="size of a class, where the data has labels")
    gamma: float | None = Field(
        None, gt=0, description="weight of R1 and R2 at the beginning; none: by side and batch size"
    )


def build(config: R3GANConfig, spec: SampleSpec, recipe: Recipe, objective: Objective | None = None) -> Game:
    """`objective`: in place of the relativistic loss."""
    from gantool.plugin import objectives, two_player
    from gantool_r3gan.networks import Discriminator, Generator, stages

    layout = stages(spec, config.channel_base, config.max_width, config.group_width)
    sizes = layout, config.blocks, config.group_width
    gamma = config.gamma or GAMMAS[spec.sides[0]] * GAMMA_BATCH / recipe.batch_size
    return two_player(
        Generator(spec, *sizes, config.latent_dim, config.embed_dim),
        Discriminator(spec, *sizes, config.embed_dim),
        objective or objectives.Relativistic(),
        spec=spec,
        latent_dim=config.latent_dim,
        zero_centred=objectives.scheduled(recipe, gamma, gamma / 10),
        classes=spec.classes,
    )


# at the sizes of the small networks the step size of the paper's is too slow
SLOWER = {"steps": 20_000, "learning_rate": 5e-4, "ema_half_life": 20_000.0}
# FFHQ at 64 and 256 pixels: 150 M images in batches of 256, schedules over the first 20 M
PAPER = {
    "channel_base": 24_576,
    "max_width": 768,
    "blocks": 2,
    "group_width": 16,
    "steps": 586_000,
    "batch_size": 256,
    "learning_rate": 2e-4,
    "ema_half_life": 500_000.0,
    "schedule_until": 0.133,
}


def short_recipe(steps: int, batch_size: int) -> Recipe:
    """The paper's optimizer and schedules, with a step size and an average for few epochs on a CPU.

    `gantool_wavegan` and `gantool_gan3d` train on this loss with it, too.
    """
    return Recipe(
        steps=steps,
        batch_size=batch_size,
        learning_rate=1e-3,
        betas=(0.0, 0.9),
        ema_half_life=10_000,
        ema_ramp=0.05,
        schedule="cosine",
        final_rate=0.25,
        final_beta2=0.99,
    )


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="r3gan",
            summary="relativistic loss, R1 and R2, residual networks; images of 16 to 256 pixels",
            config=R3GANConfig,
            recipe=short_recipe(steps=5_000, batch_size=64),
            build=build,
            presets={
                "tiny": {},
                "small": {"channel_base": 2048, "max_width": 256, "blocks": 2, "group_width": 16, **SLOWER},
                "paper": PAPER,
            },
            examples=(SampleSpec((1, 28, 28)), SampleSpec((3, 16, 16), classes=3)),
        )
    ]
