"""`icgan`: instance-conditioned GAN (Casanova, Careil, Verbeek, Drozdzal & Romero-Soriano 2021, arXiv:2109.05070).

Generator and discriminator are told a code: roughly what a picture of the data looks like. The generator keeps the
codes of some pictures; a label of the exported file is the number of one, and z varies it, as far as the file's value
`variation` says. No classes are needed, and samples can be recognised after two minutes on a CPU.

Two things are simpler than in the paper. A code is made of the picture's pixels (principal components), not of features
of a trained network. And the discriminator sees each picture with its own code, moved by noise, not its neighbours with
its code. Fréchet distances are as good or better (benchmarks/README.md). The networks are those of `dcgan`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gantool.plugin import Architecture, ObjectiveOptions, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Batch, Game, Rows

LEARNED_FROM = 4096  # pictures, at least


class ICGANConfig(ObjectiveOptions):
    latent_dim: int = Field(36, ge=1, le=4096, description="numbers of z beside those that move the code")
    code_dim: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="numbers of a code, which tells roughly what a picture looks like: one for each 16 pictures of the "
        "data at most; none: one for each 24 values of a picture, and at most 128",
    )
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
    from gantool.plugin import Game, Input, Loss, Player, objectives
    from gantool.plugin.game import Fakes
    from gantool_icgan.networks import Coder, Discriminator, Generator, Imitator, codes_of

    code_dim = config.code_dim or codes_of(spec)
    generator = Generator(
        spec,
        code_dim,
        config.latent_dim,
        config.code_noise,
        config.instances,
        config.width,
        config.max_width,
    )
    coder = Coder(spec, code_dim)
    discriminator = Discriminator(spec, code_dim, config.width, config.max_width)
    objective = objectives.make(config.objective, label_smoothing=config.label_smoothing)
    fakes = Fakes(Imitator(coder, generator))

    def discriminator_loss(batch: Batch) -> Loss:
        real, z = batch["real"], batch["z"]
        code = generator.moved(coder(real), z)
        return Loss(*objective.discriminator(discriminator(real, code), discriminator(fakes.make((real, z)), code)))

    def generator_loss(batch: Batch) -> Loss:
        real, z = batch["real"], batch["z"]
        scores = discriminator(fakes.take((real, z)), generator.moved(coder(real), z))
        return Loss({"adversarial": objective.generator(scores)})

    def begin(rows: Rows) -> None:
        generator.keep(coder.learn(rows("real", max(LEARNED_FROM, config.instances))))

    draws = ("real", "z")
    return Game(
        generator=generator,
        players=(
            Player(
                "discriminator",
                "discriminator",
                {"discriminator": discriminator, "coder": coder},
                discriminator_loss,
                draws,
            ),
            Player("generator", "generator", {"generator": generator}, generator_loss, draws, reuses=draws),
        ),
        inputs=(
            Input("z", (code_dim + config.latent_dim,), "normal"),
            Input("label", (), "label", config.instances),
            Input("variation", (), "value", default=1.0, high=2.0),
        ),
        data=(Input("real", spec.shape, "data"),),
        output=spec,
        begin=begin,
    )


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="icgan",
            summary="variations of the pictures in the data, soon on a CPU; images of 16 to 256 pixels a side, or 28",
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
