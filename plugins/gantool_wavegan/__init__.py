"""`wavegan`: sounds by one-dimensional convolutions of kernel 25 (Donahue, McAuley & Puckette 2019, arXiv:1802.04208).

The networks are the paper's; its sizes, loss and rates are the preset `paper`. By default the loss is a relativistic
one with zero-centred gradient penalties (Huang et al. 2024, arXiv:2501.05441), which needs one critic step in place of
five, and the networks are small: for a CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gantool_r3gan import short_recipe
from pydantic import BaseModel, Field

from gantool.plugin import Architecture, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Game

# weight of R1 and R2, for which batch size and length: a fifth of it left sounds of a class alike
GAMMA, GAMMA_BATCH, GAMMA_LENGTH = 0.5, 64, 8192


class WaveGANConfig(BaseModel, frozen=True, extra="forbid"):
    latent_dim: int = Field(100, ge=1, le=4096, description="size of z")
    width: int = Field(
        8, ge=1, le=1024, description="channels of the layer next to the sound; they double away from it"
    )
    max_width: int = Field(2048, ge=1, le=8192, description="most channels of any layer")
    phase_shuffle: int = Field(
        2, ge=0, le=7, description="most samples by which the critic's maps are shifted at random, each sound alone"
    )
    post_filter: bool = Field(False, description="end the generator in a learned filter of 512 samples")
    embed_dim: int = Field(64, ge=1, le=4096, description="size of a class, where the data has labels")
    loss: Literal["r3", "wgan-gp"] = Field(
        "r3",
        description="relativistic with R1 and R2, or Wasserstein with a gradient penalty (changes the recipe)",
    )
    gamma: float | None = Field(
        None, gt=0, description="weight of R1 and R2 at the beginning; none: by length and batch size (loss r3)"
    )
    penalty: float = Field(10.0, gt=0, description="weight of the gradient penalty (loss wgan-gp)")


def build(config: WaveGANConfig, spec: SampleSpec, recipe: Recipe) -> Game:
    """GantoolError for data that is no sound of a length it can make."""
    from gantool.plugin import objectives, two_player
    from gantool_wavegan.networks import Critic, Generator, layers

    made = layers(spec, config.width, config.max_width)
    embed = config.embed_dim if spec.classes else 0
    pair = (
        Generator(spec, made, config.latent_dim, embed, post_filter=config.post_filter),
        Critic(spec, made, embed, config.phase_shuffle),
    )
    if config.loss == "wgan-gp":
        return two_player(
            *pair,
            objectives.Wasserstein(),
            spec=spec,
            latent_dim=config.latent_dim,
            penalty=config.penalty,
            classes=spec.classes,
        )
    gamma = config.gamma or GAMMA * GAMMA_BATCH / recipe.batch_size * spec.sides[0] / GAMMA_LENGTH
    return two_player(
        *pair,
        objectives.Relativistic(),
        spec=spec,
        latent_dim=config.latent_dim,
        zero_centred=objectives.scheduled(recipe, gamma, gamma / 10),
        classes=spec.classes,
    )


def recipe(config: WaveGANConfig) -> Recipe:
    """Loss wgan-gp: the paper's; r3: R3GAN's, with smaller steps."""
    if config.loss == "wgan-gp":
        return Recipe(steps=20_000, learning_rate=1e-4, betas=(0.5, 0.9), discriminator_steps=5, ema_decay=0.999)
    return short_recipe(steps=4_000, batch_size=32).model_copy(update={"learning_rate": 5e-4})


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="wavegan",
            summary="sounds of 4,096 to 65,536 samples, mono or stereo; kernel 25, phase shuffle",
            config=WaveGANConfig,
            recipe=recipe,
            build=build,
            presets={
                "tiny": {},
                "small": {
                    "width": 32,
                    "batch_size": 64,
                    "learning_rate": 5e-4,
                    "steps": 20_000,
                    "ema_half_life": 20_000.0,
                },
                "paper": {"width": 64, "loss": "wgan-gp", "steps": 200_000},
            },
            examples=(SampleSpec((2, 8192), rate=16_000), SampleSpec((1, 4096), classes=3, rate=16_000)),
        )
    ]
