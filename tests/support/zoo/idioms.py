"""Generators whose forward itself is what is tried: its arguments, its noise, its outputs, its shapes."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gantool.plugin.architecture import Input
from support.zoo.member import IMAGE, Member, Z

NOISE = Input("noise", IMAGE, "normal")
LABEL = Input("label", (), "label", 3)
COLOUR, AUDIO, VOLUME = (3, 16, 16), (2, 32), (1, 4, 8, 8)


class Linear(nn.Module):
    """z (N, 8) → image, by one layer; `changed` is what most others override."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 64)

    def forward(self, z: Tensor) -> Tensor:
        return self.changed(self.linear(z).unflatten(1, IMAGE)).tanh()

    def changed(self, x: Tensor) -> Tensor:
        return x


class Stars(Linear):
    """Any number of arguments, as some public code has it."""

    def forward(self, *xs: Tensor) -> Tensor:
        return self.linear(xs[0]).unflatten(1, IMAGE).tanh()


class StarsAndNoise(Linear):
    def forward(self, z: Tensor, *noise: Tensor) -> Tensor:
        return (self.linear(z).unflatten(1, IMAGE) + sum(noise)).tanh()


class Defaults(Linear):
    """Further arguments that have defaults, as `truncation` in StyleGAN."""

    def forward(self, z: Tensor, truncation: float = 0.7, *, noise_mode: str = "const") -> Tensor:
        return (self.linear(z) * truncation).unflatten(1, IMAGE).tanh()


class LatentCalledCode(Linear):
    def forward(self, code: Tensor) -> Tensor:
        return self.linear(code).unflatten(1, IMAGE).tanh()


class ParameterCalledCode(Linear):
    """`code` is what torch.jit calls the source of a module."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Parameter(torch.randn(IMAGE))

    def changed(self, x: Tensor) -> Tensor:
        return x + self.code


class ParameterCalledGraph(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("graph", torch.randn(IMAGE))

    def changed(self, x: Tensor) -> Tensor:
        return x + self.graph


class Tuple(Linear):
    """Image and latent, as some public code returns them."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(z), z


class FixedNoise(Linear):
    """Noise drawn once, in what no checkpoint holds: a buffer that isn't persistent, and a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.noise: Tensor
        self.register_buffer("noise", torch.randn(IMAGE), persistent=False)
        self.offset = torch.randn(IMAGE)

    def changed(self, x: Tensor) -> Tensor:
        return x + self.noise + self.offset


class LiveNoise(Linear):
    def changed(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class NumpyNoise(Linear):
    def changed(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(np.random.standard_normal(IMAGE).astype(np.float32))


class PythonNoise(Linear):
    def changed(self, x: Tensor) -> Tensor:
        return x + random.random()


class MixedStyles(Linear):
    """A style is dropped at random while training only (style mixing)."""

    def changed(self, x: Tensor) -> Tensor:
        return x.roll(1, 0) if self.training and random.random() < 0.5 else x


class Modulated(nn.Module):
    """StyleGAN2's convolution. `grouped`: one convolution of N groups, as the public code has it."""

    def __init__(self, grouped: bool) -> None:
        super().__init__()
        self.grouped = grouped
        self.stem, self.style = nn.Linear(8, 256), nn.Linear(8, 4)
        self.weight = nn.Parameter(torch.randn(1, 4, 4, 3, 3) / 6)
        self.colour = nn.Conv2d(4, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        x, style = self.stem(z).unflatten(1, (4, 8, 8)), self.style(z) + 1
        weight = self.weight * style[:, None, :, None, None]
        scale = (weight.square().sum((2, 3, 4)) + 1e-8).rsqrt()
        if self.grouped:
            count = x.shape[0]
            weight = (weight * scale[:, :, None, None, None]).flatten(0, 1)
            x = F.conv2d(x.reshape(1, -1, 8, 8), weight, padding=1, groups=count).reshape(-1, 4, 8, 8)
        else:
            x = F.conv2d(x * style[:, :, None, None], self.weight[0], padding=1) * scale[:, :, None, None]
        return self.colour(F.leaky_relu(x, 0.2)).tanh()


class ConditionalNorm(nn.Module):
    """Class-conditional BatchNorm (Dumoulin et al. 2017), as BigGAN and SNGAN have it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Linear(8, 256), nn.BatchNorm2d(4, affine=False)
        self.gain, self.shift = nn.Embedding(3, 4), nn.Embedding(3, 4)
        self.colour = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        x = self.norm(self.stem(z).unflatten(1, (4, 8, 8)))
        return self.colour(x * (1 + self.gain(label)[..., None, None]) + self.shift(label)[..., None, None]).tanh()


class OneHot(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(11, 64)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        return self.linear(torch.cat([z, F.one_hot(label, 3).float()], 1)).unflatten(1, IMAGE).tanh()


class AdaptiveInstanceNorm(nn.Module):
    """A constant, styled by z (Karras et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.constant, self.style = nn.Parameter(torch.randn(1, 4, 8, 8)), nn.Linear(8, 8)
        self.norm, self.colour = nn.InstanceNorm2d(4), nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        gain, shift = self.style(z)[..., None, None].chunk(2, 1)
        x = self.norm(self.constant.expand(z.shape[0], -1, -1, -1))
        return self.colour(x * (1 + gain) + shift).tanh()


class HyperNetwork(nn.Module):
    """z makes the weights that are applied to coordinates (Ha et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Linear(8, 2 * 16 + 16)

    def forward(self, z: Tensor) -> Tensor:
        axis = torch.linspace(-1, 1, 8, device=z.device)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(64, 2)
        first, second = self.weights(z).split((32, 16), 1)
        hidden = torch.sin(3 * (grid @ first.view(-1, 2, 16)))
        return torch.bmm(hidden, second.unsqueeze(-1)).view(-1, *IMAGE).tanh()


class Shapes(Linear):
    """Decides by shapes, grows in a loop, and computes sizes with integer division."""

    def changed(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(x, 2)
        while x.shape[-1] < 8:
            x = F.interpolate(x, size=(x.shape[-2] * 2, x.shape[-1] * 2))
        half = x.shape[-1] // 2
        return torch.cat([x[..., half:], x[..., :half]], -1)


class ByValue(Linear):
    def changed(self, x: Tensor) -> Tensor:
        return x * 2 if x.mean() > 0 else x


class ByItem(Linear):
    def changed(self, x: Tensor) -> Tensor:
        return x * x.abs().max().item()


class FrozenBatch(Linear):
    def changed(self, x: Tensor) -> Tensor:
        return x.view(int(x.shape[0]), 1, 8, 8) + torch.zeros(len(x), 1, 1, 1)


class BatchMean(Linear):
    def changed(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class Checkpointed(Linear):
    """Gradient checkpointing: the forward is repeated in the backward."""

    def changed(self, x: Tensor) -> Tensor:
        return checkpoint(torch.sin, x, use_reentrant=False)


class Hooked(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.linear.register_forward_hook(lambda module, given, made: made * 0.5)


class OwnGradient(torch.autograd.Function):
    """The identity, with a gradient of its own."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient * 0.5


class OwnFunction(Linear):
    def changed(self, x: Tensor) -> Tensor:
        return OwnGradient.apply(x)


class Doubled(Linear):
    """Samples in float64, by a constant that came from numpy."""

    def __init__(self) -> None:
        super().__init__()
        self.axis = torch.from_numpy(np.linspace(-1, 1, 8))

    def changed(self, x: Tensor) -> Tensor:
        return x + self.axis


class Large(Linear):
    """Weights that fp16 does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full(IMAGE, 2e5))

    def changed(self, x: Tensor) -> Tensor:
        return x * self.scale * 5e-6


class Deep(nn.Module):
    """Colour, transposed convolutions with BatchNorm: a DCGAN."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Unflatten(1, (8, 1, 1)),
            nn.ConvTranspose2d(8, 16, 4, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(True),
            nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(True),
            nn.ConvTranspose2d(8, 3, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class Audio(nn.Module):
    """WaveGAN: 1-D transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer, self.head = (
            nn.Linear(8, 64),
            nn.ConvTranspose1d(8, 4, 4, 4),
            nn.Conv1d(4, 2, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.head(F.leaky_relu(self.layer(self.stem(z).unflatten(1, (8, 8))))).tanh()


class Vocoder(nn.Module):
    """A spectrum back to samples: a 1-D inverse FFT."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(8, 2 * 2 * 17)

    def forward(self, z: Tensor) -> Tensor:
        real, imaginary = self.stem(z).view(-1, 2, 2, 17).unbind(1)
        return torch.fft.irfft(torch.complex(real, imaginary), 32).mul(2).tanh()


class Volume(nn.Module):
    """3D-GAN (Wu et al. 2016): 3-D convolutions, and a parameter of five axes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.constant = nn.Linear(8, 4 * 2 * 4 * 4), nn.Parameter(torch.randn(1, 4, 2, 4, 4))
        self.norm, self.up = nn.BatchNorm3d(4), nn.ConvTranspose3d(4, 1, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        return self.up(self.norm(self.stem(z).unflatten(1, (4, 2, 4, 4)) + self.constant)).tanh()


class Flat(nn.Module):
    """Conv2d beside a 3-D upsampling, whose weights do not share one memory format."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.flat, self.deep = (
            nn.Linear(8, 256),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Conv3d(1, 1, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        x = self.flat(self.stem(z).unflatten(1, (4, 8, 8)))
        return self.deep(x.unsqueeze(1)).tanh()


class Chatty(Linear):
    """Prints, warns and asserts, as public code does."""

    def changed(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 1, "one channel"
        print("shape", tuple(x.shape))
        return x


MEMBERS = {
    "linear": Member(Linear),
    "stars": Member(Stars),
    "stars-and-noise": Member(StarsAndNoise, inputs=(Z, NOISE)),
    "defaults": Member(Defaults),
    "latent-called-code": Member(LatentCalledCode, inputs=(Input("code", (8,), "normal"),)),
    "parameter-called-code": Member(ParameterCalledCode),
    "buffer-called-graph": Member(ParameterCalledGraph),
    "tuple": Member(Tuple),
    "fixed-noise": Member(FixedNoise),
    "live-noise": Member(LiveNoise),
    "numpy-noise": Member(NumpyNoise),
    "python-noise": Member(PythonNoise),
    "mixed-styles": Member(MixedStyles),
    "modulated": Member(lambda: Modulated(grouped=False)),
    "modulated-grouped": Member(lambda: Modulated(grouped=True)),
    "conditional-norm": Member(ConditionalNorm, inputs=(Z, LABEL)),
    "one-hot": Member(OneHot, inputs=(Z, LABEL)),
    "adaptive-instance-norm": Member(AdaptiveInstanceNorm),
    "hypernetwork": Member(HyperNetwork),
    "shapes": Member(Shapes),
    "by-value": Member(ByValue),
    "by-item": Member(ByItem),
    "frozen-batch": Member(FrozenBatch),
    "batch-mean": Member(BatchMean),
    "checkpointed": Member(Checkpointed),
    "hooked": Member(Hooked),
    "own-gradient": Member(OwnFunction),
    "float64-output": Member(Doubled),
    "large-weights": Member(Large),
    "deep": Member(Deep, COLOUR),
    "audio": Member(Audio, AUDIO),
    "vocoder": Member(Vocoder, AUDIO),
    "volume": Member(Volume, VOLUME),
    "flat-and-deep": Member(Flat, (1, 4, 8, 8)),
    "chatty": Member(Chatty),
}
