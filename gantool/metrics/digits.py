"""The extractor `digits`: a small classifier trained on the built-in digits.

`benchmarks/digits_classifier.py` trains it anew and stores its accuracy on held-out digits in the file.
"""

from __future__ import annotations

from importlib import resources
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.errors import GantoolError, cause
from gantool.metrics.extractors import Extractor, Outputs, require_image
from gantool.plugin.architecture import SampleSpec
from gantool.system.files import parse_json, reading, sha256_of

KEY = "gantool"  # of the JSON in the file's metadata; one key, because safetensors writes several in any order
SIDE = 28
FEATURES = 128
CLASSES = tuple(map(str, range(10)))
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode L


class Classifier(nn.Module):
    """Images (N, 1, 28, 28) in [-1, 1] → features (N, 128) and logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 16, 32, 64)
        self.blocks = nn.Sequential(*(_block(a, b) for a, b in pairwise(widths)))  # 28 → 3
        self.hidden = nn.Linear(64 * 3 * 3, FEATURES)
        self.logits = nn.Linear(FEATURES, len(CLASSES))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = F.relu(self.hidden(self.blocks(images).flatten(1)))
        return features, self.logits(features)


class Digits(Extractor):
    """Features of the classifier's last hidden layer, and its probabilities of the ten digits.

    Images of any size and of 1 or 3 channels: they become grey, 28×28 (bilinear, antialiased).
    """

    name = "digits"
    class_names = CLASSES
    dimension = FEATURES
    score = "classifier score (digits)"

    def __init__(self, spec: SampleSpec, device: torch.device, weights: Path | None = None) -> None:
        super().__init__(device)
        require_image(self.name, spec)
        with resources.as_file(resources.files("gantool.metrics") / "digits.safetensors") as shipped:
            path = weights or shipped
            self.network, self.metadata = load(path)
            self.sha256 = sha256_of(path)
        self.network.to(device)
        self.version = self.metadata["version"]

    def _outputs(self, samples: Tensor) -> Outputs:
        features, logits = self.network(prepared(samples))
        return Outputs(features, logits.softmax(1))


def prepared(images: Tensor) -> Tensor:
    """Images (N, 1 or 3, H, W) → grey (N, 1, 28, 28)."""
    if images.shape[1] == 3:
        images = (images * images.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if images.shape[2:] != (SIDE, SIDE):
        images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
    return images


def load(path: Path) -> tuple[Classifier, dict[str, str]]:
    """The classifier in a safetensors file, ready to use, and the file's metadata."""
    from safetensors import SafetensorError, safe_open

    try:
        with reading(path), safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(KEY, "{}")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except SafetensorError as error:
        raise GantoolError(f"{path} is damaged: {cause(error)}.", "Install gantool again.") from error
    with torch.device("meta"):  # drawing weights would advance the random stream of a training
        network = Classifier()
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise GantoolError(f"{path} does not hold the weights of this classifier.", "Install gantool again.") from error
    metadata = parse_json(text, path)
    if not isinstance(metadata, dict) or "version" not in metadata:
        raise GantoolError(f"{path} says no version.", "Install gantool again.")
    return network.eval().requires_grad_(False), metadata


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)
    )
