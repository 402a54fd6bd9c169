"""Labels from CSV files: right ones, and a message with the line for each way to be wrong."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gantool.data import dataset, load
from gantool.data.pack.build import Options, pack
from gantool.data.readers import labels as label_reader
from gantool.data.readers.labels import read_labels
from gantool.errors import GantoolError

NAMES = ["a.png", "b,c.png", "d/ü.png"]


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_classes_are_sorted(tmp_path: Path) -> None:
    names, labels = read_labels(write(tmp_path, 'file,label\nd/ü.png,dog\n"b,c.png",cat\n./a.png, dog \n'), NAMES)
    assert names == ("cat", "dog")
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("values", [("10", "9", "-1"), ("10", "9", "x")])
def test_integers_are_sorted_by_value(tmp_path: Path, values: tuple[str, str, str]) -> None:
    text = 'file,label\na.png,{}\n"b,c.png",{}\nd/ü.png,{}\n'.format(*values)
    names, _ = read_labels(write(tmp_path, text), NAMES)
    assert names == (("-1", "9", "10") if values[2] == "-1" else ("10", "9", "x"))


def test_unicode_normalizations(tmp_path: Path) -> None:
    """A name is the same name whether é is one character or two; an exact match goes first."""
    composed, split = "\u00e9.png", "e\u0301.png"
    for file, name in ((composed, split), (split, composed)):
        assert read_labels(write(tmp_path, f"file,label\n{file},x\n"), [name])[0] == ("x",)
    both, labels = read_labels(write(tmp_path, f"file,label\n{split},y\n{composed},x\n"), [composed, split])
    assert [both[label] for label in labels] == ["x", "y"]


def test_other_columns_order_and_line_ends(tmp_path: Path) -> None:
    text = '\ufeffid,Label,FILE\r\n1,x,a.png\r\n\r\n2,y,"b,c.png"\r\n3,x,d/ü.png\r\n'
    names, labels = read_labels(write(tmp_path, text), NAMES)
    assert (names, labels.tolist()) == (("x", "y"), [0, 1, 0])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators(tmp_path: Path, separator: str) -> None:
    text = 'file,label\na.png,x\n"b,c.png",y\nd/ü.png,x\n'.replace(",", separator).replace(f"b{separator}c", "b,c")
    names, labels = read_labels(write(tmp_path, text), NAMES)
    assert (names, labels.tolist()) == (("x", "y"), [0, 1, 0])


def test_folders_as_windows_writes_them(tmp_path: Path) -> None:
    assert read_labels(write(tmp_path, "file,label\n.\\d\\ü.png,x\n"), ["d/ü.png"])[0] == ("x",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels.csv is empty. Write the header file,label"),
        ("file,label\n", r"labels.csv has no label of 'a.png' \(3 of 3 files lack one\). Write a line"),
        ("name,class\na.png,x\n", r"labels.csv, line 1: the columns are name,class. The header has to name"),
        ("file,label,label\n", r"line 1: the columns are file,label,label"),
        ("file,label\na.png\n", r"line 2: 1 columns, where the header has 2"),
        ("file,label\na.png,x\nb,c.png,x\n", r"line 3: 3 columns, where the header has 2. .* goes between quotes"),
        ("file,label\na.png,x\nno.png,x\n", r"line 3: there is no file 'no.png'. Name it relative .* 'a.png' is"),
        ("file,label\na.png,x\n", r"labels.csv has no label of 'b,c.png' \(2 of 3"),
        ("file,label\na.png,x\na.png,x\n", r"line 3: 'a.png' has a label already. Take one"),
        ("file,label\na.png, \n", r"line 2: 'a.png' has an empty label"),
        ('file,label\n"a.png,x\n', r"labels.csv, after line 0: unexpected end of data"),
        (b"file,label\n\xff.png,x\n", r"labels.csv is no UTF-8 text: invalid start byte. Save it as CSV in UTF-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(GantoolError, match=message):
        read_labels(write(tmp_path, text), NAMES)


def test_too_many_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_reader, "MAX_CLASSES", 2)
    assert dataset.MAX_CLASSES > 2
    with pytest.raises(GantoolError, match="has 3 different labels; the most is 2"):
        read_labels(write(tmp_path, 'file,label\na.png,1\n"b,c.png",2\nd/ü.png,3\n'), NAMES)


def test_in_a_pack(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / name)
    file = write(tmp_path, 'file,label\na.png,2\n"b,c.png",10\nd/ü.png,2\n')
    pack(str(tmp_path / "in"), tmp_path / "out", Options(labels=str(file)), workers=1)
    data = load(str(tmp_path / "out"))
    assert data.class_names == ("2", "10")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 0]


# sub-folders and dataset.json


def labelled(folder: Path, *names: str) -> tuple[tuple[str, ...], list[int] | None, tuple[str, ...]]:
    """Class names, labels and notes of a folder of files of these names; its pack has the same."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 99).save(folder / name)
    pack(str(folder), folder.with_name("out"), workers=1)
    data, packed = load(str(folder)), load(str(folder.with_name("out")))
    assert (packed.class_names, packed.notes, packed.fingerprint) == (data.class_names, data.notes, data.fingerprint)
    return data.class_names, None if data.labels is None else data.labels.tolist(), data.notes


def test_folders_with_integers_are_sorted_by_value(tmp_path: Path) -> None:
    classes, labels, _ = labelled(tmp_path / "in", "10/a.png", "2/a.png", "1/a.png")
    assert (classes, labels) == (("1", "2", "10"), [0, 2, 1])  # files are in the order of their names
    pack(str(tmp_path / "in"), tmp_path / "none", Options(labels="none"), workers=1)
    assert load(str(tmp_path / "none")).labels is None


def test_a_class_can_not_write_a_line_of_its_own(tmp_path: Path) -> None:
    _, _, notes = labelled(tmp_path / "in", "a\nError: b/a.png", "c/a.png")
    assert notes == ("labels are the 2 sub-folders: a\\nError: b, c",)


def test_a_folder_around_the_classes(tmp_path: Path) -> None:
    classes, labels, _ = labelled(tmp_path / "in", "data/images/cat/a.png", "data/images/dog/a.png")
    assert (classes, labels) == (("cat", "dog"), [0, 1])


def test_images_beside_the_classes_are_noted(tmp_path: Path) -> None:
    classes, labels, notes = labelled(tmp_path / "in", "cat/a.png", "dog/a.png", "preview.png", "x.png")
    assert (classes, labels) == ((), None)
    assert notes == ("no labels, as 'preview.png' and 1 more lie beside the sub-folders",)
    with pytest.raises(GantoolError, match=r"in has no classes: no labels, as 'preview.png' and 1 more lie beside"):
        pack(str(tmp_path / "in"), tmp_path / "new", Options(labels="folders"), workers=1)


def test_an_image_beside_a_folder_around_the_classes_is_noted(tmp_path: Path) -> None:
    classes, _, notes = labelled(tmp_path / "in", "data/cat/a.png", "data/dog/a.png", "preview.png")
    assert (classes, notes) == ((), ("no labels, as 'preview.png' lies beside the sub-folders",))


def test_splits_are_no_classes(tmp_path: Path) -> None:
    names = ("train/cat/a.png", "train/dog/a.png", "Val/cat/a.png", "Val/dog/a.png")
    classes, labels, notes = labelled(tmp_path / "in", *names)
    assert (classes, labels) == (("cat", "dog"), [0, 1, 0, 1])
    assert notes[1] == "Val, train are taken together; give one of these folders to train on it alone"


def test_dataset_json(tmp_path: Path) -> None:
    """The labels of StyleGAN's dataset tool, whose sub-folders are no classes."""
    names = ("00000/img0.png", "00000/img1.png", "00001/img2.png")
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "dataset.json"
    file.write_text(json.dumps({"labels": [[names[0], 2], [names[1], 0], [names[2].replace("/", "\\"), 2]]}))
    classes, labels, notes = labelled(tmp_path / "in", *names)
    assert (classes, labels) == (("0", "1", "2"), [2, 0, 2])
    empty = "1 of 3 classes have no samples, so a generator can't learn them: 1"
    assert notes == ("labels are those of dataset.json: 3 classes", empty)
    for text, note in (
        ('{"labels": null}', ()),
        ('{"labels": [["a", [0.5]]]}', ("dataset.json is ignored",)),
        ("7", ()),
    ):
        file.write_text(text)
        data = load(str(tmp_path / "in"))
        assert data.labels is None
        assert [each[:23] for each in data.notes] == list(note)
    file.write_text('{"labels": [["00000/img0.png", 1]]}')
    with pytest.raises(GantoolError, match=r"dataset.json has no label of '00000/img1.png'"):
        load(str(tmp_path / "in"))


# any file

LABEL = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(lambda text: text.strip())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(LABEL, min_size=3, max_size=3), order=st.permutations(range(3)))
def test_what_a_csv_writer_writes_is_read(tmp_path: Path, labels: list[str], order: list[int]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["file", "label"])
    writer.writerows([NAMES[i], labels[i]] for i in order)
    names, found = read_labels(write(tmp_path, text.getvalue()), NAMES)
    assert [names[label] for label in found] == [label.strip() for label in labels]
    assert sorted(set(names)) == sorted({label.strip() for label in labels})
