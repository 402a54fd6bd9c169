"""Inputs that are values: numbers by which a user changes samples, in every file and every host."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.exports import LIGHT, Dimmed, Z, dimmed, source
from support.inprocess import Run

from gantool import exporting, shards
from gantool.artifact import inspection, latents, manifest
from gantool.errors import ArgumentError, GantoolError
from gantool.exporting.torch_files import archive, torchscript
from gantool.plugin.architecture import Input
from gantool.runtime import Generator

EACH = np.linspace(-0.5, 1.5, 5, dtype=np.float32)
KINDS = tuple(manifest.FILES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file of a generator that takes z, a label and `light`."""
    folder = tmp_path_factory.mktemp("values")
    exporting.write(dimmed(), KINDS, folder, exporting.Options(precisions=("float32", "half-weights", "half")))
    return folder


def wanted(light: np.ndarray, seed: int = 7) -> np.ndarray:
    """The images of `seed` by torch itself."""
    index = np.arange(len(light), dtype=np.int64)
    z = torch.from_numpy(latents.draw({"z": (4,)}, seed, index)["z"])
    with torch.no_grad():
        made = Dimmed().eval()(z, torch.from_numpy(index % 3), torch.from_numpy(light))
    return latents.pixels(made.numpy())


@pytest.mark.parametrize("name", ["generator.onnx", "generator.seeded.onnx"])
def test_images_have_the_values_that_were_given(folder: Path, name: str) -> None:
    generator = Generator(folder / name)
    for values, light in [
        ({"light": EACH}, EACH),
        ({"light": 0.25}, np.full(5, 0.25)),
        (None, np.ones(5)),
        ({}, np.ones(5)),
    ]:
        images = generator.sample(5, seed=7, values=values)
        assert np.abs(images.astype(int) - wanted(light.astype(np.float32))).max() <= 1
    assert np.ptp(generator.sample(5, values={"light": 0})) == 0


@pytest.mark.parametrize("name", ["generator.onnx", "generator.seeded.onnx"])
def test_a_large_request_and_a_stream_deal_out_the_values(folder: Path, name: str) -> None:
    generator = Generator(folder / name, threads=2)
    light = np.resize(EACH, 300)
    together = generator.sample(300, seed=3, values={"light": light})
    alone = [generator.sample(index=[i], seed=3, values={"light": float(light[i])}) for i in (0, 1, 64, 127, 128, 299)]
    np.testing.assert_array_equal(together[[0, 1, 64, 127, 128, 299]], np.concatenate(alone))
    streamed = np.concatenate(list(generator.stream(300, 3, part=70, values={"light": light})))
    np.testing.assert_array_equal(streamed, together)


def test_own_latents_take_values(folder: Path) -> None:
    generator = Generator(folder / "generator.onnx")
    z = generator.latents(5, seed=7)
    floats = generator.from_latents(z, values={"light": EACH})
    np.testing.assert_array_equal(latents.pixels(floats), generator.sample(5, seed=7, values={"light": EACH}))
    inputs = {"z": z, "label": np.arange(5) % 3, "light": EACH}
    np.testing.assert_array_equal(generator.run(inputs), floats)
    with pytest.raises(ArgumentError, match=r"light is 1\.6: it goes from -0\.5 to 1\.5"):
        generator.run(inputs | {"light": EACH + np.float32(0.1)})


def test_files_for_torch_take_values(folder: Path) -> None:
    index = torch.arange(5)
    seeded = torchscript.load(folder / "generator.seeded.torchscript.pt")
    made = seeded(torch.tensor([7]), index, index % 3, torch.from_numpy(EACH)).numpy()
    assert np.abs(made.astype(int) - wanted(EACH)).max() <= 1
    assert seeded.classes() == [3, 0]
    assert seeded.values()[1] == [1.0, -0.5, 1.5]
    z = torch.from_numpy(Generator(folder / "generator.onnx").latents(5, seed=7))
    for module in (torchscript.load(folder / "generator.torchscript.pt"), archive.load(folder / "generator.pt2")):
        floats = module(z, index % 3, torch.from_numpy(EACH)).numpy()
        assert np.abs(latents.pixels(floats).astype(int) - wanted(EACH)).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_has_default_and_bounds(folder: Path, kind: str, cli: Run) -> None:
    path = folder / manifest.FILES[kind]
    (item,) = inspection.inspect(path).manifest.values
    assert (item.name, item.dtype, item.shape) == ("light", "float32", ())
    assert (item.default, item.low, item.high) == (1.0, -0.5, 1.5)
    code, out, _ = cli("inspect", path)
    assert code == 0
    assert "value from -0.5 to 1.5, default 1" in " ".join(out.split())


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"dark": 1}, r"takes no value 'dark': its values are light \(-0.5 to 1.5\)"),
        ({"light": 2}, "light is 2: it goes from -0.5 to 1.5"),
        ({"light": float("nan")}, "light is nan: it goes"),
        ({"light": [0, 1]}, r"light is int64 \(2,\); wanted: one number, or 3"),
        ({"light": "1"}, "wanted: one number, or 3"),
        ({"label": 1}, "takes no value 'label'"),
    ],
)
def test_wrong_values_are_named(folder: Path, values: dict[str, object], told: str) -> None:
    generator = Generator(folder / "generator.seeded.onnx")
    for call in (generator.sample, generator.stream):
        with pytest.raises(ArgumentError, match=told):
            call(3, values=values)


def test_a_generator_without_values_says_so(exported_run: object) -> None:
    generator = Generator(exported_run.export / "generator.seeded.onnx")  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError, match="takes no value 'light': it has none"):
        generator.sample(1, values={"light": 1})


def test_generate_takes_values(folder: Path, cli: Run, here: Path) -> None:
    path = folder / "generator.seeded.onnx"
    code, _, _ = cli("generate", path, "-n", "5", "--seed", "7", "--value", "light=0.5", "-o", "made.npz")
    assert code == 0
    made = np.load(here / "made.npz")
    np.testing.assert_array_equal(made["images"], Generator(path).sample(5, seed=7, values={"light": 0.5}))
    assert json.loads(str(made["provenance"]))["values"] == {"light": 0.5}
    assert cli("generate", path, "--value", "light=-0.5", "-o", "grid.png")[0] == 0
    with Image.open(here / "grid.png") as picture:
        assert json.loads(picture.text["gantool"])["values"] == {"light": -0.5}
        assert "light -0.5" in picture.text["Description"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("light", "'light' gives no value"),
        ("light=", "'light=' gives no value"),
        ("light=bright", "'light=bright' gives no value"),
        ("light=9", "light is 9: it goes from -0.5 to 1.5"),
        ("dark=1", "takes no value 'dark': its values are light (-0.5 to 1.5)"),
    ],
)
@pytest.mark.parametrize("many", [(), ("--count", "5")], ids=["pictures", "shards"])
def test_generate_refuses_wrong_values(
    folder: Path, cli: Run, here: Path, given: str, told: str, many: tuple[str, ...]
) -> None:
    code, _, err = cli("generate", folder / "generator.seeded.onnx", *many, "--value", given)
    assert code == 1
    assert told in " ".join(err.split())
    assert list(here.iterdir()) == []


def test_shards_have_the_values(folder: Path, tmp_path: Path) -> None:
    path = folder / "generator.seeded.onnx"
    asked = {"count": 5, "seed": 7, "workers": 1}
    shards.generate(path, tmp_path / "shards", **asked, values={"light": 0.5})
    made = np.load(tmp_path / "shards" / "shard-000000.npy")
    np.testing.assert_array_equal(made, Generator(path).sample(5, seed=7, values={"light": 0.5}))
    with pytest.raises(GantoolError, match="values"):  # those that are there are of another call
        shards.generate(path, tmp_path / "shards", **asked)


def test_a_value_that_a_trace_froze_is_not_exported(tmp_path: Path) -> None:
    class Frozen(Dimmed):
        def forward(self, z: torch.Tensor, label: torch.Tensor, light: torch.Tensor) -> torch.Tensor:
            return super().forward(z, label, torch.full_like(light, float(light.max())))

    inputs = (Z, Input("label", (), "label", 3), LIGHT)
    with pytest.raises(GantoolError, match=r"alone to batch 7|max abs difference"):
        exporting.write(source(Frozen(), *inputs), ["torchscript"], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "bounds",
    [{"default": 2.0}, {"low": 1.0}, {"default": float("nan")}, {"high": float("inf")}, {"shape": (2,)}],
    ids=str,
)
def test_an_input_has_a_default_within_its_bounds(bounds: dict[str, object]) -> None:
    shape = bounds.get("shape", ())
    others = {name: value for name, value in bounds.items() if name != "shape"}
    with pytest.raises(ValueError, match="default between low and high"):
        Input("light", shape, "value", **others)  # type: ignore[arg-type]


numbers = (
    st.floats(width=32, allow_nan=True)
    | st.integers(-(10**40), 10**40)
    | st.none()
    | st.booleans()
    | st.text(max_size=3)
)


@given(st.dictionaries(st.sampled_from(["default", "low", "high", "shape", "dtype"]), numbers, min_size=1))
def test_a_forged_value_is_refused_or_sound(folder: Path, forged: dict[str, object]) -> None:
    text = json.loads((folder / "generator.onnx.json").read_text())
    (item,) = [each for each in text["inputs"] if each["distribution"] == "value"]
    item |= forged
    try:
        read = manifest.from_json(json.dumps(text), "forged.json")
    except GantoolError:
        return
    (value,) = read.values
    assert value.low <= value.default <= value.high
    assert value.shape == ()


def test_files_from_before_there_were_values_are_read(folder: Path) -> None:
    text = json.loads((folder / "generator.onnx.json").read_text())
    text["inputs"] = [
        {name: value for name, value in item.items() if name not in ("default", "low", "high")}
        for item in text["inputs"]
        if item["distribution"] != "value"
    ]
    read = manifest.from_json(json.dumps(text), "old.json")
    assert [item.name for item in read.inputs] == ["z", "label"]
    assert read.values == ()
