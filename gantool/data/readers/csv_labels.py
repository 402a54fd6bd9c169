"""Labels from a CSV file: a header `file,label`, then a line a file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gantool.data.checks import MAX_CLASSES
from gantool.errors import GantoolError, excerpt

COLUMNS = ("file", "label")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def read_labels(path: Path, names: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes in the CSV file `path`, and the label of each of the files `names`, int64 (N,).

    The header is `file,label`, in any order; other columns are ignored. A file is named relative to the folder of
    images, with `/` between folders. Class names are sorted, by value when all are integers. GantoolError with the
    line for what is missing, unknown, twice there or empty.
    """
    row_of = {name: row for row, name in enumerate(names)}
    class_of: dict[str, int] = {}
    labels = np.full(len(names), -1, np.int64)
    lines = np.zeros(len(names), np.int64)
    for line, file, label in _rows(path):
        row = row_of.get(file.removeprefix("./"))
        if row is None:
            raise GantoolError(
                f"{path}, line {line}: there is no image {excerpt(file)!r}.",
                f"Name it relative to the folder of images, as {excerpt(names[0])!r} is, or take the line out.",
            )
        if lines[row]:
            raise GantoolError(
                f"{path}, line {line}: {excerpt(file)!r} has a label already, in line {lines[row]}.",
                "Take one of the two lines out.",
            )
        if not label:
            raise GantoolError(f"{path}, line {line}: {excerpt(file)!r} has an empty label.", "Write its class there.")
        lines[row] = line
        labels[row] = class_of.setdefault(label, len(class_of))
        if len(class_of) > MAX_CLASSES:
            raise GantoolError(
                f"{path} has more than {MAX_CLASSES:,} different labels, the last in line {line}.",
                "Give the column that holds the class, not an identifier, the name `label`.",
            )
    if not lines.any():
        raise GantoolError(f"{path} has no line after its header.", f"Write a line a file: {excerpt(names[0])},cat")
    missing = np.flatnonzero(lines == 0)
    if len(missing):
        more = f" and of {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise GantoolError(
            f"{path} has no label of {excerpt(names[int(missing[0])])!r}{more}.",
            "Add a line for each image, or move those without one out of the folder.",
        )
    order = _sorted(class_of)
    rank = np.empty(len(order), np.int64)
    rank[[class_of[name] for name in order]] = np.arange(len(order))
    return tuple(order), rank[labels]


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, file and label of each line."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
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


def _sorted(names: dict[str, int]) -> list[str]:
    if all(_INTEGER.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)
