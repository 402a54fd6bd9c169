"""Labels of files: from their sub-folders, a CSV file, or StyleGAN's dataset.json."""

from __future__ import annotations

import csv
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gantool.data.dataset import MAX_CLASSES
from gantool.data.readers.archive import is_archive, read_entry
from gantool.errors import GantoolError, excerpt
from gantool.system.files import parse_json, read_bounded

COLUMNS = ("file", "label")
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
DATASET_JSON = "dataset.json"  # of StyleGAN's dataset tool
MAX_DATASET_JSON = 2**30  # bytes
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class Labels:
    """The label of each file, int64 (N,), or None. `origin`: folders, none, or the name of the file they come from."""

    class_names: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    origin: str = "none"
    notes: tuple[str, ...] = ()


def find_labels(path: Path, names: Sequence[str], given: str | None = None) -> Labels:
    """The labels of the files `names` in the folder or zip archive `path`.

    `given`: folders, none or a CSV file; None: those of dataset.json, else folders, when there are any. GantoolError
    for folders that are no classes, and a file that does not fit.
    """
    if given == "none":
        return Labels()
    if given not in (None, "folders"):
        return Labels(*read_labels(Path(given), names), Path(given).name)
    if given is None and (content := _dataset_json(path)) is not None:
        return _labels_of_json(path / DATASET_JSON, content, names)
    found = _labels_of_folders(names)
    if given and found.labels is None:
        why = found.notes[-1] if found.notes else "there are fewer than two sub-folders with files"
        raise GantoolError(
            f"{path} has no classes: {why}.",
            "Put every file into a sub-folder named after its class, or give --labels none or a CSV file.",
        )
    return found


def _labels_of_folders(names: Sequence[str]) -> Labels:
    """The first level with two or more sub-folders holds the classes, unless files lie beside them.

    Splits (train, val …) are passed over, too: then the classes are the sub-folders of all of them.
    """
    depth, notes = 0, []
    while True:
        folders = {_folder_of(name, depth) for name in names}
        if None in folders:
            if len(folders) > 1:
                outside = [name for name in names if _folder_of(name, depth) is None]
                more = f" and {len(outside) - 1:,} more lie" if len(outside) > 1 else " lies"
                notes.append(f"no labels, as {excerpt(outside[0])!r}{more} beside the sub-folders")
            return Labels(notes=tuple(notes))
        classes = sorted_classes({folder for folder in folders if folder is not None})
        splits = len(classes) > 1 and SPLITS.issuperset(each.lower() for each in classes)
        if len(classes) > 1 and not splits:
            break
        if splits:
            notes.append(f"{', '.join(classes)} are taken together; give one of these folders to train on it alone")
        depth += 1
    number = {name: label for label, name in enumerate(classes)}
    labels = np.fromiter((number[_folder_of(name, depth) or ""] for name in names), np.int64, len(names))
    return Labels(
        classes, labels, "folders", (f"labels are the {len(classes)} sub-folders: {_listed(classes)}", *notes)
    )


def _folder_of(name: str, depth: int) -> str | None:
    """The sub-folder at `depth` in which a file lies; None for a file beside the sub-folders."""
    parts = name.split("/", depth + 1)
    return parts[depth] if len(parts) > depth + 1 else None


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(map(excerpt, names[:most])) + (", …" if len(names) > most else "")


def _dataset_json(path: Path) -> bytes | None:
    """What is in the dataset.json of the folder or zip archive `path`, when it has one."""
    file = path / DATASET_JSON
    if is_archive(path):
        try:
            return read_entry(path, DATASET_JSON, MAX_DATASET_JSON)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise GantoolError(f"{file} can't be read: {error}.", "Pack the archive anew, or get it again.") from error
    return read_bounded(file, MAX_DATASET_JSON) if os.path.isfile(file) else None  # noqa: PTH113 — never raises


def _labels_of_json(file: Path, content: bytes, names: Sequence[str]) -> Labels:
    """The labels in a dataset.json of StyleGAN: {"labels": [["00000/img0.png", 3], …]}; null for none."""
    value = parse_json(content, file)
    listed = value.get("labels") if isinstance(value, dict) else None
    if listed is None:
        return Labels()
    try:
        label_of = {_portable(str(name)): label for name, label in listed}
    except (TypeError, ValueError):
        label_of = {}
    if not label_of or not all(type(label) is int and 0 <= label < MAX_CLASSES for label in label_of.values()):
        return Labels(notes=(f"{file.name} is ignored: its labels are no class numbers",))
    wanted = [_portable(name) for name in names]
    missing = next((name for name, key in zip(names, wanted, strict=True) if key not in label_of), None)
    if missing is not None:
        raise GantoolError(
            f"{file} has no label of {excerpt(missing)!r}.",
            "Add it, or move the file or dataset.json out of the folder.",
        )
    labels = np.fromiter((label_of[key] for key in wanted), np.int64, len(names))
    classes = tuple(map(str, range(int(labels.max()) + 1)))
    return Labels(classes, labels, file.name, (f"labels are those of {file.name}: {len(classes)} classes",))


def read_labels(path: Path, names: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes in the CSV file `path`, and the label of each of the files `names`, int64 (N,).

    The header is `file,label`, in any order and case; other columns are ignored. Columns are separated by commas,
    semicolons or tabs. A file is named relative to the folder, with `/` or `\\` between folders, in any
    Unicode normalization. Class names are sorted, by value when all
    are integers. GantoolError with the line for a file that is unknown or named twice, and a label that is empty; and
    for a file that is missing.
    """
    label_of = dict.fromkeys(names, "")
    portable: dict[str, str] = {}
    for line, file, label in _rows(path):
        name = file.removeprefix("./")
        if name not in label_of:
            portable = portable or {_portable(each): each for each in names}
            name = portable.get(_portable(file), "")
        if not name:
            raise GantoolError(
                f"{path}, line {line}: there is no file {excerpt(file)!r}.",
                f"Name it relative to the folder, as {excerpt(names[0])!r} is, or take the line out.",
            )
        if label_of[name]:
            raise GantoolError(
                f"{path}, line {line}: {excerpt(file)!r} has a label already.", "Take one of the two lines out."
            )
        if not label:
            raise GantoolError(f"{path}, line {line}: {excerpt(file)!r} has an empty label.", "Write its class there.")
        label_of[name] = sys.intern(label)
    missing = [name for name in names if not label_of[name]]
    if missing:
        raise GantoolError(
            f"{path} has no label of {excerpt(missing[0])!r} ({len(missing):,} of {len(names):,} files lack one).",
            "Write a line for each file, or move those without one out of the folder.",
        )
    classes = sorted_classes(set(label_of.values()))
    if len(classes) > MAX_CLASSES:
        raise GantoolError(
            f"{path} has {len(classes):,} different labels; the most is {MAX_CLASSES:,}.",
            "Give the column that holds the class, not an identifier, the name `label`.",
        )
    number = {name: label for label, name in enumerate(classes)}
    return classes, np.fromiter((number[label_of[name]] for name in names), np.int64, len(names))


def _portable(name: str) -> str:
    """One spelling of a file's name: systems disagree on how to write é, and on `/` between folders."""
    return unicodedata.normalize("NFC", name.replace("\\", "/")).removeprefix("./")


def sorted_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in order: by value when all are integers, else as text."""
    names = list(names)
    if all(_INTEGER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, file and label of each line."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            start = stream.readline(2**16)
            stream.seek(0)
            reader = csv.reader(stream, delimiter=max(",;\t", key=start.count), strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            if not header:
                raise GantoolError(f"{path} is empty.", "Write the header file,label and then a line a file.")
            if any(header.count(name) != 1 for name in COLUMNS):
                raise GantoolError(
                    f"{path}, line 1: the columns are {excerpt(','.join(header))}.",
                    "The header has to name `file` and `label`, once each: file,label",
                )
            file, label = (header.index(name) for name in COLUMNS)
            for cells in reader:
                line = reader.line_num
                if not cells:  # an empty line
                    continue
                if len(cells) != len(header):
                    raise GantoolError(
                        f"{path}, line {line}: {len(cells)} columns, where the header has {len(header)}.",
                        'Write as many; a name that holds a comma goes between quotes: "a,b.png",cat',
                    )
                yield line, cells[file], cells[label].strip()
    except UnicodeDecodeError as error:
        raise GantoolError(f"{path} is no UTF-8 text: {error.reason}.", "Save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise GantoolError(f"{path}, after line {line}: {error}.", "Save it anew as CSV.") from error
    except OSError as error:
        raise GantoolError(
            f"{path} can't be read: {error.strerror or error}.", "Give --labels folders, none, or a CSV file."
        ) from error
