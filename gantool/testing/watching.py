"""Notice what third-party code must not do with tensors while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

READ = "it reads a value back: .item(), float(), bool() or an `if` on a tensor"


class ValueReadError(AssertionError):
    """A value was read back; the traceback ends at that line."""


class NoReads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context in which reading a tensor's value into Python raises ValueReadError(`message`)."""

    def __init__(self, message: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.message = message

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise ValueReadError(self.message)
        return func(*args, **(kwargs or {}))


@contextmanager
def unchanged(tensors: Mapping[str, Tensor], what: str) -> Iterator[None]:
    """AssertionError when one of the named tensors has other values after the block."""
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    yield
    for name, tensor in tensors.items():
        assert torch.equal(before[name], tensor), (
            f"{what} changes its input {name!r} in place, which others use, too: write x = x + 1, not x += 1; "
            "and no inplace=True in the first layer"
        )
