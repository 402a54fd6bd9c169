"""Weights that 16 bits hold, the same in torch and in ONNX: so that a kit shows the same pixels in C++ as in a browser.

The weights of the generator itself are rounded, and every file is made of the result. An ONNX graph has a BatchNorm
folded into the weights before it: there, the factor of each channel is found again and kept beside the 16 bits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from gantool.training.state import BATCH_NORM

MAX_ROUNDING = 2.0**-10  # of a tensor's norm: twice what fp16 costs normal numbers, so range was lost as well
EXACT = 2.0**-20  # relative: a product of float32 numbers is 8 times nearer, another number 1 in 1,000 times as near


def rounded(generator: nn.Module) -> nn.Module:
    """A copy whose weights (parameters of two axes and more) are numbers that fp16 holds; what it can't hold stays."""
    made = copy.deepcopy(generator)
    with torch.no_grad():
        for parameter in made.parameters():
            is_float = parameter.dtype == torch.float32
            if is_float and is_weight(tuple(parameter.shape)) and fits(parameter.numpy()):
                parameter.copy_(parameter.half())
    return made


def channel_factors(generator: nn.Module) -> list[np.ndarray]:
    """What each BatchNorm in eval mode multiplies its channels by: float64 (channels,) each."""
    found = []
    for norm in generator.modules():
        if isinstance(norm, BATCH_NORM) and norm.running_var is not None:
            gamma = norm.weight.detach() if norm.weight is not None else torch.ones_like(norm.running_var)
            found.append((gamma.double() / (norm.running_var.double() + norm.eps).sqrt()).numpy())
    return found


def factored(weight: np.ndarray, factors: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """`weight` as fp16 numbers times a factor of each channel, from `factors`: (fp16, float32 that broadcasts) or None.

    The channels may lie on any axis, each once, as a run of columns (channels first) or in turn (channels last).
    """
    for shape, vector in _broadcasts(weight.shape, factors):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = weight / vector.reshape(shape)
            numbers = ratio.astype(np.float16)
            near = numbers.astype(np.float64)
            if np.all(np.abs(ratio - near) <= EXACT * np.abs(near)):
                return numbers, vector.reshape(shape).astype(np.float32)
    return None


def is_weight(shape: tuple[int, ...]) -> bool:
    """Whether a tensor has two axes and more that count: biases and factors weigh nothing, and sums end in them."""
    return sum(side > 1 for side in shape) >= 2


def fits(array: np.ndarray) -> bool:
    """Whether fp16 holds the values as well as it holds normal numbers."""
    if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        return False
    wide = array.astype(np.float64)
    return bool(np.linalg.norm(wide - array.astype(np.float16)) <= MAX_ROUNDING * np.linalg.norm(wide))


def _broadcasts(shape: tuple[int, ...], factors: Sequence[np.ndarray]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    for vector in factors:
        for axis, side in enumerate(shape):
            repeats, rest = divmod(side, len(vector))
            if rest or not repeats:
                continue
            place = tuple(side if i == axis else 1 for i in range(len(shape)))
            yield place, np.repeat(vector, repeats)
            if repeats > 1:
                yield place, np.tile(vector, repeats)
