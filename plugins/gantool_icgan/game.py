"""The game of `icgan`: a real and a fake of the same code are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gantool.plugin import Batch, Game, Input, Loss, Player, Rows, SampleSpec, objectives
from gantool.plugin.game import Fakes
from gantool_icgan.networks import Coder, Discriminator, Generator, Imitator

if TYPE_CHECKING:
    from gantool_icgan import ICGANConfig

LEARNED_FROM = 4096  # pictures, at least


def instance_conditioned(config: ICGANConfig, spec: SampleSpec) -> Game:
    generator = Generator(
        spec,
        config.code_dim,
        config.latent_dim,
        config.code_noise,
        config.instances,
        config.width,
        config.max_width,
    )
    coder = Coder(spec, config.code_dim)
    discriminator = Discriminator(spec, config.code_dim, config.width, config.max_width)
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
            Input("z", (config.code_dim + config.latent_dim,), "normal"),
            Input("label", (), "label", config.instances),
        ),
        data=(Input("real", spec.shape, "data"),),
        output=spec,
        begin=begin,
    )
