"""Generators with one layer each between a linear stem and a linear head."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

from support.zoo.member import Between, Member

ROWS = (8, 16)  # a sequence of 8 vectors
MAPS = (4, 8, 8)


class Call(nn.Module):
    """A function of the map as a layer."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


class First(nn.Module):
    """The first of what a recurrent or attention layer returns. `own`: give the input as query, key and value."""

    def __init__(self, layer: nn.Module, own: bool = False) -> None:
        super().__init__()
        self.layer, self.own = layer, own

    def forward(self, x: Tensor) -> Tensor:
        return (self.layer(x, x, x) if self.own else self.layer(x))[0]


class Equalised(nn.Module):
    """Equalised learning rate (Karras et al. 2018): the weight is scaled whenever it is used."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight / math.sqrt(weight[0].numel())


class Standardised(nn.Conv2d):
    """Weight standardisation (Qiao et al. 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(self.weight, (1, 2, 3), keepdim=True)
        return F.conv2d(x, (self.weight - mean) / (deviation + 1e-5), self.bias, padding=1)


class PixelNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class MinibatchStd(nn.Module):
    """The deviation of the batch as a further channel (Karras et al. 2018): an image depends on its neighbours."""

    def forward(self, x: Tensor) -> Tensor:
        deviation = x.std(0, unbiased=False).mean()
        return torch.cat([x, deviation.expand(len(x), 1, *x.shape[2:])], 1)


class SelfAttention(nn.Module):
    """SAGAN (Zhang et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 4, 1)
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        attention = torch.bmm(query.transpose(1, 2), key).softmax(-1)
        return x + self.gamma * torch.bmm(value, attention.transpose(1, 2)).view_as(x)


class SqueezeExcitation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.layers(x).sigmoid()


class Snake(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha * x).sin().square() / (self.alpha + 1e-9)


class Blur(nn.Module):
    """A fixed low-pass filter (Zhang 2019), in a buffer that isn't persistent."""

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.kernel: Tensor
        self.register_buffer("kernel", (taps[:, None] * taps / 64).expand(4, 1, 4, 4).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (2, 1, 2, 1)), self.kernel, groups=4)


class Spectrum(nn.Module):
    """A learned filter of frequencies (Rao et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(4, 8, 5, 2) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft2(
            torch.fft.rfft2(x, norm="ortho") * torch.view_as_complex(self.filter), s=(8, 8), norm="ortho"
        )


class Warp(nn.Module):
    """A spatial transformer (Jaderberg et al. 2015)."""

    def __init__(self, mode: str = "bilinear", padding: str = "zeros") -> None:
        super().__init__()
        self.mode, self.padding = mode, padding
        self.angle = nn.Linear(256, 6)

    def forward(self, x: Tensor) -> Tensor:
        grid = F.affine_grid(self.angle(x.flatten(1)).view(-1, 2, 3), [x.shape[0], 4, 8, 8], align_corners=False)
        return F.grid_sample(x, grid, self.mode, self.padding, align_corners=False)


class Coupling(nn.Module):
    """An affine coupling of half of the channels (Dinh et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(2, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, 1)
        scale, shift = self.net(kept).chunk(2, 1)
        return torch.cat([kept, changed * scale.sigmoid() + shift], 1)


class Cells(nn.Module):
    """A recurrent cell in a Python loop."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        state, states = torch.zeros_like(x[:, 0]), []
        for step in x.unbind(1):
            state = self.cell(step, state)
            states.append(state)
        return torch.stack(states, 1)


class Experts(nn.Module):
    """A mixture of the best two experts of four."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(16, 4), nn.Linear(16, 64)

    def forward(self, x: Tensor) -> Tensor:
        best, index = self.gate(x).topk(2, -1)
        made = self.experts(x).unflatten(-1, (4, 16))
        chosen = made.gather(-2, index.unsqueeze(-1).expand(*index.shape, 16))
        return (chosen * best.softmax(-1).unsqueeze(-1)).sum(-2)


class AsType(nn.Module):
    """A layer in another precision, between two casts."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dtype = layer.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.to(self.dtype)).float()


class Autocast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dtype = nn.Conv2d(4, 4, 3, padding=1), dtype

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", self.dtype):
            x = self.layer(x)
        return x.float()


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.jit.script(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.LeakyReLU(0.2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def conv(**options: object) -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1, **options)  # type: ignore[arg-type]


def upward(*sizes: int, **options: int) -> nn.Module:
    """A transposed convolution after an activation."""
    return nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(4, 4, *sizes, **options))


def resized(**options: object) -> nn.Module:
    return Call(lambda x: F.interpolate(x, **options))  # type: ignore[arg-type]


def padded(mode: str) -> nn.Module:
    return Call(lambda x: F.pad(x, (1, 2, 3, 1), mode=mode))


def transformer() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1)


def parametrized() -> nn.Module:
    layer = conv()
    parametrize.register_parametrization(layer, "weight", Equalised())
    return layer


def tied() -> nn.Module:
    one, two = conv(), conv()
    two.weight = one.weight
    return nn.Sequential(one, nn.ReLU(), two)


_ON_MAPS: dict[str, Callable[[], nn.Module]] = {
    # weights
    "spectral-norm": lambda: parametrizations.spectral_norm(conv()),
    "spectral-norm-old": lambda: spectral_norm(conv()),
    "weight-norm": lambda: parametrizations.weight_norm(conv()),
    "weight-norm-old": lambda: weight_norm(conv()),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Conv2d(4, 4, 1)),
    "equalised-rate": parametrized,
    "weight-standardisation": lambda: Standardised(4, 4, 3),
    "tied-weights": tied,
    # norms
    "batch-norm": lambda: nn.Sequential(conv(), nn.BatchNorm2d(4)),
    "batch-norm-bare": lambda: nn.BatchNorm2d(4, affine=False, momentum=None),
    "batch-norm-no-statistics": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "instance-norm": lambda: nn.InstanceNorm2d(4, affine=True),
    "instance-norm-tracked": lambda: nn.InstanceNorm2d(4, track_running_stats=True),
    "group-norm": lambda: nn.GroupNorm(2, 4),
    "layer-norm-maps": lambda: nn.LayerNorm(MAPS),
    "local-response-norm": lambda: nn.LocalResponseNorm(3),
    "pixel-norm": PixelNorm,
    "minibatch-std": MinibatchStd,
    # convolutions
    "conv-strided": lambda: nn.Conv2d(4, 8, 3, 2, 1),
    "conv-dilated": lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2),
    "conv-depthwise": lambda: nn.Sequential(conv(groups=4), nn.Conv2d(4, 4, 1)),
    "conv-same": lambda: nn.Conv2d(4, 4, (3, 4), padding="same"),
    "conv-reflect": lambda: conv(padding_mode="reflect"),
    "conv-circular": lambda: conv(padding_mode="circular"),
    "transposed": lambda: upward(4, 2, 1),
    "transposed-dilated": lambda: upward(3, stride=3, dilation=2, output_padding=2),
    "transposed-output-padding": lambda: upward(3, stride=2, padding=1, output_padding=1),
    "transposed-groups": lambda: nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=2),
    "blur": Blur,
    # shapes
    "reflect-padding": lambda: padded("reflect"),
    "replicate-padding": lambda: padded("replicate"),
    "circular-padding": lambda: padded("circular"),
    "pixel-shuffle": lambda: nn.PixelShuffle(2),
    "pixel-unshuffle": lambda: nn.PixelUnshuffle(2),
    "unfold-fold": lambda: nn.Sequential(nn.Unfold(2, stride=2), nn.Fold((8, 8), 2, stride=2)),
    "roll-flip": lambda: Call(lambda x: x.roll((1, -2), (2, 3)).flip(-1)),
    "nearest": lambda: nn.Upsample(scale_factor=2),
    "nearest-exact": lambda: resized(size=(13, 11), mode="nearest-exact"),
    "bilinear": lambda: resized(scale_factor=2, mode="bilinear"),
    "bilinear-corners": lambda: resized(size=(13, 11), mode="bilinear", align_corners=True),
    "bilinear-antialias": lambda: resized(size=(5, 5), mode="bilinear", antialias=True),
    "bicubic": lambda: resized(scale_factor=2, mode="bicubic"),
    "bicubic-antialias": lambda: resized(size=(13, 11), mode="bicubic", antialias=True),
    "bicubic-antialias-down": lambda: resized(size=(5, 5), mode="bicubic", antialias=True),
    "area": lambda: resized(size=(4, 4), mode="area"),
    "average-pool": lambda: nn.AvgPool2d(3, 2, 1),
    "max-pool": lambda: nn.MaxPool2d(2),
    "adaptive-pool": lambda: nn.AdaptiveAvgPool2d(3),
    "grid-sample": Warp,
    "grid-sample-bicubic": lambda: Warp("bicubic", "border"),
    # activations and arithmetic
    "prelu": lambda: nn.PReLU(4),
    "gelu": nn.GELU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "glu": lambda: nn.GLU(1),
    "maxout": lambda: Call(lambda x: x.unflatten(1, (2, 2)).amax(2)),
    "snake": Snake,
    "squeeze-excitation": SqueezeExcitation,
    "self-attention": SelfAttention,
    "coupling": Coupling,
    "einsum": lambda: Call(lambda x: torch.einsum("nchw,ndhw->ncd", x, x) / 64),
    "integer-division": lambda: Call(lambda x: x.flatten(2).index_select(2, torch.arange(64) // 2)),
    "cumsum": lambda: Call(lambda x: x.cumsum(-1) / 4),
    "sort": lambda: Call(lambda x: x.flatten(2).sort(-1).values),
    "in-place": lambda: nn.Sequential(conv(), Call(lambda x: x.mul_(2).add_(1)), nn.ReLU(inplace=True)),
    "slice-assignment": lambda: Call(_middle_doubled),
    "large-values": lambda: Call(lambda x: (x * 1e5).square() * 1e-10),
    "tiny-epsilon": lambda: Call(lambda x: x / (x.abs() + 1e-12).sqrt()),
    "linalg": lambda: Call(lambda x: torch.linalg.inv(x + 9 * torch.eye(8))),
    "erfinv": lambda: Call(lambda x: (x.tanh() * 0.9).erfinv()),
    # frequencies
    "fft": Spectrum,
    "fft-magnitude": lambda: Call(lambda x: torch.fft.fft2(x, norm="ortho").abs()),
    "complex": lambda: Call(lambda x: torch.complex(x, x.sin()).pow(2).angle()),
    # precision
    "float64": lambda: AsType(conv(), torch.float64),
    "bfloat16": lambda: AsType(conv(), torch.bfloat16),
    "float16": lambda: AsType(conv(), torch.float16),
    "autocast-bfloat16": lambda: Autocast(torch.bfloat16),
    "autocast-float16": lambda: Autocast(torch.float16),
    # machinery
    "scripted": Scripted,
    "dropout": lambda: nn.Dropout2d(0.5),
    "dropout-alive": lambda: Call(lambda x: F.dropout(x, 0.5, training=True)),
    "compiled-away-loop": lambda: Call(lambda x: sum(x * k for k in range(x.shape[1]))),
}

_ON_ROWS: dict[str, Callable[[], nn.Module]] = {
    "layer-norm": lambda: nn.LayerNorm(16),
    "rms-norm": lambda: nn.RMSNorm(16),
    "gru": lambda: First(nn.GRU(16, 16, batch_first=True)),
    "gru-bidirectional": lambda: First(nn.GRU(16, 8, 2, batch_first=True, bidirectional=True)),
    "gru-cells": Cells,
    "lstm": lambda: First(nn.LSTM(16, 16, batch_first=True)),
    "lstm-projected": lambda: First(nn.LSTM(16, 16, batch_first=True, proj_size=8)),
    "rnn": lambda: First(nn.RNN(16, 16, batch_first=True)),
    "attention": lambda: First(nn.MultiheadAttention(16, 2, batch_first=True), own=True),
    "attention-fused": lambda: Call(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)),
    "transformer-encoder": transformer,
    "experts": Experts,
}

MEMBERS = {
    **{name: Member(lambda make=make: Between(make())) for name, make in _ON_MAPS.items()},  # type: ignore[misc]
    **{name: Member(lambda make=make: Between(make(), ROWS)) for name, make in _ON_ROWS.items()},  # type: ignore[misc]
}


def _middle_doubled(x: Tensor) -> Tensor:
    made = x.clone()
    made[:, :, 2:6] *= 2
    return made
