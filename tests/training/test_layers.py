"""The faster forms of layers: the same values and gradients, under the same names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gantool.training import layers


def _both(make: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    plain = make().double()
    faster = copy.deepcopy(plain)
    layers.rewrite(faster)
    assert list(faster.state_dict()) == list(plain.state_dict())
    return plain, faster


def _assert_equal(plain: nn.Module, faster: nn.Module, shape: tuple[int, ...], layout: Any) -> None:
    """Output, gradients, and the gradients of a gradient penalty agree to float64's rounding."""
    results = []
    for module in (plain, faster):
        torch.manual_seed(1)
        images = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
        output = module(images)
        weights = torch.randn(output.shape, dtype=torch.float64)
        (gradient,) = torch.autograd.grad((output * weights).sum(), images, create_graph=True)
        module.zero_grad()
        (gradient.square().sum() + output.square().sum()).backward()
        results.append([output, gradient, images.grad, *(p.grad for p in module.parameters())])
    for one, two in zip(*results, strict=True):
        assert isinstance(one, Tensor)
        assert isinstance(two, Tensor)
        assert one.shape == two.shape
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


sides = st.integers(1, 4)
layouts = st.sampled_from([torch.contiguous_format, torch.channels_last])


@pytest.mark.parametrize("transposed", [False, True])
@settings(max_examples=40)
@given(
    thin=st.integers(1, layers.THIN), wide=st.integers(1, 6), kernel=st.tuples(sides, sides),
    stride=st.tuples(sides, sides), padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    side=st.tuples(st.integers(4, 9), st.integers(4, 9)), bias=st.booleans(), layout=layouts,
)  # fmt: skip
def test_thin_convolutions(
    transposed: bool, thin: int, wide: int, kernel: tuple[int, int], stride: tuple[int, int],
    padding: tuple[int, int], side: tuple[int, int], bias: bool, layout: Any,
) -> None:  # fmt: skip
    """From few channels, or transposed to few."""
    kind, faster_kind = (
        (nn.ConvTranspose2d, layers.ThinConvTranspose2d) if transposed else (nn.Conv2d, layers.ThinConv2d)
    )
    channels, made = (wide, thin) if transposed else (thin, wide)
    if transposed:
        padding = (min(padding[0], 1), min(padding[1], 1))
    plain, faster = _both(lambda: kind(channels, made, kernel, stride, padding, bias=bias))
    assert isinstance(faster, faster_kind)
    _assert_equal(plain, faster, (3, channels, *side), layout)


@settings(max_examples=20)
@given(channels=st.integers(5, 9), kernel=st.tuples(sides, sides), more=st.integers(0, 2), layout=layouts)
def test_whole_convolutions(channels: int, kernel: tuple[int, int], more: int, layout: Any) -> None:
    plain, faster = _both(lambda: nn.Conv2d(channels, 1, kernel))
    assert isinstance(faster, layers.WholeConv2d)
    _assert_equal(plain, faster, (3, channels, kernel[0] + more, kernel[1]), layout)


def _doubling(**changes: Any) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 5, 3, **{"padding": 1, **changes}))


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_a_doubled_map(bias: bool) -> None:
    plain, faster = _both(lambda: _doubling(bias=bias))
    assert isinstance(faster[1], layers.DoublingConv2d)  # type: ignore[index]
    _assert_equal(plain, faster, (2, 3, 5, 4), torch.channels_last)


def test_other_convolutions_of_a_doubled_map_stay_as_they_are() -> None:
    tripled = nn.Sequential(nn.Upsample(scale_factor=3), nn.Conv2d(8, 8, 3, 1, 1))
    for layer in (_doubling(stride=2), _doubling(padding=0), tripled):
        layers.rewrite(layer)
        assert type(layer[0]) is nn.Upsample
        assert not isinstance(layer[1], layers.DoublingConv2d)


@pytest.mark.parametrize("axis", [1, -1])
def test_gated_linear_units(axis: int) -> None:
    plain, faster = _both(lambda: nn.GLU(axis))
    assert isinstance(faster, layers.HalvedGLU)
    _assert_equal(plain, faster, (3, 4, 5, 6), torch.channels_last)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(1, 4, 3, dilation=2),
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(1, 4, 3, padding="same"),
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 1, 3, padding=1),
        nn.ConvTranspose2d(8, 8, 3),
        nn.ConvTranspose2d(8, 1, 3, 2, output_padding=1),
        nn.ConvTranspose2d(8, 2, 3, groups=2),
        nn.Dropout(inplace=True),
        nn.Dropout2d(),
    ],
    ids=str,
)
def test_layers_without_a_faster_form_stay_as_they_are(layer: nn.Module) -> None:
    before = type(layer)
    layers.rewrite(layer)
    assert type(layer) is before


def test_a_subclass_stays_as_its_author_made_it() -> None:
    class Own(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    layer = Own(1, 4, 3)
    layers.rewrite(layer)
    assert type(layer) is Own


def test_a_transposed_convolution_still_takes_an_output_size() -> None:
    plain, faster = _both(lambda: nn.ConvTranspose2d(6, 1, 3, 2, 1))
    images = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    assert torch.equal(plain(images, output_size=[10, 10]), faster(images, output_size=[10, 10]))


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(p: float) -> None:
    layer = nn.Sequential(nn.Dropout(p))
    layers.rewrite(layer)
    torch.manual_seed(0)
    dropped = layer(torch.ones(1000, 1003))
    kept = dropped != 0
    assert abs(kept.double().mean().item() - (1 - p)) < 1 / 512 + 0.002  # the nearest of 256 shares, and chance
    assert abs(dropped.double().mean().item() - 1) < 0.01
    assert dropped[kept].unique().numel() == 1
    # no value's mask says anything of its neighbours'
    for shifted in (kept[:, 1:], kept[:, 8:]):
        both = (kept[:, : shifted.shape[1]] & shifted).double().mean().item()
        assert abs(both - kept.double().mean().item() ** 2) < 0.005


def test_dropout_passes_gradients_where_it_passed_values() -> None:
    layer = nn.Dropout(0.5)
    layers.rewrite(layer)
    values = torch.randn(7, 11, dtype=torch.float64, requires_grad=True)
    dropped = layer(values)
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad != 0, dropped != 0)
    torch.testing.assert_close(values.grad * values.detach(), dropped.detach())


def test_dropout_is_seeded_new_each_time_and_off_in_evaluation() -> None:
    layer = nn.Dropout(0.5)
    layers.rewrite(layer)
    ones = torch.ones(64, 5)
    torch.manual_seed(3)
    first, second = layer(ones), layer(ones)
    torch.manual_seed(3)
    assert torch.equal(layer(ones), first)
    assert not torch.equal(first, second)
    assert torch.equal(layer.eval()(ones), ones)


@pytest.mark.parametrize("p", [0.0, 0.001, 0.999, 1.0])
def test_dropout_at_its_ends(p: float) -> None:
    layer = nn.Dropout(p)
    layers.rewrite(layer)
    dropped = layer(torch.ones(200, 200))
    assert dropped.isfinite().all()
    assert abs((dropped != 0).double().mean().item() - (1 - p)) < 0.005
