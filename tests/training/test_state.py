"""The weight average, and generators made ready to sample."""

from __future__ import annotations

import pytest
import torch
from support.trainings import tiny_state
from torch import Tensor, nn

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
    ema = EMA(module, decay)
    average = 1.0
    for step, value in enumerate((5.0, -2.0, 0.5, 7.0)):
        _set(module, value)
        ema.update(module, step)
        weight = min(decay, (1 + step) / (10 + step))
        average = weight * average + (1 - weight) * value
        for parameter in ema.module.parameters():
            assert torch.allclose(parameter, torch.tensor(average))


def test_buffers_are_copied_not_averaged() -> None:
    module = nn.BatchNorm1d(2)
    ema = EMA(module, 0.9)
    module.running_mean = torch.tensor([3.0, 4.0])
    module.num_batches_tracked = torch.tensor(17)
    ema.update(module, 0)
    copied = dict(ema.module.named_buffers())
    assert copied["running_mean"].tolist() == [3.0, 4.0]
    assert copied["num_batches_tracked"].item() == 17


def test_the_average_takes_no_gradients_and_is_no_alias() -> None:
    module = nn.Linear(2, 2)
    ema = EMA(module, 0.9)
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
