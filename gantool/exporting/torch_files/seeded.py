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
    float32 (batch,), and its picture, uint8 (batch, H, W, C) → samples as `gantool.artifact.latents.levels` has them,
    uint8 (batch, H, W, C) for images. Without latents there is neither seed nor index. Its method `classes()` tells how
    many classes each of these has, 0 for a value, -1 for a picture; `values()` tells default, low and high of each.
    Raises GantoolError when torch.jit can't trace it, or no seed decides the samples.
    """
    others = [item for item in inputs if item.distribution != "normal"]
    drawn = [torch.tensor([1]), torch.arange(2)] if len(others) < len(inputs) else []
    traced = torchscript.trace(Seeded(generator, inputs, output).eval(), [*drawn, *map(_example, others)])
    names = [*([SEED, INDEX] if drawn else []), *(item.name for item in others)]
    classes = [-1 if item.is_picture else item.classes for item in others]
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


def _example(item: Input) -> Tensor:
    """Two rows of an input of a seeded file."""
    if item.is_picture:
        channels, height, width = item.shape
        return torch.zeros(2, height, width, channels, dtype=torch.uint8)
    return torch.zeros(2, dtype=getattr(torch, item.dtype))


class _Named(nn.Module):
    """Holds a traced module, whose inputs have made-up names, for a `forward` that names them."""

    def __init__(self, traced: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.traced = traced


class Seeded(nn.Module):
    """A generator with its normal inputs drawn from a seed, and samples in whole numbers, as `artifact.latents`.

    forward(seed int64 (1,), index int64 (batch,), *labels and values (batch,), picture uint8 (batch, H, W, C)) → uint8
    (batch, H, W, C) for images, (batch, D, H, W, C) for volumes, int16 (batch, T, C) for audio. An index that
    `gantool.artifact.latents` refuses (negative, or 2**47 and above) repeats other latents. Raises GantoolError for a
    generator that takes other data.
    """

    def __init__(self, generator: nn.Module, inputs: Sequence[Input], output: SampleSpec) -> None:
        super().__init__()
        names = ", ".join(item.name for item in inputs if item.distribution == "data" and not item.is_picture)
        if names:
            raise GantoolError(f"The generator takes data ({names}): no seed decides its samples.")
        self.generator = generator
        self.normal: Final = tuple(item.distribution == "normal" for item in inputs)
        self.shapes: Final = tuple(item.shape for item in inputs if item.distribution == "normal")
        self.audio: Final = output.kind == "audio"
        # scripted, not traced: a trace would bake in the device of the example
        seeded = bool(self.shapes) or not any(item.is_picture for item in inputs)
        self.draw: Any = torchscript.script(Normals(sum(map(math.prod, self.shapes)))) if seeded else None

    def forward(self, *given: Tensor) -> Tensor:
        drawn = iter(self._latents(*given[:2]) if self.shapes else ())
        others = iter(floats(each) if each.dim() == 4 else each for each in given[2 if self.shapes else 0 :])
        sample: Tensor = self.generator(*(next(drawn if normal else others) for normal in self.normal))
        return steps(sample) if self.audio else pixels(sample)

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


def floats(pictures: Tensor) -> Tensor:
    """latents.floats: uint8 (batch, H, W, C) → float32 (batch, C, H, W)."""
    return (pictures.to(torch.float32) / 127.5 - 1).permute(0, 3, 1, 2).contiguous()


def pixels(x: Tensor) -> Tensor:
    """latents.pixels: float32 (batch, C, …) → uint8 (batch, …, C)."""
    return (x * 127.5 + 128).clamp(0, 255).movedim(1, -1).to(torch.uint8).contiguous()


def steps(x: Tensor) -> Tensor:
    """latents.steps: float32 (batch, C, T) → int16 (batch, T, C)."""
    return (x * 32767 + 0.5).floor().clamp(-32767, 32767).movedim(1, -1).to(torch.int16).contiguous()
