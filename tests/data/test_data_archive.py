"""Zip archives of images: read as the folder that is in them, StyleGAN's labels included, and never trusted."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.inprocess import Run

from gantool.data import load
from gantool.data.pack.build import Options, pack
from gantool.data.pack.format import load_pack
from gantool.errors import GantoolError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
STYLEGAN = {f"00000/img{number:08d}.png": number % 2 for number in range(6)}


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS[number]).save(stream, "PNG")
    return stream.getvalue()


def archive(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def stylegan(path: Path, **described: object) -> Path:
    files = {name: png(number) for number, name in enumerate(STYLEGAN)}
    labels = {"labels": [[name, label] for name, label in STYLEGAN.items()], **described}
    return archive(path, {**files, "dataset.json": json.dumps(labels).encode()})


def class_folders(path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    files = {f"pictures/{'ab'[number % 2]}/{number}.png": png(number) for number in range(6)}
    rubbish = {"__MACOSX/pictures/a/._0.png": b"x", "pictures/.hidden.png": b"x", "pictures/notes.txt": b"x"}
    return archive(path, files | rubbish, method)


def test_stylegans_archive_has_its_labels(tmp_path: Path) -> None:
    data = load(str(stylegan(tmp_path / "sg.zip")))
    assert data.name == "sg"
    assert (data.images == PIXELS.transpose(0, 3, 1, 2)).all()
    assert data.labels is not None
    assert data.labels.tolist() == list(STYLEGAN.values())
    assert "labels are those of dataset.json: 2 classes" in data.notes
    assert load(str(stylegan(tmp_path / "plain.zip", labels=None))).labels is None


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_is_the_folder_that_is_in_it(method: int, tmp_path: Path) -> None:
    made = class_folders(tmp_path / "pictures.zip", method)
    with zipfile.ZipFile(made) as opened:
        opened.extractall(tmp_path / "there", [name for name in opened.namelist() if not name.startswith("__MACOSX")])
    zipped, folder = load(str(made)), load(str(tmp_path / "there"))
    assert zipped.fingerprint == folder.fingerprint
    assert zipped.class_names == ("a", "b")
    assert zipped.notes == folder.notes
    assert "ignored, as they are not images: 1 .txt" in zipped.notes
    small = load(str(made), 4)
    assert small.fingerprint == load(str(tmp_path / "there"), 4).fingerprint
    for source, out in ((made, "one"), (tmp_path / "there", "other")):
        pack(str(source), tmp_path / out, Options(size=4), workers=2)
    assert load_pack(tmp_path / "one").fingerprint == load_pack(tmp_path / "other").fingerprint == small.fingerprint


def test_every_command_takes_one(cli: Run, here: Path) -> None:
    made = stylegan(here / "sg.zip")
    code, out, err = cli("data", "info", made, "-o", "sheet.png", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["kind"], found["count"], found["classes"]) == ("zip", 6, [["0", 3], ["1", 3]])
    code, out, err = cli("data", "info", made)
    assert "gantool train cgan --data" in out
    tiny = ("--widths", 8, "--latent-dim", 4, "--steps", 2, "--tick", 2, "--batch-size", 4)
    code, _, err = cli("train", "mlp", "--data", made, *tiny)
    assert code == 0, err
    run = json.loads((here / "runs" / "0001-mlp-sg" / "run.json").read_text())
    assert (run["data"]["name"], run["data"]["classes"]) == ("sg", 2)
    assert cli("data", "pack", made, "-o", "packed")[0] == 0
    assert load_pack(here / "packed").labels.tolist() == list(STYLEGAN.values())  # type: ignore[union-attr]


def test_a_csv_file_may_name_the_files(tmp_path: Path) -> None:
    made = class_folders(tmp_path / "pictures.zip")
    rows = [f"pictures/{'ab'[number % 2]}/{number}.png,{'xy'[number // 3]}" for number in range(6)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    pack(str(made), tmp_path / "out", Options(labels=str(tmp_path / "labels.csv")), workers=1)
    assert load_pack(tmp_path / "out").class_names == ("x", "y")


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "C:/out.png", "a\\..\\out.png"])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    made = archive(tmp_path / "bad.zip", {"a.png": png(0), name: png(1)})
    with pytest.raises(GantoolError, match="leads out of the archive"):
        load(str(made))


def declaring(path: Path, size: int) -> Path:
    """An archive whose one entry declares another size than it has."""
    content = bytearray(archive(path, {"a.png": png(0)}, zipfile.ZIP_DEFLATED).read_bytes())
    central = content.index(b"PK\x01\x02")
    content[22:26] = content[central + 24 : central + 28] = struct.pack("<I", size)
    path.write_bytes(content)
    return path


def encrypted(path: Path) -> Path:
    content = bytearray(archive(path, {"a.png": png(0)}).read_bytes())
    central = content.index(b"PK\x01\x02")
    content[6] |= 1
    content[central + 8] |= 1
    path.write_bytes(content)
    return path


def twice(path: Path) -> Path:
    archive(path, {"a.png": png(0)})
    with zipfile.ZipFile(path, "a") as made, pytest.warns(UserWarning, match="Duplicate"):
        made.writestr("a.png", png(1))
    return path


def flipped(path: Path) -> Path:
    content = bytearray(archive(path, {"a.png": png(0)}).read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(archive(path, {"a.png": png(0)}).read_bytes()[:-30])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: declaring(path, 2**29), "536,870,912 bytes, more than its .* can hold"),
        (lambda path: archive(path, {"a.png": png(0)}, zipfile.ZIP_LZMA), "more than its .* can hold"),
        (twice, "holds 'a.png' twice"),
        (encrypted, "encrypted"),
        (flipped, "Bad CRC-32"),
        (cut, "no zip archive"),
        (lambda path: archive(path, {"a.npz": b"x"}), r"holds no images.* \(ignored, as they are not images: 1 \.npz"),
        (lambda path: archive(path, {"a.png": b"broken"}), "can't be decoded"),
        (lambda path: archive(path, {"a.png": png(0), "dataset.json": b"{"}), "does not hold valid JSON"),
        (
            lambda path: archive(path, {"a.png": png(0), "dataset.json": b'{"labels": [["b.png", 1]]}'}),
            "has no label of 'a.png'",
        ),
    ],
    ids=["bomb", "method", "twice", "encrypted", "flipped", "cut", "no images", "no picture", "no JSON", "no label"],
)
def test_damaged_and_hostile_archives_are_errors(make, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GantoolError, match=message):
        load(str(make(tmp_path / "bad.zip")))


def test_a_broken_entry_costs_itself_only(tmp_path: Path) -> None:
    made = archive(tmp_path / "some.zip", {"a.png": png(0), "b.png": b"broken", "c.png": png(2)})
    done = pack(str(made), tmp_path / "out", Options(skip_broken=True), workers=1)
    assert (done.description.count, done.description.broken) == (2, 1)
