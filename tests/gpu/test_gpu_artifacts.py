"""Exported files on a CUDA device: the same images as on the CPU, by the provider alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.exports import source_of

from gantool import export
from gantool.export import torchscript
from gantool.runtime import Generator
from gantool.runtime.generator import MAX_LEVELS, MAX_SHARE

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", params=["mlp", "dcgan"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp(request.param)
    export.write(source_of(request.param, 28), list(export.FILES), made)
    return made


@pytest.mark.parametrize("file", ["generator.onnx", "generator.seeded.onnx"])
def test_cuda_takes_every_node_and_makes_the_same_images(folder: Path, file: str) -> None:
    wanted = Generator(folder / file).sample(130, seed=5)
    cuda = Generator(folder / file, provider="cuda")  # strict: a node left to the CPU is an error
    images = cuda.sample(130, seed=5)
    difference = np.abs(images.astype(int) - wanted)
    assert difference.max() <= MAX_LEVELS
    assert (difference > 0).mean() <= MAX_SHARE
    assert cuda.self_test().worst <= MAX_LEVELS


def test_a_trace_made_on_the_cpu_runs_on_cuda(folder: Path) -> None:
    module = torchscript.load(folder / "generator.torchscript.pt")
    z = torch.randn(7, 100)
    wanted = module(z)
    images = module.to("cuda")(z.cuda()).cpu()
    assert torch.allclose(images, wanted, atol=1e-3)
