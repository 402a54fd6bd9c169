"""What an export refuses because of the plugin's forward: each with a reason and a hint of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.exports import Tiny, source
from torch import Tensor, nn

from gantool import exporting
from gantool.errors import GantoolError
from gantool.exporting.onnx_files.graph import to_onnx
from gantool.exporting.source import Options


class NumpyNoise(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(np.random.default_rng().standard_normal((1, 8, 8), np.float32))


class BatchMean(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class Overflowing(Tiny):
    """Values beyond 65504 on the way."""

    def wild(self, x: Tensor) -> Tensor:
        return ((x + 1e4) * 100 - 1e6) / 100


class Fine(Tiny):
    """Differences that 16 bits can't tell apart."""

    def wild(self, x: Tensor) -> Tensor:
        return (x + 1000) - 1000


class Autocast(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return (x.flatten(1) @ torch.eye(64)).unflatten(1, self.shape).float()


class Projected(Tiny):
    """An LSTM that ONNX Runtime has not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(8, 16, batch_first=True, proj_size=8)

    def wild(self, x: Tensor) -> Tensor:
        return self.layer(x.squeeze(1))[0].unsqueeze(1)


HINTS = {
    "no such layer": (Projected, "float32", "generator.onnx failed to run", "check_architecture"),
    "random numbers": (NumpyNoise, "float32", "repeated call", "Make the noise an input of the game"),
    "a mixed batch": (BatchMean, "float32", "alone to batch 7", "mixes the samples of a batch"),
    "overflow": (Overflowing, "half", "newly saturated", "leave --half out, or use --half-weights"),
    "coarse steps": (Fine, "half", "levels off float32", "leave --half out, or use --half-weights"),
    "autocast": (Autocast, "float32", "computes in bfloat16", "leave .half(), .bfloat16() and autocast out"),
}


@pytest.mark.parametrize("what", HINTS)
def test_each_reason_has_a_hint_of_its_own(what: str, tmp_path: Path) -> None:
    faulty, precision, why, hint = HINTS[what]
    with pytest.raises(GantoolError) as error:
        exporting.write(source(faulty()), ["onnx"], tmp_path, Options((precision,)))
    assert why in error.value.message
    assert str(tmp_path) not in error.value.message
    assert hint in error.value.hint
    assert list(tmp_path.iterdir()) == []


def test_more_weights_than_an_onnx_file_holds_are_refused_before_the_export() -> None:
    generator = Tiny()
    generator.scale = nn.Parameter(torch.zeros(1).expand(600_000_000), requires_grad=False)  # no memory behind it
    with pytest.raises(GantoolError, match=r"2\.2 GB of weights; an ONNX file holds less than 2 GB") as error:
        to_onnx(generator, source(Tiny()).inputs, source(Tiny()).output)
    assert "--pt2" in error.value.hint


class Antialiased(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, size=(8, 8), mode="bicubic", antialias=True)


class Spectral(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x), 8)


@pytest.mark.parametrize(
    ("generator", "named"), [(Antialiased, "antialiased resizing"), (Spectral, "the inverse FFT"), (Tiny, "")]
)
def test_what_openvino_computes_otherwise_is_said(generator: type[Tiny], named: str, tmp_path: Path) -> None:
    notes: list[str] = []
    exporting.write(source(generator()), ["onnx"], tmp_path, say=notes.append)
    assert [named in note and "OpenVINO" in note for note in notes] == [True] * bool(named)
