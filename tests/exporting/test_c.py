"""gantool.exporting.c: sources that any C compiler builds, and that make the samples of the exported file."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import c
from support.exports import Tiny, dimmed, source
from torch import Tensor, nn

from gantool import exporting
from gantool.errors import GantoolError
from gantool.exporting.c.write import write_c
from gantool.runtime import Generator

pytestmark = c.needs_gcc


def same(made: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether values are a level of 256 off at most, and one in 5,000 of them; of sounds a hundredth of a level."""
    off = np.abs(made.astype(int) - wanted.astype(int))
    return bool(off.max() <= 2 if made.dtype == np.int16 else off.max() <= 1 and (off > 0).mean() <= 0.0002)


def written(source: exporting.Source, folder: Path, precision: str = "float32") -> tuple[Generator, Path]:
    path = c.plain(source, folder, precision)
    write_c(path, folder / "c")
    return Generator(path), folder / "c"


ELSEWHERE = ("dcgan", "mlp", "sngan", "wavegan", "wgan")  # other tests have three of these; two have layers like theirs


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ELSEWHERE)) for name in c.FROM_SEEDS]
)
def test_an_architecture(tmp_path: Path, name: str) -> None:
    generator, folder = written(c.source_of(name), tmp_path)
    library = c.Library(folder)
    label = [ctypes.c_int(2)] if generator.manifest.classes else []
    values = [None] if generator.manifest.values else []
    for seed, index in ((0, 0), (-1, 2**47 - 1)):
        wanted = generator.sample(index=[index], seed=seed, labels=2 if label else None)
        assert same(library.sample(seed, index, *label, *values), wanted[0])
    assert np.unique(wanted).size > 9


class Patchwork(nn.Module):
    """What the architectures do not use of convolutions, pools, shapes and numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 6 * 35)
        self.up = nn.ConvTranspose2d(6, 8, (3, 5), (3, 2), (1, 2), (1, 0), groups=2, dilation=(2, 1))
        self.strided = nn.Conv2d(8, 12, 3, stride=2, padding=(1, 2), dilation=2, groups=4)
        self.deep = nn.Conv2d(12, 12, (2, 3), groups=12)
        self.pool = nn.AvgPool2d(2, 1)
        self.mix = nn.Linear(7, 5, bias=False)
        self.last = nn.Linear(60, 64)

    def forward(self, z: Tensor) -> Tensor:
        x = self.linear(z).unflatten(1, (6, 5, 7))
        x = nn.functional.gelu(self.up(nn.functional.pad(x, (0, 1, 2, 0)))[:, :, :16, :15])
        x = nn.functional.elu(self.pool(self.deep(torch.exp(-self.strided(x).abs()))))
        x = nn.functional.interpolate(x, scale_factor=(1, 1.5), mode="bilinear", align_corners=True)
        x = x + x.mean((2, 3), keepdim=True) * x.abs().sqrt() - x.sum(1, keepdim=True)
        x = torch.cat([self.mix(x).transpose(1, 2).mean(1), z.unsqueeze(1).expand(-1, 12, 4)[:, :, 1:3]], 2)[..., 2:]
        return self.last((x.clamp(-2.0, 1.5) ** 3).flatten(1)).unflatten(1, (1, 8, 8)).sigmoid() * 2 - 1


def test_other_layers(tmp_path: Path) -> None:
    generator, folder = written(source(Patchwork()), tmp_path)
    latents = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    wanted = generator.run({"z": latents})
    assert wanted.std() > 0.05
    for flags in ((), ("-DLANES=1",), ("-DLANES=4",), ("-march=native", "-O3")):  # plain C, and vectors of each length
        library = c.Library(folder, *flags)
        made = np.stack([library.run(row) for row in latents])
        np.testing.assert_allclose(made, wanted, atol=2e-6)


@pytest.fixture(scope="module")
def sliding(tmp_path_factory: pytest.TempPathFactory) -> tuple[Generator, Path]:
    """A generator with classes and values of names that nobody would choose."""
    made = dimmed()
    names = ['a "cat" \\', "*/ ü??/", "%s\n"]
    about = dataclasses.replace(made.about, data={"name": "*/", "class_names": names}, licence="`|<b>")
    return written(dataclasses.replace(made, about=about), tmp_path_factory.mktemp("c"))


def test_labels_and_values(sliding: tuple[Generator, Path]) -> None:
    generator, folder = sliding
    library = c.Library(folder)
    half = (ctypes.c_float * 1)(0.5)
    assert same(library.sample(3, 4, 1, None), generator.sample(index=[4], seed=3, labels=1)[0])
    wanted = generator.sample(index=[4], seed=3, labels=2, values={"light": 0.5})
    assert same(library.sample(3, 4, 2, half), wanted[0])
    assert library.loaded.generator_error(library.sample(3, 4, 3, half)) == b"there is no such class"
    assert isinstance(library.sample(3, 4, -1, half), int)
    names = (ctypes.c_char_p * 3).in_dll(library.loaded, "generator_class_names")
    assert tuple(name.decode() for name in names) == generator.manifest.class_names
    value = ctypes.cast(library.loaded.generator_values, ctypes.POINTER(ctypes.c_char_p))[0]
    assert value == b"light"
    assert "enum { GENERATOR_VALUE_LIGHT };" in (folder / "generator.h").read_text()


@pytest.mark.parametrize("precision", ["float32", pytest.param("half-weights", marks=pytest.mark.slow)])
def test_the_self_test(tmp_path: Path, precision: str) -> None:
    generator, folder = written(c.source_of("dcgan", 1), tmp_path, precision)
    done = c.make(folder, "all", "check", "CFLAGS=-O1 -Werror")
    assert done.returncode == 0, done.stderr
    assert "golden values" in done.stdout
    for index in (0, 5):
        assert same(c.Library(folder).sample(2, index), generator.sample(index=[index], seed=2)[0])
    file = folder / "generator.bin"
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    for data, message in (
        (flipped, "not the bytes that were exported"),
        (whole[:-4], "no generator.bin, or cut off"),
        (whole + b"\0", "no generator.bin, or cut off"),
        (whole[:20] + b"other" + whole[25:], "of another export"),
        (whole[:8] + whole[11:7:-1] + whole[12:], "in another order"),
    ):
        file.write_bytes(data)
        done = c.make(folder, "check")
        assert done.returncode
        assert message in done.stderr
    file.unlink()
    assert "can't be read" in c.make(folder, "check").stderr


def test_half_weights_are_half_the_file(tmp_path: Path) -> None:
    made = source(Tiny((1, 64, 64)), shape=(1, 64, 64))
    sizes = [(written(made, tmp_path / p, p)[1] / "generator.bin").stat().st_size for p in ("float32", "half-weights")]
    table, weights, bias = 4 * 2**15, 4 * 4 * 4096, 4 * 4096
    assert abs(sizes[0] - table - weights - bias) < 500
    assert abs(sizes[1] - table - weights / 2 - 2 * bias) < 500  # a scale a row beside the bias


def test_the_example(tmp_path: Path) -> None:
    from PIL import Image

    generator, folder = written(c.source_of("mlp", 1), tmp_path)
    assert c.make(folder, "CFLAGS=-O1 -Werror").returncode == 0
    subprocess.run(["./example", "7", "3"], cwd=folder, check=True, capture_output=True)
    with Image.open(folder / "sample.png") as image:
        assert same(np.asarray(image), generator.sample(index=[3], seed=7)[0])
    sounds, folder = written(c.source_of("wavegan", 0), tmp_path / "sounds")
    assert c.make(folder, "CFLAGS=-O1 -Werror").returncode == 0
    subprocess.run(["./example", "7", "3"], cwd=folder, check=True, capture_output=True)
    data = (folder / "sample.wav").read_bytes()
    assert (data[:4], data[8:16], len(data)) == (b"RIFF", b"WAVEfmt ", 44 + 2 * 2 * 8192)
    assert same(np.frombuffer(data[44:], "<i2").reshape(-1, 2), sounds.sample(index=[3], seed=7)[0])


class Sorted(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 2)


def test_a_layer_without_a_kernel(tmp_path: Path) -> None:
    path = c.plain(source(Sorted()), tmp_path)
    with pytest.raises(GantoolError, match=r"no kernel for the node .* \(CumSum\) of tiny") as refused:
        write_c(path, tmp_path / "c")
    assert "docs/c.md" in str(refused.value.hint)
    assert not (tmp_path / "c").exists()


def test_a_wrong_build_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gantool.exporting.c import loops

    path = c.plain(source(Tiny()), tmp_path)
    monkeypatch.setitem(loops.UNARY, "Tanh", "{0}")
    with pytest.raises(GantoolError, match="selftest ended with 1"):
        write_c(path, tmp_path / "c")
    assert not (tmp_path / "c").exists()
    monkeypatch.undo()
    notes: list[str] = []
    monkeypatch.setattr(shutil, "which", lambda name: None)
    write_c(path, tmp_path / "c", notes.append)
    assert ["no C compiler" in note for note in notes] == [True]


def test_only_its_own_folder_is_replaced(sliding: tuple[Generator, Path], tmp_path: Path) -> None:
    path = sliding[0].path
    folder = tmp_path / "c"
    write_c(path, folder)
    (folder / "selftest").touch()
    write_c(path, folder)
    (folder / "mine.c").touch()
    with pytest.raises(GantoolError, match=r"holds mine\.c"):
        write_c(path, folder)
    (folder / "mine.c").unlink()
    (folder / "generator.c").write_text("int main;")
    with pytest.raises(GantoolError, match=r"holds generator\.c"):
        write_c(path, folder)


def test_what_no_seed_decides(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="from seeds; this one takes z"):
        write_c(c.plain(c.source_of("mlp", 4), tmp_path), tmp_path / "c")


SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-march=native")


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("-DLANES=1",)])
@pytest.mark.parametrize("name", c.FROM_SEEDS)
def test_no_memory_is_read_that_is_not_its_own(tmp_path: Path, name: str, flags: tuple[str, ...]) -> None:
    _, folder = written(c.source_of(name), tmp_path)
    command = ["gcc", *c.STRICT, *SANITIZED, *flags, "-o", "selftest", "selftest.c", "generator.c", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run(["./selftest"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", c.FROM_SEEDS)
def test_an_architecture_as_it_comes(tmp_path: Path, name: str) -> None:
    for example in range(2):
        generator, folder = written(c.source_of(name, example, small=False), tmp_path / str(example))
        done = c.make(folder, "check", "CFLAGS=-O3 -march=native -Werror")
        assert done.returncode == 0, done.stderr
        raw = subprocess.run(["./selftest", "generator.bin", "5", "9", "64"], cwd=folder, capture_output=True).stdout
        wanted = generator.sample(64, 5, 9)
        made: Any = np.frombuffer(raw, wanted.dtype).reshape(wanted.shape)
        assert same(made, wanted)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_builds_it(tmp_path: Path) -> None:
    _, folder = written(c.source_of("mlp"), tmp_path)
    for command in (["cmake", "-B", "build"], ["cmake", "--build", "build"], ["ctest", "--test-dir", "build"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((folder / "manifest.json").read_text())["kind"] == "onnx"
