"""`gantool generate`: grids, folders and arrays, from a file, a run or the newest export."""

from __future__ import annotations

import json
import shutil
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.inprocess import Run
from support.wavs import chunks

from gantool import __version__
from gantool.artifact import latents
from gantool.run.rundir import RunDir
from gantool.runtime import Generator


@pytest.fixture(scope="module")
def file(exported_run: RunDir) -> Path:
    return exported_run.export / "generator.seeded.onnx"


@pytest.mark.parametrize(("n", "tiles"), [(1, (1, 1)), (9, (3, 3)), (10, (4, 3)), (None, (8, 8))])
def test_a_grid(cli: Run, here: Path, file: Path, n: int | None, tiles: tuple[int, int]) -> None:
    code, out, _ = cli("generate", file, *(["-n", n] if n else []), "-o", "grid.png")
    assert code == 0
    assert f"{n or 64} image" in out
    assert "grid.png" in out
    with Image.open("grid.png") as picture:
        # 8×8 pixels with 2 around, six times enlarged
        assert picture.size == tuple((count * 10 + 2) * 6 for count in tiles)
        assert picture.mode == "L"
        shown = np.array(picture)[12:60:6, 12:60:6]
    np.testing.assert_array_equal(shown, Generator(file).sample(1)[0, :, :, 0])


def test_a_folder(cli: Run, here: Path, file: Path) -> None:
    assert cli("generate", file, "-n", 3, "--seed", 7, "--first", 10, "-o", "new/pictures")[0] == 0
    paths = sorted((here / "new" / "pictures").iterdir())
    assert [p.name for p in paths] == [f"seed7-000000{number}.png" for number in (10, 11, 12)]
    images = [np.array(Image.open(path)) for path in paths]
    np.testing.assert_array_equal(images, Generator(file).sample(3, seed=7, first=10)[:, :, :, 0])


@pytest.mark.parametrize("batch", [1024, 3])
def test_an_array(cli: Run, here: Path, file: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantool.runtime.saving.BATCH", batch)
    code, out, _ = cli("generate", file, "-n", 70, "--seed", 7, "--first", 10, "-o", "images.npz")
    assert code == 0
    assert "70 images (10 … 79 of seed 7)" in out
    with np.load("images.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], Generator(file).sample(70, seed=7, first=10))
        assert (arrays["seed"], arrays["first"]) == (7, 10)


def test_colours(cli: Run, here: Path, tiny_export: Callable[..., Path]) -> None:
    assert cli("generate", tiny_export(3, 8, 8) / "generator.onnx", "-n", 4, "-o", "g.png")[0] == 0
    assert Image.open("g.png").mode == "RGB"


def told(path: Path) -> dict[str, Any]:
    """The JSON in a picture."""
    with Image.open(path) as picture:
        found: dict[str, Any] = json.loads(picture.text["gantool"])
    return found


def test_images_say_where_they_come_from(cli: Run, here: Path, file: Path) -> None:
    """A grid, each picture of a folder by its own number, an array; the same model each time."""
    manifest = Generator(file).manifest
    for output in ("grid.png", "folder", "images.npz"):
        assert cli("generate", file, "-n", 3, "--seed", 7, "--first", 10, "-o", output)[0] == 0
    with np.load("images.npz", allow_pickle=False) as arrays:
        array = json.loads(str(arrays["provenance"]))
    model = {
        "software": f"gantool {__version__}",
        "architecture": "mlp",
        "run": manifest.training["run"],
        "step": 2,
        "data": {
            "name": "digits",
            "fingerprint": manifest.data["fingerprint"],
            "licence": manifest.licence,
        },
    }
    assert model["run"] == "0001-tiny"
    assert told(here / "grid.png") == array == model | {"seed": 7, "first": 10, "count": 3}
    for number in (10, 11, 12):
        assert told(here / "folder" / f"seed7-{number:08d}.png") == model | {"seed": 7, "first": number, "count": 1}
    with Image.open("grid.png") as picture:
        assert b"trainedAlgorithmicMedia" in picture.info["xmp"]
        assert picture.text["Software"] == f"gantool {__version__}"


def test_images_say_nothing_when_told_so(cli: Run, here: Path, file: Path) -> None:
    for output in ("grid.png", "folder", "images.npz"):
        assert cli("generate", file, "-n", 2, "-o", output, "--no-provenance")[0] == 0
    for path in (here / "grid.png", *sorted((here / "folder").iterdir())):
        with Image.open(path) as picture:
            assert picture.info == {}
    with np.load("images.npz") as arrays:
        assert set(arrays) == {"images", "seed", "first"}


@pytest.mark.parametrize("named", [None, "1", "0001-tiny", "RUN"])
def test_a_run_means_its_export(cli: Run, here: Path, exported_run: RunDir, named: str | None) -> None:
    given = [] if named is None else [named.replace("RUN", str(exported_run.path))]
    code, out, _ = cli("generate", *given, "-n", 2, "-o", "i.npz", "--runs", exported_run.path.parent)
    assert code == 0
    assert "generator.seeded.onnx" in out


def test_the_plain_file_makes_the_same(cli: Run, here: Path, exported_run: RunDir) -> None:
    for name in ("generator.onnx", "generator.seeded.onnx"):
        assert cli("generate", exported_run.export / name, "-n", 9, "-o", f"{name}.png")[0] == 0
    assert Path("generator.onnx.png").read_bytes() == Path("generator.seeded.onnx.png").read_bytes()


@pytest.mark.parametrize("threads", ["1", "2", "auto"])
def test_the_number_of_threads_changes_no_image(cli: Run, here: Path, file: Path, threads: str) -> None:
    assert cli("generate", file, "-n", 9, "-o", "own.png")[0] == 0
    assert cli("generate", file, "-n", 9, "-o", "threads.png", "--threads", threads)[0] == 0
    assert Path("own.png").read_bytes() == Path("threads.png").read_bytes()


# what goes wrong leaves the folder as it was


def left(here: Path) -> set[str]:
    return {str(path.relative_to(here)) for path in here.rglob("*")}


def fails(cli: Run, here: Path, *arguments: object, code: int = 1) -> str:
    before = left(here)
    got, out, err = cli("generate", *arguments)
    assert (got, out) == (code, "")
    assert left(here) == before
    return err


def test_nothing_is_exported_yet(cli: Run, here: Path, exported_run: RunDir) -> None:
    assert "gantool train" in fails(cli, here)
    bare = RunDir(here / "runs" / "0001-tiny")
    shutil.copytree(exported_run.path, bare.path, ignore=shutil.ignore_patterns("export"))
    assert "gantool export" in fails(cli, here)
    assert "gantool export" in fails(cli, here, "1")


def test_torchscript_is_not_for_this(cli: Run, here: Path, exported_run: RunDir) -> None:
    err = fails(cli, here, exported_run.export / "generator.torchscript.pt")
    assert "is a file for torch" in err
    assert "gantool export --onnx" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "images.jpg"], "can't be written as 'images.jpg'"),
        (["-o", "grid.png", "-n", 10_001], "the most is 10000"),
        (["-n", 10**12, "-o", "images.npz"], "GB"),
        (["--first", 2**47], "no image"),
        (["--seed", 2**63], "does not fit 64 bits"),
        (["--provider", "gpu"], "no provider 'gpu'"),
        (["-o", "taken/g.png"], "can't be written"),
        (["-o", "taken/folder"], "can't be written"),
        (["-o", "taken"], "exists and is no folder"),
        (["-o", "folder.png"], "can't be written"),
    ],
)
def test_what_can_not_be_made(cli: Run, here: Path, file: Path, arguments: list[object], message: str) -> None:
    (here / "taken").touch()
    (here / "folder.png").mkdir()
    assert message in fails(cli, here, file, *arguments)


@pytest.mark.parametrize(
    "arguments",
    ["-n 0", "-n -3", "--first -1", "-n many", "--sead 1", "--count 0", "--count 5 --workers 0", "--shard-size 0"],
)
def test_usage_errors_exit_2(cli: Run, here: Path, file: Path, arguments: str) -> None:
    fails(cli, here, file, *arguments.split(), code=2)


def test_a_file_that_is_none(cli: Run, here: Path) -> None:
    (here / "noise.onnx").write_bytes(b"nothing")
    assert "noise.onnx" in fails(cli, here, "noise.onnx")
    assert "no.onnx" in fails(cli, here, "no.onnx")


def test_sounds(cli: Run, here: Path, tiny_export: Callable[..., Path]) -> None:
    file = tiny_export(2, 16) / "generator.onnx"
    wanted = Generator(file).sample(70, seed=7)
    assert cli("generate", file, "--seed", 7, "-n", 3, "-o", "three.wav")[0] == 0
    with wave.open("three.wav") as opened:
        assert (opened.getnchannels(), opened.getsampwidth(), opened.getframerate()) == (2, 2, 16_000)
        made = np.frombuffer(opened.readframes(1000), "<i2").reshape(3, 16, 2)
    np.testing.assert_array_equal(made, wanted[:3])
    content = (here / "three.wav").read_bytes()
    assert b"trainedAlgorithmicMedia" in content
    assert b"3 generated sounds, number 0 to 2 of seed 7" in content
    code, out, _ = cli("generate", file, "-o", "one.wav", "--no-provenance")
    assert (code, "1 sound (0 of seed 0)" in out) == (0, True)
    assert (here / "one.wav").stat().st_size == 44 + 16 * 2 * 2
    assert cli("generate", file, "--seed", 7, "-n", 2, "--first", 1, "-o", "folder")[0] == 0
    assert [path.name for path in sorted((here / "folder").iterdir())] == [f"seed7-0000000{n}.wav" for n in ("1", "2")]
    assert cli("generate", file, "--seed", 7, "-n", 70, "-o", "sounds.npz")[0] == 0
    with np.load("sounds.npz") as arrays:
        np.testing.assert_array_equal(arrays["sounds"], wanted.transpose(0, 2, 1))
    assert cli("generate", file, "-o", "grid.png")[0] == 0
    assert Image.open("grid.png").mode == "RGB"  # of spectrograms
    assert cli("generate", file, "--seed", 7, "--count", 70, "--workers", 1, "--out", "shards")[0] == 0
    np.testing.assert_array_equal(np.load("shards/shard-000000.npy"), wanted)
    assert "Name a .wav, a .png, a .npz or a folder" in fails(cli, here, file, "-o", "sound.mp3")
    assert "--format npy or wav-tar" in fails(cli, here, file, "--count", 5, "--format", "png-tar")


@pytest.mark.parametrize("wav_format", ["pcm16", "float"])
def test_other_programs_read_sounds_with_equal_values(
    cli: Run, here: Path, tiny_export: Callable[..., Path], wav_format: str
) -> None:
    soundfile = pytest.importorskip("soundfile")
    folder = tiny_export(2, 16)
    generator = Generator(folder / "generator.onnx")
    wanted: np.ndarray = generator.sample(3, 7) if wav_format == "pcm16" else generator.floats(3, 7).transpose(0, 2, 1)
    # the plain file beside it has the floats
    asked = ("generate", folder / "generator.seeded.onnx", "--seed", 7, "-n", 3, "--wav-format", wav_format)
    assert cli(*asked, "-o", "three.wav")[0] == cli(*asked, "-o", "folder")[0] == 0
    paths = [here / "three.wav", *sorted((here / "folder").iterdir())]
    for path, sound in zip(paths, [wanted.reshape(-1, 2), *wanted], strict=True):
        made, rate = soundfile.read(path, dtype=wanted.dtype.name)
        assert (soundfile.info(path).subtype, rate) == ({"pcm16": "PCM_16", "float": "FLOAT"}[wav_format], 16_000)
        np.testing.assert_array_equal(made, sound, strict=True)
        assert list(chunks(path.read_bytes()))[-4:] == ["LIST", "_PMX", "gant", "data"]
    if sox := shutil.which("sox"):
        code = ["-b", "16", "-e", "signed"] if wav_format == "pcm16" else ["-b", "32", "-e", "float"]
        done = subprocess.run([sox, "-D", "three.wav", "-t", "raw", *code, "-"], capture_output=True, check=True)
        heard = np.frombuffer(done.stdout, wanted.dtype).reshape(wanted.shape)
        # sox computes in whole numbers, and gives floats 24 bits
        np.testing.assert_allclose(heard, wanted, rtol=0, atol=0 if wav_format == "pcm16" else 2**-24)
        assert not done.stderr
    np.testing.assert_array_equal(latents.levels(generator.floats(3, 7)), generator.sample(3, 7))


def test_wav_formats_are_for_sounds(cli: Run, here: Path, file: Path, tiny_export: Callable[..., Path]) -> None:
    asked = ("--wav-format", "float")
    assert "is for sounds" in fails(cli, here, file, *asked, "-o", "sound.wav")
    sounds = tiny_export(2, 16) / "generator.seeded.onnx"
    assert "for WAV files" in fails(cli, here, sounds, *asked, "-o", "sounds.npz")
    assert "not for shards" in fails(cli, here, sounds, *asked, "--count", 3)
    assert "no WAV format 'pcm24'" in fails(cli, here, sounds, "--wav-format", "pcm24", "-o", "a.wav")
    shutil.copy(sounds, here / "alone.onnx")
    assert "gantool export" in fails(cli, here, "alone.onnx", *asked, "-o", "a.wav")


def test_volumes(cli: Run, here: Path, tiny_export: Callable[..., Path]) -> None:
    pytest.importorskip("skimage", reason="scikit-image makes surfaces; it comes with the extra volume")
    file = tiny_export(1, 8, 8, 8) / "generator.onnx"
    wanted = Generator(file).sample(3, seed=7)
    assert cli("generate", file, "--seed", 7, "-n", 3, "-o", "shapes.glb")[0] == 0
    trimesh = pytest.importorskip("trimesh")
    scene = trimesh.load("shapes.glb")
    assert len(scene.geometry) == 3
    for mesh in scene.geometry.values():
        assert mesh.is_watertight
        assert mesh.volume > 0  # its triangles face outwards
        assert (mesh.bounds[1] - mesh.bounds[0] <= 1 + 1e-5).all()
    content = (here / "shapes.glb").read_bytes()
    meshes = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])["meshes"]
    assert [(mesh["extras"]["seed"], mesh["extras"]["first"]) for mesh in meshes] == [(7, 0), (7, 1), (7, 2)]
    assert cli("generate", file, "--seed", 7, "--first", 2, "-o", "one.binvox")[0] == 0
    filled = trimesh.load("one.binvox").matrix  # (x, y, z): right, up, front
    np.testing.assert_array_equal(filled.transpose(2, 1, 0)[::-1, ::-1], wanted[2, ..., 0] >= 128)
    assert cli("generate", file, "--seed", 7, "-n", 2, "-o", "folder")[0] == 0
    assert [path.suffix for path in (here / "folder").iterdir()] == [".glb", ".glb"]
    assert cli("generate", file, "--seed", 7, "-n", 3, "-o", "volumes.npz")[0] == 0
    with np.load("volumes.npz") as arrays:
        np.testing.assert_array_equal(arrays["volumes"], np.moveaxis(wanted, -1, 1))
    assert cli("generate", file, "-n", 4, "-o", "views.png")[0] == 0
    assert Image.open("views.png").width > 2 * 64
    assert cli("generate", file, "--seed", 7, "--count", 3, "--workers", 1, "--out", "shards")[0] == 0
    np.testing.assert_array_equal(np.load("shards/shard-000000.npy"), wanted)
    assert "the most is 1" in fails(cli, here, file, "-n", 2, "-o", "two.binvox")


def test_what_is_no_picture(cli: Run, here: Path, tiny_export: Callable[..., Path]) -> None:
    two = tiny_export(2, 8, 8) / "generator.onnx"
    assert "2 channels" in fails(cli, here, two)
    assert cli("generate", two, "-n", 3, "-o", "two.npz")[0] == 0
    assert np.load("two.npz")["images"].shape == (3, 8, 8, 2)


def test_shards(cli: Run, here: Path, file: Path) -> None:
    asked = ("generate", file, "--count", "1_0", "--shard-size", 4, "--seed", 7, "--first", 3, "--workers", 1)
    code, out, _ = cli(*asked, "--out", "many")
    assert code == 0
    assert "10 images (3 … 12 of seed 7)" in out
    assert "→ many: 3 shards, 1.0 kB" in out
    arrays = [np.load(path) for path in sorted((here / "many").glob("*.npy"))]
    np.testing.assert_array_equal(np.concatenate(arrays), Generator(file).sample(10, seed=7, first=3))
    code, out, _ = cli(*asked, "--out", "many")
    assert "were all there: 3 shards in many" in out
    code, out, _ = cli(*asked, "--out", "many", "--json", "--verify")
    summary = json.loads(out)
    assert (summary["made"], summary["shards"], summary["images"], summary["format"]) == (0, 3, 10, "npy")
    with (here / "many" / "shard-000001.npy").open("ab") as opened:
        opened.write(b"more")
    code, out, err = cli(*asked, "--out", "many")
    assert "3 shards, 2 were there" in out
    assert "shard-000001.npy was gone or changed, and was made again." in err


def test_shards_with_labels_go_to_a_folder_of_their_own(cli: Run, here: Path, conditional_export: Path) -> None:
    file = conditional_export / "generator.onnx"
    for arguments, labels in ((["--label", "2,0"], [2, 0, 2, 0]), (["--label", 1], [1] * 4), ([], [0, 1, 2, 0])):
        assert cli("generate", file, "--count", 4, "--workers", 1, *arguments)[0] == 0
        found = np.load(here / "shards" / "shard-000000.npy")
        np.testing.assert_array_equal(found, Generator(file).sample(4, labels=labels))
        shutil.rmtree(here / "shards")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "s"], "--out is for shards"),
        (["--shard-size", 5], "--shard-size is for shards"),
        (["--json"], "--json is for shards"),
        (["--count", 5, "-n", 5], "-n is not for shards"),
        (["--count", 5, "-o", "s"], "-o is not for shards"),
        (["--count", 5, "--address", "auto"], "--address is for the engine ray"),
        (["--count", 5, "--format", "zip"], "no format 'zip'"),
        (["--count", 5, "--engine", "slurm"], "no engine 'slurm'"),
        (["--count", 5, "--provider", "gpu"], "no provider 'gpu'"),
        (["--count", 10**12], "--shard-size 20000000 or more"),
    ],
)
def test_shards_that_can_not_be_made(cli: Run, here: Path, file: Path, arguments: list[object], message: str) -> None:
    assert message in fails(cli, here, file, *arguments)
