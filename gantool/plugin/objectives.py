"""Objectives: the pair of losses of a two-player game, computed from raw scores (logits); and the gradient penalty.

Scores are float (N,); losses are scalar means over the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Terms = dict[str, Tensor]


class Objective(Protocol):
    """A pair of losses. `discriminator` returns (terms to minimise, measures to log)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Terms, Terms]: ...
    def generator(self, fake: Tensor) -> Tensor: ...


def _accuracy(real: Tensor, fake: Tensor, threshold: float) -> Terms:
    """Share of reals judged real, and of fakes judged fake."""
    return {
        "accuracy_real": (real.detach() > threshold).float().mean(),
        "accuracy_fake": (fake.detach() < threshold).float().mean(),
    }


class NonSaturating:
    """-log D(x), -log(1 - D(G(z))); -log D(G(z)) for the generator (Goodfellow et al. 2014, arXiv:1406.2661).

    `label_smoothing` s: the target of reals is 1 - s, that of fakes stays 0 (one-sided; Salimans et al. 2016,
    arXiv:1606.03498).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Terms, Terms]:
        # softplus(-x) is binary cross-entropy with target 1; a target of 1 - s adds s·x
        loss_real = F.softplus(-real).mean()
        if self.label_smoothing:
            loss_real = loss_real + self.label_smoothing * real.mean()
        return {"real": loss_real, "fake": F.softplus(fake).mean()}, _accuracy(real, fake, 0.0)

    def generator(self, fake: Tensor) -> Tensor:
        return F.softplus(-fake).mean()


class LeastSquares:
    """Least-squares GAN with targets 1 and 0 (Mao et al. 2017, arXiv:1611.04076)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Terms, Terms]:
        terms = {"real": 0.5 * (real - 1).square().mean(), "fake": 0.5 * fake.square().mean()}
        return terms, _accuracy(real, fake, 0.5)

    def generator(self, fake: Tensor) -> Tensor:
        return 0.5 * (fake - 1).square().mean()


class Hinge:
    """Hinge loss (Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Terms, Terms]:
        terms = {"real": F.relu(1 - real).mean(), "fake": F.relu(1 + fake).mean()}
        return terms, _accuracy(real, fake, 0.0)

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


class Wasserstein:
    """Critic difference (Arjovsky et al. 2017, arXiv:1701.07875); needs weight clipping or a gradient penalty.

    A critic has no threshold, so what is logged is the estimated distance E[D(x)] - E[D(G(z))].
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Terms, Terms]:
        terms = {"real": -real.mean(), "fake": fake.mean()}
        return terms, {"distance": (real.mean() - fake.mean()).detach()}

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


OBJECTIVES = ("nonsaturating", "lsgan", "hinge", "wasserstein")


def make(name: str, *, label_smoothing: float = 0.0) -> Objective:
    """The objective called `name` (one of OBJECTIVES); `label_smoothing` belongs to `nonsaturating` alone."""
    if name == "nonsaturating":
        return NonSaturating(label_smoothing)
    if label_smoothing:
        raise ValueError(f"label smoothing belongs to the nonsaturating objective, not to {name}")
    others: dict[str, Objective] = {"lsgan": LeastSquares(), "hinge": Hinge(), "wasserstein": Wasserstein()}
    return others[name]


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Mean of (‖∇D(x̂)‖₂ - 1)² at points between reals and fakes (Gulrajani et al. 2017, arXiv:1704.00028)."""
    mix = torch.rand((len(real),) + (1,) * (real.dim() - 1), device=real.device, dtype=real.dtype)
    # the tiny constant keeps the norm differentiable where a gradient is exactly zero
    norm = (_squared_slopes(critic, fake + mix * (real - fake)) + 1e-12).sqrt()
    penalty: Tensor = (norm - 1).square().mean()
    return penalty


def r1(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Mean of ‖∇D(x)‖² / 2 at the reals; multiply it by γ (R1; Mescheder et al. 2018, arXiv:1801.04406)."""
    return 0.5 * _squared_slopes(discriminator, real.detach().clone()).mean()


def _squared_slopes(critic: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """‖∇D(x)‖² of each of the `points` (N, …): (N,), differentiable in the critic's parameters."""
    if torch.compiler.is_compiling():  # AOTAutograd has no double backward, but can trace this
        gradient = torch.func.grad(lambda images: critic(images).sum())(points)
    else:
        points.requires_grad_()
        with SkipZeroGradients():
            scores = critic(points)
        (gradient,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
    squares: Tensor = gradient.flatten(1).square().sum(1)
    return squares


_LAYERS = (F.linear, F.conv1d, F.conv2d, F.conv3d)


class SkipZeroGradients(TorchFunctionMode):
    """A context: skip all-zero gradients in the double backward of the layers that run in it.

    The second derivative of a piecewise linear network is zero wherever it exists, yet PyTorch fills tensors with those
    zeros and takes them back through every layer: two of the six passes of a gradient penalty. The result is exact, for
    the values are checked. Checking waits for the device, so on anything but the CPU nothing is skipped.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _LAYERS and result.device.type == "cpu" and result.requires_grad:
            return _StopZeros.apply(result)  # type: ignore[no-untyped-call]
        return result


class _StopZeros(torch.autograd.Function):
    """The identity; in double backward an all-zero gradient ends here."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor | None:
        (gradient,) = gradients
        # with gradients enabled this is the first derivative, which has no zeros to skip
        return gradient if torch.is_grad_enabled() or gradient.any() else None
