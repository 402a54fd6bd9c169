"""The weight average, and generators made ready to sample."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from support.trainings import TinyGenerator, plugin, run_until, start, tiny_game, tiny_state
from torch import Tensor, nn

from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Recipe, SampleSpec
from gantool.training import session
from gantool.training.state import EMA, ready
from gantool.training.step import iterate


def _set(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_weights_follow_the_formula(decay: float) -> None:
    module = nn.Linear(3, 2)
    _set(module, 1.0)
    ema = EMA(module, Recipe(ema_decay=decay))
    average = 1.0
    for step, value in enumerate((5.0, -2.0, 0.5, 7.0)):
        _set(module, value)
        ema.update(module, step)
        weight = min(decay, (1 + step) / (10 + step))
        average = weight * average + (1 - weight) * value
        for parameter in ema.module.parameters():
            assert torch.allclose(parameter, torch.tensor(average))


def test_a_half_life_in_samples_rises_with_the_samples_seen() -> None:
    module = nn.Linear(1, 1)
    _set(module, 0.0)
    ema = EMA(module, Recipe(batch_size=10, ema_half_life=40, ema_ramp=0.5))
    _set(module, 1.0)
    left = 1.0  # of the first weights
    for step in range(30):
        ema.update(module, step)
        left *= 0.5 ** (10 / min(40, 0.5 * 10 * (step + 1)))
        assert ema.module.weight.item() == pytest.approx(1 - left, abs=1e-6)
    before = 1 - ema.module.weight.item()
    for step in range(30, 34):
        ema.update(module, step)
    assert 1 - ema.module.weight.item() == pytest.approx(before / 2, rel=1e-3)  # 40 samples halve it


def test_buffers_are_copied_not_averaged() -> None:
    module = nn.BatchNorm1d(2)
    ema = EMA(module, Recipe())
    module.running_mean = torch.tensor([3.0, 4.0])
    module.num_batches_tracked = torch.tensor(17)
    ema.update(module, 0)
    copied = dict(ema.module.named_buffers())
    assert copied["running_mean"].tolist() == [3.0, 4.0]
    assert copied["num_batches_tracked"].item() == 17


def test_the_average_takes_no_gradients_and_is_no_alias() -> None:
    module = nn.Linear(2, 2)
    ema = EMA(module, Recipe())
    assert not any(p.requires_grad for p in ema.module.parameters())
    assert all(p.requires_grad for p in module.parameters())
    _set(module, 9.0)
    assert not any(bool((p == 9).any()) for p in ema.module.parameters())


def test_a_decay_of_0_is_off_and_samples_come_from_the_trained_generator() -> None:
    state = tiny_state(ema_decay=0.0)
    iterate(state)
    assert state.ema is None
    assert state.state_dict()["ema"] is None
    z = state.fixed_inputs(3)
    assert torch.equal(state.sampling_generator()(*z), state.game.generator.eval()(*z))


def test_samples_come_from_the_average() -> None:
    state = tiny_state(ema_decay=0.999)
    for _ in range(5):
        iterate(state)
    assert state.ema is not None
    z = state.fixed_inputs(3)
    samples = state.sampling_generator()(*z)
    assert torch.equal(samples, state.ema.module(*z))
    assert not torch.equal(samples, state.game.generator(*z))


def test_ready_estimates_batch_statistics_anew_and_leaves_the_original_alone() -> None:
    norm = nn.BatchNorm1d(2, momentum=0.3)
    norm.running_mean = torch.tensor([50.0, 50.0])
    norm.running_var = torch.tensor([1e4, 1e4])
    norm.train()
    stream = torch.Generator().manual_seed(0)

    def draw(count: int) -> list[Tensor]:
        return [3 + 2 * torch.randn(count, 2, generator=stream)]

    made = ready(norm, draw)
    assert isinstance(made, nn.BatchNorm1d)
    assert made.running_mean is not None
    assert made.running_var is not None
    # 2048 samples: standard errors 0.04 and 0.13
    assert torch.allclose(made.running_mean, torch.tensor(3.0), atol=0.2)
    assert torch.allclose(made.running_var, torch.tensor(4.0), atol=0.6)
    assert not made.training
    assert made.momentum == 0.3
    assert norm.training
    assert norm.running_mean.tolist() == [50.0, 50.0]
    assert all(p.requires_grad for p in norm.parameters())


def test_ready_draws_nothing_where_there_are_no_batch_statistics() -> None:
    def draw(count: int) -> list[Tensor]:
        raise AssertionError("nothing to draw for")

    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2, track_running_stats=False)).train()
    made = ready(module, draw)
    assert not any(part.training for part in made.modules())
    assert torch.equal(made[0].weight, module[0].weight)


# --- what a plugin's modules may hold


class Odd(TinyGenerator):
    """The tiny generator with one thing that modules of public code have."""

    def __init__(self, spec: SampleSpec, kind: str) -> None:
        super().__init__(spec)
        self.kind = kind
        if kind == "old weight norm":
            self.linear = nn.utils.weight_norm(self.linear)
        elif kind == "old weight norm of a convolution":
            self.last = nn.utils.weight_norm(nn.Conv2d(1, 1, 3, padding=1))
        elif kind == "old spectral norm":
            self.linear = nn.utils.spectral_norm(self.linear)
        elif kind == "five axes":
            self.last = nn.Conv2d(1, 1, 3, padding=1)
            self.scale = nn.Parameter(torch.ones(1, 1, 1, 1, 1))
        elif kind == "two and three dimensions":
            volume = (nn.Unflatten(1, (1, 2)), nn.Conv3d(1, 1, (2, 1, 1)), Squeeze())
            self.last = nn.Sequential(nn.Conv2d(1, 2, 1), *volume)
        elif kind == "a script":
            self.last = torch.jit.script(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))
        elif kind == "a trace":
            self.last = torch.jit.trace(nn.Conv2d(1, 1, 1), torch.zeros(2, 1, 16, 16))

    def forward(self, z: Tensor) -> Tensor:
        samples = super().forward(z)
        self.kept = [samples * 2]  # a tensor with a graph, as feature matching keeps it
        if self.kind == "five axes":
            samples = samples * self.scale[0]
        return self.last(samples).tanh() if hasattr(self, "last") else samples


class Squeeze(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(2)


ODD = (
    "old weight norm",
    "old weight norm of a convolution",
    "old spectral norm",
    "five axes",
    "two and three dimensions",
    "a script",
    "a trace",
    "a tensor kept",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_modules_of_public_code_train_are_averaged_and_resume(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = plugin(lambda spec: tiny_game(spec, Odd(spec, kind)))
    monkeypatch.setattr(registry, "find", lambda name: odd)
    opened = start(odd, tmp_path, steps=4, tick=2)
    assert run_until(opened, stop=3) == "interrupted"
    resumed = session.resume(opened.run)
    assert run_until(resumed) == "finished"
    assert resumed.state.ema is not None
    z = resumed.state.fixed_inputs(3)
    trained, averaged = resumed.state.game.generator.eval()(*z), resumed.state.ema.module(*z)
    assert not torch.equal(trained, averaged)
    torch.testing.assert_close(trained, averaged, atol=0.1, rtol=0)


class Pair(TinyGenerator):
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(z), z


class Narrow(TinyGenerator):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z)[:, :, :8]


class Lazy(TinyGenerator):
    def __init__(self, spec: SampleSpec) -> None:
        super().__init__(spec)
        self.linear = nn.LazyLinear(spec.elements)


class Locked(TinyGenerator):
    """Holds what no process can copy."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__(spec)
        self.linear.lock = threading.Lock()


@pytest.mark.parametrize(
    ("generator", "message", "hint"),
    [
        (Pair, "The generator Pair returns a tuple, not a tensor", "Return the samples alone"),
        (Narrow, r"makes samples of shape \(1, 8, 16\); the game declares \(1, 16, 16\)", "Make samples of spec.shape"),
        (Lazy, "The parameter generator.generator.linear.weight has no shape yet", "Give the layer its sizes"),
        (Locked, r"The layer linear \(Linear\) of the generator can't be copied", "Keep no locks"),
    ],
)
def test_a_generator_that_can_not_train_is_refused_in_words(
    generator: Any, message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(GantoolError, match=message) as caught:
        start(plugin(lambda spec: tiny_game(spec, generator(spec))), tmp_path)
    assert hint in caught.value.hint
    assert not (tmp_path / "runs").exists()


def test_kernels_of_one_channel_are_channels_last(tmp_path: Path) -> None:
    """Their strides tell torch the layout of what they compute."""
    state = start("dcgan", tmp_path).state
    kernels = [p for module in state.game.modules().values() for p in module.parameters() if p.dim() == 4]
    assert any(kernel.shape[1] == 1 for kernel in kernels)
    assert all(kernel.stride(1) == 1 for kernel in kernels)
