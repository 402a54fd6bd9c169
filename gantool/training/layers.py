"""Layers in forms that a CPU computes faster: the same arithmetic by other kernels.

Only the class of a layer changes, and so its `forward`; its parameters and their names stay. Which layers gain was
measured by benchmarks/layers.py.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

THIN = 4  # up to so many channels on the side of the image a matrix product is faster than PyTorch's convolution


def rewrite(module: nn.Module) -> None:
    """Replace the layers in `module` that have a faster form, in place."""
    for child in module.modules():
        for before, after in pairwise(child) if type(child) is nn.Sequential else ():
            if _doubles(before) and _keeps_size(after):
                before.__class__, after.__class__ = LeftToNext, DoublingConv2d
        faster = _faster(child)
        if faster:
            child.__class__ = faster


def _faster(layer: nn.Module) -> type[nn.Module] | None:
    if type(layer) is nn.Dropout and not layer.inplace:
        return ByteDropout
    if type(layer) is nn.GLU:
        return HalvedGLU
    if type(layer) not in (nn.Conv2d, nn.ConvTranspose2d):
        return None
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    if layer.groups != 1 or layer.dilation != (1, 1) or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    if isinstance(layer, nn.ConvTranspose2d):
        thin = layer.out_channels <= THIN and layer.output_padding == (0, 0)
        return ThinConvTranspose2d if thin else None
    if layer.in_channels <= THIN:
        return ThinConv2d
    return WholeConv2d if layer.padding == (0, 0) and layer.out_channels <= THIN else None


def _doubles(layer: nn.Module) -> bool:
    """Whether it repeats each value of a map twice on both axes."""
    return type(layer) is nn.Upsample and layer.mode == "nearest" and layer.scale_factor in (2, (2, 2))


def _keeps_size(layer: nn.Module) -> bool:
    """Whether it is a plain 3×3 convolution."""
    if type(layer) is not nn.Conv2d or layer.groups != 1 or layer.padding_mode != "zeros":
        return False
    return (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))


class LeftToNext(nn.Upsample):
    """Doubling that the next layer does."""

    def forward(self, input: Tensor) -> Tensor:
        return input


class DoublingConv2d(nn.Conv2d):
    """A map doubled by nearest neighbour, then convolved, as one transposed convolution: 4/9 of the work.

    Of its 4×4 kernel each weight is the sum of the taps that meet the same value of the map.
    """

    def forward(self, input: Tensor) -> Tensor:
        taps = F.pad(self.weight.flip(2, 3).transpose(0, 1), (1, 1, 1, 1))
        kernel = F.avg_pool2d(taps, 2, 1, divisor_override=1)
        return F.conv_transpose2d(input, kernel, self.bias, stride=2, padding=1)


class ThinConv2d(nn.Conv2d):
    """A convolution of an image with few channels: its patches as rows, times the weights.

    Only when the image needs a gradient, which PyTorch is slow at.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not input.requires_grad:
            return super().forward(input)
        (high, wide), (down, right) = self.kernel_size, self.stride
        assert not isinstance(self.padding, str)
        (above, beside) = self.padding
        padded = F.pad(input, (beside, beside, above, above))
        patches = padded.unfold(2, high, down).unfold(3, wide, right)  # (N, C, H', W', high, wide)
        count, _, tall, broad = patches.shape[:4]
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(count * tall * broad, -1)
        made = F.linear(rows, self.weight.flatten(1), self.bias)
        return made.view(count, tall, broad, self.out_channels).permute(0, 3, 1, 2)


class WholeConv2d(nn.Conv2d):
    """A convolution whose kernel covers its whole input (the last of a discriminator): one matrix product."""

    def forward(self, input: Tensor) -> Tensor:
        if tuple(input.shape[2:]) != self.kernel_size:
            return super().forward(input)
        # channels last, as in memory, so that nothing is copied
        rows, weight = (t.permute(0, 2, 3, 1).flatten(1) for t in (input, self.weight))
        return F.linear(rows, weight, self.bias)[:, :, None, None]


class ThinConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that makes an image of few channels: a matrix product, and its patches summed up."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if output_size is not None:
            return super().forward(input, output_size)
        count, channels, high, wide = input.shape
        assert not isinstance(self.padding, str)
        padding = (self.padding[0], self.padding[1])
        tall = (high - 1) * self.stride[0] - 2 * padding[0] + self.kernel_size[0]
        broad = (wide - 1) * self.stride[1] - 2 * padding[1] + self.kernel_size[1]
        rows = input.permute(0, 2, 3, 1).reshape(-1, channels)
        patches = (rows @ self.weight.flatten(1)).view(count, high * wide, -1).transpose(1, 2)
        image = F.fold(patches, (tall, broad), self.kernel_size, 1, padding, self.stride)
        return image if self.bias is None else image + self.bias.view(1, -1, 1, 1)


class ByteDropout(nn.Dropout):
    """Dropout with one random byte a value: keeps k/256 of the values, k/256 nearest to 1 - p, and scales by 256/k."""

    def forward(self, input: Tensor) -> Tensor:
        keep = round(256 * (1 - self.p))
        if not self.training or keep in (0, 256):
            return super().forward(input)
        # PyTorch's generator makes 64 bits as fast as one Bernoulli value
        words = torch.empty(-(-input.numel() // 8), dtype=torch.int64, device=input.device).random_(-(2**63), None)
        bytes_ = words.view(torch.uint8)[: input.numel()].view(input.shape)
        return input * (bytes_ < keep).to(input.dtype).mul_(256 / keep)


class HalvedGLU(nn.GLU):
    """Gated linear units by halves: the gradient of PyTorch's own is not channels last where the maps are."""

    def forward(self, input: Tensor) -> Tensor:
        values, gates = input.chunk(2, self.dim)
        return values * gates.sigmoid()
