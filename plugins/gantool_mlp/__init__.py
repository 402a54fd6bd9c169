"""`mlp`: the fully connected GAN of the tutorials (Goodfellow et al. 2014, arXiv:1406.2661)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from gantool.plugin import Architecture, ObjectiveOptions, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Game


class MLPConfig(ObjectiveOptions):
    latent_dim: int = Field(100, ge=1, le=4096, description="size of z")
    widths: tuple[int, ...] = Field(
        (256, 512, 1024),
        min_length=1,
        description="hidden layers of the generator; reversed in the discriminator",
    )
    activation: Literal["relu", "leaky_relu"] = Field("leaky_relu", description="hidden activation of the generator")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout in the discriminator")

    @model_validator(mode="after")
    def _widths_fit(self) -> Self:
        if min(self.widths) < 1:
            raise ValueError("--widths must all be at least 1")
        return self


def build(config: MLPConfig, spec: SampleSpec, recipe: Recipe) -> Game:
    from gantool.plugin import objectives, two_player
    from gantool_mlp.networks import Discriminator, Generator

    return two_player(
        Generator(config, spec),
        Discriminator(config, spec),
        objectives.make(config.objective, label_smoothing=config.label_smoothing),
        spec=spec,
        latent_dim=config.latent_dim,
    )


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="mlp",
            summary="fully connected GAN of the tutorials; any sample shape, fast on a CPU",
            config=MLPConfig,
            # chosen by benchmarks/quality.py; the tutorials' 2e-4 and (0.5, 0.999) take several times as long
            recipe=Recipe(steps=7_000, batch_size=64, learning_rate=7e-4, betas=(0.0, 0.99), ema_decay=0.999),
            build=build,
            examples=(
                SampleSpec((1, 28, 28)),
                SampleSpec((3, 16, 16)),
                SampleSpec((1, 512)),
                SampleSpec((1, 8, 8, 8)),
                SampleSpec((2,)),
            ),
        )
    ]
