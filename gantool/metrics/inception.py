"""The extractor `inception`: torch-fidelity's port of the Inception network that FID is defined by."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantool.errors import GantoolError
from gantool.metrics.extractors import Extractor, Outputs, require_image
from gantool.plugin.architecture import SampleSpec
from gantool.system.files import read_bounded

FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
DIGEST = "6726825d"  # of the published file; as torch.hub checks it, by the end of the name
MAX_BYTES = 2**29  # the file has 96 MB


class Inception(Extractor):
    """Inception v3's pooled features (N, 2048) and its class probabilities (N, 1008), from 8-bit RGB images.

    The figures are comparable with published ones only when these are computed on as many images of the same data;
    with weights other than the published ones they are not called FID.
    """

    name = "inception"
    dimension = 2048
    score = "Inception Score"

    def __init__(self, spec: SampleSpec, device: torch.device, weights: Path | None) -> None:
        super().__init__(device)
        require_image(self.name, spec)
        path = weights or Path(torch.hub.get_dir()) / "checkpoints" / FILE
        make, self.version = _torch_fidelity()
        if not path.exists():
            raise GantoolError(
                f"Inception's weights are not at {path}, and gantool downloads nothing.",
                f"Get {URL} and put it there, or name it: --inception-weights {FILE}",
            )
        data = read_bounded(path, MAX_BYTES)
        self.sha256 = hashlib.sha256(data).hexdigest()
        try:
            self.network = make("gantool", ["2048", "logits_unbiased"], _plain_tensors(data, path)).to(device)
        except RuntimeError as error:  # load_state_dict names what is missing, over many lines
            raise GantoolError(f"{path} does not hold the weights of Inception.", f"Get {URL}.") from error

    @property
    def published(self) -> bool:
        """Whether the weights are those that FID is defined by."""
        return self.sha256.startswith(DIGEST)

    @property
    def label(self) -> str:
        return "FID" if self.published else "Fréchet distance (inception, other weights)"

    @property
    def kernel_label(self) -> str:
        return "KID" if self.published else "kernel distance (inception, other weights)"

    def _outputs(self, samples: Tensor) -> Outputs:
        if samples.shape[1] == 1:
            samples = samples.expand(-1, 3, -1, -1)
        features, logits = self.network(((samples + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
        # in double precision: float32 loses what 1008 classes of a small probability add up to
        return Outputs(features.flatten(1).float(), logits.double().softmax(1).float())


def _torch_fidelity() -> tuple[Any, str]:
    """The network's class, and the version of its package."""
    try:
        import torch_fidelity
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise GantoolError(
            f"The extractor 'inception' needs torch-fidelity: {error}.",
            "Type: pip install 'gantool[train,inception]'",
        ) from error
    except RuntimeError as error:  # its torchvision was built for another torch
        raise GantoolError(
            f"torch-fidelity can't be imported: {error}.", "Install the torchvision that belongs to your torch."
        ) from error
    return FeatureExtractorInceptionV3, f"torch-fidelity {torch_fidelity.__version__}"


def _plain_tensors(data: bytes, path: Path) -> io.BytesIO:
    """The tensors in a file of weights, saved anew: torch-fidelity would run the code that a pickle may hold."""
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        # torch's own text advises to switch the check off
        raise GantoolError(f"{path} is no file of plain tensors, as weights are.", f"Get {URL}.") from error
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return stream
