"""A whole architecture: its options, its networks, its recipe. `pip install -e .` here, then `gantool train tiny`."""

from pydantic import BaseModel, Field

from gantool.plugin import Architecture, Recipe, hookimpl


class TinyConfig(BaseModel, frozen=True, extra="forbid"):
    latent_dim: int = Field(16, ge=1, description="size of z")
    width: int = Field(64, ge=1, description="hidden units")


def build(config, spec, recipe):  # torch is imported here, so that --help stays fast
    from torch import nn

    from gantool.plugin import objectives, two_player

    generator = nn.Sequential(
        nn.Linear(config.latent_dim, config.width),
        nn.ReLU(),
        nn.Linear(config.width, spec.elements),
        nn.Tanh(),
        nn.Unflatten(1, spec.shape),
    )
    discriminator = nn.Sequential(
        nn.Flatten(),
        nn.Linear(spec.elements, config.width),
        nn.LeakyReLU(0.2),
        nn.Linear(config.width, 1),
        nn.Flatten(0),
    )
    return two_player(generator, discriminator, objectives.NonSaturating(), spec=spec, latent_dim=config.latent_dim)


@hookimpl
def gantool_architectures():
    return [Architecture("tiny", "one hidden layer", TinyConfig, build, Recipe(steps=2000))]
