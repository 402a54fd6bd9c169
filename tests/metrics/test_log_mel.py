"""The extractor of sounds: what it hears, and what its distances say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gantool.artifact import sounds
from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics import default_extractor, load_extractor
from gantool.metrics.evaluation import evaluate
from gantool.plugin.architecture import SampleSpec

CPU = torch.device("cpu")
RATE, LENGTH = 8000, 2048


def tones(count: int, hertz: float, seed: int, shape: tuple[int, ...] = (1, LENGTH)) -> np.ndarray:
    """Sines about a frequency, of random phase and loudness, in a little noise: float32 (count, *shape)."""
    random = np.random.default_rng(seed)
    time = np.arange(shape[-1]) / RATE
    pitch = hertz * random.uniform(0.9, 1.1, (count, 1, 1))
    wave = random.uniform(0.2, 0.8, (count, 1, 1)) * np.sin(2 * np.pi * (pitch * time + random.random((count, 1, 1))))
    return (wave + random.normal(0, 0.01, (count, *shape))).clip(-1, 1).astype(np.float32)


def test_it_sees_what_the_spectrogram_of_a_grid_shows() -> None:
    extractor = load_extractor("log-mel", SampleSpec((1, LENGTH), rate=RATE), CPU)
    sound = tones(1, 1000, 0)
    features = extractor.features(torch.from_numpy(sound))[0].numpy()
    assert features.shape == (extractor.dimension,) == (160,)
    power = 10 ** (sounds.spectrogram(sound[0], RATE) / 10)
    shown = 10 * np.log10(power.reshape(32, 2, 4, -1).mean((1, 3)))  # bands of a quarter
    quarters = features[:128].reshape(4, 32).T * 20 - 40
    assert np.abs(quarters.argmax(0) - shown.argmax(0)).max() <= 1
    loud = shown > -40
    assert np.abs(quarters[loud] - shown[loud]).max() < 3  # frames lie elsewhere


@pytest.mark.parametrize(("channels", "length", "rate"), [(2, 5000, 44_100), (1, 100, 0), (1, 65_536, 22_050)])
def test_any_sound(channels: int, length: int, rate: int) -> None:
    extractor = load_extractor("log-mel", SampleSpec((channels, length), rate=rate), CPU)
    silent, loud = extractor.features(torch.stack([torch.zeros(channels, length), torch.ones(channels, length)]))
    assert torch.isfinite(loud).all()
    assert (silent[:128] * 20 - 40 == sounds.FLOOR).all()


def test_a_picture_is_no_sound() -> None:
    with pytest.raises(GantoolError, match=r"takes sounds; the samples are 1×28×28\. Use --extractor pixels"):
        load_extractor("log-mel", SampleSpec((1, 28, 28)), CPU)


def test_sounds_are_judged_by_it() -> None:
    real = (tones(300, 600, 1) * 32767).astype(np.int16)
    data = Dataset("tones", "tones", {"images": real}, rate=RATE)
    assert default_extractor(data) == "log-mel"

    def distance(fakes: np.ndarray) -> float:
        found = evaluate(lambda start, n: fakes[start : start + n], data, samples=200)
        assert found.figures[0].name == "Fréchet distance (log-mel)"
        assert found.picture().mode == "RGB"
        return found.figures[0].value or 0.0

    alike, other = distance(tones(200, 600, 2)), distance(tones(200, 900, 3))
    noise = distance(np.random.default_rng(4).uniform(-1, 1, (200, 1, LENGTH)).astype(np.float32))
    assert 3 * alike < other < noise
