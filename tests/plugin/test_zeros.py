"""The gradient penalty without passes of zeros: the same gradients, fewer convolutions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gantool.plugin.objectives import gradient_penalty
from gantool.plugin.zeros import ZerosDropped


def _critic(activation: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1), activation, nn.Conv2d(4, 8, 4, 2, 1), activation, nn.Flatten(), nn.Linear(8 * 16, 1)
    ).double()


def _plain_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    mix = torch.rand((len(real), 1, 1, 1), dtype=real.dtype)
    between = (fake + mix * (real - fake)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return ((gradient.flatten(1).square().sum(1) + 1e-12).sqrt() - 1).square().mean()


class _Convolutions(TorchDispatchMode):
    """Counts what convolutions compute: an output, or gradients by the mask that asks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.count += 1
        elif func is torch.ops.aten.convolution_backward.default:
            self.count += sum(args[-1][:2])
        return func(*args, **(kwargs or {}))


def _gradients(penalty: Any, critic: nn.Module) -> tuple[list[Tensor], int]:
    torch.manual_seed(1)
    real, fake = (torch.randn(5, 1, 16, 16, dtype=torch.float64) for _ in range(2))
    critic.zero_grad()
    with _Convolutions() as counted:
        penalty(critic, real, fake).backward()
    # None and zero are the same for an optimizer's sum of gradients
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in critic.parameters()], counted.count


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.2), nn.Tanh(), nn.Softplus()], ids=str)
def test_the_penalty_has_the_gradients_of_plain_double_backward(activation: nn.Module) -> None:
    critic = _critic(activation)
    wanted, _ = _gradients(_plain_penalty, critic)
    gradients, _ = _gradients(gradient_penalty, critic)
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients)
    for one, two in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_piecewise_linear_critics_are_spared_the_passes_of_zeros() -> None:
    critic = _critic(nn.LeakyReLU(0.2))
    (_, plain), (_, spared) = _gradients(_plain_penalty, critic), _gradients(gradient_penalty, critic)
    assert spared <= plain - 3, (spared, plain)


def test_outside_the_context_nothing_is_changed() -> None:
    layer = nn.Linear(2, 2)
    with ZerosDropped():
        assert "Look" in type(layer(torch.ones(1, 2)).grad_fn).__name__
    assert "Look" not in type(layer(torch.ones(1, 2)).grad_fn).__name__


def test_a_gradient_of_zeros_still_reaches_nobody_wrongly() -> None:
    first, second = nn.Linear(3, 3).double(), nn.Linear(3, 1).double()
    with ZerosDropped():
        hidden = first(torch.ones(2, 3, dtype=torch.float64))
        (second(hidden).sum() * 0 + hidden.sum()).backward()  # zeros on one way, ones on the other
    torch.testing.assert_close(first.weight.grad, torch.full((3, 3), 2.0, dtype=torch.float64))
