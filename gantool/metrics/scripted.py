"""The extractor of a user's own TorchScript file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantool.errors import GantoolError
from gantool.metrics.extractors import Extractor, Outputs, sha256_of
from gantool.plugin.architecture import SampleSpec
from gantool.system.files import regular_size

_WANTED = "It has to turn float32 samples (N, …) in [-1, 1] into finite features (N, D)."


class Scripted(Extractor):
    """A TorchScript module: samples (N, *shape) → features (N, D). Opening such a file runs code that is in it."""

    def __init__(self, path: Path, spec: SampleSpec, device: torch.device) -> None:
        super().__init__(device)
        self.name = path.name
        self.path = path
        regular_size(path)
        try:
            self.module: Any = torch.jit.load(path, map_location="cpu").eval().to(device)  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise GantoolError(
                f"{path} can't be opened as TorchScript: {_first_line(error)}",
                'Save it from Python: torch.jit.trace(module, example).save("extractor.pt")',
            ) from error
        self.sha256 = sha256_of(path)
        self.dimension = 0  # found out by the first pass
        self.dimension = self.features(torch.zeros(2, *spec.shape)).shape[1]

    def _outputs(self, samples: Tensor) -> Outputs:
        try:
            features = self.module(samples)
        except (RuntimeError, torch.jit.Error) as error:
            shape = "×".join(map(str, samples.shape))
            raise GantoolError(
                f"The extractor {self.path} fails on samples of {shape}: {_first_line(error)}", _WANTED
            ) from error
        return Outputs(self._checked(features, len(samples)))

    def _checked(self, features: object, rows: int) -> Tensor:
        if not isinstance(features, Tensor):
            raise GantoolError(f"The extractor {self.path} gives no tensor but {type(features).__name__}.", _WANTED)
        if features.dim() != 2 or len(features) != rows or self.dimension not in (0, features.shape[1]):
            raise GantoolError(f"The extractor {self.path} gives {tuple(features.shape)} for {rows} samples.", _WANTED)
        features = features.float()
        if not features.isfinite().all():
            raise GantoolError(f"The extractor {self.path} gives NaN or infinity.", _WANTED)
        return features


def _first_line(error: Exception) -> str:
    """The last line that says something: TorchScript's own traceback stands before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{(lines[-1] if lines else type(error).__name__)[:200].rstrip('.')}."
