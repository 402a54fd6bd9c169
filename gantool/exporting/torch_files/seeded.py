"""Make a generator draw its own latents in torch: `gantool.artifact.latents` in int64, which wraps as uint64 does.

Only a right shift differs, for an int64 keeps its sign: a mask follows each. All constants are buffers or come from
`seed` and `index`, so that the file runs on the device that it is loaded to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from gantool.artifact import latents
from gantool.errors import GantoolError
from gantool.exporting.onnx_files.seeds import INDEX, SEED
from gantool.exporting.torch_files import torchscript
from gantool.plugin.architecture import Input, SampleSpec


def to_seeded_torchscript(generator: nn.Module, inputs: Sequence[Input], output: SampleSpec) -> torch.jit.ScriptModule:
    """`Seeded`, traced and frozen: any batch, on the device that the file is loaded to.

    forward: `seed` int64 (1,), `index` int64 (batch,), then the generator's labels and values in order, each int64 or
    float32 (batch,) → uint8 (batch, H, W, C), or float32 (batch, C, …) for what is no image. Its method `classes()`
    tells how many classes each of these has, 0 for a value; `values()` tells default, low and high of each. Raises
    GantoolError when torch.jit can't trace it, or no seed decides the samples.
    """
    others = [item for item in inputs if item.distribution != "normal"]
    example = [torch.tensor([1]), torch.arange(2), *(torch.zeros(2, dtype=getattr(torch, i.dtype)) for i in others)]
    traced = torchscript.trace(Seeded(generator, inputs, output).eval(), example)
    names = [SEED, INDEX, *(item.name for item in others)]
    classes = [item.classes for item in others]
    values = [[float(item.default), float(item.low), float(item.high)] for item in others]
    return torchscript.freeze(
        torchscript.script(
            _Named(traced),
            f"def forward(self, {', '.join(f'{name}: Tensor' for name in names)}) -> Tensor:\n"
            f"    return self.traced({', '.join(names)})\n",
            f"def classes(self) -> List[int]:\n    return torch.jit.annotate(List[int], {classes})\n",
            f"def values(self) -> List[List[float]]:\n    return torch.jit.annotate(List[List[float]], {values})\n",
        ),
        keep=["classes", "values"],
    )


class _Named(nn.Module):
    """Holds a traced module, whose inputs have made-up names, for a `forward` that names them."""

    def __init__(self, traced: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.traced = traced


class Seeded(nn.Module):
    """A generator with its normal inputs drawn from a seed, and images as pixels: equal to `gantool.artifact.latents`.

    forward(seed int64 (1,), index int64 (batch,), *labels and values (batch,)) → uint8 (batch, H, W, C) for images,
    the generator's own float32 (batch, C, …) for others. An index that `gantool.artifact.latents` refuses (negative,
    or 2**47 and above) repeats other latents. Raises GantoolError for a generator that takes data or nothing normal.
    """

    def __init__(self, generator: nn.Module, inputs: Sequence[Input], output: SampleSpec) -> None:
        super().__init__()
        if any(item.distribution == "data" for item in inputs):
            names = ", ".join(item.name for item in inputs if item.distribution == "data")
            raise GantoolError(f"The generator takes data ({names}): no seed decides its samples.")
        self.generator = generator
        self.normal: Final = tuple(item.distribution == "normal" for item in inputs)
        self.shapes: Final = tuple(item.shape for item in inputs if item.distribution == "normal")
        self.image: Final = output.is_image
        # scripted, not traced: a trace would bake in the device of the example
        self.draw: Any = torchscript.script(Normals(sum(map(math.prod, self.shapes))))

    def forward(self, seed: Tensor, index: Tensor, *given: Tensor) -> Tensor:
        drawn = iter(self._latents(seed, index))
        others = iter(given)
        sample: Tensor = self.generator(*(next(drawn if normal else others) for normal in self.normal))
        return pixels(sample) if self.image else sample

    def _latents(self, seed: Tensor, index: Tensor) -> list[Tensor]:
        """As latents.draw: the columns of one row, dealt out in order."""
        row = self.draw(seed, index)
        sizes = [math.prod(shape) for shape in self.shapes]
        starts = itertools.accumulate(sizes, initial=0)
        return [
            row[:, start : start + size].reshape(-1, *shape)
            for shape, size, start in zip(self.shapes, sizes, starts, strict=False)
        ]


class Normals(nn.Module):
    """latents.normals: seed int64 (1,), index int64 (batch,) → float32 (batch, size), bit for bit. Scriptable."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.hash_key = latents.HASH_KEY - 2**64  # the int64 of the same bits
        self.stride = latents.stride(latents.counters(size))
        columns, table = torch.arange(latents.counters(size)), torch.from_numpy(latents.table().copy())
        self.columns: Tensor
        self.table: Tensor
        self.register_buffer("columns", columns)
        self.register_buffer("table", table)

    def forward(self, seed: Tensor, index: Tensor) -> Tensor:
        key = self.key(seed)
        y = (index * self.stride * key).unsqueeze(1) + self.columns * key
        z = y + key
        x = swap(y * y + y)
        x = swap(x * x + z)
        x = swap(x * x + y)
        bits = high(x * x + z)
        places = torch.cat([bits >> 16, bits & 0xFFFF], dim=1)
        return self.table[places[:, : self.size]]

    def key(self, seed: Tensor) -> Tensor:
        """latents.key_from_seed: int64 (1,) → int64 (1,)."""
        y = seed * self.hash_key
        z = y + self.hash_key
        x = swap(y * y + y)
        x = swap(x * x + z)
        x = swap(x * x + y)
        t = x * x + z
        x = swap(t)
        return (t + high(x * x + y)) | 1


def high(x: Tensor) -> Tensor:
    """The upper 32 bits, as a logical shift gives them."""
    return (x >> 32) & 0xFFFFFFFF


def swap(x: Tensor) -> Tensor:
    """Rotate by 32 bits."""
    return high(x) | (x << 32)


def pixels(x: Tensor) -> Tensor:
    """latents.pixels: float32 (batch, C, H, W) → uint8 (batch, H, W, C)."""
    return (x * 127.5 + 128).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).contiguous()
