"""Objectives: the pair of losses of a two-player game, computed from raw scores (logits); and gradient penalties.

Scores are float (N,); losses are scalar means over the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gantool.plugin.architecture import Recipe

Terms = dict[str, Tensor]


class Objective(Protocol):
    """A pair of losses. `discriminator` returns (terms to minimise, measures to log).

    `sees_reals`: the generator's loss compares fakes with reals, whose scores it gets, too.
    """

    sees_reals: bool

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Terms, Terms]: ...
    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor: ...


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

    sees_reals = False

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Terms, Terms]:
        # softplus(-x) is binary cross-entropy with target 1; a target of 1 - s adds s·x
        loss_real = F.softplus(-real).mean()
        if self.label_smoothing:
            loss_real = loss_real + self.label_smoothing * real.mean()
        return {"real": loss_real, "fake": F.softplus(fake).mean()}, _accuracy(real, fake, 0.0)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return F.softplus(-fake).mean()


class LeastSquares:
    """Least-squares GAN with targets 1 and 0 (Mao et al. 2017, arXiv:1611.04076)."""

    sees_reals = False

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Terms, Terms]:
        terms = {"real": 0.5 * (real - 1).square().mean(), "fake": 0.5 * fake.square().mean()}
        return terms, _accuracy(real, fake, 0.5)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return 0.5 * (fake - 1).square().mean()


class Hinge:
    """Hinge loss (Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957)."""

    sees_reals = False

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Terms, Terms]:
        terms = {"real": F.relu(1 - real).mean(), "fake": F.relu(1 + fake).mean()}
        return terms, _accuracy(real, fake, 0.0)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()


class Wasserstein:
    """Critic difference (Arjovsky et al. 2017, arXiv:1701.07875); needs weight clipping or a gradient penalty.

    A critic has no threshold, so what is logged is the estimated distance E[D(x)] - E[D(G(z))].
    """

    sees_reals = False

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Terms, Terms]:
        terms = {"real": -real.mean(), "fake": fake.mean()}
        return terms, {"distance": (real.mean() - fake.mean()).detach()}

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()


class Relativistic:
    """Scores of pairs: how much more real a real looks than a fake (Jolicoeur-Martineau 2019, arXiv:1807.00734).

    The i-th real is compared with the i-th fake: softplus(D(G(z)) - D(x)) for the discriminator, and
    softplus(D(x) - D(G(z))) for the generator. With R1 and R2 it converges locally (Huang et al. 2024,
    arXiv:2501.05441): see `zero_centred`. It logs `accuracy`, the share of pairs in which the real looks more real.
    """

    sees_reals = True

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Terms, Terms]:
        return {"pairs": F.softplus(fake - real).mean()}, {"accuracy": (real > fake).float().mean()}

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        assert real is not None, "this objective compares fakes with reals: give the scores of both"
        return F.softplus(real - fake).mean()


OBJECTIVES = ("nonsaturating", "lsgan", "hinge", "wasserstein", "relativistic")


def make(name: str, *, label_smoothing: float = 0.0) -> Objective:
    """The objective called `name` (one of OBJECTIVES); `label_smoothing` belongs to `nonsaturating` alone."""
    if name == "nonsaturating":
        return NonSaturating(label_smoothing)
    if label_smoothing:
        raise ValueError(f"label smoothing belongs to the nonsaturating objective, not to {name}")
    others: dict[str, Objective] = {
        "lsgan": LeastSquares(),
        "hinge": Hinge(),
        "wasserstein": Wasserstein(),
        "relativistic": Relativistic(),
    }
    return others[name]


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Mean of (‖∇D(x̂)‖₂ - 1)² at points between reals and fakes (Gulrajani et al. 2017, arXiv:1704.00028)."""
    mix = torch.rand((len(real),) + (1,) * (real.dim() - 1), device=real.device, dtype=real.dtype)
    # the tiny constant keeps the norm differentiable where a gradient is exactly zero
    norm = (slopes(critic, fake + mix * (real - fake))[1] + 1e-12).sqrt()
    penalty: Tensor = (norm - 1).square().mean()
    return penalty


def r1(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Mean of ‖∇D(x)‖² / 2 at the reals; multiply it by γ (R1; Mescheder et al. 2018, arXiv:1801.04406)."""
    return 0.5 * slopes(discriminator, real.detach().clone())[1].mean()


def zero_centred(critic: Callable[[Tensor], Tensor], samples: Tensor) -> tuple[Tensor, Tensor]:
    """The scores of `samples` (N, …), and ‖∇D(x)‖² / 2 of each: both (N,), from one pass.

    The mean of the second times γ is the penalty R1 where the samples are reals, R2 where they are fakes (Mescheder et
    al. 2018, arXiv:1801.04406). Use the scores in the loss: with augmentation in the critic another pass would give
    those of other images.
    """
    scores, squares = slopes(critic, samples.detach().clone(), scores_are_used=True)
    return scores, 0.5 * squares


def scheduled(recipe: Recipe, start: float, end: float) -> Callable[[Tensor], Tensor]:
    """`Recipe.scheduled` for a loss: a function of the input `progress`, which goes from `start` to `end`."""

    def at(progress: Tensor) -> Tensor:
        if recipe.schedule == "constant":
            return torch.full_like(progress, start)
        done = (progress - recipe.schedule_from) / (recipe.schedule_until - recipe.schedule_from)
        done = done.clamp(0, 1)
        if recipe.schedule == "cosine":
            done = (1 - torch.cos(math.pi * done)) / 2
        return start + (end - start) * done

    return at


def slopes(
    critic: Callable[[Tensor], Tensor], points: Tensor, *, scores_are_used: bool = False
) -> tuple[Tensor, Tensor]:
    """Scores and ‖∇D(x)‖² of each of the `points` (N, …): (N,), differentiable in the critic's parameters.

    `critic`: any function of samples with a score (N,) each. Points that depend on parameters pass gradients on to
    them. Where a loss uses the scores, too, the double backward has gradients that are not zero everywhere.
    """
    if torch.compiler.is_compiling():  # AOTAutograd has no double backward, but can trace this

        def summed(samples: Tensor) -> tuple[Tensor, Tensor]:
            made = critic(samples)
            return made.sum(), made

        gradient, scores = torch.func.grad(summed, has_aux=True)(points)
    else:
        points.requires_grad_()
        with FastDoubleBackward(skip_zeros=not scores_are_used):
            scores = critic(points)
        (gradient,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
    return scores, gradient.flatten(1).square().sum(1)


_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
_LAYERS = (F.linear, *_CONVOLUTIONS)


class FastDoubleBackward(TorchFunctionMode):
    """A context: the gradient of what layers compute in it can be differentiated in less time, with the same result.

    - PyTorch takes the second derivative by a convolution's weights as a convolution whose kernel is as large as the
      maps, group by group. Here it is the gradient of a convolution.
    - `skip_zeros`: the second derivative of a piecewise linear network is zero wherever it exists, yet PyTorch fills
      tensors with those zeros and takes them back through every layer: two of the six passes of a gradient penalty. The
      values are checked.

    Measured, and done, on a CPU only: checking values would make a GPU wait.
    """

    def __init__(self, *, skip_zeros: bool) -> None:
        super().__init__()
        self.skip_zeros = skip_zeros

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = _convolved(*args, **(kwargs or {})) if func in _CONVOLUTIONS else func(*args, **(kwargs or {}))
        if self.skip_zeros and func in _LAYERS and result.device.type == "cpu" and result.requires_grad:
            return _StopZeros.apply(result)  # type: ignore[no-untyped-call]
        return result


def _convolved(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """A convolution of any rank, as F.conv2d: by `_Convolution` where that serves it."""
    rank = weight.dim() - 2
    if input.device.type != "cpu" or torch.is_autocast_enabled("cpu") or isinstance(padding, str):
        plain = _CONVOLUTIONS[rank - 1]
        return plain(input, weight, bias, stride, padding, dilation, groups)
    each = [[value] * rank if isinstance(value, int) else list(value) for value in (stride, padding, dilation)]
    made: Tensor = _Convolution.apply(input, weight, bias, (*each, False, [0] * rank, groups))  # type: ignore[no-untyped-call]
    return made


class _Convolution(torch.autograd.Function):
    """A convolution that is differentiated by its input first, then by everything."""

    @staticmethod
    def forward(ctx: Any, samples: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(samples, weight)
        ctx.how, ctx.biases = how, None if bias is None else [len(bias)]
        ctx.set_materialize_grads(False)
        return torch.convolution(samples, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        (gradient,), (samples, weight) = gradients, ctx.saved_tensors
        if gradient is None:  # zeros that were skipped
            return None, None, None, None
        if torch.is_grad_enabled():  # the first derivative, of which only that by the samples is asked for
            return _SampleGradient.apply(gradient, weight, samples, ctx.how), None, None, None  # type: ignore[no-untyped-call]
        needed = ctx.needs_input_grad[:3]
        return *torch.ops.aten.convolution_backward(gradient, samples, weight, ctx.biases, *ctx.how, needed), None


class _SampleGradient(torch.autograd.Function):
    """The gradient of a convolution by its input: linear in the gradient of its output, and in the weight."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, samples: Tensor, how: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.how = how
        asked = (True, False, False)
        made: Tensor = torch.ops.aten.convolution_backward(gradient, samples, weight, None, *how, asked)[0]
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (second,), (gradient, weight), asked = gradients, ctx.saved_tensors, (False, True, False)
        by_gradient = torch.convolution(second, weight, None, *ctx.how) if ctx.needs_input_grad[0] else None
        by_weight = None
        if ctx.needs_input_grad[1]:
            by_weight = torch.ops.aten.convolution_backward(gradient, second, weight, None, *ctx.how, asked)[1]
        return by_gradient, by_weight, None, None


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
