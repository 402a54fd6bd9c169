"""Each pair of losses against its formula, in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from gantool.plugin import objectives
from gantool.plugin.architecture import Recipe

REAL = torch.tensor([-3.0, -0.2, 0.0, 0.7, 1.5, 40.0], dtype=torch.float64)
FAKE = torch.tensor([-50.0, -1.1, 0.3, 0.4, 2.5, 6.0], dtype=torch.float64)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > -30 else x


FORMULAS = {
    "nonsaturating": (
        lambda x: -_log_sigmoid(x),
        lambda x: -_log_sigmoid(-x),
        lambda x: -_log_sigmoid(x),
    ),
    "lsgan": (lambda x: 0.5 * (x - 1) ** 2, lambda x: 0.5 * x**2, lambda x: 0.5 * (x - 1) ** 2),
    "hinge": (lambda x: max(0.0, 1 - x), lambda x: max(0.0, 1 + x), lambda x: -x),
    "wasserstein": (lambda x: -x, lambda x: x, lambda x: -x),
}


def test_every_objective_has_its_formula_here() -> None:
    assert {*FORMULAS, "relativistic"} == set(objectives.OBJECTIVES)


@pytest.mark.parametrize("name", FORMULAS)
def test_losses_are_the_formulas_of_the_paper(name: str) -> None:
    objective = objectives.make(name)
    real, fake, generator = FORMULAS[name]
    terms, _ = objective.discriminator(REAL, FAKE)
    assert terms["real"].item() == pytest.approx(_mean([real(x) for x in REAL.tolist()]), rel=1e-12)
    assert terms["fake"].item() == pytest.approx(_mean([fake(x) for x in FAKE.tolist()]), rel=1e-12)
    assert terms.keys() == {"real", "fake"}
    wanted = _mean([generator(x) for x in FAKE.tolist()])
    assert objective.generator(FAKE).item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_scores_as_large_as_floats_go_give_finite_losses(name: str) -> None:
    objective = objectives.make(name)
    scores = torch.tensor([-1e4, 1e4], requires_grad=True)
    terms, _ = objective.discriminator(scores, scores)
    total = sum(terms.values()) + objective.generator(scores, scores.flip(0))
    total.backward()
    assert total.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_relativistic_losses_compare_the_two_of_a_pair() -> None:
    objective = objectives.make("relativistic")
    terms, measures = objective.discriminator(REAL, FAKE)
    differences = (REAL - FAKE).tolist()
    assert terms.keys() == {"pairs"}
    assert terms["pairs"].item() == pytest.approx(_mean([-_log_sigmoid(d) for d in differences]), rel=1e-12)
    assert measures["accuracy"].item() == pytest.approx(_mean([d > 0 for d in differences]))
    made = objective.generator(FAKE, REAL).item()
    assert made == pytest.approx(_mean([-_log_sigmoid(-d) for d in differences]), rel=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_schedule_is_the_same_for_losses_and_optimizers(schedule: Any) -> None:
    recipe = Recipe(schedule=schedule, schedule_from=0.2, schedule_until=0.6)
    shares = [0.0, 0.2, 0.3, 0.4, 0.6, 1.0]
    made = objectives.scheduled(recipe, 5.0, 0.5)(torch.tensor(shares, dtype=torch.float64)).tolist()
    assert made == pytest.approx([recipe.scheduled(5.0, 0.5, share) for share in shares], rel=1e-12)
    middle = 5.0 if schedule == "constant" else 2.75
    end = 5.0 if schedule == "constant" else 0.5
    assert [made[1], made[3], made[4], made[5]] == pytest.approx([5.0, middle, end, end])
    quarter = {"constant": 5.0, "linear": 3.875, "cosine": 5 - 4.5 * (1 - math.cos(math.pi / 4)) / 2}
    assert made[2] == pytest.approx(quarter[schedule])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_label_smoothing_is_cross_entropy_with_a_softer_target_of_reals_alone(smoothing: float) -> None:
    terms, _ = objectives.make("nonsaturating", label_smoothing=smoothing).discriminator(REAL, FAKE)
    target = torch.full_like(REAL, 1 - smoothing)
    torch.testing.assert_close(terms["real"], F.binary_cross_entropy_with_logits(REAL, target))
    torch.testing.assert_close(terms["fake"], F.binary_cross_entropy_with_logits(FAKE, torch.zeros_like(FAKE)))


@pytest.mark.parametrize("name", ["lsgan", "hinge", "wasserstein"])
def test_label_smoothing_belongs_to_nonsaturating(name: str) -> None:
    with pytest.raises(ValueError, match=f"not to {name}"):
        objectives.make(name, label_smoothing=0.1)


@pytest.mark.parametrize(
    ("name", "real", "fake"), [("nonsaturating", 3 / 6, 2 / 6), ("hinge", 3 / 6, 2 / 6), ("lsgan", 3 / 6, 4 / 6)]
)
def test_accuracies_count_from_the_threshold_of_the_loss(name: str, real: float, fake: float) -> None:
    _, measures = objectives.make(name).discriminator(REAL, FAKE)
    assert measures["accuracy_real"].item() == pytest.approx(real)
    assert measures["accuracy_fake"].item() == pytest.approx(fake)


def test_wasserstein_measures_the_distance() -> None:
    scores = REAL.clone().requires_grad_()
    _, measures = objectives.make("wasserstein").discriminator(scores, FAKE)
    assert measures["distance"].item() == pytest.approx(REAL.mean().item() - FAKE.mean().item())
    assert not measures["distance"].requires_grad


class _Linear(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).flatten(1).sum(1)


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic_is_in_closed_form(norm: float) -> None:
    """∇(w·x) = w everywhere, so the penalty is (|w| - 1)², and its gradient 2(|w| - 1) w/|w|."""
    weight = torch.randn(1, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = norm * weight / weight.norm()
    critic = _Linear(weight)
    real, fake = torch.randn(2, 5, 2, 3, 3, dtype=torch.float64)
    penalty = objectives.gradient_penalty(critic, real, fake)
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-5)
    penalty.backward()
    assert critic.weight.grad is not None
    wanted = 2 * (norm - 1) * weight / norm if norm else torch.zeros_like(weight)
    torch.testing.assert_close(critic.weight.grad, wanted, atol=1e-6, rtol=1e-6)


def test_gradient_penalty_looks_between_reals_and_fakes() -> None:
    seen: list[Tensor] = []

    class Watching(_Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return super().forward(x)

    real, fake = torch.zeros(200, 1, 2, 2), torch.ones(200, 1, 2, 2)
    objectives.gradient_penalty(Watching(torch.ones(1, 1, 2, 2)), real, fake)
    points = seen[0].flatten(1)
    assert torch.equal(points, points[:, :1].expand(-1, 4))  # one mix a sample, not a pixel
    assert 0 <= points.min() < 0.1
    assert 0.9 < points.max() <= 1
    assert points[:, 0].unique().numel() > 100


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
        super().__init__()  # type: ignore[no-untyped-call]
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
    gradients, _ = _gradients(objectives.gradient_penalty, critic)
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients)
    for one, two in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_the_penalty_of_a_piecewise_linear_critic_skips_zero_gradients() -> None:
    critic = _critic(nn.LeakyReLU(0.2))
    (_, plain), (_, spared) = _gradients(_plain_penalty, critic), _gradients(objectives.gradient_penalty, critic)
    assert spared <= plain - 3, (spared, plain)


def test_zero_centred_gives_the_scores_and_half_the_squared_slopes() -> None:
    critic = _critic(nn.Softplus())
    samples = torch.randn(5, 1, 16, 16, dtype=torch.float64)
    scores, slopes = objectives.zero_centred(critic, samples)
    torch.testing.assert_close(scores, critic(samples))
    torch.testing.assert_close(slopes.mean(), objectives.r1(critic, samples))
    points = samples.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(points).sum(), points)
    torch.testing.assert_close(slopes, gradient.square().sum((1, 2, 3)) / 2)
    assert not samples.requires_grad
    # one backward has the gradients of both
    (scores.mean() + slopes.mean()).backward()
    together = [parameter.grad.clone() for parameter in critic.parameters() if parameter.grad is not None]
    critic.zero_grad()
    critic(samples).mean().backward()
    objectives.r1(critic, samples).backward()
    apart = [parameter.grad for parameter in critic.parameters() if parameter.grad is not None]
    torch.testing.assert_close(together, apart)


def test_skipping_zeros_on_one_path_keeps_the_gradient_of_another() -> None:
    first, second = nn.Linear(3, 3).double(), nn.Linear(3, 1).double()
    with objectives.FastDoubleBackward(skip_zeros=True):
        hidden = first(torch.ones(2, 3, dtype=torch.float64))
        (second(hidden).sum() * 0 + hidden.sum()).backward()  # zeros along one path, ones along the other
    torch.testing.assert_close(first.weight.grad, torch.full((3, 3), 2.0, dtype=torch.float64))
