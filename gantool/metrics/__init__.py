"""Quality figures: distances between distributions of features, diversity, memorisation.

Every figure is computed from the features of an extractor: `load_extractor` makes the one of a name.
"""

from __future__ import annotations

from pathlib import Path

import torch

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics.digits import Digits
from gantool.metrics.efficientnet import EfficientNet
from gantool.metrics.extractors import Extractor, Pixels, Scripted
from gantool.metrics.inception import Inception
from gantool.metrics.sounds import LogMel
from gantool.plugin.architecture import SampleSpec

NAMES = ("digits", "efficientnet-lite0", "inception", "log-mel", "pixels")


def load_extractor(
    name: str, spec: SampleSpec, device: torch.device, inception_weights: Path | None = None
) -> Extractor:
    """The extractor `name` (one of NAMES, or the path of a TorchScript file) for samples of `spec`.

    `inception_weights`: the file for `inception`; None: where torch.hub keeps it. Nothing is downloaded.
    GantoolError for an unknown name, missing package or weights, or samples that it does not take.
    """
    if inception_weights is not None and name != "inception":
        raise GantoolError(
            f"--inception-weights {inception_weights} is for the extractor inception, not for {name!r}.",
            "Add --extractor inception.",
        )
    if name == "digits":
        return Digits(spec, device)
    if name == EfficientNet.name:
        return EfficientNet(spec, device)
    if name == "inception":
        return Inception(spec, device, inception_weights)
    if name == LogMel.name:
        return LogMel(spec, device)
    if name == "pixels":
        return Pixels(spec, device)
    path = Path(name)
    if not path.suffix and not path.exists():
        raise GantoolError(
            f"There is no extractor {name!r}.", f"Use {', '.join(NAMES)}, or the path of your own TorchScript file."
        )
    return Scripted(path, spec, device)


def default_extractor(data: Dataset) -> str:
    """`digits` for the built-in digits, `log-mel` for sounds, `pixels` for everything else."""
    if data.spec.kind == "audio":
        return LogMel.name
    return "digits" if data.source == "digits" and data.spec.is_image else "pixels"
