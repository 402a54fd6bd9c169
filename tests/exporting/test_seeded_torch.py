"""gantool.exporting.torch_files.seeded: bit equality with gantool.artifact.latents, also as a file."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.draws import EDGES, INDEXES, LAYOUTS, SEEDS, Layout
from support.exports import Conditional, Tiny, Z, source_of
from torch import Tensor, nn

from gantool.artifact import latents
from gantool.errors import GantoolError
from gantool.exporting.torch_files import torchscript
from gantool.exporting.torch_files.seeded import Normals, pixels, steps, to_seeded_torchscript
from gantool.plugin.architecture import Input, SampleSpec

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

LABEL = Input("label", (), "label", 3)
IMAGE = SampleSpec((1, 8, 8))


DIGITS = 6  # to the base 256: normals have 24 bits, the smallest is about 2**-16


class Echo(nn.Module):
    """Its inputs, row by row, as an image that holds them exactly: a number is its sign and DIGITS pixels."""

    def forward(self, *inputs: Tensor) -> Tensor:
        numbers = torch.cat([item.reshape(item.shape[0], 1, -1) for item in inputs], dim=2)
        rest, columns = numbers.abs() / 8, [numbers > 0]
        for _ in range(DIGITS):
            digit = (rest * 256).floor()
            rest = rest * 256 - digit
            columns.append(digit)
        return torch.stack(columns, 3) / 127.5 - 1


def numbers_of(image: Tensor) -> np.ndarray:
    """What `Echo` shows: uint8 (n, size, 1 + DIGITS, 1) → float32 (n, size)."""
    sign, *digits = image.numpy()[..., 0].transpose(2, 0, 1).astype(np.float64)
    size = sum(digit / 256.0 ** (place + 1) for place, digit in enumerate(digits))
    return ((2 * sign - 1) * size * 8).astype(np.float32)


@functools.cache
def echo(layout: Layout) -> Any:
    """The latents as a frozen file's graph makes them."""
    inputs = [Input(name, shape, "normal") for name, shape in layout]
    size = sum(math.prod(shape) for _, shape in layout)
    return to_seeded_torchscript(Echo(), inputs, SampleSpec((1, size, 1 + DIGITS)))


def feed(seed: int, index: Any) -> tuple[Tensor, Tensor]:
    return torch.tensor([seed]), torch.tensor(index, dtype=torch.int64)


@settings(max_examples=80)
@given(st.sampled_from(LAYOUTS), SEEDS, INDEXES)
def test_bits_equal_numpy(layout: Layout, seed: int, index: list[int]) -> None:
    made = echo(layout)(*feed(seed, index))
    drawn = latents.draw(dict(layout), seed, np.array(index))
    wanted = np.concatenate([part.reshape(len(index), -1) for part in drawn.values()], axis=1)
    assert made.dtype == torch.uint8
    assert numbers_of(made).tobytes() == wanted.tobytes()


@settings(max_examples=25)
@given(st.integers(1, 400) | st.just(latents.MAX_SIZE), SEEDS, INDEXES)
def test_any_size(size: int, seed: int, index: list[int]) -> None:
    made = Normals(size)(*feed(seed, index))
    assert made.numpy().tobytes() == latents.normals(seed, index, size).tobytes()


def test_many_rows() -> None:
    index = np.random.default_rng(0).permutation(3001)  # large enough for torch's vectorised paths
    made = numbers_of(echo(LAYOUTS[3])(*feed(-3, index)))
    assert made.tobytes() == latents.normals(-3, index, 100).tobytes()


def test_pixels_on_edges() -> None:
    images = np.random.default_rng(0).uniform(-1.1, 1.1, (5, 3, 31, 17)).astype(np.float32)
    for samples in (EDGES, images, images[:, :, None]):
        made = pixels(torch.from_numpy(samples))
        assert made.is_contiguous()
        np.testing.assert_array_equal(made.numpy(), latents.pixels(samples))


def test_audio_on_edges() -> None:
    sounds = np.random.default_rng(0).uniform(-1.1, 1.1, (5, 2, 527)).astype(np.float32)
    for samples in (EDGES.reshape(1, 1, -1), sounds):
        made = steps(torch.from_numpy(samples))
        assert made.dtype == torch.int16
        assert made.is_contiguous()
        np.testing.assert_array_equal(made.numpy(), latents.steps(samples))


def images_of(generator: nn.Module, seed: int, index: Any, *labels: Tensor) -> np.ndarray:
    z = torch.from_numpy(latents.normals(seed, index, 4))
    with torch.no_grad():
        return latents.pixels(generator(z, *labels).numpy())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional generator as a file."""
    path: Path = tmp_path_factory.mktemp("seeded") / "generator.seeded.torchscript.pt"
    torchscript.save(to_seeded_torchscript(Conditional(), [Z, LABEL], IMAGE), path, "{}")
    return path


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_a_file_makes_the_images_of_seed_and_index(path: Path, batch: int) -> None:
    index, label = np.arange(5, 5 + batch), torch.arange(batch) % 3
    made = torchscript.load(path)(*feed(-8, index), label)
    assert (made.dtype, made.shape, made.is_contiguous()) == (torch.uint8, (batch, 8, 8, 1), True)
    np.testing.assert_array_equal(made.numpy(), images_of(Conditional().eval(), -8, index, label))


def test_a_file_tells_its_inputs_and_classes(path: Path) -> None:
    loaded: Any = torchscript.load(path)
    assert [argument.name for argument in loaded.forward.schema.arguments] == ["self", "seed", "index", "label"]
    assert loaded.classes() == [3]
    seed, index = feed(1, [4])
    named = loaded(seed=seed, index=index, label=torch.tensor([2]))
    assert torch.equal(named, loaded(seed, index, torch.tensor([2])))
    assert echo(LAYOUTS[0]).classes() == []


def test_a_file_is_frozen_and_for_any_device(path: Path) -> None:
    loaded = torchscript.load(path)
    assert not [*loaded.parameters(), *loaded.buffers()]
    graph = loaded.inlined_graph  # its nodes live no longer than it
    constants = graph.findAllNodes("prim::Constant")
    assert not [c for c in constants if isinstance(c.output().type(), torch._C.DeviceObjType)]


@pytest.mark.gpu
def test_a_file_made_on_the_cpu_runs_on_cuda(path: Path) -> None:
    index, label = np.arange(64), torch.arange(64) % 3
    made = torchscript.load(path, "cuda")(*(item.cuda() for item in (*feed(3, index), label)))
    assert made.device.type == "cuda"
    difference = np.abs(made.cpu().numpy().astype(int) - images_of(Conditional().eval(), 3, index, label))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.001


class Reversed(nn.Module):
    """A label before the latents."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Conditional()

    def forward(self, label: Tensor, z: Tensor) -> Tensor:
        made: Tensor = self.inner(z, label)
        return made


def test_inputs_go_where_the_generator_has_them() -> None:
    label = torch.tensor([2, 0])
    made = to_seeded_torchscript(Reversed(), [LABEL, Z], IMAGE)(*feed(6, [0, 9]), label)
    np.testing.assert_array_equal(made.numpy(), images_of(Conditional().eval(), 6, [0, 9], label))


def test_a_convolutional_generator() -> None:
    source = source_of("dcgan", 28)
    (z,) = source.inputs
    made = to_seeded_torchscript(source.generator, source.inputs, source.output)(*feed(2, range(9)))
    drawn = torch.from_numpy(latents.normals(2, range(9), *z.shape))
    with torch.no_grad():
        wanted = latents.pixels(source.generator(drawn).numpy())
    difference = np.abs(made.numpy().astype(int) - wanted)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.001


class Untraceable(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        raise RuntimeError("no trace\nof this")


def test_unfit_generators() -> None:
    with pytest.raises(GantoolError, match=r"torch.jit can't trace this generator: .*no trace") as caught:
        to_seeded_torchscript(Untraceable(), [Z], IMAGE)
    assert caught.value.message.endswith("no trace")
    with pytest.raises(GantoolError, match=r"takes data \(photo\)"):
        to_seeded_torchscript(Tiny(), [Z, Input("photo", (8,), "data")], IMAGE)
    with pytest.raises(GantoolError, match="262145 numbers can't be drawn"):
        to_seeded_torchscript(Tiny(), [Input("z", (262145,), "normal")], IMAGE)
    with pytest.raises(GantoolError, match="0 numbers can't be drawn"):
        to_seeded_torchscript(Tiny(), [LABEL], IMAGE)
