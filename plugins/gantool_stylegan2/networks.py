"""Networks of `stylegan2`: a mapping network, styled convolutions with noise, and a residual discriminator.

Every weight begins as N(0, 1) and is scaled where it is used (equalised learning rate; Karras et al. 2018,
arXiv:1710.10196). A LeakyReLU's gain √2 is in the scale of what comes before it, which gives the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import gantool_dcgan.networks as dcgan
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.plugin import SampleSpec, objectives

GAIN = math.sqrt(2)
SLOPE = 0.2
MAPPING_RATE = 0.01  # step sizes of the mapping network, as a share of the others'
AVERAGE_DECAY = 0.995  # of the mean of w
PATH_DECAY = 0.01  # what a batch counts in the mean path length
GROUP = 4  # samples that a minibatch deviation is taken over
EPSILON = 1e-8


def stages(spec: SampleSpec, channel_base: int, max_width: int) -> list[tuple[int, int]]:
    """(side, channels) of every map, from the smallest to the image; GantoolError for a spec that isn't served.

    A map of side s has channel_base / s channels, at most `max_width`.
    """
    side, halvings = dcgan.pyramid(spec, 1, 1, maker="stylegan2")
    sides = [side * 2**level for level in range(len(halvings) + 1)]
    return [(s, max(1, min(round(channel_base / s), max_width))) for s in sides]


def noise_shapes(layout: list[tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    """Name and shape of each layer's noise, in the order of the layers: one at the first map, two at the others."""
    sides = [side for side, _ in layout]
    layers = [(sides[0], 1), *((side, number) for side in sides[1:] for number in (1, 2))]
    return {f"noise_{side}_{number}": (1, side, side) for side, number in layers}


class Linear(nn.Module):
    """(N, before) → (N, after). `rate`: step sizes as a share of the others'."""

    def __init__(self, before: int, after: int, *, gain: float = 1.0, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before) / rate)
        self.bias = nn.Parameter(torch.full((after,), bias / rate))
        self.weight_scale, self.bias_scale = gain * rate / math.sqrt(before), gain * rate

    def forward(self, values: Tensor) -> Tensor:
        return F.linear(values, self.weight * self.weight_scale, self.bias * self.bias_scale)


class Convolution(nn.Conv2d):
    """(N, before, S, S) → (N, after, S, S), or with `stride` 2 and without padding (N, after, S // 2, S // 2)."""

    def __init__(
        self, before: int, after: int, kernel: int, stride: int = 1, *, gain: float = 1.0, bias: bool = True
    ) -> None:
        super().__init__(before, after, kernel, stride, kernel // 2 if stride == 1 else 0, bias=bias)
        _begin(self)
        self.gain, self.scale = gain, gain / math.sqrt(before * kernel**2)

    def forward(self, input: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias * self.gain
        return F.conv2d(input, self.weight * self.scale, bias, self.stride, self.padding)


class Doubling(nn.ConvTranspose2d):
    """(N, before, S, S) → (N, after, 2S, 2S): a transposed 3×3 convolution, then the filter [1, 3, 3, 1]."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3, 2, bias=False)
        _begin(self)
        self.scale = 1 / math.sqrt(before * 9)
        self.smooth = Filter(padding=1, gain=4.0)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        made: Tensor = self.smooth(F.conv_transpose2d(input, self.weight * self.scale, stride=2))
        return made


class Filter(nn.Module):
    """The filter [1, 3, 3, 1] along both axes, as a convolution of each channel. `gain`: sum of its taps."""

    taps: Tensor

    def __init__(self, *, padding: int, stride: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        self.padding, self.stride = padding, stride
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("taps", gain * line[:, None] * line, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        channels = maps.shape[1]
        return F.conv2d(maps, self.taps.expand(channels, 1, 4, 4), None, self.stride, self.padding, 1, channels)


class Upsample(Filter):
    """(N, C, S, S) → (N, C, 2S, 2S): zeros in between, then the filter."""

    def __init__(self) -> None:
        super().__init__(padding=1, stride=2, gain=4.0)

    def forward(self, maps: Tensor) -> Tensor:
        channels = maps.shape[1]
        taps = self.taps.expand(channels, 1, 4, 4)
        return F.conv_transpose2d(maps, taps, None, self.stride, self.padding, 0, channels)


class Styled(nn.Module):
    """Map (N, before, S, S), w (N, D), noise (N, 1, S', S') → (N, after, S', S'), where S' is S, or with `up` 2S.

    The style scales the channels that go into a convolution, and its outputs are divided by the deviation that they
    then have if the inputs have deviation 1 (section 2.2 of the paper). There this is done to the weights; done to the
    maps, as here, one convolution serves samples of all styles.
    """

    def __init__(self, before: int, after: int, style_dim: int, *, up: bool) -> None:
        super().__init__()
        self.style = Linear(style_dim, before, bias=1.0)
        self.up = up
        self.convolution = Doubling(before, after) if up else Convolution(before, after, 3, bias=False)
        self.noise = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(after, 1, 1))

    def forward(self, maps: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        style = self.style(w)
        squares = (self.convolution.weight * self.convolution.scale).square().sum((2, 3))
        deviation = (F.linear(style.square(), squares.t() if self.up else squares) + EPSILON).rsqrt()
        maps = self.convolution(maps * style[:, :, None, None])
        maps = maps * (GAIN * deviation)[:, :, None, None] + (GAIN * self.noise * noise + GAIN * self.bias)
        return F.leaky_relu(maps, SLOPE)


class ToImage(nn.Module):
    """Map (N, before, S, S), w (N, D) → (N, C, S, S): a 1×1 convolution of channels that the style scales."""

    def __init__(self, before: int, channels: int, style_dim: int) -> None:
        super().__init__()
        self.style = Linear(style_dim, before, bias=1.0)
        self.convolution = Convolution(before, channels, 1)

    def forward(self, maps: Tensor, w: Tensor) -> Tensor:
        made: Tensor = self.convolution(maps * self.style(w)[:, :, None, None])
        return made


class Mapping(nn.Module):
    """z (N, D) [, label (N,)] → w (N, D). z, and the class's embedding that is joined to it, are normalised."""

    def __init__(self, latent_dim: int, layers: int, classes: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, latent_dim) if classes else None
        widths = [latent_dim * (2 if classes else 1), *[latent_dim] * layers]
        self.layers = nn.ModuleList(Linear(*pair, gain=GAIN, rate=MAPPING_RATE) for pair in pairwise(widths))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        w = _normalised(z)
        if self.embed is not None:
            w = torch.cat((w, _normalised(self.embed(label))), 1)
        for layer in self.layers:
            w = F.leaky_relu(layer(w), SLOPE)
        return w


class Synthesis(nn.Module):
    """A w (N, D) for each of `layers`, and a noise (N, 1, S, S) for each convolution → image (N, C, S, S).

    The image is the sum of what each map shows, at its own size. A map's image has the style of the layer that follows.
    """

    def __init__(self, spec: SampleSpec, layout: list[tuple[int, int]], style_dim: int) -> None:
        super().__init__()
        (side, first), widths = layout[0], [width for _, width in layout]
        self.constant = nn.Parameter(torch.randn(first, side, side))
        convolutions = [Styled(first, first, style_dim, up=False)]
        for before, after in pairwise(widths):
            convolutions += [Styled(before, after, style_dim, up=True), Styled(after, after, style_dim, up=False)]
        self.convolutions = nn.ModuleList(convolutions)
        self.images = nn.ModuleList(ToImage(width, spec.channels, style_dim) for width in widths)
        self.upsample = Upsample()
        self.layers = len(convolutions) + 1

    def forward(self, styles: Sequence[Tensor], noises: Sequence[Tensor]) -> Tensor:
        maps: Tensor = self.constant  # the first style makes it a batch
        image: Tensor | None = None
        for layer, (convolution, noise) in enumerate(zip(self.convolutions, noises, strict=True)):
            maps = convolution(maps, styles[layer], noise)
            if layer % 2 == 0:  # the last convolution of this size
                shown = self.images[layer // 2](maps, styles[layer + 1])
                image = shown if image is None else self.upsample(image) + shown
        assert image is not None
        return image


class Generator(nn.Module):
    """z (N, D) [, label (N,)], noises (N, 1, S, S), truncation ψ (N,) → image (N, C, S, S).

    In eval mode w is w_avg + ψ·(w - w_avg), where w_avg is the mean of w over the training: small ψ give images that
    are more typical and less varied. The image is clamped to [-1, 1]. In train mode ψ has no effect, and `mixing` is
    the share of the samples whose layers from some point on have the style of another latent.
    """

    w_avg: Tensor

    def __init__(
        self, spec: SampleSpec, layout: list[tuple[int, int]], latent_dim: int, mapping_layers: int, mixing: float
    ) -> None:
        super().__init__()
        self.mapping = Mapping(latent_dim, mapping_layers, spec.classes)
        self.synthesis = Synthesis(spec, layout, latent_dim)
        self.labels, self.layers = 1 if spec.classes else 0, self.synthesis.layers
        self.mixing = mixing
        self.register_buffer("w_avg", torch.zeros(latent_dim))

    def forward(self, z: Tensor, *others: Tensor) -> Tensor:
        label, noises, truncation = others[: self.labels], others[self.labels : -1], others[-1]
        if self.training:
            image: Tensor = self.synthesis(self.styles(z, *label).unbind(1), noises)
            return image
        w = self.mapping(z, *label)
        w = w - (1 - truncation)[:, None] * (w - self.w_avg)  # so written, ψ = 1 leaves w as it is
        image = self.synthesis([w] * self.layers, noises)
        return image.clamp(-1, 1)

    def styles(self, z: Tensor, *label: Tensor) -> Tensor:
        """A w for each layer, (N, layers, D), as in training: mixed, and counted in the mean."""
        w: Tensor = self.mapping(z, *label)
        with torch.no_grad():
            self.w_avg.lerp_(w.mean(0).to(self.w_avg.dtype), 1 - AVERAGE_DECAY)
        every = w[:, None].expand(-1, self.layers, -1)
        if not self.mixing:
            return every
        other = self.mapping(torch.randn_like(z), *label)
        drawn = torch.rand(2, len(z), 1, 1, device=z.device)
        begins = 1 + (drawn[0] * (self.layers - 1)).floor()  # the first layer of the other style: 1 … layers - 1
        number = torch.arange(self.layers, device=z.device)[:, None]
        return torch.where((drawn[1] < self.mixing) & (number >= begins), other[:, None], every)


class PathLength(nn.Module):
    """The penalty of path lengths, and their running mean (section 3.2 of the paper).

    A path length is how far an image moves, in a random direction, when w moves by one.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self._new: Tensor | None = None  # from a loss to the `update` after its step

    def forward(self, generator: Generator, direction: Tensor, z: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of (length - running mean)², and the mean of the lengths.

        `direction`: standard normal, as an image. `others`: as the generator takes them.
        """
        label, noises = others[: generator.labels], others[generator.labels : -1]
        styles = generator.styles(z, *label).to(self.mean.dtype)
        direction = direction / math.sqrt(direction.shape[2] * direction.shape[3])

        def along(styles: Tensor) -> Tensor:
            image: Tensor = generator.synthesis(styles.unbind(1), noises)
            return (image * direction).flatten(1).sum(1)

        squares = objectives.slopes(along, styles)[1] / styles.shape[1]
        lengths = (squares + 1e-12).sqrt()  # the constant keeps a root of zero differentiable
        mean = self.mean.lerp(lengths.mean(), PATH_DECAY)
        # `update` moves the mean: compiled code may compute it once more in its backward, and would get another
        self._new = mean.detach()
        return (lengths - mean).square().mean(), lengths.detach().mean()

    def update(self) -> None:
        """Take the newest lengths into the mean."""
        assert self._new is not None
        self.mean.copy_(self._new)


class Down(nn.Module):
    """(N, before, S, S) → (N, after, S/2, S/2): two 3×3 convolutions, added to a 1×1 one; sum scaled by √½."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Convolution(before, before, 3, gain=GAIN),
            nn.LeakyReLU(SLOPE),
            Filter(padding=2),
            Convolution(before, after, 3, 2, gain=GAIN * math.sqrt(0.5)),
            nn.LeakyReLU(SLOPE),
        )
        self.skip = nn.Sequential(
            Filter(padding=1, stride=2), Convolution(before, after, 1, gain=math.sqrt(0.5), bias=False)
        )

    def forward(self, maps: Tensor) -> Tensor:
        halved: Tensor = self.layers(maps) + self.skip(maps)
        return halved


class MinibatchDeviation(nn.Module):
    """(N, C, S, S) → (N, C + 1, S, S): the deviation within a group of samples, averaged over the map (Karras et al.
    2018, arXiv:1710.10196).

    Groups follow each other; all have nearly the same size, at most GROUP: 6 samples make two groups of 3.
    """

    batch_statistics = True

    def forward(self, maps: Tensor) -> Tensor:
        count, values = len(maps), maps.flatten(1)
        group = torch.arange(count, device=maps.device) * -(-count // GROUP) // count
        same = (group[:, None] == group).to(values.dtype)
        average = same / same.sum(1, keepdim=True)  # (N, N): times values, the mean of each sample's group
        variance = average @ (values - average @ values).square()
        deviation = (variance + EPSILON).sqrt().mean(1)
        return torch.cat((maps, deviation[:, None, None, None].expand(-1, 1, *maps.shape[2:])), 1)


class Discriminator(nn.Module):
    """Image (N, C, S, S) [, label (N,)] → score (N,).

    With classes the score is the inner product of the features with an embedding of the class (Miyato & Koyama 2018,
    arXiv:1802.05637).
    """

    def __init__(self, spec: SampleSpec, layout: list[tuple[int, int]], embed: int) -> None:
        super().__init__()
        (side, last), widths = layout[0], [width for _, width in reversed(layout)]
        self.features = nn.Sequential(
            Convolution(spec.channels, widths[0], 1, gain=GAIN),
            nn.LeakyReLU(SLOPE),
            *(Down(*pair) for pair in pairwise(widths)),
            MinibatchDeviation(),
            Convolution(last + 1, last, 3, gain=GAIN),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
            Linear(last * side * side, last, gain=GAIN),
            nn.LeakyReLU(SLOPE),
        )
        self.judge = Linear(last, embed if spec.classes else 1)
        self.embed = nn.Embedding(spec.classes, embed) if spec.classes else None

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        judged: Tensor = self.judge(self.features(image))
        if self.embed is None:
            return judged.squeeze(1)
        return (judged * _normalised(self.embed(label))).sum(1) / math.sqrt(judged.shape[1])


def _normalised(vectors: Tensor) -> Tensor:
    """(N, D) with a mean square of 1."""
    return vectors * (vectors.square().mean(1, keepdim=True) + EPSILON).rsqrt()


def _begin(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    nn.init.normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
