"""`wgan`: Wasserstein GAN with weight clipping (Arjovsky et al. 2017, arXiv:1701.07875) or, by default, a gradient
penalty (Gulrajani et al. 2017, arXiv:1704.00028).

The generator is DCGAN's; the critic is its own, without batch statistics, which the gradient penalty does not allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from gantool.plugin import Architecture, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Game


class WGANConfig(BaseModel, frozen=True, extra="forbid"):
    latent_dim: int = Field(100, ge=1, le=4096, description="size of z")
    width: int = Field(64, ge=1, le=1024, description="channels of the layer next to the image")
    max_width: int = Field(
        512, ge=1, le=4096, description="most channels of any layer; they double away from the image"
    )
    loss: Literal["gp", "clip"] = Field(
        "gp",
        description="how the critic is kept Lipschitz: gradient penalty, or weight clipping (changes the recipe)",
    )
    penalty: float = Field(10.0, gt=0, description="weight of the gradient penalty (loss gp)")
    clip: float = Field(0.01, gt=0, description="bound of the critic's weights (loss clip)")


def build(config: WGANConfig, spec: SampleSpec, recipe: Recipe) -> Game:
    from gantool_dcgan.networks import Generator

    from gantool.plugin import objectives, two_player
    from gantool_wgan.networks import Critic

    return two_player(
        Generator(spec, config.latent_dim, config.width, config.max_width),
        Critic(spec, config.width, config.max_width),
        objectives.Wasserstein(),
        spec=spec,
        latent_dim=config.latent_dim,
        penalty=config.penalty if config.loss == "gp" else 0.0,
        clip=config.clip if config.loss == "clip" else 0.0,
    )


def recipe(config: WGANConfig) -> Recipe:
    """Each paper's own optimizer; five critic steps in both.

    With the gradient penalty three times the paper's 1e-4, chosen by benchmarks/quality.py.
    """
    if config.loss == "clip":
        return Recipe(steps=4_000, optimizer="rmsprop", learning_rate=5e-5, discriminator_steps=5, ema_decay=0.999)
    return Recipe(steps=2_000, learning_rate=3e-4, betas=(0.0, 0.9), discriminator_steps=5, ema_decay=0.999)


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="wgan",
            summary="Wasserstein GAN with gradient penalty or weight clipping; sizes as dcgan",
            config=WGANConfig,
            recipe=recipe,
            build=build,
            examples=(SampleSpec((1, 28, 28)), SampleSpec((3, 32, 32))),
        )
    ]
