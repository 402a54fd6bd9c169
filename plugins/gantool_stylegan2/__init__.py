"""`stylegan2`: a generator with a style for each layer (Karras, Laine, Aittala, Hellsten, Lehtinen & Aila 2020,
arXiv:1912.04958), trained by the rules of StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676).

Networks, losses and optimizers are those of the papers; their sizes are the preset `paper`. The small presets are for
CPUs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from gantool.plugin import Architecture, Input, Optimizer, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Batch, Game, Loss, Player

GAMMA = 0.0002  # of R1: times pixels / batch size (appendix C of StyleGAN2-ADA)
PATH_SHRINK = 2  # path lengths are measured for one in so many samples of a batch


class StyleGAN2Config(BaseModel, frozen=True, extra="forbid"):
    latent_dim: int = Field(64, ge=1, le=4096, description="size of z, of w and of a class")
    mapping_layers: int = Field(2, ge=1, le=16, description="layers from z to w")
    channel_base: int = Field(
        512, ge=16, le=2**20, description="channels of a map times its side: 512 makes 16 at 32 pixels, 32 at 16"
    )
    max_width: int = Field(64, ge=1, le=4096, description="most channels of any map")
    mixing: float = Field(
        0.0, ge=0, le=1, description="share of the samples of a training that have the styles of two latents"
    )
    gamma: float | None = Field(None, ge=0, description="weight of R1, 0: off; none: by pixels and batch size")
    r1_every: int = Field(16, ge=1, le=1000, description="iterations from one R1 to the next")
    path_weight: float = Field(2.0, ge=0, description="weight of path lengths; 0: off")
    path_every: int = Field(4, ge=1, le=1000, description="iterations from one penalty of path lengths to the next")


def build(config: StyleGAN2Config, spec: SampleSpec, recipe: Recipe) -> Game:
    from gantool.plugin import objectives, two_player
    from gantool_stylegan2.networks import Discriminator, Generator, noise_shapes, stages

    layout = stages(spec, config.channel_base, config.max_width)
    generator = Generator(spec, layout, config.latent_dim, config.mapping_layers, config.mixing)
    noises = (Input(name, shape, "normal") for name, shape in noise_shapes(layout).items())
    game = two_player(
        generator,
        Discriminator(spec, layout, config.latent_dim),
        objectives.NonSaturating(),
        spec=spec,
        latent_dim=config.latent_dim,
        classes=spec.classes,
        further=(*noises, Input("truncation", (), "value", default=1.0)),
    )
    judge, maker = game.players
    pixels = spec.sides[0] * spec.sides[1]
    gamma = GAMMA * pixels / recipe.batch_size if config.gamma is None else config.gamma
    players = []
    for player, lazy in (
        (judge, _r1(judge, gamma, config.r1_every) if gamma else None),
        (maker, _path_length(maker, config.path_weight, config.path_every) if config.path_weight else None),
    ):
        players += [_corrected(player, recipe, lazy.every), lazy] if lazy else [player]
    data = (*game.data, Input("direction", spec.shape, "normal"))  # of the path lengths
    return replace(game, players=tuple(players), data=data, together=None)


def _r1(judge: Player, gamma: float, every: int) -> Player:
    """R1 on the reals of each n-th iteration (Mescheder et al. 2018, arXiv:1801.04406)."""
    from gantool.plugin import Loss, Player, objectives

    discriminator = judge.modules["discriminator"]
    draws = tuple(name for name in judge.draws if name in ("real", "real_label"))

    def loss(batch: Batch) -> Loss:
        real, *label = (batch[name] for name in draws)
        # unlike objectives.r1 it gives zeros where a gradient is zero, which move Adam: on a CPU as on a GPU
        slopes = objectives.zero_centred(lambda images: discriminator(images, *label), real)[1]
        return Loss({"r1": every * gamma * slopes.mean()})

    return Player("r1", judge.role, judge.modules, loss, draws, steps=1, every=every, shares=judge.name)


def _path_length(maker: Player, weight: float, every: int) -> Player:
    """The penalty of path lengths in each n-th iteration, on a part of a batch."""
    from gantool.plugin import Loss, Player
    from gantool_stylegan2.networks import PathLength

    generator, lengths = maker.modules["generator"], PathLength()
    modules = {"generator": generator, "lengths": lengths}
    draws = ("direction", *maker.draws)

    def loss(batch: Batch) -> Loss:
        count = -(-len(batch["z"]) // PATH_SHRINK)
        penalty, length = lengths(generator, *(batch[name][:count] for name in draws))
        return Loss({"path_length": every * weight * penalty}, {"length": length})

    return Player(
        "path",
        maker.role,
        modules,
        loss,
        draws,
        steps=1,
        every=every,
        after_step=lengths.update,
        shares=maker.name,
    )


def _corrected(player: Player, recipe: Recipe, every: int) -> Player:
    """The player with an optimizer for the one more step that its regulariser makes in `every` iterations.

    With c = every / (every + 1) the step size is multiplied by c, and the betas are raised to the power of c (appendix
    B of the paper).
    """
    share = every / (every + 1)
    beta1, beta2 = (beta**share for beta in recipe.betas)
    rate = share * recipe.learning_rate_of(player.role)
    return replace(player, optimizer=Optimizer(rate, recipe.optimizer, (beta1, beta2)))


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="stylegan2",
            summary="a style for each layer, noise, lazy R1 and path lengths; images of 16 to 256 pixels, or 28",
            config=StyleGAN2Config,
            # StyleGAN2-ADA's: Adam 2.5e-3 with betas 0 and 0.99, an average with a half-life of 10,000 images
            recipe=Recipe(
                steps=5_000,
                batch_size=32,
                learning_rate=2.5e-3,
                betas=(0.0, 0.99),
                ema_half_life=10_000,
                ema_ramp=0.05,
            ),
            build=build,
            presets={
                "tiny": {},
                "small": {
                    "channel_base": 2048,
                    "max_width": 128,
                    "latent_dim": 128,
                    "mixing": 0.9,
                    "steps": 20_000,
                },
                # 25 M images of 256 pixels
                "paper": {
                    "channel_base": 16_384,
                    "max_width": 512,
                    "latent_dim": 512,
                    "mapping_layers": 8,
                    "mixing": 0.9,
                    "steps": 390_000,
                    "batch_size": 64,
                },
            },
            examples=(SampleSpec((1, 28, 28)), SampleSpec((3, 16, 16), classes=3)),
        )
    ]
