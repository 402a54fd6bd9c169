"""Networks of `icgan`: those of `dcgan`, told a code; and what makes codes of pictures."""

from __future__ import annotations

from collections.abc import Iterable

import gantool_dcgan.networks as dcgan
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.plugin import SampleSpec

VIEW = 32  # pixels: larger pictures are made smaller for their codes
VALUES, MOST = 24, 128  # of a code without --code-dim: a number for so many values of a picture, and at most so many
PICTURES = 16  # for each number of a code: with fewer a code tells which picture it is, and samples are copies


def codes_of(spec: SampleSpec) -> int:
    """How many numbers codes of such pictures have: 32 for digits of 28 pixels, 128 for 32 pixels in colour."""
    return max(1, min(MOST, spec.shape[0] * min(spec.shape[-1], VIEW) ** 2 // VALUES))


class Coder(nn.Module):
    """Images (N, C, S, S) in [-1, 1] → codes (N, code_dim): principal components, of variance 1 over the data.

    There is a number for each PICTURES of the data at most; those above, and those for which the pixels have no
    components left, are 0. Until it has seen data its directions are random.
    """

    def __init__(self, spec: SampleSpec, code_dim: int) -> None:
        super().__init__()
        self.side = min(spec.sides[0], VIEW)
        values = spec.channels * self.side**2
        self.mean: Tensor
        self.directions: Tensor
        self.fitted: Tensor
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("directions", torch.randn(values, code_dim) / values**0.5)
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return (self.seen(images) - self.mean) @ self.directions

    def seen(self, images: Tensor) -> Tensor:
        """What codes are made of: the pixels (N, values) of the images at `side`."""
        if images.shape[-1] != self.side:
            images = F.adaptive_avg_pool2d(images, self.side)
        return images.flatten(1)

    @torch.no_grad()
    def learn(self, images: Iterable[Tensor]) -> Tensor:
        """Find the components, unless they are known (from the training that this one starts from); all codes."""
        seen = torch.cat([self.seen(some.to(self.mean.device)) for some in images])
        if not self.fitted:
            self.mean.copy_(seen.mean(0))
            count = min(self.directions.shape[1], seen.shape[1], max(1, len(seen) // PICTURES))
            with torch.random.fork_rng([]):
                torch.manual_seed(0)  # svd_lowrank begins with random directions
                _, scales, found = torch.svd_lowrank(seen.cpu() - self.mean.cpu(), min(count + 8, *seen.shape), niter=4)
            there = scales[:count] > 1e-4 * scales[0].clamp_min(1e-6)
            self.directions.zero_()
            self.directions[:, :count] = found[:, :count] * there * len(seen) ** 0.5 / scales[:count].clamp_min(1e-6)
            self.fitted.fill_(True)
        return (seen - self.mean) @ self.directions


class Generator(nn.Module):
    """z (N, code_dim + latent_dim), label (N,) int64, variation (N,) → image (N, C, S, S): a variation of an instance.

    `variation` is how far z moves the code: 1 as in training, 0 not at all.
    """

    def __init__(
        self, spec: SampleSpec, code_dim: int, latent_dim: int, noise: float, instances: int, width: int, max_width: int
    ) -> None:
        super().__init__()
        self.codes: Tensor
        self.register_buffer("codes", torch.randn(instances, code_dim))
        self.noise = noise
        self.body = dcgan.Generator(spec, code_dim + latent_dim, width, max_width)

    def forward(self, z: Tensor, label: Tensor, variation: Tensor) -> Tensor:
        moves = self.codes.shape[1]
        far = torch.cat((variation[:, None] * z[:, :moves], z[:, moves:]), 1)
        return self.near(F.embedding(label, self.codes), far)

    def near(self, codes: Tensor, z: Tensor) -> Tensor:
        """Images of codes (N, code_dim), moved by z's first numbers."""
        images: Tensor = self.body(torch.cat((self.moved(codes, z), z[:, codes.shape[1] :]), 1))
        return images

    def moved(self, codes: Tensor, z: Tensor) -> Tensor:
        return codes + self.noise * z[:, : codes.shape[1]]

    @torch.no_grad()
    def keep(self, codes: Tensor) -> None:
        """Make the first of these codes the instances; fewer are repeated."""
        self.codes.copy_(codes[torch.arange(len(self.codes), device=codes.device) % len(codes)])


class Imitator(nn.Module):
    """Images (N, C, S, S), z → fakes of their codes, which z has moved."""

    def __init__(self, coder: Coder, generator: Generator) -> None:
        super().__init__()
        self.coder, self.generator = coder, generator

    def forward(self, images: Tensor, z: Tensor) -> Tensor:
        return self.generator.near(self.coder(images), z)


class Discriminator(nn.Module):
    """Image (N, C, S, S), code (N, code_dim) → logit (N,): the body's, plus ⟨features, a matrix times the code⟩.

    As cgan's projection (Miyato & Koyama 2018, arXiv:1802.05637).
    """

    def __init__(self, spec: SampleSpec, code_dim: int, width: int, max_width: int) -> None:
        super().__init__()
        self.body = dcgan.Discriminator(spec, width, max_width)
        self.embed = nn.Linear(code_dim, self.body.width, bias=False)
        self.scale = self.body.width**-0.5

    def forward(self, image: Tensor, code: Tensor) -> Tensor:
        features = self.body.features(image)
        score: Tensor = self.body.judge(features) + (features.flatten(1) * self.embed(code)).sum(1) * self.scale
        return score
