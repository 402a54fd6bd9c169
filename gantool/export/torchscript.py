"""A generator as TorchScript: traced, frozen, with its manifest inside.

torch.jit is deprecated (and not supported from Python 3.14 on), without a removal date: it is what LibTorch programs
load today. Its deprecation warnings are quieted here and nowhere else.
"""

from __future__ import annotations

import contextlib
import warnings
import zipfile
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
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                generator, tuple(example), check_trace=False
            )
            frozen: torch.jit.ScriptModule = torch.jit.freeze(traced.eval())
        except RuntimeError as error:
            first = str(error).strip().partition("\n")[0]
            raise GantoolError(f"torch.jit can't trace this generator: {first[:300]}") from error
    return frozen


def save(module: torch.jit.ScriptModule, path: Path, manifest: str) -> None:
    with _quiet():
        torch.jit.save(module, str(path), _extra_files={KEY: manifest})
    _strip(path)


def _strip(path: Path) -> None:
    """Leave out the source ranges: stack traces with the paths of this machine, which no loader needs."""
    stripped = path.with_name(path.name + ".stripped")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(stripped, "w") as kept:
        for entry in archive.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                kept.writestr(entry, archive.read(entry))
    stripped.replace(path)


def load(path: Path) -> torch.jit.ScriptModule:
    with _quiet():
        loaded: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            str(path), map_location="cpu"
        )
    return loaded


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
