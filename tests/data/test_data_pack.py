"""Packs on disk: what is written, what is refused; folders and arrays as sources."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantool.data import Dataset, load
from gantool.data.pack.build import BrokenFiles, Options, broken_files, pack, save
from gantool.data.pack.format import load_pack, verify
from gantool.errors import GantoolError

RNG = np.random.default_rng(0)


def pictures(folder: Path, names: list[str], side: int = 8) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (side, side, 3), np.uint8)).save(path)
    return folder


def paired(rows: int = 6) -> Dataset:
    arrays = {
        "images": RNG.integers(0, 256, (rows, 3, 8, 8), np.uint8),
        "labels": np.arange(rows) % 2,
        "edges": RNG.integers(0, 256, (rows, 1, 8, 8), np.uint8),
        "weights": RNG.random((rows, 2)).astype(np.float32),
    }
    return Dataset("pairs", "somewhere", arrays, ("cat", "dog"), "CC0", ("a note",))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("whole") / "pack"
    save(paired(), folder)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "pack"))


def change(pack: Path, **values: Any) -> None:
    description = json.loads((pack / "pack.json").read_text())
    (pack / "pack.json").write_text(json.dumps(description | values))


def test_a_folder_and_its_pack_are_the_same_data(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", ["dog/a.png", "cat/b.png", "cat/ü, 猫.png", "cat/B.png"])
    done = pack(str(folder), tmp_path / "out", Options(licence="CC0"), workers=1)
    data, plain = load(str(tmp_path / "out")), load(str(folder))
    assert data.fingerprint == done.description.fingerprint == plain.fingerprint
    assert (data.class_names, data.licence, data.name) == (("cat", "dog"), "CC0", "out")
    assert data.notes == plain.notes
    assert isinstance(data.images, np.memmap)
    assert isinstance(data.labels, np.memmap)
    assert not data.images.flags.writeable
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "images.npy"), plain.images)  # plain numpy reads it
    lines = [json.loads(line) for line in (tmp_path / "out" / "files.jsonl").read_text().splitlines()]
    assert lines == [
        {"file": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(), "label": label}
        for name, label in (("cat/B.png", 0), ("cat/b.png", 0), ("cat/ü, 猫.png", 0), ("dog/a.png", 1))
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "pack.json", "images.npy", "labels.npy", "files.jsonl"
    }  # fmt: skip
    assert done.bytes == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert verify(tmp_path / "out") == []


def test_processes_make_the_same_pack(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", [f"{i:03}.png" for i in range(300)])
    (folder / "150.png").write_bytes(b"no")
    options = Options(size=8, skip_broken=True)
    for workers in (1, 2):
        pack(str(folder), tmp_path / f"out{workers}", options, workers=workers)
    for file in (tmp_path / "out1").iterdir():
        assert file.read_bytes() == (tmp_path / "out2" / file.name).read_bytes(), file.name


def test_arrays_keep_all_that_they_have(tmp_path: Path, whole: Path) -> None:
    data, back = paired(), load_pack(whole)
    assert set(back.arrays) == set(data.arrays)
    assert (back.name, back.class_names, back.licence, back.notes) == ("pack", ("cat", "dog"), "CC0", ("a note",))
    for name in ("labels", "weights"):
        assert back.arrays[name].dtype == paired().arrays[name].dtype
    save(back, tmp_path / "again")
    assert load_pack(tmp_path / "again").fingerprint == back.fingerprint
    assert Dataset("", "", {name: np.array(each) for name, each in back.arrays.items()}).fingerprint == back.fingerprint
    with pytest.raises(GantoolError, match=r"again exists. Name another"):
        save(data, tmp_path / "again")


def test_floats_are_rounded_and_a_note_says_so(tmp_path: Path) -> None:
    images = np.array([-1, -0.5, 0, 1], np.float32).reshape(1, 1, 2, 2).repeat(2, 2).repeat(2, 3)
    save(Dataset("x", "x", {"images": images}), tmp_path / "pack")
    back = load_pack(tmp_path / "pack")
    assert back.images[0, 0, ::2, ::2].tolist() == [[0, 64], [128, 255]]
    assert back.notes == ("`images`: floats were rounded to 8 bits",)


def test_a_named_set_and_a_pack_are_sources(tmp_path: Path) -> None:
    pack("digits", tmp_path / "a", Options(size=16))
    digits = load("digits", 16)
    assert load(str(tmp_path / "a")).fingerprint == digits.fingerprint
    assert load(str(tmp_path / "a")).licence == digits.licence
    pack(str(tmp_path / "a"), tmp_path / "b", Options(size=8, channels=3, labels="none"))
    small = load(str(tmp_path / "b"))
    assert small.images.shape == (10_000, 3, 8, 8)
    assert (small.labels, small.class_names) == (None, ())
    np.testing.assert_array_equal(small.images[:, 0], load(str(tmp_path / "a"), 8).images[:, 0])


@pytest.mark.parametrize("shape", [(5, 8, 6), (5, 8, 6, 3), (5, 3, 8, 6)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_npy_file_is_a_source(tmp_path: Path, shape: tuple[int, ...], order: Any) -> None:
    images = np.asarray(RNG.integers(0, 256, shape, np.uint8), order=order)
    np.save(tmp_path / "x.npy", images)
    pack(str(tmp_path / "x.npy"), tmp_path / "out")
    np.savez(tmp_path / "x.npz", images=images)
    np.testing.assert_array_equal(load(str(tmp_path / "out")).images, load(str(tmp_path / "x.npz")).images)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 8, 8), np.float32), "holds float32; a .npy file is packed when it holds uint8"),
        (np.zeros((8, 8), np.uint8), r"has shape \(8, 8\): no images"),
        (np.array([{}]), "Object arrays|holds pickled objects"),
    ],
)
def test_npy_files_that_are_none(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(GantoolError, match=message):
        pack(str(tmp_path / "x.npy"), tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_another_size_is_made_in_memory(whole: Path) -> None:
    data = load(str(whole), 4)
    assert data.images.shape == (6, 3, 4, 4)
    assert data.arrays["edges"].shape == (6, 1, 4, 4)
    assert data.fingerprint == Dataset("", "", data.arrays).fingerprint
    assert load(str(whole), 8).fingerprint == load(str(whole)).fingerprint


def test_broken_files_are_named_all_at_once_then_skipped_and_recorded(tmp_path: Path) -> None:
    folder, out = pictures(tmp_path / "in", ["a.png", "z.png"]), tmp_path / "out"
    for i in range(25):
        (folder / f"bad{i:02}.png").write_bytes(b"hello")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    with pytest.raises(BrokenFiles) as caught:
        pack(str(folder), out, workers=1)
    lines = caught.value.message.splitlines()
    assert lines[0] == "26 of 28 files can't be used:"
    assert lines[1] == "  bad00.png can't be decoded: cannot identify image file."
    assert lines[20:] == [lines[1].replace("00", "19"), "  … and 6 more"]
    assert "--skip-broken" in caught.value.hint
    listed = [*(f"bad{i:02}.png" for i in range(25)), "gone.png"]
    assert [each["file"] for each in broken_files(caught.value.listed)] == listed
    assert not out.exists()

    decoded = pack(str(folder), out, Options(skip_broken=True), workers=1)
    assert decoded.done == 0  # what the first call did was not done again
    description = decoded.description
    assert (description.count, description.broken, len(description.broken_first)) == (2, 26, 20)
    assert broken_files(out / "broken.jsonl")[-1] == {
        "file": "gone.png", "reason": "can't be read: No such file or directory."
    }  # fmt: skip
    data = load(str(out))
    assert len(data) == len((out / "files.jsonl").read_text().splitlines()) == 2
    np.testing.assert_array_equal(data.images[1].transpose(1, 2, 0), np.asarray(Image.open(folder / "z.png")))
    assert verify(out) == []


def test_nothing_but_broken_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"hello")
    with pytest.raises(GantoolError, match="1 of 1 files can't be used"):
        pack(str(tmp_path / "in"), tmp_path / "out", Options(skip_broken=True), workers=1)


def test_sizes_that_differ(tmp_path: Path) -> None:
    folder = pictures(pictures(tmp_path / "in", ["a.png", "b.png"]), ["c.png"], side=9)
    with pytest.raises(GantoolError, match=r"differ in size: .*a.png is 8×8, .*c.png is 9×9. Add --size"):
        pack(str(folder), tmp_path / "out", workers=1)
    assert not list(tmp_path.glob("out*"))


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", ["a.png"])
    pictures(tmp_path / "out", ["mine.png"])
    with pytest.raises(GantoolError, match=r"out exists. Name another folder with -o"):
        pack(str(folder), tmp_path / "out", workers=1)
    pictures(tmp_path / "new.partial", ["mine.png"])
    with pytest.raises(GantoolError, match=r"new.partial exists, and is no unfinished pack"):
        pack(str(folder), tmp_path / "new", workers=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "dangling").symlink_to("nowhere")
    for link in ("link", "dangling"):
        with pytest.raises(GantoolError, match=rf"{link} is a link. Give -o the folder itself"):
            pack(str(folder), tmp_path / link, workers=1)
        assert not (tmp_path / f"{link}.partial").exists()
    pack(str(folder), tmp_path / "empty", workers=1)
    assert len(load(str(tmp_path / "empty"))) == 1


@pytest.mark.parametrize("out", ["", ".", "..", "/", "a/.."])
def test_what_names_no_new_folder(tmp_path: Path, out: str) -> None:
    folder = pictures(tmp_path / "in", ["a.png"])
    with pytest.raises(GantoolError, match=r"names no new folder. Give one that is to be made: -o pack"):
        pack(str(folder), Path(out), workers=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 3}, "A size of 3 is too small"),
        ({"channels": 2}, "--channels is 2. Give 1"),
        ({"fit": "squeeze"}, "--fit is 'squeeze'. Give one of crop, pad, stretch"),
        ({"labels": "folders"}, r"in has no classes: no labels, as 'a.png' lies beside"),
        ({"labels": "nowhere.csv"}, "nowhere.csv can't be read: No such file"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    folder = pictures(tmp_path / "in", ["a.png", "b/c.png"])
    with pytest.raises(GantoolError, match=message):
        pack(str(folder), tmp_path / "out", Options(**options), workers=1)
    assert not list(tmp_path.glob("out*"))


def test_labels_are_for_folders(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=r"--labels folders is for a folder of files, which digits is not"):
        pack("digits", tmp_path / "out", Options(labels="folders"))


def test_a_disk_without_room_is_told_up_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(GantoolError, match=r"out needs 30\.\d MB more, and 1\.0 MB are free there. Free space"):
        pack("digits", tmp_path / "out", Options(size=32, channels=3))
    assert not (tmp_path / "out").exists()


# -- packs that are not what they say


def test_arrays_that_are_cut_short_or_too_long_or_gone(copy: Path) -> None:
    whole = (copy / "images.npy").read_bytes()
    for data in (whole[:-1], whole + b"\0"):
        (copy / "images.npy").write_bytes(data)
        with pytest.raises(GantoolError, match=r"images.npy is damaged, or no .npy file: its header"):
            load(str(copy))
    (copy / "images.npy").write_bytes(whole)
    (copy / "labels.npy").unlink()
    with pytest.raises(GantoolError, match=r"labels.npy can't be read: No such file"):
        load(str(copy))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((6, 3, 8, 4), np.uint8), r"has shape \(6, 3, 8, 4\) of \|u1; pack.json says \(6, 3, 8, 8\)"),
        (np.zeros((6, 3, 8, 8), np.int8), r"of \|i1; pack.json says"),
        (np.asfortranarray(np.zeros((6, 3, 8, 8), np.uint8)), "images.npy has shape"),
    ],
)
def test_other_arrays(copy: Path, array: np.ndarray, message: str) -> None:
    np.save(copy / "images.npy", array)
    with pytest.raises(GantoolError, match=message):
        load(str(copy))


def test_foreign_json(copy: Path) -> None:
    for text, message in (
        ("{", "does not hold valid JSON"),
        ('{"name": "my-npm-package"}', "describes no pack: source: it is missing"),
        ('{"pack_version": 2}', "has version 2; this gantool reads version 1. Update gantool"),
    ):
        (copy / "pack.json").write_text(text)
        with pytest.raises(GantoolError, match=message):
            load(str(copy))


def test_names_lead_nowhere_else(copy: Path) -> None:
    arrays = json.loads((copy / "pack.json").read_text())["arrays"]
    for name in ("../images", "/etc/passwd", "a/b", "..", "", "images.npy"):
        change(copy, arrays=arrays | {name: arrays["images"]})
        with pytest.raises(GantoolError, match="describes no pack: arrays"):
            load(str(copy))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 7}, "count is 7, and `images` has 6 rows"),
        ({"channels": 1}, "channels is 1, and `images` has 3"),
        ({"class_names": ["cat"]}, "`labels` run from 0 to 1, and there are 1 classes"),
        ({"fit": "squeeze"}, "describes no pack: fit: it must be 'crop', 'pad' or 'stretch'"),
        ({"fingerprint": "abc"}, "describes no pack: fingerprint"),
        ({"unknown": 1}, "describes no pack: unknown: there is no such field"),
    ],
)
def test_descriptions_that_contradict_the_arrays(copy: Path, values: dict[str, Any], message: str) -> None:
    change(copy, **values)
    with pytest.raises(GantoolError, match=message):
        load(str(copy))


def test_verify_of_the_lists_and_the_fingerprint(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", ["a.png"])
    pack(str(folder), tmp_path / "out", workers=1)
    change(tmp_path / "out", fingerprint="0" * 64)
    assert verify(tmp_path / "out") == ["fingerprint"]
    (tmp_path / "out" / "files.jsonl").write_text("")
    assert verify(tmp_path / "out") == ["files.jsonl"]


def test_notes_of_a_pack_are_cut(copy: Path) -> None:
    change(copy, notes=["a\u2028" + "n" * 10_000, *map(str, range(100))])
    notes = load_pack(copy).notes
    assert notes[0].startswith(r"a\u2028nnn")
    assert sum(map(len, notes)) < 1000
