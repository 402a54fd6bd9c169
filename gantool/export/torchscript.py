"""A generator as TorchScript: traced, frozen, with its manifest inside.

torch.jit is deprecated (and not supported from Python 3.14 on), without a removal date: it is what LibTorch programs
load today. Its deprecation warnings are quieted here and nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from gantool.errors import GantoolError
from gantool.manifest import KEY


def to_torchscript(generator: nn.Module, example: Sequence[Tensor]) -> torch.jit.ScriptModule:
    """Trace the generator in eval mode with a batch of two, and freeze it. GantoolError when it can't be traced."""
    with _quiet():
        try:
            traced = torch.jit.trace(generator, tuple(example), check_trace=False)  # verified afterwards, harder
            frozen: torch.jit.ScriptModule = torch.jit.freeze(traced.eval())
        except RuntimeError as error:
            first = str(error).strip().partition("\n")[0]
            raise GantoolError(f"torch.jit can't trace this generator: {first[:300]}") from error
    return frozen


def save(module: torch.jit.ScriptModule, path: Path, manifest: str) -> None:
    with _quiet():
        torch.jit.save(module, str(path), _extra_files={KEY: manifest})


def load(path: Path) -> torch.jit.ScriptModule:
    with _quiet():
        loaded: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")
    return loaded


def weights_sha256(generator: nn.Module) -> str:
    """SHA-256 over the state dict, sorted by name: dtype, shape and little-endian values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
