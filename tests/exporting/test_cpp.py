"""The C++ program of the app kit: built with torch's own CMake files, its images those of Python."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from support import translators
from support.exports import Tiny, sliders, sounds, source, source_of
from support.wavs import chunks
from torch import nn
from torch.utils import cpp_extension

from gantool import exporting
from gantool.artifact import inspection, manifest, provenance, volumes
from gantool.artifact.sounds import wav
from gantool.exporting.app import kit, readme
from gantool.exporting.torch_files import torchscript
from gantool.runtime import Generator

SOURCES = Path(exporting.__file__).parent / "app" / "templates" / "cpp"
FILE = manifest.FILES["torchscript-seeded"]
MISSING = next((tool for tool in ("cmake", "c++") if shutil.which(tool) is None), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=f"{MISSING} is not installed"),
    pytest.mark.skipif(
        torch.version.cuda is not None and shutil.which("nvcc") is None,
        reason="the CMake files of this torch want the CUDA toolkit",
    ),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, conditional: Path) -> Path:
    """The sources as they are in a kit of the conditional generator."""
    folder = tmp_path_factory.mktemp("kit") / "cpp"
    shutil.copytree(SOURCES, folder)
    kit.fill_cpp(folder, inspection.inspect(conditional).manifest)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, sources: Path) -> Path:
    """The program, compiled; a warning in our files is an error."""
    build = tmp_path_factory.mktemp("cpp")
    configure = ["cmake", "-S", sources, "-B", build, f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"]
    for command in ([*configure, "-DCMAKE_CXX_FLAGS=-Werror -Wshadow -Wconversion"], ["cmake", "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "generate"


def exported(name: str, folder: Path) -> Path:
    made = sliders() if name == "conditional" else source_of(name, 28)
    exporting.write(made, ["onnx", "torchscript-seeded"], folder)
    return folder


@pytest.fixture(scope="module", params=["mlp", "cgan", "dcgan", "sngan", "conditional"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """generator.onnx and the seeded TorchScript of one generator."""
    return exported(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported("conditional", tmp_path_factory.mktemp("labels")) / FILE


def run(program: Path, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


def assert_near(images: np.ndarray, wanted: np.ndarray) -> None:
    assert images.shape == wanted.shape
    difference = np.abs(images.astype(int) - wanted)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= max(1, 0.0002 * difference.size)  # as the kit's README says


def test_its_images_are_those_of_python(program: Path, folder: Path, tmp_path: Path) -> None:
    # more than one chunk, a negative seed, not from the first image on
    wanted = Generator(folder / "generator.onnx").sample(130, seed=-5, first=70_003)
    out = tmp_path / "images.bin"
    done = run(program, folder / FILE, "--seed", -5, "--first", 70_003, "--count", 130, "-o", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert_near(np.fromfile(out, np.uint8).reshape(wanted.shape), wanted)


def test_it_tests_itself(program: Path, folder: Path) -> None:
    done = run(program, folder / FILE, "--self-test")
    assert (done.returncode, done.stderr) == (0, "")
    goldens = Generator(folder / "generator.onnx").manifest.golden
    pixels, images = sum(len(golden.pixels) for golden in goldens), sum(golden.count for golden in goldens)
    assert done.stdout.startswith(f"{pixels} pixels of {images} images differ by at most ")
    assert done.stdout.endswith(": as exported\n")


def test_other_images_fail_the_self_test(program: Path, folder: Path, tmp_path: Path) -> None:
    described = inspection.inspect(folder / FILE).manifest
    golden = tuple(replace(item, seed=item.seed + 1) for item in described.golden)
    module = torchscript.load(folder / FILE)
    torchscript.save(module, tmp_path / "other.pt", replace(described, golden=golden).to_json())
    done = run(program, tmp_path / "other.pt", "--self-test")
    assert done.returncode == 1
    assert done.stdout.endswith("other images than were exported\n")
    torchscript.save(module, tmp_path / "other.pt", replace(described, golden=()).to_json())
    done = run(program, tmp_path / "other.pt", "--self-test")
    assert (done.returncode, done.stderr.startswith("generate: the file has no golden samples")) == (1, True)


def test_labels(program: Path, conditional: Path, tmp_path: Path) -> None:
    out = tmp_path / "images.bin"
    assert run(program, conditional, "--count", 5, "--label", 2, "-o", out).returncode == 0
    wanted = Generator(conditional.with_name("generator.onnx")).sample(5, labels=2)
    assert_near(np.fromfile(out, np.uint8).reshape(wanted.shape), wanted)


def test_values(program: Path, conditional: Path, tmp_path: Path) -> None:
    out = tmp_path / "images.png"
    assert run(program, conditional, "--count", 1, "--label", 2, "--value", "light=0.25", "-o", out).returncode == 0
    wanted = Generator(conditional.with_name("generator.onnx")).sample(1, labels=2, values={"light": 0.25})
    with Image.open(out) as picture:
        assert_near(np.asarray(picture)[None, ..., None], wanted)
        assert json.loads(picture.text["gantool"])["values"] == {"light": 0.25}
    out = tmp_path / "images.bin"
    for strength in (-2.0, 0.5, 3.0):  # of a named direction
        assert run(program, conditional, "--count", 5, "--value", f"lean={strength}", "-o", out).returncode == 0
        wanted = Generator(conditional.with_name("generator.onnx")).sample(5, values={"lean": strength})
        assert_near(np.fromfile(out, np.uint8).reshape(wanted.shape), wanted)


@pytest.fixture(scope="module", params=["stereo", "mono", "volume"])
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of no images: stereo sounds of a known rate and 3 classes, mono ones, volumes of three different sides."""
    shapes = {"mono": (1, 400), "volume": (1, 8, 6, 10)}
    made = sounds() if request.param == "stereo" else source(Tiny(shapes[request.param]), shape=shapes[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    exporting.write(made, ["onnx-seeded", "torchscript-seeded"], folder)
    return folder


def test_sounds_and_volumes(program: Path, other: Path, tmp_path: Path) -> None:
    python = Generator(other / "generator.seeded.onnx")
    noun = {"audio": "sounds", "volume": "volumes"}[python.manifest.output.kind]
    done = run(program, other / FILE, "--self-test")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"\d+ values of 12 {noun} differ by at most [01] levels?: as exported\n", done.stdout)
    wanted = python.sample(130, -5, 70_003)
    out = tmp_path / "samples.bin"
    assert run(program, other / FILE, "--seed", -5, "--first", 70_003, "--count", 130, "-o", out).returncode == 0
    made = np.fromfile(out, wanted.dtype.newbyteorder("<")).reshape(wanted.shape)
    difference = np.abs(made.astype(int) - wanted)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= {"audio": 0.01, "volume": 0.0002}[python.manifest.output.kind] * made.size
    shutil.copyfile(other / FILE, tmp_path / FILE)
    done = run(program, "--seed", -5, "--first", 70_003, cwd=tmp_path)  # one, of the same, to the file of its kind
    assert (done.returncode, done.stderr) == (0, "")
    if noun == "sounds":
        found, plain = chunks((tmp_path / "sounds.wav").read_bytes()), chunks(wav(made[0], python.manifest.output.rate))
        assert list(found) == ["fmt ", "_PMX", "data"]  # its weights are not those of the kit
        assert (found["fmt "], found["data"]) == (plain["fmt "], plain["data"])
    else:
        assert (tmp_path / "volume.binvox").read_bytes() == volumes.binvox(made[0, ..., 0] >= 128)
        assert run(program, "--count", 2, cwd=tmp_path).stderr.startswith("generate: a .binvox holds one volume")
    done = run(program, "-o", "grid.png", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"generate: {noun} can't be written as '.png'")


@pytest.mark.parametrize("ending", ["png", "pgm"])
def test_pictures(program: Path, conditional: Path, tmp_path: Path, ending: str) -> None:
    shutil.copyfile(conditional, tmp_path / FILE)  # found where the program runs
    done = run(program, "--count", 5, "-o", f"grid.{ending}", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"grid.{ending}: 5 of seed 0, each 8×8×1\n")
    with Image.open(io.BytesIO((tmp_path / f"grid.{ending}").read_bytes())) as picture:
        assert (picture.mode, picture.size) == ("L", (24, 16))
        grid = np.asarray(picture).reshape(2, 8, 3, 8).swapaxes(1, 2).reshape(6, 8, 8, 1)
    assert_near(grid[:5], Generator(conditional.with_name("generator.onnx")).sample(5))
    assert not grid[5].any()


class Colours(nn.Module):
    """64 × 64 in colour: rows of a grid longer than one stored block of zlib."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 3 * 64 * 64)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.linear(z).unflatten(1, (3, 64, 64)).tanh()
        return images


@pytest.mark.parametrize("ending", ["png", "ppm"])
def test_colours(program: Path, tmp_path: Path, ending: str) -> None:
    exporting.write(source(Colours(), shape=(3, 64, 64)), ["onnx", "torchscript-seeded"], tmp_path)
    done = run(program, tmp_path / FILE, "--count", 9, "--seed", 2**63 - 1, "-o", tmp_path / f"grid.{ending}")
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(tmp_path / f"grid.{ending}") as picture:
        assert (picture.mode, picture.size) == ("RGB", (192, 192))
        grid = np.asarray(picture).reshape(3, 64, 3, 64, 3).swapaxes(1, 2).reshape(9, 64, 64, 3)
    assert_near(grid, Generator(tmp_path / "generator.onnx").sample(9, seed=2**63 - 1))
    if ending == "ppm":
        done = run(program, tmp_path / FILE, "-o", tmp_path / "grid.pgm")
        assert done.returncode == 1
        assert done.stderr.startswith("generate: images of 3 channels can't be written as '.pgm'")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--seed", "1.5"], 2, "--seed takes a whole number of 64 bits, not '1.5'"),
        (["--seed", str(2**63)], 2, "--seed takes a whole number of 64 bits"),
        (["--seed"], 2, "--seed needs a value"),
        (["--sede", "1"], 2, "there is no option --sede"),
        (["second.pt"], 2, "two files were named"),
        (["--device", "abacus"], 2, "there is no device 'abacus'"),
        (["--count", "0"], 1, "count is 0: give 1 or more"),
        (["--first", str(2**47)], 1, "they run from 0 to 2**47 - 1"),
        (["--first", "-1"], 1, "they run from 0 to 2**47 - 1"),
        (["--label", "3"], 1, "label 3 is not one of 0 to 2"),
        (["--value", "light"], 2, "--value takes NAME=NUMBER, not 'light'"),
        (["--value", "light=1x"], 2, "--value takes NAME=NUMBER, not 'light=1x'"),
        (["--value", "light=2"], 1, "light is 2.000000: it goes from -0.500000 to 1.500000"),
        (["--value", "dark=1"], 1, "this generator takes no value dark"),
        (["-o", "missing/grid.png"], 1, "can't write missing/grid.png"),
        (["-o", "grid.gif"], 1, "can't be written as '.gif'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_in_a_line(
    program: Path, conditional: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    done = run(program, conditional, *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == (2 if code == 2 else 1)  # with "Try: …"
    assert not list(tmp_path.iterdir())


def test_files_that_are_none(program: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no zip")
    torchscript.save(torchscript.trace(nn.Linear(2, 2), [torch.zeros(2, 2)]), tmp_path / "other.pt", "{}")
    for name, said in (
        ("missing.pt", "can't load missing.pt"),
        ("text.pt", "can't load text.pt"),
        ("other.pt", "other.pt is not a generator.seeded.torchscript.pt of gantool"),
    ):
        done = run(program, name, cwd=tmp_path)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert said in done.stderr
    done = run(program, cwd=tmp_path)
    places = f"{tmp_path} nor in {tmp_path.parent}"
    assert done.returncode == 1
    assert done.stderr == f"generate: there is no {FILE} in {places}: put it there, or name the file\n"


def test_the_model_lies_here_or_one_folder_up(program: Path, folder: Path, conditional: Path, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    shutil.copyfile(folder / FILE, tmp_path / FILE)
    assert run(program, "-o", "above.bin", cwd=tmp_path / "build").returncode == 0
    above = np.fromfile(tmp_path / "build" / "above.bin", np.uint8)
    assert_near(above, Generator(folder / "generator.onnx").sample(16).ravel())
    shutil.copyfile(conditional, tmp_path / "build" / FILE)  # the nearer one is taken
    assert run(program, "-o", "here.bin", cwd=tmp_path / "build").returncode == 0
    here = np.fromfile(tmp_path / "build" / "here.bin", np.uint8)
    assert_near(here, Generator(conditional.with_name("generator.onnx")).sample(16).ravel())


@pytest.fixture(scope="module", params=["unet", "residual", "fixed", "enlarging"])
def translator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """generator.onnx and the seeded TorchScript of a generator that takes a picture."""
    folder = tmp_path_factory.mktemp(request.param)
    exporting.write(getattr(translators, request.param)(), ["onnx", "torchscript-seeded"], folder)
    return folder


def test_what_becomes_of_pictures_is_that_of_python(program: Path, translator: Path, tmp_path: Path) -> None:
    python, rng = Generator(translator / "generator.onnx"), np.random.default_rng(0)
    item = python.manifest.picture
    assert item is not None
    source, out = tmp_path / f"in.{'ppm' if item.channels == 3 else 'pgm'}", tmp_path / "out.bin"
    given = ["--value", "strength=0.5"] if python.manifest.values else []
    for height, width in [(32, 32), (33, 47), (1, 5), (64, 40)] if item.multiple else [(32, 32)]:
        picture = rng.integers(0, 256, (height, width, item.channels), dtype=np.uint8)
        Image.fromarray(picture.squeeze(2) if item.channels == 1 else picture).save(source)
        arguments = ["--input", source, "--seed", -7, "--first", 2**40, "--count", 2, *given, "-o", out]
        done = run(program, translator / FILE, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        wanted = python.translate([picture] * 2, -7, 2**40, values={"strength": 0.5} if given else None)
        assert_near(np.fromfile(out, np.uint8).reshape(np.shape(wanted)), np.asarray(wanted))
    done = run(program, translator / FILE, "--self-test")
    assert (done.returncode, done.stdout) == (0, "48 pixels of 12 images differ by at most 0 levels: as exported\n")


def test_pictures_that_do_not_fit(program: Path, conditional: Path, tmp_path: Path) -> None:
    exporting.write(translators.fixed(), ["torchscript-seeded"], tmp_path)
    Image.new("L", (32, 33)).save(tmp_path / "tall.pgm")
    Image.new("RGB", (32, 32)).save(tmp_path / "colour.ppm")
    Image.new("RGB", (32, 32)).save(tmp_path / "picture.png")
    cut = (tmp_path / "colour.ppm").read_bytes()[:-1]
    (tmp_path / "cut.ppm").write_bytes(cut)
    for file, said in (
        ("tall.pgm", "the picture has 32×33 pixels: this generator takes 32×32"),
        ("colour.ppm", "a picture is uint8 (height, width, 1)"),
        ("picture.png", "picture.png is no PPM or PGM file of 8 bits"),
        ("cut.ppm", "cut.ppm is no PPM or PGM file of 8 bits"),
        ("none.ppm", "none.ppm is no PPM or PGM file of 8 bits"),
    ):
        done = run(program, "--input", file, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, f"generate: {said}\n")
    assert "this generator takes a picture" in run(program, cwd=tmp_path).stderr
    done = run(program, conditional, "--input", tmp_path / "tall.pgm")
    assert (done.returncode, "this generator takes no picture" in done.stderr) == (1, True)


def test_comments_in_a_pgm_are_passed_over(program: Path, tmp_path: Path) -> None:
    exporting.write(translators.fixed(), ["onnx", "torchscript-seeded"], tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 1), dtype=np.uint8)
    (tmp_path / "in.pgm").write_bytes(b"P5\n# by hand\n32 32\n255\n" + picture.tobytes())
    assert run(program, "--input", "in.pgm", "-o", "out.bin", cwd=tmp_path).returncode == 0
    wanted = Generator(tmp_path / "generator.onnx").translate(picture)
    assert_near(np.fromfile(tmp_path / "out.bin", np.uint8).reshape(np.shape(wanted)), np.asarray(wanted))


def texts(picture: Path) -> dict[str, str]:
    with Image.open(picture) as opened:
        opened.load()
        assert isinstance(opened, PngImageFile)
        return {name: str(text) for name, text in opened.text.items()}


def test_pictures_say_where_they_come_from(program: Path, conditional: Path, tmp_path: Path) -> None:
    arguments = ["--seed", -(2**63), "--first", 2**47 - 9, "--count", 3]
    for label in (None, 2):
        given = arguments if label is None else [*arguments, "--label", label]
        assert run(program, conditional, *given, "-o", tmp_path / "grid.png").returncode == 0
        described = inspection.inspect(conditional).manifest
        told = texts(tmp_path / "grid.png")
        assert set(told) == {provenance.XMP_KEY, provenance.KEY}
        assert told[provenance.XMP_KEY] == provenance.xmp(provenance.SOFTWARE)
        wanted = provenance.of(described, -(2**63), 2**47 - 9, 3, label).to_json()
        assert json.loads(told[provenance.KEY]) == json.loads(wanted)


def test_pictures_of_another_model_are_not_said_to_be_of_the_kits(program: Path, tmp_path: Path) -> None:
    exporting.write(source(Colours(), shape=(3, 64, 64)), ["torchscript-seeded"], tmp_path)
    assert run(program, tmp_path / FILE, "-o", tmp_path / "grid.png").returncode == 0
    assert set(texts(tmp_path / "grid.png")) == {provenance.XMP_KEY}


HOSTILE = 'a"; std::system("x"); // \\ %%{xmp} ??/ \n \u00e4 \U0001f600 9'
TELLING = """
#include <cstdio>
#include "provenance.hpp"
int main(int, char** words) {
  for (const auto& [keyword, text] : gantool::provenance(words[1], -7, 8, 9, 1)) {
    std::printf("%s%c%s%c", keyword.c_str(), 0, text.c_str(), 0);
  }
}
"""


@pytest.mark.parametrize("said", [True, False], ids=["with provenance", "without"])
def test_what_is_filled_in_stays_text(conditional: Path, tmp_path: Path, said: bool) -> None:
    described = inspection.inspect(conditional).manifest
    described = replace(described, gantool=HOSTILE, licence=HOSTILE, data={"name": HOSTILE})
    shutil.copy(SOURCES / "provenance.hpp", tmp_path)
    kit.fill_cpp(tmp_path, described, said)
    (tmp_path / "main.cpp").write_text(TELLING)
    options = ["-std=c++17", "-trigraphs", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wno-trigraphs"]
    built = subprocess.run(["c++", *options, "main.cpp", "-o", "main"], cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    made = subprocess.run([tmp_path / "main", described.to_json()], capture_output=True, check=True)
    told = made.stdout.decode().split("\0")[:-1]
    if not said:
        assert told == []
        return
    assert told[:3] == [provenance.XMP_KEY, provenance.xmp(f"gantool {HOSTILE}"), provenance.KEY]
    assert json.loads(told[3]) == json.loads(provenance.of(described, -7, 8, 9, 1).to_json())
    others = subprocess.run([tmp_path / "main", "{}"], capture_output=True, check=True)
    assert others.stdout.decode().split("\0")[:-1] == told[:2]


def test_code_to_copy_compiles(sources: Path, tmp_path: Path) -> None:
    """That of the README and that of the playground, pasted into a file each."""
    node = shutil.which("node") or pytest.skip("there is no node on the path")
    parts = [(SOURCES / f"README.{use}{readme.PART}").read_text() for use in ("seeds", "pictures")]
    block, other = (re.findall(r"```cpp\n(.*?)```", part, re.DOTALL)[0] for part in parts)
    program = (SOURCES.parent / "playground" / "code.js").read_text()
    program += 'console.log(codeFor("C++", -(2n ** 63n), 3, 2));'
    program += 'console.log("}\\nnamespace d { std::uint8_t* bytes; int64_t height, width;");'
    program += 'console.log(translateCode("C++", 2n ** 62n, 1, [["strength", 0.5]]));'
    given = "const NOUN = 'image', LABEL = { classes: 3 }, SOURCE = { shape: [8, 8, 3], multiple: 0 }, SEEDED = true;"
    done = subprocess.run([node, "-e", given + program], capture_output=True, text=True)
    paths = [option for path in cpp_extension.include_paths() for option in ("-isystem", path)]
    (tmp_path / "all.cpp").write_text(
        f"namespace a {{\n{block}}}\nnamespace b {{\n{done.stdout}}}\nnamespace c {{\n{other}}}\n".replace(
            '#include "generator.hpp"\n', ""
        )
    )
    for code in (block, other, done.stdout):
        assert '#include "generator.hpp"\n' in code
    command = ["c++", "-std=c++17", "-fsyntax-only", "-I", sources, *paths, "-include", "generator.hpp", "all.cpp"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
