"""`cyclegan`: pictures of one kind into pictures of another and back, learned without pairs (Zhu, Park, Isola & Efros
2017, arXiv:1703.10593).

Networks, losses and optimizer are those of the paper, and its sizes, in the preset `paper`. The other presets are for
trainings that are short, and differ in four points:

- Maps are enlarged by repeating pixels and a convolution (--enlarge transposed: as in the paper).
- A generator adds to the picture (--no-residual: it makes a new one).
- It also changes each pixel by its colour, and a second discriminator judges single pixels: the PixelGAN of Isola et
  al. 2017 (arXiv:1611.07004). So colours change within minutes (--no-colours: without both).
- The way back is compared by the Huber loss. The paper's distance has its steepest slope where generators change
  nothing, which is where they begin, and many never leave (--slack 0: as in the paper).

Both generators are exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from gantool.plugin import Architecture, GantoolError, Input, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    colours: bool = Field(
        True,
        description="generators that add to the picture also change each pixel by its colour, and a second "
        "discriminator judges pixels one at a time",
    )
    slack: float = Field(
        0.5,
        ge=0,
        le=2,
        description="--cycle and --identity weigh the square of differences up to this (a pixel goes from -1 to 1), so "
        "small changes cost little; 0: the paper's distance",
    )
    cycle: float = Field(
        10.0, ge=0, le=1e6, description="weight of the way there and back: |F(G(a)) - a|, |G(F(b)) - b|"
    )
    identity: float = Field(
        1.0,
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
    from gantool_cyclegan.networks import MULTIPLE, Generator, History, OfPixels, check_sides

    if spec.classes != 2:
        what = f"this data has {spec.classes} classes" if spec.classes else "this data is one set, without classes"
        raise GantoolError(
            f"cyclegan learns from two sets of pictures, and {what}.",
            "Give two: --data FROM --target TO. Or a folder with two sub-folders, or labels of 0 and 1.",
        )
    check_sides(spec)
    sizes = config.width, config.blocks, config.enlarge, config.residual, config.colours
    to_b, to_a = (Generator(spec, *sizes) for _ in range(2))
    judge_a, judge_b = (PatchDiscriminator(spec.channels, spec, config.width, config.patch_layers) for _ in range(2))
    history_a, history_b = (History(config.history, spec.shape) for _ in range(2))
    colours_a, colours_b = (OfPixels(spec.channels, 1) for _ in range(2)) if config.colours else (None, None)
    fakes_a, fakes_b = Fakes(to_a), Fakes(to_b)
    objective = objectives.LeastSquares()

    def judged(judge: nn.Module, colours: nn.Module | None, real: Tensor, shown: Tensor) -> Loss:
        terms, measures = objective.discriminator(judge(real), judge(shown))
        if colours is not None:
            of_pixels, _ = objective.discriminator(colours(real), colours(shown))
            terms |= {f"{name}_colours": term for name, term in of_pixels.items()}
        return Loss(terms, measures)

    def discriminator_a(batch: Batch) -> Loss:
        return judged(judge_a, colours_a, batch["a"], history_a.exchange(fakes_a.make((batch["b"],))))

    def discriminator_b(batch: Batch) -> Loss:
        return judged(judge_b, colours_b, batch["b"], history_b.exchange(fakes_b.make((batch["a"],))))

    def far(made: Tensor, wanted: Tensor) -> Tensor:
        if not config.slack:
            return F.l1_loss(made, wanted)
        return F.huber_loss(made, wanted, delta=config.slack) / config.slack

    def generators(batch: Batch) -> Loss:
        a, b = batch["a"], batch["b"]
        fake_a, fake_b = fakes_a.take((b,)), fakes_b.take((a,))
        # the paper's have no ½
        terms = {"adversarial": 2 * (objective.generator(judge_a(fake_a)) + objective.generator(judge_b(fake_b)))}
        if colours_a is not None and colours_b is not None:
            terms["colours"] = 2 * (objective.generator(colours_a(fake_a)) + objective.generator(colours_b(fake_b)))
        terms["cycle"] = config.cycle * (far(to_a(fake_b), a) + far(to_b(fake_a), b))
        if config.identity:
            terms["identity"] = config.identity * (far(to_b(b), b) + far(to_a(a), a))
        return Loss(terms)

    a = Input("a", spec.shape, "data", label=0, multiple=MULTIPLE)
    b = Input("b", spec.shape, "data", label=1, multiple=MULTIPLE)
    draws = ("a", "b")
    modules_a: dict[str, nn.Module] = {"judge": judge_a, "history": history_a}
    modules_b: dict[str, nn.Module] = {"judge": judge_b, "history": history_b}
    if colours_a is not None and colours_b is not None:
        modules_a["colours"], modules_b["colours"] = colours_a, colours_b
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
    "colours": False,
    "slack": 0.0,
    "identity": 5.0,
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
                batch_size=2,
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
