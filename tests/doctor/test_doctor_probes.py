"""The probes: correct by ONNX's reference evaluator, made by the script, and able to detect wrong results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from support.scripts import script

from gantool.doctor.diagnosis import PROBES
from gantool.doctor.probes import CPU_TOLERANCE, GPU_TOLERANCE, GRAPHS, Probe, probes

BY_NAME = {probe.name: probe for probe in probes()}


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_matches_the_reference_evaluator(name: str) -> None:
    probe = BY_NAME[name]
    model = onnx.load_from_string(probe.model)
    onnx.checker.check_model(model, full_check=True)
    (got,) = ReferenceEvaluator(model).run(None, probe.feeds)
    difference = probe.difference(got)
    assert probe.right(difference, "cpu"), difference


def test_the_files_in_the_package_are_what_the_script_makes(tmp_path: Path) -> None:
    script("tests/doctor/make_probes.py").main(tmp_path)
    names = {f"{name}.onnx" for name in PROBES}
    assert (
        {path.name for path in GRAPHS.iterdir()} == {path.name for path in tmp_path.iterdir()} == {*names, "arrays.npz"}
    )
    for name in names:
        assert (GRAPHS / name).read_bytes() == (tmp_path / name).read_bytes()
    with np.load(GRAPHS / "arrays.npz") as shipped, np.load(tmp_path / "arrays.npz") as made:
        assert shipped.files == made.files
        for key in made.files:  # sums in float64 may be rounded in another order elsewhere
            assert shipped[key].dtype == made[key].dtype
            np.testing.assert_allclose(shipped[key], made[key], rtol=1e-6)


@pytest.mark.parametrize("probe", probes(), ids=lambda probe: probe.name)
def test_wrong_values_are_detected(probe: Probe) -> None:
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
    ):
        difference = probe.difference(got)
        assert not probe.right(difference, "cpu")
        assert not probe.right(difference, "cuda")
    assert probe.difference(right) == 0


def test_tf32_is_allowed_on_a_gpu_and_not_on_the_cpu() -> None:
    probe = BY_NAME["Gemm"]
    between = (CPU_TOLERANCE * GPU_TOLERANCE) ** 0.5
    assert probe.right(between, "cuda")
    assert not probe.right(between, "cpu")
    assert not replace(probe, exact=True).right(between, "cuda")
