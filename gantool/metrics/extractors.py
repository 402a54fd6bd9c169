"""Feature extractors: what turns samples into the vectors that every figure of quality is computed on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.plugin.architecture import SampleSpec

NAMES = ("digits", "inception", "pixels")


class Outputs(NamedTuple):
    """Of N samples: features float32 (N, D), and probabilities float32 (N, classes) of a classifier."""

    features: Tensor
    probabilities: Tensor | None = None


class Extractor:
    """Samples (N, *shape), float32 in [-1, 1], on any device → features (N, D) on the extractor's device.

    `label` is what its distance is called: only Inception's, with the published weights, may be called FID.
    `class_names` are empty when it is no classifier, or one of classes that mean nothing to the data.
    """

    name: str
    version: str = "1"
    sha256: str = ""  # of its weights; "" when it has none
    dimension: int
    class_names: tuple[str, ...] = ()
    score: ClassVar[str] = ""  # what its Inception Score is called; "" when it has no probabilities

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

    def features(self, samples: Tensor) -> Tensor:
        return self.outputs(samples).features

    def probabilities(self, samples: Tensor) -> Tensor | None:
        return self.outputs(samples).probabilities

    def _outputs(self, samples: Tensor) -> Outputs:
        raise NotImplementedError


class Pixels(Extractor):
    """Averages over at most 64 cells (8×8, 64 or 4×4×4) of each channel: needs no weights, serves any shape.

    A cheap sign of progress: it sees layout and brightness, nothing finer.
    """

    name = "pixels"
    CELLS = 64

    def __init__(self, spec: SampleSpec, device: torch.device) -> None:
        super().__init__(device)
        side = max(1, round(self.CELLS ** (1 / len(spec.sides))))
        self.sides = tuple(min(side, s) for s in spec.sides)
        self.dimension = SampleSpec((spec.channels, *self.sides)).elements

    def _outputs(self, samples: Tensor) -> Outputs:
        for axis, side in enumerate(self.sides, start=2):
            moved = samples.movedim(axis, -1)
            pooled = F.adaptive_avg_pool1d(moved.reshape(-1, 1, moved.shape[-1]), side)
            samples = pooled.view(*moved.shape[:-1], side).movedim(-1, axis)
        return Outputs(samples.flatten(1))


def load_extractor(
    name: str, spec: SampleSpec, device: torch.device, inception_weights: Path | None = None
) -> Extractor:
    """The extractor `name` (of NAMES), or a user's TorchScript file of that path, for samples of `spec`.

    `inception_weights`: the file for `inception`; None: where torch.hub keeps it. Nothing is ever downloaded.
    GantoolError when there is none of that name, its package or weights are missing, or the samples don't fit.
    """
    makers: dict[str, Callable[[], Extractor]] = {
        "digits": lambda: _digits(spec, device),
        "inception": lambda: _inception(spec, device, inception_weights),
        "pixels": lambda: Pixels(spec, device),
    }
    if inception_weights is not None and name != "inception":
        raise GantoolError(
            f"--inception-weights {inception_weights} is for the extractor inception, not for {name!r}.",
            "Add --extractor inception.",
        )
    if name in makers:
        return makers[name]()
    from gantool.metrics.scripted import Scripted

    path = Path(name)
    if not path.suffix and not path.exists():
        raise GantoolError(
            f"There is no extractor {name!r}.", f"Use {', '.join(NAMES)}, or the path of your own TorchScript file."
        )
    return Scripted(path, spec, device)


def default_extractor(data: Dataset) -> str:
    """`digits` for the built-in digits, `pixels` for everything else."""
    return "digits" if data.source == "digits" and data.spec.is_image else "pixels"


def require_image(name: str, spec: SampleSpec) -> None:
    """GantoolError when samples of `spec` are no images of 1 or 3 channels, which extractor `name` takes."""
    if not spec.is_image or spec.channels not in (1, 3):
        raise GantoolError(
            f"The extractor {name!r} takes images of 1 or 3 channels; the samples are {spec}.",
            "Use --extractor pixels, or the path of your own TorchScript file.",
        )


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digits(spec: SampleSpec, device: torch.device) -> Extractor:
    from gantool.metrics.digits import Digits

    return Digits(spec, device)


def _inception(spec: SampleSpec, device: torch.device, weights: Path | None) -> Extractor:
    from gantool.metrics.inception import Inception

    return Inception(spec, device, weights)
