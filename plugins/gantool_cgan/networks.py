"""Networks of `cgan`: those of `mlp` and `dcgan`, each with a class beside its input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gantool_dcgan.networks as dcgan
import gantool_mlp.networks as mlp
import torch
from gantool_mlp import MLPConfig
from torch import Tensor, nn

from gantool.plugin import SampleSpec

if TYPE_CHECKING:
    from gantool_cgan import CGANConfig


def body(config: CGANConfig, spec: SampleSpec) -> tuple[nn.Module, mlp.Discriminator | dcgan.Discriminator]:
    """A generator of latents with room for the class, and a discriminator, as `--body` says."""
    size = config.latent_dim + config.embed_dim
    if config.body == "dcgan":
        return (
            dcgan.Generator(spec, size, config.width, config.max_width),
            dcgan.Discriminator(spec, config.width, config.max_width),
        )
    options = MLPConfig(latent_dim=size, widths=config.widths, dropout=config.dropout)
    return mlp.Generator(options, spec), mlp.Discriminator(options, spec)


class Conditional(nn.Module):
    """z (N, latent_dim), label (N,) int64 → sample (N, *shape): the body's, of z and the embedding of the class."""

    def __init__(self, body: nn.Module, classes: int, embed_dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, embed_dim)  # N(0, 1), as z is
        self.body = body

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        samples: Tensor = self.body(torch.cat((z, self.embed(label)), 1))
        return samples


class Projection(nn.Module):
    """Sample (N, *shape), label (N,) int64 → logit (N,): the body's, plus ⟨features, embedding of the class⟩.

    The embeddings start as small as the body's last layer is: as N(0, 1) they would outshout it.
    """

    def __init__(self, body: mlp.Discriminator | dcgan.Discriminator, classes: int) -> None:
        super().__init__()
        self.body = body
        self.embed = nn.Embedding(classes, body.width)
        nn.init.normal_(self.embed.weight, 0.0, 0.02)

    def forward(self, sample: Tensor, label: Tensor) -> Tensor:
        features = self.body.features(sample)
        projection: Tensor = (features.flatten(1) * self.embed(label)).sum(1)
        return self.body.judge(features) + projection
