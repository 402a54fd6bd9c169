"""A generator that takes a picture is exported for any size, and each file is compared with PyTorch at several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support import translators
from torch import Tensor, nn

from gantool import exporting
from gantool.artifact import latents
from gantool.artifact.cards import cards
from gantool.errors import GantoolError
from gantool.exporting import triton, verify
from gantool.exporting.torch_files import archive, torchscript
from gantool.runtime import Generator

KINDS = translators.WITH_ALL_FILES


@pytest.fixture
def made(translator: Callable[[str], Path]) -> Callable[[str], tuple[exporting.Source, Path]]:
    """The source and the folder with all its files."""
    return lambda name: (getattr(translators, name)(), translator(name))


def fed(source: exporting.Source, count: int, height: int, width: int) -> dict[str, np.ndarray]:
    """Inputs of the plain file: test cards, the noise of images 0 … of seed 3, each value's default."""
    normal = {i.name: i.shape for i in source.normals}
    arrays: dict[str, np.ndarray] = dict(latents.draw(normal, 3, np.arange(count)))
    for item in source.inputs:
        if item.is_picture:
            arrays[item.name] = latents.floats(cards(0, count, height, width, item.shape[0]))
        elif item.distribution == "value":
            arrays[item.name] = np.full(count, item.default, np.float32)
    return {item.name: arrays[item.name] for item in source.inputs}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "residual")) for n in KINDS])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 72), (104, 48)])
def test_all_files_make_what_torch_makes_at_any_size(made: Any, name: str, height: int, width: int) -> None:
    source, folder = made(name)
    inputs = fed(source, 2, height, width)
    wanted = verify.run_torch(source.generator, inputs)
    plain = Generator(folder / "generator.onnx")
    np.testing.assert_allclose(plain.run(inputs), wanted, atol=1e-5)
    traced = torchscript.load(folder / "generator.torchscript.pt")
    np.testing.assert_allclose(verify.run_torch(traced, inputs), wanted, atol=1e-5)
    program = archive.load(folder / "generator.pt2")
    np.testing.assert_allclose(verify.run_torch(program, inputs), wanted, atol=1e-5)

    pictures, pixels = cards(0, 2, height, width, 3), latents.pixels(wanted)
    seeded = Generator(folder / "generator.seeded.onnx")
    images = seeded.translate(pictures, seed=3)
    assert np.abs(images.astype(int) - pixels).max() <= 1
    np.testing.assert_array_equal(images, plain.translate(pictures, seed=3))
    scripted = torchscript.load(folder / "generator.seeded.torchscript.pt")
    drawn = [torch.tensor([3]), torch.arange(2)] if source.normals else []
    values = [torch.ones(2)] if seeded.manifest.values else []
    given = [*drawn, torch.from_numpy(pictures), *values]
    assert np.abs(scripted(*given).numpy().astype(int) - images).max() <= 1


def test_the_seeded_file_takes_bytes_and_a_seed_only_where_there_is_noise(made: Any) -> None:
    signatures = {}
    for name in KINDS:
        _, folder = made(name)
        graph = onnx.load(folder / "generator.seeded.onnx").graph
        signatures[name] = {
            value.name: (
                value.type.tensor_type.elem_type,
                [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
            )
            for value in (*graph.input, *graph.output)
        }
    uint8, int64, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    image = (uint8, ["batch", "output_height", "output_width", 3])
    photo = (uint8, ["batch", "height", "width", 3])
    assert signatures["unet"] == {
        "seed": (int64, [1]), "index": (int64, ["batch"]), "photo": photo, "strength": (float32, ["batch"]),
        "image": image,
    }  # fmt: skip
    assert signatures["residual"] == {"photo": photo, "image": image}
    assert signatures["enlarging"]["image"] == (uint8, ["batch", "output_height", "output_width", 1])


def test_it_is_compared_at_three_sizes_and_batches(made: Any) -> None:
    _, folder = made("unet")
    plain, seeded = (Generator(folder / name).manifest.parity for name in ("generator.onnx", "generator.seeded.onnx"))
    for where in ("", ", 48×48", ", 48×32"):
        for batch in (1, 2, 7):
            assert f"max abs difference to torch, batch {batch}{where}" in plain
            assert f"levels off torch, batch {batch}{where}" in seeded
        assert f"max abs difference, alone to batch 7{where}" in plain
        assert seeded[f"values different to generator.onnx{where}"]["value"] == 0


def test_golden_images_are_made_of_test_cards(made: Any) -> None:
    _, folder = made("unet")
    manifest = Generator(folder / "generator.seeded.onnx").manifest
    golden = manifest.golden[2]
    images = Generator(folder / "generator.onnx").translate(
        cards(golden.first, golden.count, 32, 32, 3), golden.seed, golden.first
    )
    for image, row, column, values in golden.pixels:
        assert tuple(images[image, row, column]) == values
    assert Generator(folder / "generator.seeded.onnx").self_test().exact


def test_one_size_only(translator: Callable[[str], Path]) -> None:
    for name in ("generator.onnx", "generator.seeded.onnx"):
        generator = Generator(translator("fixed") / name)
        assert generator.translate(cards(0, 2, 32, 32, 1)).shape == (2, 32, 32, 3)
        with pytest.raises(GantoolError, match="A picture has 32×40 pixels; this generator takes 32×32 only"):
            generator.translate(cards(0, 1, 40, 32, 1))


class Frozen(nn.Module):
    def forward(self, photo: Tensor) -> Tensor:
        side = int(photo.shape[2])
        return (photo * torch.linspace(0, 1, side)[:, None]).tanh()


class Placed(nn.Module):
    """Adds a map of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.linspace(-1, 1, 32)[:, None])

    def forward(self, photo: Tensor) -> Tensor:
        return (photo + self.places).tanh()


class Halving(nn.Module):
    """Takes multiples of 2, but says 1."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 4, 2, 1), nn.ConvTranspose2d(4, 3, 4, 2, 1))

    def forward(self, photo: Tensor) -> Tensor:
        return (self.layers(photo) + photo).tanh()


@pytest.mark.parametrize(
    ("generator", "multiple", "message"),
    [
        (Frozen, 2, r"The sides of 'image' were frozen at \d+, but its picture says `multiple`"),
        (Placed, 2, "can't export this generator to ONNX: .*32"),
        (Halving, 1, "can't export this generator to ONNX: .*: ."),
    ],
)
def test_a_generator_of_one_size_that_declares_any_is_refused(
    tmp_path: Path, generator: type[nn.Module], multiple: int, message: str
) -> None:
    source = translators.source(generator(), translators.photo(multiple))
    with pytest.raises(GantoolError, match=message) as caught:
        exporting.write(source, ["onnx"], tmp_path)
    assert "without `multiple`" in caught.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["half-weights", "half", "int8"])
def test_other_precisions_are_measured(tmp_path: Path, precision: str) -> None:
    options = exporting.Options(precisions=(precision,))
    plain, seeded = exporting.write(translators.unet(), ["onnx", "onnx-seeded"], tmp_path, options)
    assert plain.manifest.precision == precision
    assert {"levels off float32, worst", "max abs difference, alone to batch 7, 48×32"} <= plain.manifest.parity.keys()
    exact = Generator(seeded.path).self_test()
    assert exact.exact
    pictures = cards(0, 2, 40, 56, 3)
    np.testing.assert_array_equal(Generator(plain.path).translate(pictures), Generator(seeded.path).translate(pictures))


def test_a_fixed_batch(tmp_path: Path) -> None:
    _, seeded = exporting.write(translators.unet(), ["onnx", "onnx-seeded"], tmp_path, exporting.Options(batch=2))
    pictures = cards(0, 3, 40, 24, 3)
    by_two = Generator(seeded.path).translate(pictures, seed=1)
    assert by_two.shape == (3, 40, 24, 3)
    assert np.abs(by_two[2].astype(int) - Generator(seeded.path).translate(pictures[2], seed=1, first=2)[0]).max() <= 1


@pytest.mark.parametrize("name", ["unet", "residual"])
def test_a_model_for_triton_takes_any_size(made: Any, tmp_path: Path, name: str) -> None:
    _, folder = made(name)
    model = triton.write_model(tmp_path, "translator", folder / "generator.onnx")
    config = (model / "config.pbtxt").read_text()
    assert '{ name: "photo" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] }' in config
    assert '{ name: "image" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] }' in config
    assert ('name: "seed"' in config) == (name == "unet")
    assert "a picture of `photo`, uint8 (rows, -1, -1, 3)" in (model / "README.md").read_text()
    pictures = cards(0, 2, 40, 24, 3)
    rows: dict[str, np.ndarray] = {"photo": pictures}
    if name == "unet":
        numbers = np.array([[4], [5]])
        rows |= {"seed": np.full((2, 1), 6), "index": numbers, "strength": np.ones((2, 1), np.float32)}
    session = onnxruntime.InferenceSession(str(model / "1/model.onnx"))
    images = session.run(None, rows)[0].astype(int)
    wanted = Generator(folder / "generator.seeded.onnx").translate(pictures, seed=6, first=4)
    assert np.abs(images - wanted).max() <= 1
