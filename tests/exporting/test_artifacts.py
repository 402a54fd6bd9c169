"""gantool.exporting.write: three files that agree with torch, with each other and with what they say of themselves."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from support.exports import Tiny, source

from gantool import exporting
from gantool.artifact import inspection, latents, manifest
from gantool.artifact.manifest import Manifest
from gantool.exporting.torch_files import torchscript
from gantool.runtime import Generator

KINDS = list(exporting.FILES)
FILES = [*exporting.FILES.values(), *(name + ".json" for name in exporting.FILES.values())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifacts")
    exporting.write(source(Tiny((3, 8, 6)), shape=(3, 8, 6)), KINDS, path)
    return path


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return folder / "generator.onnx"


@pytest.fixture(scope="module")
def seeded(folder: Path) -> Path:
    return folder / "generator.seeded.onnx"


def stored(path: Path) -> Manifest:
    """The manifest inside a file."""
    return inspection.inspect(path).manifest


def declared(path: Path) -> dict[str, tuple[int, list[str | int]]]:
    graph = onnx.load(path).graph
    return {
        v.name: (v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in [*graph.input, *graph.output]
    }


def session(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_only_the_files_asked_for_are_written(folder: Path, tmp_path: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    made = exporting.write(source(Tiny()), ["onnx-seeded"], tmp_path / "new" / "folder")
    assert [m.path for m in made] == [tmp_path / "new" / "folder" / "generator.seeded.onnx"]
    written = sorted(p.name for p in (tmp_path / "new" / "folder").iterdir())
    assert written == ["generator.seeded.onnx", "generator.seeded.onnx.json"]


def test_inputs_and_outputs(plain: Path, seeded: Path) -> None:
    latent, image = (TensorProto.FLOAT, ["batch", 4]), (TensorProto.FLOAT, ["batch", 3, 8, 6])
    assert declared(plain) == {"z": latent, "image": image}
    assert declared(seeded) == {
        "seed": (TensorProto.INT64, [1]),
        "index": (TensorProto.INT64, ["batch"]),
        "image": (TensorProto.UINT8, ["batch", 8, 6, 3]),
    }


@pytest.mark.parametrize("name", ["generator.onnx", "generator.seeded.onnx"])
def test_a_file_is_whole_and_plain(folder: Path, name: str) -> None:
    model = onnx.load(folder / name, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert all(tensor.data_location == TensorProto.DEFAULT for tensor in model.graph.initializer)
    assert [entry.key for entry in model.metadata_props] == ["gantool.manifest"]


@pytest.mark.parametrize("name", exporting.FILES.values())
def test_nothing_of_this_machine_is_in_a_file(folder: Path, name: str) -> None:
    for path in (folder / name, folder / f"{name}.json"):
        data = path.read_bytes()
        if path.suffix == ".pt":
            with zipfile.ZipFile(path) as archive:  # some of its entries are compressed
                data += b"".join(map(archive.read, archive.namelist()))
        here = [str(Path.home()).encode(), str(folder).encode(), str(Path(__file__).parent).encode()]
        for trace in (b"/root", b"site-packages", b"pkg.torch", *here):
            assert trace not in data, (path, trace)


@pytest.mark.parametrize("name", exporting.FILES.values())
def test_the_manifest_inside_is_the_one_beside(folder: Path, name: str) -> None:
    inside, beside = stored(folder / name), stored(folder / f"{name}.json")
    assert inside == beside
    assert inside.kind == {file: kind for kind, file in exporting.FILES.items()}[name]


def test_the_manifest_says_what_the_files_are(plain: Path, seeded: Path) -> None:
    one, other = stored(plain), stored(seeded)
    assert [(i.name, i.shape, i.dtype, i.distribution) for i in one.inputs] == [("z", (4,), "float32", "normal")]
    assert one.output == manifest.OutputInfo("image", (3, 8, 6), "float32", "CHW")
    assert [(i.name, i.dtype, i.distribution) for i in other.inputs] == [
        ("seed", "int64", "seed"),
        ("index", "int64", "index"),
    ]
    assert other.output == manifest.OutputInfo("image", (8, 6, 3), "uint8", "HWC")
    assert one.latents == other.latents == one.inputs
    assert one.rng == other.rng == latents.RNG_NAME
    assert one.opset == other.opset == 18
    assert one.architecture["name"] == "tiny"
    assert "torch" in one.exporter
    assert set(one.versions) == {"torch", "onnx", "onnxruntime", "numpy"}


@pytest.mark.parametrize("name", exporting.FILES.values())
def test_every_parity_value_is_within_its_limit(folder: Path, name: str) -> None:
    parity = stored(folder / name).parity
    batches = {measure.rpartition("batch ")[2] for measure in parity if "torch, batch" in measure}
    assert batches == {"1", "2", "7", "64"}
    assert all(entry["value"] <= entry["limit"] for entry in parity.values())


@pytest.mark.parametrize("name", ["generator.onnx", "generator.seeded.onnx"])
def test_the_digest_is_that_of_the_weights(folder: Path, name: str) -> None:
    model = onnx.load(folder / name)
    total = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        array = onnx.numpy_helper.to_array(tensor)
        total.update(f"{tensor.name} {array.dtype.name} {array.shape}\n".encode() + array.tobytes())
    assert stored(folder / name).weights_sha256 == total.hexdigest()


def test_exporting_again_gives_the_same_weights_and_images(folder: Path, tmp_path: Path) -> None:
    exporting.write(source(Tiny((3, 8, 6)), shape=(3, 8, 6)), KINDS, tmp_path)
    for name in exporting.FILES.values():
        assert stored(tmp_path / name).weights_sha256 == stored(folder / name).weights_sha256
        assert stored(tmp_path / name).golden == stored(folder / name).golden
    # what is left to differ is the time, and the least digits of what was measured
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)


def test_other_weights_have_another_digest(folder: Path, tmp_path: Path) -> None:
    other = Tiny((3, 8, 6))
    with torch.no_grad():
        other.linear.bias[0] += 1e-6
    exporting.write(source(other, shape=(3, 8, 6)), KINDS, tmp_path)
    for name in exporting.FILES.values():
        assert stored(tmp_path / name).weights_sha256 != stored(folder / name).weights_sha256


def test_the_files_agree_with_torch(folder: Path, plain: Path) -> None:
    z = latents.normals(5, np.arange(9), 4)
    script = torchscript.load(folder / "generator.torchscript.pt")
    assert list(script.parameters()) == []  # frozen
    with torch.no_grad():
        wanted = Tiny((3, 8, 6))(torch.from_numpy(z)).numpy()
        np.testing.assert_allclose(script(torch.from_numpy(z)).numpy(), wanted, atol=1e-6)
    (image,) = session(plain).run(None, {"z": z})
    np.testing.assert_allclose(image, wanted, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 3, -1, 2**63 - 1])
def test_the_seeded_file_is_the_plain_one_with_latents_and_pixels(plain: Path, seeded: Path, seed: int) -> None:
    index = np.array([0, 1, 7, 10**9, 2**47 - 1])
    (image,) = session(seeded).run(None, {"seed": np.array([seed]), "index": index})
    (twin,) = session(plain).run(None, {"z": latents.normals(seed, index, 4)})
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, latents.pixels(twin))


def test_the_reference_of_onnx_agrees(plain: Path, seeded: Path) -> None:
    z = latents.normals(1, np.arange(6), 4)
    (wanted,) = session(plain).run(None, {"z": z})
    np.testing.assert_allclose(ReferenceEvaluator(str(plain)).run(None, {"z": z})[0], wanted, atol=1e-6)
    feeds = {"seed": np.array([1]), "index": np.arange(6)}
    (image,) = ReferenceEvaluator(str(seeded)).run(None, feeds)
    difference = np.abs(image.astype(int) - session(seeded).run(None, feeds)[0])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


@pytest.mark.parametrize("name", exporting.FILES.values())
def test_golden_images_are_those_of_their_seeds(folder: Path, name: str) -> None:
    goldens = stored(folder / name).golden
    assert [g.seed for g in goldens] == [0, 1, 2**40 + 7]
    generator = Generator(folder / "generator.onnx")
    for golden in goldens:
        images = generator.sample(golden.count, golden.seed, golden.first)
        assert hashlib.sha256(images.tobytes()).hexdigest() == golden.sha256
        assert {pixel[0] for pixel in golden.pixels} == set(range(golden.count))
        for image, row, column, values in golden.pixels:
            assert tuple(images[image, row, column]) == values


def test_a_conditional_generator_keeps_its_label(conditional_export: Path) -> None:
    folder = conditional_export
    assert list(declared(folder / "generator.seeded.onnx")) == ["seed", "index", "label", "image"]
    assert [i.classes for i in stored(folder / "generator.seeded.onnx").inputs] == [0, 0, 3]
    for name in ("generator.onnx", "generator.seeded.onnx"):
        assert Generator(folder / name).self_test().exact


@pytest.mark.parametrize(
    ("shape", "last", "dtype"),
    [((2, 16), (16, 2), np.int16), ((1, 3, 4, 5), (3, 4, 5, 1), np.uint8)],
    ids=["audio", "volume"],
)
def test_sounds_and_volumes_leave_in_whole_numbers(
    tiny_export: Callable[..., Path], shape: tuple[int, ...], last: tuple[int, ...], dtype: type
) -> None:
    folder = tiny_export(*shape)
    code = TensorProto.INT16 if dtype is np.int16 else TensorProto.UINT8
    assert declared(folder / "generator.seeded.onnx")["sample"] == (code, ["batch", *last])
    plain, seeded = (Generator(folder / f"generator.{kind}onnx") for kind in ("", "seeded."))
    made = [generator.sample(3, seed=2) for generator in (plain, seeded)]
    assert made[0].shape == (3, *last) == (3, *plain.shape)
    assert made[0].dtype == dtype
    np.testing.assert_array_equal(*made)
    floats = plain.from_latents(plain.latents(3, seed=2))
    np.testing.assert_array_equal(made[0], latents.levels(floats))
    for generator in (plain, seeded):
        assert generator.self_test().exact


def test_the_manifest_beside_is_for_people_to_read(plain: Path) -> None:
    text = manifest.beside(plain).read_text()
    assert len(text.splitlines()) > 20
    assert json.loads(text)["schema_version"] == manifest.SCHEMA
