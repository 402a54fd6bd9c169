"""While sounds are trained on, each tick leaves a picture of samples and a WAV of the first; TensorBoard has both."""

from __future__ import annotations

import math
import wave
from pathlib import Path

import numpy as np
import pytest
from support.trainings import run_until, start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gantool.artifact import latents
from gantool.data import Dataset
from gantool.run import metrics_log
from gantool.training import session, tensorboard
from gantool.training.loop import train
from gantool.training.session import Session

LENGTH = 600


def sounds(folder: Path, monkeypatch: pytest.MonkeyPatch, rate: int, channels: int = 1) -> Session:
    waves = np.sin(np.arange(40 * channels * LENGTH) / 7).reshape(40, channels, LENGTH)
    data = Dataset("tones", "tones", {"images": (32767 * waves).astype(np.int16)}, rate=rate)
    monkeypatch.setattr(session, "load", lambda *asked: data)
    return start("mlp", folder, data="tones", steps=4, tick=2, tensorboard=True)


def heard(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    with wave.open(str(path)) as file:
        values = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return values / 32767, (file.getframerate(), file.getsampwidth())


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (0, 2)])
def test_a_tick_leaves_the_first_samples_to_listen_to(
    rate: int, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = sounds(tmp_path, monkeypatch, rate, channels)
    run_until(opened)
    values, of_file = heard(opened.run.sound(4))
    assert of_file == (rate or 16_000, 2)
    step = LENGTH + of_file[0] // 10
    assert values.shape == (step * min(64, math.floor(10 * of_file[0] / step)), channels)
    z = latents.draw({"z": (5,)}, 0, np.arange(2, dtype=np.int64))["z"]
    generator = opened.state.sampling_generator()
    made = generator(opened.state.fixed_inputs(2)[0].new_tensor(z)).detach().numpy()
    for i in (0, 1):
        assert np.abs(values[i * step : i * step + LENGTH] - made[i].T).max() < 1e-4
        assert not values[i * step + LENGTH : (i + 1) * step].any()
    assert {path.name for path in opened.run.sample(0).parent.iterdir()} == {
        f"step-0000000{step}.{kind}" for step in (2, 4) for kind in ("png", "wav")
    }
    metrics_log.forget_after(opened.run, 2, 0)
    assert opened.run.sound(2).exists()
    assert not opened.run.sound(4).exists()


def test_tensorboard_has_pictures_and_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = sounds(tmp_path, monkeypatch, 8000)

    class Nobody:
        def stepped(self, step: int) -> None: ...
        def ticked(self, record: dict[str, float]) -> None: ...
        def noted(self, text: str) -> None: ...

    with tensorboard.listening(Nobody(), opened.run, opened.info) as listener:
        train(opened.state, opened.run, opened.info, listener)
    board = EventAccumulator(str(opened.run.path / "tensorboard")).Reload()
    assert [grid.step for grid in board.Images("samples")] == [2, 4]
    last = board.Audio("samples")[-1]
    assert (last.step, last.sample_rate, last.content_type) == (4, 8000, "audio/wav")
    (tmp_path / "last.wav").write_bytes(last.encoded_audio_string)
    assert np.abs(heard(tmp_path / "last.wav")[0] - heard(opened.run.sound(4))[0]).max() < 1e-4
