"""`gantool data pack` and `gantool data info`, and training on what they make."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.inprocess import Run

from gantool.data import load
from gantool.data.readers import folder as folders

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(here: Path) -> Path:
    for i in range(12):
        path = here / "my pictures" / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (12, 12 + i, 3), np.uint8)).save(path)
    return here / "my pictures"


def test_pack_then_train(cli: Run, folder: Path) -> None:
    code, out, _ = cli("data", "pack", folder.name, "-o", "out", "--size", 8, "--licence", "CC0")
    assert code == 0
    assert "12 images of 3×8×8, 2 classes → out: " in out
    assert "Note: labels are the 2 sub-folders: cat, dog" in out
    assert out.splitlines()[-1] == "Next: gantool train cgan --data out"
    code, _, err = cli(
        "train", "mlp", "--data", "out", "--steps", 2, "--batch-size", 4, "--widths", "8", "--latent-dim", 4,
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    run = json.loads(next(Path("runs").iterdir()).joinpath("run.json").read_text())
    assert run["data"]["fingerprint"] == load("out").fingerprint == load(folder.name, 8).fingerprint


def test_pack_as_json(cli: Run, folder: Path) -> None:
    (folder / "cat" / "bad.png").write_bytes(b"hello")
    code, out, err = cli("data", "pack", folder.name, "-o", "out", "--size", 8, "--json")
    bad = {"file": "cat/bad.png", "reason": "can't be decoded: cannot identify image file."}
    assert (code, json.loads(out)) == (1, {"out": None, "broken": [bad]})
    assert "1 of 13 files can't be used:\n  cat/bad.png can't be decoded" in err
    code, out, err = cli("data", "pack", folder.name, "-o", "out", "--size", 8, "--json", "--skip-broken")
    told = json.loads(out)
    assert code == 0
    assert (told["count"], told["broken"], told["fit"], told["class_names"]) == (12, [bad], "crop", ["cat", "dog"])
    assert "Going on after number 13: out.partial holds what is done." in err
    assert cli("data", "pack", folder.name, "-o", "out", "--size", 8)[2].startswith("Error: out exists.")


def test_pack_tells_of_what_it_left_out(cli: Run, folder: Path) -> None:
    (folder / "cat" / "bad.png").write_bytes(b"hello")
    code, out, _ = cli("data", "pack", folder.name, "-o", "out", "--size", 8, "--skip-broken")
    assert code == 0
    assert "1 broken file was left out; out/broken.jsonl lists them:\n  cat/bad.png: can't be decoded" in out


def test_pack_errors(cli: Run, folder: Path) -> None:
    code, _, err = cli("data", "pack", folder.name, "-o", "out")
    assert code == 1
    assert err.startswith(
        "Error: The images differ in size: my pictures/cat/0.png is 12×12, my pictures/cat/10.png is 22×12."
    )
    assert not Path("out.partial").exists()


def test_info(cli: Run, folder: Path) -> None:
    code, out, _ = cli("data", "info", folder.name, "-o", "sheet.png")
    assert code == 0
    for line in ("12×12        1    8.3 %", "2 other sizes        2   16.7 %", "cat           6   50.0 %"):
        assert " ".join(line.split()) in " ".join(out.split())
    assert out.splitlines()[-1] == "Next: gantool data pack 'my pictures' -o 'my pictures-32' --size 32 --fit pad"
    assert "A crop to squares cuts 31% of the pixels; --fit pad keeps them all." in out
    with Image.open("sheet.png") as sheet:
        assert sheet.size[1] == 2 * 66 + 2


def test_info_of_broken_and_equal_files(cli: Run, folder: Path) -> None:
    (folder / "cat" / "bad.png").write_bytes(b"hello")
    (folder / "cat" / "copy.png").write_bytes((folder / "cat" / "0.png").read_bytes())
    code, out, _ = cli("data", "info", folder.name)
    assert code == 1
    assert "Equal:\n  cat/0.png = cat/copy.png" in out
    assert "Broken:\n  cat/bad.png: can't be decoded" in out
    assert out.splitlines()[-1].endswith("--size 32 --fit pad --skip-broken")


def test_info_where_all_files_are_broken_sends_nobody_to_skip_them(cli: Run, here: Path) -> None:
    (here / "broken").mkdir()
    for name in ("a.png", "b.png"):
        (here / "broken" / name).write_bytes(b"x")
    code, out, _ = cli("data", "info", "broken")
    assert (code, out.splitlines()[-1]) == (1, "Next: replace the broken files")


def test_info_as_json(cli: Run, folder: Path) -> None:
    code, out, _ = cli("data", "info", folder.name, "--size", 16, "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["count"], told["bytes_uint8"], told["duplicates"]) == (12, 12 * 3 * 16 * 16, 0)
    assert told["classes"] == [["cat", 6], ["dog", 6]]
    assert told["next"].endswith("--size 16 --fit pad")


def test_verify(cli: Run, folder: Path) -> None:
    cli("data", "pack", folder.name, "-o", "out", "--size", 8)
    code, out, _ = cli("data", "info", "out", "--verify")
    assert (code, out) == (0, "out: no file has changed since it was packed.\n")
    with Path("out/images.npy").open("r+b") as file:
        file.seek(500)
        file.write(b"rubbish")
    code, out, err = cli("data", "info", "out", "--verify", "--json")
    assert (code, json.loads(out)) == (1, {"source": "out", "whole": False, "changed": ["images.npy"]})
    assert "images.npy changed since it was packed" in err
    code, _, err = cli("data", "info", folder.name, "--verify")
    assert code == 1
    assert "is no pack: there is nothing to verify" in err


def test_a_large_folder_is_told_of_packs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any("data pack" in note for note in load(folder.name, 8).notes)
    monkeypatch.setattr(folders, "MANY_FILES", 11)
    assert "`gantool data pack 'my pictures' -o pack --size 8`" in load(folder.name, 8).notes[-1]


def test_a_contact_sheet_that_can_not_be_written(cli: Run, folder: Path) -> None:
    Path("file").touch()
    code, _, err = cli("data", "info", folder.name, "-o", "file/sheet.png")
    assert (code, err) == (1, "Error: file/sheet.png can't be written: File exists.\nName another with -o.\n")


def test_a_folder_named_like_markup(cli: Run, folder: Path) -> None:
    (folder / "cat").rename(folder / "[bold]")
    folder = folder.rename("[red] :dog:")
    code, _, err = cli(
        "train", "mlp", "--data", folder.name, "--size", 8, "--steps", 1, "--batch-size", 4, "--widths", 8
    )
    assert code == 0, err
    assert "of [red] :dog:, " in err
    assert "note: labels are the 2 sub-folders: [bold], dog" in err


def test_a_run_whose_data_moved(cli: Run, folder: Path) -> None:
    assert cli("data", "pack", folder.name, "-o", "out", "--size", 8)[0] == 0
    assert cli("train", "mlp", "--data", "out", "--steps", 1, "--batch-size", 4, "--widths", 8)[0] == 0
    Path("out").rename("elsewhere")
    code, _, err = cli("train", "mlp", "--resume", 1, "--steps", 2)
    assert code == 1
    assert err.endswith("If the run's data lies elsewhere now, add --data PATH.\n")
    assert cli("train", "mlp", "--resume", 1, "--steps", 2, "--data", "elsewhere")[0] == 0


def test_pairs_are_shown_and_packed_as_training_makes_them(cli: Run, here: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), np.uint8)
    np.savez("a.npz", images=images)
    given = ("a.npz", "--pairs", "small:2")
    code, out, _ = cli("data", "info", *given, "--json", "-o", "sheet.png")
    found = json.loads(out)
    assert (code, found["count"], found["pair"]) == (0, 5, [[3, 8, 8], [3, 16, 16]])
    assert found["next"] == "gantool train pix2pix --data a.npz --pairs small:2"
    with Image.open("sheet.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    tile = pixels[6 : 6 + 3 * 16 : 3, 6 : 6 + 3 * 32 : 3].transpose(2, 0, 1)  # of the first; 3×3 pixels each
    np.testing.assert_array_equal(tile[:, :, 16:], images[0])
    wanted = load("a.npz", pairs="small:2")
    np.testing.assert_array_equal(tile[:, ::2, :16:2], wanted.arrays["sources"][0])
    code, out, _ = cli("data", "pack", *given, "-o", "pack")
    assert (code, out.splitlines()[-1]) == (0, "Next: gantool train pix2pix --data pack")
    packed = load("./pack")
    assert packed.fingerprint == wanted.fingerprint
    code, out, _ = cli("data", "info", "a.npz", "--target", "pack", "--size", 8)
    assert "gantool train cyclegan --data a.npz --target pack --size 8" in out


def test_cluster_then_train_on_its_classes(cli: Run, folder: Path) -> None:
    code, out, err = cli("data", "cluster", folder.name, "--size", 16, "--clusters", 3, "-o", "groups")
    assert code == 0, err
    assert "12 images in 3 classes of " in out
    assert out.splitlines()[-1] == "Next: gantool train cgan --data groups"
    assert load("groups").class_names == ("group-0", "group-1", "group-2")
    assert np.array_equal(load("groups").images, load(folder.name, 16).images)
    code, _, err = cli(
        "train", "cgan", "--data", "groups", "--steps", 1, "--batch-size", 4, "--widths", "8", "--device", "cpu"
    )
    assert code == 0, err
    assert cli("data", "cluster", folder.name, "-o", "groups")[2].startswith("Error: groups exists.")
    code, out, _ = cli("data", "cluster", "groups", "-o", "again", "--json")
    told = json.loads(out)
    assert (code, sum(told["counts"]), told["extractor"], told["out"]) == (0, 12, "pixels", "again")
