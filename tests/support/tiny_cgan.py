"""A tiny conditional GAN (Mirza & Osindero 2014, arXiv:1411.1784): z, a class and a light become a sample."""

from __future__ import annotations

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from gantool.errors import GantoolError
from gantool.plugin.architecture import Architecture, Input, Recipe, SampleSpec
from gantool.plugin.game import Batch, Game, Loss, Player
from gantool.plugin.hookspecs import hookimpl
from gantool.plugin.objectives import NonSaturating


class Config(BaseModel, frozen=True, extra="forbid"):
    latent_dim: int = Field(6, ge=1, description="size of z")


class Generator(nn.Module):
    """z (N, latent_dim), label (N,), light (N,) → sample (N, *spec.shape)."""

    def __init__(self, config: Config, spec: SampleSpec) -> None:
        super().__init__()
        self.shape = spec.shape
        self.embed = nn.Embedding(spec.classes, config.latent_dim)
        self.layers = nn.Sequential(
            nn.Linear(2 * config.latent_dim, 32), nn.ReLU(), nn.Linear(32, spec.elements), nn.Tanh()
        )

    def forward(self, z: Tensor, label: Tensor, light: Tensor) -> Tensor:
        made = self.layers(torch.cat((z, self.embed(label)), 1)) * light.unsqueeze(1)
        return made.unflatten(1, self.shape)


class Discriminator(nn.Module):
    """Sample and label → logit (N,), by projection (Miyato & Koyama 2018, arXiv:1802.05637)."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(spec.elements, 16), nn.LeakyReLU(0.2))
        self.embed = nn.Embedding(spec.classes, 16)
        self.score = nn.Linear(16, 1)

    def forward(self, sample: Tensor, label: Tensor) -> Tensor:
        features = self.features(sample)
        return self.score(features).squeeze(1) + (features * self.embed(label)).sum(1)


def build(config: Config, spec: SampleSpec, recipe: Recipe) -> Game:
    if not spec.classes:
        raise GantoolError("A conditional GAN needs labelled data.", "Give a sub-folder a class, or an array 'labels'.")
    generator, discriminator = Generator(config, spec), Discriminator(spec)
    objective = NonSaturating()

    def discriminator_loss(batch: Batch) -> Loss:
        fake = generator(batch["z"], batch["label"], batch["light"])
        real_scores = discriminator(batch["real"], batch["real_label"])
        return Loss(*objective.discriminator(real_scores, discriminator(fake, batch["label"])))

    def generator_loss(batch: Batch) -> Loss:
        fake = generator(batch["z"], batch["label"], batch["light"])
        return Loss({"adversarial": objective.generator(discriminator(fake, batch["label"]))})

    return Game(
        generator=generator,
        players=(
            Player(
                "discriminator",
                "discriminator",
                {"discriminator": discriminator},
                discriminator_loss,
                draws=("real", "real_label", "z", "label", "light"),
            ),
            Player("generator", "generator", {"generator": generator}, generator_loss, draws=("z", "label", "light")),
        ),
        inputs=(
            Input("z", (config.latent_dim,), "normal"),
            Input("label", (), "label", classes=spec.classes),
            Input("light", (), "value", default=1.0),
        ),
        data=(Input("real", spec.shape, "data"), Input("real_label", (), "data", array="labels")),
        output=spec,
    )


@hookimpl
def gantool_architectures() -> list[Architecture]:
    return [
        Architecture(
            name="tiny-cgan",
            summary="conditional GAN of a few linear layers",
            config=Config,
            recipe=Recipe(steps=100, batch_size=8),
            build=build,
            examples=(SampleSpec((1, 8, 8), classes=2),),
        )
    ]
