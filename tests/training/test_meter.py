"""Means of what the players return, and the first step that was not finite."""

from __future__ import annotations

import pytest
import torch

from gantool.plugin.game import Loss
from gantool.training.meter import Meter, NonFinite


def _loss(*values: float, measure: float | None = None) -> Loss:
    terms = {name: torch.tensor(value) for name, value in zip("xyz", values, strict=False)}
    return Loss(terms, {} if measure is None else {"m": torch.tensor(measure)})


def test_means_since_the_last_read() -> None:
    meter = Meter(torch.device("cpu"))
    for step, value in enumerate((1.0, 2.0, 6.0)):
        meter.at(step)
        meter.add("a", _loss(value, -value, measure=0.5))
    meter.at(2)
    meter.add("b", _loss(4.0))
    wanted = {"loss.a.x": 3.0, "loss.a.y": -3.0, "measure.a.m": 0.5, "loss.b.x": 4.0}
    assert meter.read() == pytest.approx(wanted)
    meter.at(3)
    meter.add("a", _loss(10.0, 20.0, measure=1.0))
    assert meter.read() == pytest.approx({"loss.a.x": 10.0, "loss.a.y": 20.0, "measure.a.m": 1.0})
    assert meter.read() == {}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_the_first_bad_value_is_named_with_its_step(bad: float) -> None:
    meter = Meter(torch.device("cpu"))
    for step in range(10):
        meter.at(step)
        meter.add("a", _loss(1.0, bad if step >= 7 else 1.0))
        meter.at(step)
        meter.add("b", _loss(bad if step == 4 else 1.0))
    with pytest.raises(NonFinite) as caught:
        meter.read()
    assert (caught.value.term, caught.value.step) == ("loss.b.x", 4)
    meter.at(10)
    meter.add("a", _loss(1.0, 1.0))
    assert meter.read() == {"loss.a.x": 1.0, "loss.a.y": 1.0}


def test_a_bad_measure_is_named_too() -> None:
    meter = Meter(torch.device("cpu"))
    meter.at(3)
    meter.add("a", _loss(1.0, measure=torch.nan))
    with pytest.raises(NonFinite, match=r"measure\.a\.m at step 3"):
        meter.read()


def test_values_of_any_precision_that_still_need_gradients_are_taken() -> None:
    meter = Meter(torch.device("cpu"))
    meter.at(0)
    meter.add("a", Loss({"x": torch.tensor(2.0, dtype=torch.bfloat16, requires_grad=True)}))
    assert meter.read() == {"loss.a.x": 2.0}
