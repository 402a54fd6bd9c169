"""The extractor `log-mel`: what a spectrogram of a sound shows, in quarters of its length. No weights."""

from __future__ import annotations

import torch
from torch import Tensor

from gantool.artifact import sounds
from gantool.errors import GantoolError
from gantool.metrics.extractors import Extractor, Outputs
from gantool.plugin.architecture import SampleSpec

QUARTERS = 4
MIDDLE, UNIT = -40.0, 20.0  # decibels: features are about as large as those of other extractors
JOINED = 2  # neighbouring bands of the grids' spectrograms


class LogMel(Extractor):
    """Loudness of 32 mel bands: its mean in each quarter of the sound, and how much it varies over all of it.

    The spectrogram is that of the grids (`gantool.artifact.sounds`): decibels below a sine of full scale, -80 at
    least; a unit is 20 of them. It hears pitch, timbre, loudness and course; no phase, and nothing finer in time than a
    quarter.
    """

    name = "log-mel"

    def __init__(self, spec: SampleSpec, device: torch.device) -> None:
        super().__init__(device)
        if spec.kind != "audio":
            raise GantoolError(
                f"The extractor {self.name!r} takes sounds; the samples are {spec}.", "Use --extractor pixels."
            )
        self.window = sounds.window(spec.rate)
        bands = torch.from_numpy(sounds.bands(self.window + 1, spec.rate))
        self.bands = bands.reshape(-1, JOINED, self.window + 1).mean(1).to(device)
        self.taper = torch.hann_window(self.window, device=device)
        self.dimension = len(self.bands) * (QUARTERS + 1)

    def _outputs(self, samples: Tensor) -> Outputs:
        count, channels, length = samples.shape
        hop = max(1, min(self.window // 2, length // (4 * QUARTERS)))
        framed = torch.nn.functional.pad(samples.flatten(0, 1), (self.window // 2, self.window // 2))
        frames = framed.unfold(1, self.window, hop) * self.taper
        # as in `sounds.spectrogram`: twice the window, and a sine of full scale has 0
        power = torch.fft.rfft(frames, 2 * self.window).abs().square() * (2 / self.taper.sum()) ** 2 / 3
        power = power.reshape(count, channels, *power.shape[1:]).mean(1) @ self.bands.T
        decibels = 10 * power.clamp(min=10 ** (sounds.FLOOR / 10)).log10()
        scaled = (decibels - MIDDLE) / UNIT
        quarters = [part.mean(1) for part in scaled.tensor_split(QUARTERS, dim=1)]
        return Outputs(torch.cat([*quarters, scaled.std(1)], dim=1))
