"""`icgan`: instance-conditioned GAN (Casanova, Careil, Verbeek, Drozdzal & Romero-Soriano 2021, arXiv:2109.05070).

Generator and discriminator are told what a picture of the data looks like, roughly: a code. Its label in the exported
file is the number of a picture whose code the generator keeps, and z varies it. So no classes are needed, all kinds of
pictures in the data are made, and the first good samples come after a minute on a CPU.

Simpler than the paper: a code is principal components of the picture's own pixels, not features of a trained network,
and instead of a code's nearest neighbours in the data, the discriminator sees the picture with a code that noise has
moved, which is as good for the distances of these codes. The networks are those of `dcgan`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gantool.plugin import Architecture, ObjectiveOptions, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Game


class ICGANConfig(ObjectiveOptions):
    latent_dim: int = Field(36, ge=1, le=4096, description="numbers of z beside those that move the code")
    code_dim: int = Field(128, ge=1, le=1024, description="numbers of a code")
    code_noise: float = Field(
        0.35,
        ge=0,
        le=10,
        description="how far z moves codes, whose numbers have deviation 1: samples of a label differ more, and follow "
        "its picture less",
    )
    instances: int = Field(
        4096, ge=1, le=16_384, description="pictures whose codes the generator keeps; each is a label of the file"
    )
    width: int = Field(64, ge=1, le=1024, description="channels of the layer next to the image")
    max_width: int = Field(
        512, ge=1, le=4096, description="most channels of any layer; they double away from the image"
    )


def build(config: ICGANConfig, spec: SampleSpec, recipe: Recipe) -> Game:
    from gantool_icgan.game import instance_conditioned

    return instance_conditioned(config, spec)


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="icgan",
            summary="told what a picture looks like: all kinds of the data, soon; images of 16 to 256 pixels a side",
            config=ICGANConfig,
            # chosen by benchmarks/contest.py on emoji: the rates of cgan's preset `quick`, with smaller batches
            recipe=Recipe(
                steps=8_000,
                batch_size=32,
                learning_rate=2e-3,
                betas=(0.5, 0.9),
                ema_decay=0.999,
                schedule="linear",
            ),
            build=build,
            examples=(SampleSpec((1, 28, 28)), SampleSpec((3, 32, 32)), SampleSpec((1, 16, 16), classes=3)),
        )
    ]
