"""`pix2pix`: a picture from a picture, learned from pairs (Isola, Zhu, Zhou & Efros 2017, arXiv:1611.07004).

Networks, losses and optimizer are those of the paper; its sizes are the preset `paper`. InstanceNorm takes the place of
BatchNorm, which is the same at the paper's batch size of 1, so that training and testing agree at any batch size. Maps
are enlarged by repeating pixels and a convolution, unless --enlarge asks for the paper's transposed one. Dropout, which
is the paper's only noise, is an input: a seed repeats a picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gantool.plugin import Architecture, GantoolError, Input, ObjectiveOptions, Recipe, SampleSpec, hookimpl

if TYPE_CHECKING:
    from gantool.plugin import Game
    from gantool.plugin.game import Batch, Loss


class Pix2PixConfig(ObjectiveOptions):
    width: int = Field(
        16,
        ge=4,
        le=512,
        description="channels of the layer next to the picture; they double away from it, up to 8-fold",
    )
    levels: int | None = Field(
        None, ge=2, le=9, description="halvings down to the smallest map; none: as many as the sides allow, at most 8"
    )
    patch_layers: int | None = Field(
        None,
        ge=1,
        le=5,
        description="strided layers of the discriminator: 3 judge 70 pixels at a time, 2 judge 34, 1 16; none: by size",
    )
    enlarge: Literal["nearest", "transposed"] = Field(
        "nearest",
        description="how maps are enlarged: by repeating pixels, or by the paper's transposed convolutions, which "
        "leave a grid for many epochs",
    )
    closeness: float = Field(100.0, ge=0, le=1e6, description="weight of the distance (L1) to the target")


def build(config: Pix2PixConfig, spec: SampleSpec, recipe: Recipe) -> Game:
    """A game whose targets are the data's images, and whose sources are its array `sources`."""
    import torch
    from torch.nn import functional as F

    from gantool.plugin import Game, Loss, Player, objectives
    from gantool.plugin.game import Fakes
    from gantool_pix2pix.networks import Generator, PatchDiscriminator, check_sides, fitted, levels_of, ratio

    if "sources" not in spec.arrays:
        raise GantoolError(
            "pix2pix learns from pairs of pictures, and this data has no sources.",
            "Make them from the pictures: --pairs edges (or grey, lines, mask, small:4). Or give pairs: --pairs names "
            "--data SOURCES --target TARGETS (two folders of equal names), --pairs left-right (both halves of a file), "
            "or a .npz of `images` (targets) and `sources`.",
        )
    source = SampleSpec(spec.arrays["sources"])
    check_sides(source, spec)
    levels = config.levels or levels_of(spec)
    generator = Generator(source, spec, config.width, levels, config.enlarge)
    judge = PatchDiscriminator(source.channels + spec.channels, spec, config.width, config.patch_layers)
    objective = objectives.make(config.objective, label_smoothing=config.label_smoothing)
    fakes = Fakes(generator)
    inputs = (
        Input("source", source.shape, "data", array="sources", multiple=generator.multiple),
        Input("z", (sum(generator.dropped),), "normal"),
        Input("variety", (), "value", default=1.0),
    )
    taken = tuple(item.name for item in inputs)
    scale = ratio(source, spec)

    def discriminator_loss(batch: Batch) -> Loss:
        shown = fitted(batch["source"], scale)
        pairs = torch.cat((shown, shown)), torch.cat((batch["target"], fakes.make(tuple(batch[n] for n in taken))))
        real, fake = judge(*pairs).tensor_split(2)
        terms, measures = objective.discriminator(real, fake)
        return Loss({name: term / 2 for name, term in terms.items()}, measures)  # halved, as in section 3.3

    def generator_loss(batch: Batch) -> Loss:
        made = fakes.take(tuple(batch[name] for name in taken))
        adversarial = objective.generator(judge(fitted(batch["source"], scale), made))
        return Loss({"adversarial": adversarial, "closeness": config.closeness * F.l1_loss(made, batch["target"])})

    draws = (*taken, "target")
    return Game(
        generator=generator,
        players=(
            Player("discriminator", "discriminator", {"judge": judge}, discriminator_loss, draws),
            Player("generator", "generator", {"generator": generator}, generator_loss, draws, reuses=draws),
        ),
        inputs=inputs,
        data=(Input("target", spec.shape, "data"),),
        output=spec,
        reals="target",
    )


# the paper's: batches of 1, 200 epochs of its 400 facades, of which the second half decays
PAPER = {
    "width": 64,
    "enlarge": "transposed",
    "batch_size": 1,
    "steps": 80_000,
    "learning_rate": 2e-4,
    "ema_decay": 0.0,
    "ema_half_life": None,
    "ema_ramp": None,
}


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="pix2pix",
            summary="a picture from a picture, learned from pairs; U-Net, patches and L1; 16 to 512 pixels",
            config=Pix2PixConfig,
            # a step size and an average for few epochs on a CPU
            recipe=Recipe(
                steps=5_000,
                batch_size=4,
                learning_rate=1e-3,
                ema_half_life=5_000,
                ema_ramp=0.05,
                schedule="linear",
                schedule_from=0.5,
            ),
            build=build,
            presets={"tiny": {}, "small": {"width": 32, "steps": 20_000, "learning_rate": 5e-4}, "paper": PAPER},
            examples=(
                SampleSpec((3, 32, 16), arrays={"sources": (1, 16, 8)}),
                SampleSpec((3, 16, 16), arrays={"sources": (1, 16, 16)}),
            ),
        )
    ]
