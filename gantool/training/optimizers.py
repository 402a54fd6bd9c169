"""Optimizers of the players, whose rates follow the schedule of the recipe."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gantool.plugin.architecture import Optimizer, Recipe
from gantool.plugin.game import Player


class Scheduled:
    """A player's optimizer `torch`, and how its rates change.

    `capturable`: rates that change are tensors on `device`, for a replayed CUDA graph reads them anew.
    """

    def __init__(self, player: Player, recipe: Recipe, device: torch.device, capturable: bool) -> None:
        rate = recipe.learning_rate_of(player.role)
        begun = player.optimizer or Optimizer(rate, recipe.optimizer, recipe.betas)
        changing = None if player.optimizer else recipe.final_beta2
        self.recipe, self.begun = recipe, begun
        self._final_beta2 = begun.betas[1] if changing is None else changing
        self._set: tuple[float, float] | None = None
        parameters, lr = player.parameters(), begun.learning_rate
        step_size = torch.tensor(lr, device=device) if capturable else lr
        self.torch: torch.optim.Optimizer
        if begun.kind == "rmsprop":
            self.torch = torch.optim.RMSprop(parameters, step_size, capturable=capturable)
        elif changing is None or not capturable:
            self.torch = torch.optim.Adam(parameters, step_size, begun.betas, fused=True, capturable=capturable)
        else:
            beta1, beta2 = (torch.tensor(beta, device=device) for beta in begun.betas)
            self.torch = TensorAdam(parameters, step_size, (beta1, beta2), capturable=True)

    def follow(self, progress: float, scale: float) -> None:
        """Set the rates, times `scale`, of when a share `progress` of the training is over. Never waits."""
        beta1, beta2 = self.begun.betas
        rate = self.begun.learning_rate * scale * self.recipe.scheduled(1.0, self.recipe.final_rate, progress)
        beta2 = self.recipe.scheduled(beta2, self._final_beta2, progress)
        if (rate, beta2) == self._set:
            return
        self._set = rate, beta2
        for group in self.torch.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
            if "betas" in group and isinstance(group["betas"][1], Tensor):
                group["betas"][1].fill_(beta2)
            elif "betas" in group:
                group["betas"] = (beta1, beta2)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take a saved state, but for what the recipe, the step and this device decide."""
        own = {key: value for key, value in self.torch.param_groups[0].items() if key in _DECIDED}
        self.torch.load_state_dict({**saved, "param_groups": [{**group, **own} for group in saved["param_groups"]]})
        self._set = None


_DECIDED = ("lr", "betas", "fused", "foreach", "capturable")


class TensorAdam(torch.optim.Adam):
    """Adam (Kingma & Ba 2014, arXiv:1412.6980) that computes with `lr` and β₂ as tensors () on the parameters' device.

    torch's own takes such a rate, but reads β₂ back, which a capture refuses. Its state has the form of torch's.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moving:
                self._move(group, moving)

    def _move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        rate, (beta1, beta2) = group["lr"], group["betas"]
        steps, means, squares = ([state[key] for state in states] for key in ("step", "exp_avg", "exp_avg_sq"))
        torch._foreach_add_(steps, 1)
        squared = [gradient.square() for gradient in gradients]
        for averages, values, decay in ((means, gradients, beta1), (squares, squared, beta2)):
            torch._foreach_mul_(averages, decay)
            torch._foreach_add_(averages, list(torch._foreach_mul(values, 1 - decay)))
        made = torch.stack(steps)  # parameters may have moved a different number of times
        divisors = torch._foreach_sqrt(squares)
        torch._foreach_div_(divisors, (1 - beta2**made).sqrt().unbind())
        torch._foreach_add_(divisors, group["eps"])
        torch._foreach_mul_(divisors, ((beta1**made - 1) / rate).unbind())
        torch._foreach_addcdiv_(parameters, means, divisors)
