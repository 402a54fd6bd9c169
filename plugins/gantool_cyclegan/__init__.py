"""`cyclegan`: pictures of one kind into pictures of another and back, learned without pairs (Zhu, Park, Isola & Efros
2017, arXiv:1703.10593).

Networks, losses and optimizer are those of the paper; its sizes are the preset `paper`. Two things are ours, for
trainings that are short: maps are enlarged by repeating pixels and a convolution (--enlarge transposed: as in the
paper), and a generator adds to the picture (--no-residual: it makes a new one). Both generators are exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from gantool.plugin import Architecture, GantoolError, Input, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Game
    from gantool.plugin.game import Batch, Loss


class CycleGANConfig(BaseModel, frozen=True, extra="forbid"):
    width: int = Field(16, ge=4, le=512, description="channels of the layers next to the picture")
    blocks: int | None = Field(
        None, ge=1, le=32, description="residual blocks of a generator; none: 9 from 256 pixels, 6 from 128, 4 below"
    )
    patch_layers: int | None = Field(
        None,
        ge=1,
        le=5,
        description="strided layers of a discriminator: 3 judge 70 pixels at a time, 2 judge 34, 1 16; none: by size",
    )
    enlarge: Literal["nearest", "transposed"] = Field(
        "nearest",
        description="how maps are enlarged: by repeating pixels, or by the paper's transposed convolutions, which "
        "leave a grid for many epochs",
    )
    residual: bool = Field(
        True,
        description="generators begin by returning the picture, and learn what to add; else they make a new one, as "
        "the paper's do",
    )
    cycle: float = Field(
        10.0, ge=0, le=1e6, description="weight of the way there and back: |F(G(a)) - a|, |G(F(b)) - b|"
    )
    identity: float = Field(
        5.0,
        ge=0,
        le=1e6,
        description="weight of leaving the target as it is, which keeps colours: |G(b) - b|, |F(a) - a|",
    )
    history: int = Field(
        50, ge=0, le=10_000, description="earlier results that a discriminator is shown again; 0: none"
    )


def build(config: CycleGANConfig, spec: SampleSpec, recipe: Recipe) -> Game:
    """A game between the domains `a` (class 0 of the data) and `b` (class 1)."""
    from gantool_pix2pix.networks import PatchDiscriminator
    from torch.nn import functional as F

    from gantool.plugin import Export, Game, Loss, Player, objectives
    from gantool.plugin.game import Fakes
    from gantool_cyclegan.networks import MULTIPLE, Generator, History, check_sides

    if spec.classes != 2:
        what = f"this data has {spec.classes} classes" if spec.classes else "this data is one set, without classes"
        raise GantoolError(
            f"cyclegan learns from two sets of pictures, and {what}.",
            "Give two: --data FROM --target TO. Or a folder with two sub-folders, or labels of 0 and 1.",
        )
    check_sides(spec)
    to_b, to_a = (Generator(spec, config.width, config.blocks, config.enlarge, config.residual) for _ in range(2))
    judge_a, judge_b = (PatchDiscriminator(spec.channels, spec, config.width, config.patch_layers) for _ in range(2))
    history_a, history_b = (History(config.history, spec.shape) for _ in range(2))
    fakes_a, fakes_b = Fakes(to_a), Fakes(to_b)
    objective = objectives.LeastSquares()

    def discriminator_a(batch: Batch) -> Loss:
        shown = history_a.exchange(fakes_a.make((batch["b"],)))
        return Loss(*objective.discriminator(judge_a(batch["a"]), judge_a(shown)))

    def discriminator_b(batch: Batch) -> Loss:
        shown = history_b.exchange(fakes_b.make((batch["a"],)))
        return Loss(*objective.discriminator(judge_b(batch["b"]), judge_b(shown)))

    def generators(batch: Batch) -> Loss:
        a, b = batch["a"], batch["b"]
        fake_a, fake_b = fakes_a.take((b,)), fakes_b.take((a,))
        adversarial = objective.generator(judge_a(fake_a)) + objective.generator(judge_b(fake_b))
        terms = {
            "adversarial": 2 * adversarial,  # the paper's has no ½
            "cycle": config.cycle * (F.l1_loss(to_a(fake_b), a) + F.l1_loss(to_b(fake_a), b)),
        }
        if config.identity:
            terms["identity"] = config.identity * (F.l1_loss(to_b(b), b) + F.l1_loss(to_a(a), a))
        return Loss(terms)

    a = Input("a", spec.shape, "data", label=0, multiple=MULTIPLE)
    b = Input("b", spec.shape, "data", label=1, multiple=MULTIPLE)
    draws = ("a", "b")
    modules_a, modules_b = {"judge": judge_a, "history": history_a}, {"judge": judge_b, "history": history_b}
    return Game(
        generator=to_b,
        players=(
            Player("discriminator_a", "discriminator", modules_a, discriminator_a, draws),
            Player("discriminator_b", "discriminator", modules_b, discriminator_b, draws, reuses=draws),
            Player("generators", "generator", {"to_b": to_b, "to_a": to_a}, generators, draws, reuses=draws),
        ),
        inputs=(a,),
        data=(),
        output=spec,
        reals="b",
        name="a-to-b",
        others={"b-to-a": Export(to_a, (b,), spec, "a")},
    )


# the paper's: batches of 1, 200 epochs of its 1,334 zebras, of which the second half decays
PAPER = {
    "width": 64,
    "enlarge": "transposed",
    "residual": False,
    "batch_size": 1,
    "steps": 266_800,
    "learning_rate": 2e-4,
    "ema_decay": 0.0,
    "ema_half_life": None,
    "ema_ramp": None,
}


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="cyclegan",
            summary="one kind of pictures into another and back, without pairs; 16 to 512 pixels",
            config=CycleGANConfig,
            # a step size and an average for few epochs on a CPU
            recipe=Recipe(
                steps=5_000,
                batch_size=4,
                learning_rate=5e-4,
                ema_half_life=5_000,
                ema_ramp=0.05,
                schedule="linear",
                schedule_from=0.5,
            ),
            build=build,
            presets={"tiny": {}, "small": {"width": 32, "steps": 20_000}, "paper": PAPER},
            examples=(SampleSpec((3, 16, 20), classes=2), SampleSpec((1, 16, 16), classes=2)),
        )
    ]
