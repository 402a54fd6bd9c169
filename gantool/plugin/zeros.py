"""Gradients of gradients without the passes that carry zeros only.

The second derivative of a piecewise linear network is zero wherever it exists, yet PyTorch's double backward fills
tensors with those zeros and takes them back through every layer: two of the six passes of a gradient penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_LAYERS = (F.linear, F.conv1d, F.conv2d, F.conv3d)


class ZerosDropped(TorchFunctionMode):
    """A context: where a gradient of zeros reaches a layer that was run in it, backward goes no further.

    Exact, for the zeros are looked at. Looking waits for the device, so on others than the CPU nothing is done.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _LAYERS and result.device.type == "cpu" and result.requires_grad:
            return _Look.apply(result)  # type: ignore[no-untyped-call]
        return result


class _Look(torch.autograd.Function):
    """Identity."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor | None:
        (gradient,) = gradients
        # the first derivative, of which a graph is made, has no zeros to find
        return gradient if torch.is_grad_enabled() or gradient.any() else None
