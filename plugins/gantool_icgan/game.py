"""The game of `icgan`: a real and a fake of the same code are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from gantool.plugin import Batch, Game, Input, Loss, Player, Rows, SampleSpec, objectives
from gantool_icgan.networks import Coder, Discriminator, Generator

if TYPE_CHECKING:
    from gantool_icgan import ICGANConfig

LEARNED_FROM = 4096  # pictures, at least: the components need no more


def instance_conditioned(config: ICGANConfig, spec: SampleSpec) -> Game:
    coder = Coder(spec, config.code_dim)
    generator = Generator(
        spec,
        config.code_dim,
        config.latent_dim,
        config.code_noise,
        config.instances,
        config.width,
        config.max_width,
    )
    discriminator = Discriminator(spec, config.code_dim, config.width, config.max_width)
    objective = objectives.make(config.objective, label_smoothing=config.label_smoothing)

    def parts(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reals, their codes, z, and the codes that z has moved."""
        codes = coder(batch["real"])
        return batch["real"], codes, batch["z"], generator.moved(codes, batch["z"])

    def discriminator_loss(batch: Batch) -> Loss:
        real, codes, z, moved = parts(batch)
        return Loss(
            *objective.discriminator(discriminator(real, moved), discriminator(generator.near(codes, z), moved))
        )

    def generator_loss(batch: Batch) -> Loss:
        _, codes, z, moved = parts(batch)
        return Loss({"adversarial": objective.generator(discriminator(generator.near(codes, z), moved))})

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
