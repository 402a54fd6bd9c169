"""Optimizers follow the schedule; the one for CUDA graphs is torch's Adam, and reads nothing back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support import tiny_r3
from support.trainings import dataset, tiny_state
from torch import Tensor, nn

from gantool.plugin.architecture import Recipe
from gantool.plugin.options import resolve
from gantool.testing.generator import NoReads
from gantool.training.optimizers import TensorAdam
from gantool.training.state import State
from gantool.training.step import iterate

CPU = torch.device("cpu")


def _scheduled(**given: Any) -> State:
    (found,) = tiny_r3.gantool_architectures()
    config, recipe = resolve(found, given)
    return State(found, config, recipe, dataset(shape=(1, 8, 8)), seed=0, device=CPU, precision="fp32")


def test_rates_and_second_decay_follow_a_cosine_to_where_it_ends() -> None:
    state = _scheduled(steps=10)
    shares, betas = [], []
    for _ in range(10):
        iterate(state)
        judge, maker = (state.optimizers[name].torch.param_groups[0] for name in ("discriminator", "generator"))
        shares.append(judge["lr"] / 2e-4)
        betas.append(judge["betas"][1])
        assert maker["lr"] == pytest.approx(judge["lr"] / 2)  # its own rate, the same schedule
        assert maker["betas"] == (0.0, 0.9)
    done = [(1 - math.cos(math.pi * min(step / 8, 1))) / 2 for step in range(10)]
    assert shares == pytest.approx([1 - 0.75 * d for d in done])
    assert betas == pytest.approx([0.9 + 0.09 * d for d in done])


def test_the_weight_of_a_penalty_follows_the_progress_of_the_training() -> None:
    state = _scheduled(steps=10)
    (judge, _) = state.game.players
    batch = state.sampler.draw(judge.draws)
    assert batch["progress"].shape == ()
    first, last = (judge.loss({**batch, "progress": torch.tensor(share)}).terms for share in (0.0, 1.0))
    assert {name: float((last[name] / first[name]).detach()) for name in ("r1", "r2")} == pytest.approx(
        {"r1": 0.1, "r2": 0.1}
    )
    assert last["pairs"] == first["pairs"]
    for _ in range(7):
        iterate(state)
    state.follow_schedule()
    assert float(state.sampler.draw(["progress"])["progress"]) == pytest.approx(0.7)


def test_a_constant_schedule_leaves_the_rates_of_the_recipe() -> None:
    state = tiny_state(steps=3, learning_rate=3e-3, discriminator_rate=1e-3)
    for _ in range(3):
        iterate(state)
    rates = {name: made.torch.param_groups[0]["lr"] for name, made in state.optimizers.items()}
    assert rates == {"discriminator": 1e-3, "generator": 3e-3}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"final_beta2": 0.9}, "--final-beta2 needs"),
        ({"final_beta2": 0.9, "schedule": "linear", "optimizer": "rmsprop"}, "--final-beta2 needs"),
        ({"schedule_from": 0.5, "schedule_until": 0.5}, "--schedule-from must be less"),
        ({"ema_ramp": 0.1}, "--ema-ramp needs --ema-half-life"),
    ],
)
def test_schedules_that_would_do_nothing_are_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Recipe(**given)


def _grown(optimizer: torch.optim.Optimizer, module: nn.Linear) -> Tensor:
    """The weights after steps of which every third gives the bias no gradient."""
    generator = torch.Generator().manual_seed(3)
    for step, beta2 in enumerate((0.9, 0.92, 0.95, 0.99, 0.99)):
        (group,) = optimizer.param_groups
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(1e-2 / (step + 1))
            group["betas"][1].fill_(beta2)
        else:
            group["lr"], group["betas"] = 1e-2 / (step + 1), (0.5, beta2)
        for name, parameter in module.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.grad = None if name == "bias" and step % 3 == 1 else drawn
        with NoReads("the optimizer reads a value back") if isinstance(optimizer, TensorAdam) else torch.no_grad():
            optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_tensor_adam_is_adam_and_reads_nothing_back() -> None:
    one = nn.Linear(4, 3).double()
    two = nn.Linear(4, 3).double()
    two.load_state_dict(one.state_dict())
    betas = (torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.9, dtype=torch.float64))
    rate = torch.tensor(1e-2, dtype=torch.float64)
    mine = TensorAdam(one.parameters(), rate, betas, capturable=True)
    torchs = torch.optim.Adam(two.parameters(), 1e-2, (0.5, 0.9))
    torch.testing.assert_close(_grown(mine, one), _grown(torchs, two), rtol=1e-5, atol=1e-7)  # steps are float32
    assert mine.state_dict()["state"][0].keys() == torchs.state_dict()["state"][0].keys()
