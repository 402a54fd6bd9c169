"""Exported files on a CUDA device: the same images as on the CPU, by the provider alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.exports import source_of

from gantool import exporting
from gantool.exporting.onnx_files import drift
from gantool.exporting.torch_files import torchscript
from gantool.runtime import Generator
from gantool.runtime.generator import MAX_LEVELS, MAX_SHARE

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", params=["mlp", "dcgan"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp(request.param)
    options = exporting.Options(("float32", "half-weights", "half"))
    exporting.write(source_of(request.param, 28), list(exporting.FILES), made, options)
    return made


@pytest.mark.parametrize(
    "file",
    ["generator.onnx", "generator.seeded.onnx", "generator.half-weights.onnx", "generator.half-weights.seeded.onnx"],
)
def test_cuda_takes_every_node_and_makes_the_same_images(folder: Path, file: str) -> None:
    wanted = Generator(folder / file).sample(130, seed=5)
    # strict: a node left to the CPU is an error; in float32, as the file says: TF32 is ONNX Runtime's default
    cuda = Generator(folder / file, provider="cuda", settings={"use_tf32": "0"})
    images = cuda.sample(130, seed=5)
    difference = np.abs(images.astype(int) - wanted)
    assert difference.max() <= MAX_LEVELS
    assert (difference > 0).mean() <= MAX_SHARE
    assert cuda.self_test().worst <= MAX_LEVELS


@pytest.mark.parametrize("file", ["generator.half.onnx", "generator.half.seeded.onnx"])
def test_half_is_computed_on_cuda_within_its_tolerance(folder: Path, file: str) -> None:
    cuda = Generator(folder / file, provider="cuda")
    assert cuda.self_test().worst <= cuda.manifest.tolerance
    wanted = Generator(folder / file.replace(".half", "")).sample(130, seed=5)
    measured = drift.drift(wanted, cuda.sample(130, seed=5))
    assert all(check.passed for check in drift.checks(file, "half", measured))


def test_a_trace_made_on_the_cpu_runs_on_cuda(folder: Path) -> None:
    path, z = folder / "generator.torchscript.pt", torch.randn(7, 100)
    images = torchscript.load(path, "cuda")(z.cuda()).cpu()
    assert torch.allclose(images, torchscript.load(path)(z), atol=1e-3)


def test_seeds_give_the_same_images_in_torchscript_on_cuda(folder: Path) -> None:
    path = folder / "generator.seeded.torchscript.pt"
    seed, index = torch.tensor([2**40 + 7]), torch.arange(64)
    images = torchscript.load(path, "cuda")(seed.cuda(), index.cuda()).cpu().int()
    difference = (images - torchscript.load(path)(seed, index).int()).abs()
    assert difference.max() <= MAX_LEVELS
    assert (difference > 0).float().mean() <= MAX_SHARE
