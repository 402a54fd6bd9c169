"""Networks of `wavegan`: (transposed) convolutions of kernel 25 and stride 4, without normalisation.

Weights start as N(0, gain² / inputs of a value), which keeps the size of maps; the last layer's are smaller.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.plugin import GantoolError, SampleSpec

LENGTHS = (4096, 8192, 16_384, 32_768, 65_536)
SMALLEST = 16  # samples of the shortest map
KERNEL, STRIDE = 25, 4
FILTER = 512  # taps of the post-processing filter
SLOPE = 0.2
LOUDNESS = 0.2  # of a new generator, before tanh

Layers = list[tuple[int, int, int]]


def layers(spec: SampleSpec, width: int, max_width: int) -> Layers:
    """(channels before, channels after, stride) of every layer of a generator, from the shortest map to the sound.

    Strides are 4; that of the first layer is 2 where the length asks for it. GantoolError for samples that aren't
    sounds of one or two channels with a length in LENGTHS.
    """
    if spec.kind != "audio" or spec.channels > 2 or spec.sides[0] not in LENGTHS:
        nearest = min(LENGTHS, key=lambda length: abs(length - max(spec.sides, default=0)))
        hint = f"give --size {nearest}." if spec.kind == "audio" else "give a folder of sounds."
        if spec.kind == "audio" and spec.channels > 2:
            hint = "mix them: gantool data pack … --channels 1."
        raise GantoolError(
            f"wavegan can't make samples of shape {spec}.",
            f"It makes sounds with 1 or 2 channels and {', '.join(f'{n:,}' for n in LENGTHS)} samples: {hint}",
        )
    halvings = (spec.sides[0] // SMALLEST).bit_length() - 1
    strides = [2] * (halvings % 2) + [STRIDE] * (halvings // 2)
    channels = [min(width * 2**level, max_width) for level in reversed(range(len(strides)))]
    return list(zip(channels, [*channels[1:], spec.channels], strides, strict=True))


def scaled(layer: nn.Module, inputs: float, gain: float = math.sqrt(2.0)) -> nn.Module:
    """The layer with weights N(0, gain² / inputs), and no shift. `inputs`: how many values are summed."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(inputs))  # type: ignore[arg-type]
    if isinstance(layer.bias, Tensor):
        nn.init.zeros_(layer.bias)
    return layer


class Joined(nn.Module):
    """z (N, latent_dim) [, label (N,)] → (N, size): z, with classes the embedding of the label beside it."""

    def __init__(self, classes: int, latent_dim: int, embed: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, embed) if classes else None  # N(0, 1), as z is
        self.size = latent_dim + (embed if classes else 0)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return z if self.embed is None else torch.cat((z, self.embed(label)), 1)


class Judge(nn.Module):
    """Features (N, size) [, label (N,)] → score (N,): one of the features alone, plus with classes the inner product of
    a projection of them with an embedding of the class (Miyato & Koyama 2018, arXiv:1802.05637)."""

    def __init__(self, size: int, classes: int, embed: int) -> None:
        super().__init__()
        self.linear = scaled(nn.Linear(size, 1 + (embed if classes else 0)), size, 1.0)
        self.embed = nn.Embedding(classes, embed) if classes else None
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, 0.0, 1 / math.sqrt(embed))

    def forward(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        made: Tensor = self.linear(features)
        if self.embed is None:
            return made[:, 0]
        scores: Tensor = made[:, 0] + (made[:, 1:] * self.embed(label)).sum(1)
        return scores


class Generator(nn.Module):
    """z (N, latent_dim) [, label (N,)] → sound (N, C, T) in [-1, 1].

    `post_filter`: the paper's learned filter of the sound; in eval mode its result is clamped.
    """

    def __init__(self, spec: SampleSpec, made: Layers, latent_dim: int, embed: int, *, post_filter: bool) -> None:
        super().__init__()
        self.joined = Joined(spec.classes, latent_dim, embed)
        self.first = (made[0][0], SMALLEST)
        self.project = scaled(nn.Linear(self.joined.size, made[0][0] * SMALLEST), self.joined.size, 1.0)
        body: list[nn.Module] = []
        for number, (before, after, stride) in enumerate(made, 1):
            padding = (KERNEL - stride + 1) // 2
            extra = stride - KERNEL + 2 * padding  # samples more, so that the length is a multiple
            layer = nn.ConvTranspose1d(before, after, KERNEL, stride, padding, extra)
            gain = LOUDNESS if number == len(made) else 1.0
            body += [nn.ReLU(), scaled(layer, before * KERNEL / stride, gain * math.sqrt(2))]
        self.body = nn.Sequential(*body, nn.Tanh())
        self.filter = None
        if post_filter:
            self.filter = nn.Conv1d(spec.channels, spec.channels, FILTER, groups=spec.channels, bias=False)
            nn.init.dirac_(self.filter.weight, spec.channels)  # it begins as the identity

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        sounds: Tensor = self.body(self.project(self.joined(z, label)).unflatten(1, self.first))
        if self.filter is None:
            return sounds
        sounds = self.filter(F.pad(sounds, (FILTER // 2, FILTER // 2 - 1)))
        return sounds if self.training else sounds.clamp(-1, 1)


class PhaseShuffle(nn.Module):
    """Shift each map (N, C, T) by -most to most samples, drawn for each sample of the batch; the ends are reflected.

    The paper's section 3.3; its code draws one shift for the whole batch. Random in training mode only.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training or not self.most:
            return maps
        last = maps.shape[2] - 1
        shift = torch.randint(-self.most, self.most + 1, (len(maps), 1, 1), device=maps.device)
        place = (torch.arange(last + 1, device=maps.device) + shift).abs()
        place = last - (last - place).abs()
        return maps.gather(2, place.expand(-1, maps.shape[1], -1))


class Critic(nn.Module):
    """Sound (N, C, T) [, label (N,)] → score (N,); no batch statistics."""

    def __init__(self, spec: SampleSpec, made: Layers, embed: int, phase_shuffle: int) -> None:
        super().__init__()
        body: list[nn.Module] = []
        for before, after, stride in ((b, a, s) for a, b, s in reversed(made)):
            layer = nn.Conv1d(before, after, KERNEL, stride, (KERNEL - stride + 1) // 2)
            body += [scaled(layer, before * KERNEL), nn.LeakyReLU(SLOPE), PhaseShuffle(phase_shuffle)]
        self.body = nn.Sequential(*body[:-1])  # the last map is not shuffled
        self.judge = Judge(made[0][0] * SMALLEST, spec.classes, embed)

    def forward(self, sound: Tensor, label: Tensor | None = None) -> Tensor:
        score: Tensor = self.judge(self.body(sound).flatten(1), label)
        return score
