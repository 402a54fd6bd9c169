"""Feature extractors: they turn samples into the vectors from which every figure of quality is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gantool.errors import GantoolError
from gantool.plugin.architecture import SampleSpec
from gantool.system.files import regular_size, sha256_of

_WANTED = "It has to turn float32 samples (N, …) in [-1, 1] into finite features (N, D)."


class Outputs(NamedTuple):
    """Of N samples: features float32 (N, D), and probabilities float32 (N, classes) of a classifier."""

    features: Tensor
    probabilities: Tensor | None = None


class Extractor:
    """Samples (N, *shape), float32 in [-1, 1], on any device → features (N, D) on the extractor's device.

    `label` names its distance: only that of Inception with the published weights is called FID.
    `class_names` are empty for an extractor that is no classifier, or whose classes mean nothing to the data.
    """

    name: str
    version: str = "1"
    sha256: str = ""  # of its weights; "" without weights
    dimension: int
    class_names: tuple[str, ...] = ()
    score: ClassVar[str] = ""  # name of its Inception Score; "" without probabilities

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def label(self) -> str:
        return f"Fréchet distance ({self.name})"

    @property
    def kernel_label(self) -> str:
        return f"kernel distance ({self.name})"

    @torch.inference_mode()
    def outputs(self, samples: Tensor) -> Outputs:
        """Features, and probabilities where there are any, in one pass."""
        return self._outputs(samples.to(self.device))

    def differentiable(self, samples: Tensor) -> Outputs:
        """As `outputs`, and gradients pass to `samples`. GantoolError where they can't: it may round to 8 bits."""
        made = self._outputs(samples.to(self.device))
        if samples.requires_grad and not made.features.requires_grad:
            raise GantoolError(
                f"The extractor {self.name!r} passes no gradients: nothing can be searched with it.",
                "Use another, --extractor pixels say.",
            )
        return made

    def features(self, samples: Tensor) -> Tensor:
        return self.outputs(samples).features

    def probabilities(self, samples: Tensor) -> Tensor | None:
        return self.outputs(samples).probabilities

    def _outputs(self, samples: Tensor) -> Outputs:
        raise NotImplementedError


class Pixels(Extractor):
    """Averages over at most 64 cells (8×8, 64 or 4×4×4) of each channel; of points, the coordinates. No weights.

    A cheap sign of progress that sees layout and brightness only.
    """

    name = "pixels"
    CELLS = 64

    def __init__(self, spec: SampleSpec, device: torch.device) -> None:
        super().__init__(device)
        side = max(1, round(self.CELLS ** (1 / max(1, len(spec.sides)))))
        self.sides = tuple(min(side, s) for s in spec.sides)
        self.dimension = SampleSpec((spec.channels, *self.sides)).elements

    def _outputs(self, samples: Tensor) -> Outputs:
        for axis, side in enumerate(self.sides, start=2):
            moved = samples.movedim(axis, -1)
            pooled = F.adaptive_avg_pool1d(moved.reshape(-1, 1, moved.shape[-1]), side)
            samples = pooled.view(*moved.shape[:-1], side).movedim(-1, axis)
        return Outputs(samples.flatten(1))


class Scripted(Extractor):
    """A TorchScript module: samples (N, *shape) → features (N, D). Opening such a file runs code that is in it."""

    def __init__(self, path: Path, spec: SampleSpec, device: torch.device) -> None:
        super().__init__(device)
        self.name = path.name
        self.path = path
        regular_size(path)
        try:
            self.module: Any = torch.jit.load(path, map_location="cpu").eval().to(device)  # type: ignore[no-untyped-call]
            for parameter in self.module.parameters():
                parameter.requires_grad_(False)
        except (RuntimeError, ValueError) as error:
            raise GantoolError(
                f"{path} can't be opened as TorchScript: {_last_line(error)}",
                'Save it from Python: torch.jit.trace(module, example).save("extractor.pt")',
            ) from error
        self.sha256 = sha256_of(path)
        self.dimension = 0  # unknown until the first pass
        self.dimension = self.features(torch.zeros(2, *spec.shape)).shape[1]

    def _outputs(self, samples: Tensor) -> Outputs:
        try:
            features = self.module(samples)
        except (RuntimeError, torch.jit.Error) as error:
            shape = "×".join(map(str, samples.shape))
            raise GantoolError(
                f"The extractor {self.path} fails on samples of {shape}: {_last_line(error)}", _WANTED
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


def _last_line(error: Exception) -> str:
    """The last line that is not empty: TorchScript puts its own traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{(lines[-1] if lines else type(error).__name__)[:200].rstrip('.')}."


def require_image(name: str, spec: SampleSpec) -> None:
    """GantoolError unless samples of `spec` are images of 1 or 3 channels, as the extractor `name` takes."""
    if not spec.is_image or spec.channels not in (1, 3):
        raise GantoolError(
            f"The extractor {name!r} takes images of 1 or 3 channels; the samples are {spec}.",
            "Use --extractor pixels, or the path of your own TorchScript file.",
        )
