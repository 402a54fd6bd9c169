"""The probes: right by ONNX's own account, and able to tell a provider that computes wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from gantool.doctor.diagnosis import PROBES
from gantool.doctor.probes import EXACT_FLOAT, REDUCED_FLOAT, Probe, probes
from gantool.exporting.onnx_files import seeds

BY_NAME = {probe.name: probe for probe in probes()}


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_is_what_onnx_says(name: str) -> None:
    probe = BY_NAME[name]
    model = onnx.load_from_string(probe.model)
    onnx.checker.check_model(model, full_check=True)
    (got,) = ReferenceEvaluator(model).run(None, probe.feeds)
    difference = probe.difference(got)
    assert probe.right(difference, "cpu"), difference


def test_the_latents_are_made_by_the_operators_of_a_seeded_export() -> None:
    probe = onnx.load_from_string(BY_NAME["latents"].model)
    exported = seeds.latents_graph([("z", (16,))])
    # Unsqueeze: the probe's index has the axis already
    assert {n.op_type for n in probe.graph.node} == {n.op_type for n in exported.graph.node} - {"Unsqueeze"}


@pytest.mark.parametrize("probe", probes(), ids=lambda probe: probe.name)
def test_wrong_values_are_seen(probe: Probe) -> None:
    right = probe.expected
    flipped = right.copy()
    flipped.flat[3] += right.std()
    for got in (
        np.zeros_like(right),
        flipped,
        right[..., ::-1],
        np.where(right == right.flat[0], np.nan, right),
        np.full_like(right, np.inf),
        right.astype(np.float64),
        right[:1],
        None,
    ):
        difference = probe.difference(got)
        assert not probe.right(difference, "cpu")
        assert not probe.right(difference, "cuda")
    assert probe.difference(right) == 0


def test_tf32_is_allowed_on_a_gpu_and_not_on_the_cpu() -> None:
    probe = BY_NAME["Gemm"]
    between = (EXACT_FLOAT * REDUCED_FLOAT) ** 0.5
    assert probe.right(between, "cuda")
    assert not probe.right(between, "cpu")
    assert not replace(probe, exact=True).right(between, "cuda")
