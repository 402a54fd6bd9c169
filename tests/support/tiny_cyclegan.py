"""A tiny CycleGAN (Zhu et al. 2017, arXiv:1703.10593): images of class 0 become images of class 1, unpaired.

As a third party would write it: two generators, two discriminators, three players, images in place of z. It needs
nothing of gantool that the two-player architectures do not.
"""

from __future__ import annotations

from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.plugin.architecture import Architecture, Input, Recipe, SampleSpec
from gantool.plugin.game import Batch, Export, Game, Loss, Player
from gantool.plugin.hookspecs import hookimpl
from gantool.plugin.objectives import LeastSquares


class Config(BaseModel, frozen=True, extra="forbid"):
    width: int = Field(8, ge=1, description="channels of the hidden layers")
    cycle: float = Field(10.0, ge=0, description="weight of |F(G(a)) - a| and of |G(F(b)) - b|")
    identity: float = Field(5.0, ge=0, description="weight of |G(b) - b| and of |F(a) - a|")


class Translator(nn.Module):
    """Image (N, C, H, W) → image of the other domain, same shape, in [-1, 1]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1)
        )

    def forward(self, image: Tensor) -> Tensor:
        return (image + self.layers(image)).tanh()


class PatchDiscriminator(nn.Module):
    """Image → score of each patch, (N, patches)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 3, padding=1)
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image).flatten(1)


def build(config: Config, spec: SampleSpec, recipe: Recipe) -> Game:
    to_b, to_a = (Translator(spec.channels, config.width) for _ in range(2))
    judge_a, judge_b = (PatchDiscriminator(spec.channels, config.width) for _ in range(2))
    objective = LeastSquares()

    def generators(batch: Batch) -> Loss:
        a, b = batch["a"], batch["b"]
        fake_b, fake_a = to_b(a), to_a(b)
        return Loss(
            {
                "adversarial": objective.generator(judge_b(fake_b)) + objective.generator(judge_a(fake_a)),
                "cycle": config.cycle * (F.l1_loss(to_a(fake_b), a) + F.l1_loss(to_b(fake_a), b)),
                "identity": config.identity * (F.l1_loss(to_b(b), b) + F.l1_loss(to_a(a), a)),
            }
        )

    def discriminator_a(batch: Batch) -> Loss:
        return Loss(*objective.discriminator(judge_a(batch["a"]), judge_a(to_a(batch["b"]))))

    def discriminator_b(batch: Batch) -> Loss:
        return Loss(*objective.discriminator(judge_b(batch["b"]), judge_b(to_b(batch["a"]))))

    domain_a = Input("a", spec.shape, "data", label=0)
    domain_b = Input("b", spec.shape, "data", label=1)
    draws = ("a", "b")
    return Game(
        generator=to_b,
        players=(
            Player("generators", "generator", {"to_b": to_b, "to_a": to_a}, generators, draws),
            Player("discriminator_a", "discriminator", {"judge": judge_a}, discriminator_a, draws),
            Player("discriminator_b", "discriminator", {"judge": judge_b}, discriminator_b, draws),
        ),
        inputs=(domain_a,),
        data=(domain_b,),
        output=spec,
        name="to-b",
        others={"to-a": Export(to_a, (domain_b,), spec, reals="a")},
    )


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="tiny-cyclegan",
            summary="unpaired translation of class 0 into class 1",
            config=Config,
            recipe=Recipe(steps=100, batch_size=8, ema_decay=0.9),
            build=build,
            examples=(SampleSpec((1, 12, 16), classes=2), SampleSpec((3, 16, 16), classes=2)),
        )
    ]
