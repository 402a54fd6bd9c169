"""What one generator of the zoo declares."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gantool.plugin.architecture import Input

Z = Input("z", (8,), "normal")
IMAGE = (1, 8, 8)


@dataclass(frozen=True)
class Member:
    """`make` builds the generator, `inputs` → sample (N, *shape)."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = IMAGE
    inputs: tuple[Input, ...] = (Z,)

    @property
    def classes(self) -> int:
        return max(item.classes for item in self.inputs)

    @property
    def real(self) -> Input:
        return Input("real", self.shape, "data")


class Between(nn.Module):
    """z (N, 8) → linear → (N, *inside) → `layer` → flat → linear → tanh → (N, *shape)."""

    def __init__(self, layer: nn.Module, inside: tuple[int, ...] = (4, 8, 8), shape: tuple[int, ...] = IMAGE) -> None:
        super().__init__()
        self.inside, self.shape = inside, shape
        self.stem = nn.Linear(8, math.prod(inside))
        self.layer = layer
        with torch.no_grad():
            width = layer(torch.randn(2, *inside)).flatten(1).shape[1]
        self.head = nn.Linear(width, math.prod(shape))

    def forward(self, z: Tensor) -> Tensor:
        x = self.layer(self.stem(z).unflatten(1, self.inside))
        return self.head(x.flatten(1)).unflatten(1, self.shape).tanh()
