"""gantool.exporting.onnx_files.rounding: 16-bit weights that are the same numbers in torch and in ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from support.exports import source_of

from gantool import exporting
from gantool.exporting.onnx_files import rounding
from gantool.exporting.torch_files import torchscript
from gantool.runtime import Generator


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(2, 9),
    st.integers(1, 4),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)
def test_factors_are_found_again(
    sides: list[int], channels: int, repeats: int, in_turn: bool, place: int, seed: int
) -> None:
    stream = np.random.default_rng(seed)
    axis = place % (len(sides) + 1)
    shape = (*sides[:axis], channels * repeats, *sides[axis:])
    numbers = stream.normal(0, 0.02, shape).astype(np.float16)
    factor, other = stream.uniform(0.1, 9, channels), stream.uniform(0.1, 9, 7)
    spread = np.tile(factor, repeats) if in_turn else np.repeat(factor, repeats)
    along = tuple(-1 if i == axis else 1 for i in range(len(shape)))
    weight = (numbers.astype(np.float64) * spread.reshape(along)).astype(np.float32)
    found = rounding.factored(weight, [other, factor])
    assert found is not None
    np.testing.assert_allclose(found[0].astype(np.float64) * found[1], weight, rtol=2**-22)


@given(st.integers(0, 2**32 - 1))
def test_no_factor_is_made_up(seed: int) -> None:
    stream = np.random.default_rng(seed)
    weight = stream.normal(0, 0.02, (8, 6, 4)).astype(np.float32)
    assert rounding.factored(weight, [stream.uniform(0.1, 9, n) for n in (2, 4, 6, 8)]) is None


@pytest.mark.parametrize("name", ["mlp", "cgan", "dcgan", "sngan", "wgan"])
def test_onnx_holds_the_very_weights_that_torch_has(name: str, tmp_path: Path) -> None:
    small = {"widths": (24,)} if name in ("mlp", "cgan") else {"width": 8, "max_width": 16}
    kinds = ["onnx", "onnx-seeded", "torchscript-seeded", "pt2"]
    options = exporting.Options(("half-weights",), optimize="none")
    plain, seeded, script, archive = exporting.write(source_of(name, 16, **small), kinds, tmp_path, options)
    assert {made.manifest.precision for made in (plain, seeded, script, archive)} == {"half-weights"}
    assert script.manifest.golden == plain.manifest.golden
    model = onnx.load(plain.path)
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weights = [a for a in arrays.values() if a.dtype == np.float16]
    # nothing was rounded after the generator's own weights were: each tensor of 16 bits is one of them
    generator = rounding.rounded(source_of(name, 16, **small).generator)
    own = [p.detach().numpy() for p in generator.parameters() if rounding.is_weight(tuple(p.shape))]
    assert len(weights) == len(own)
    for array in weights:
        assert any(np.array_equal(np.sort(array.ravel()), np.sort(p.ravel())) for p in own)
    index = torch.arange(64)
    labels = [index % item.classes for item in plain.manifest.inputs if item.distribution == "label"]
    with torch.no_grad():
        images = torchscript.load(script.path)(torch.tensor([7]), index, *labels).numpy()
    off = np.abs(images.astype(int) - Generator(seeded.path).sample(64, seed=7))
    assert off.max() <= 1
    assert (off > 0).mean() <= 2e-4
