"""Fit a table to a width: cells break between words, and columns for which there is no room go below. No libraries."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

GAP = "  "
NARROW = 16  # characters that a column of running text gets at least, while there is room
LONG = 24  # a longer word, such as a path, may break after a slash, a comma or a semicolon
LEAST = 8  # characters of a column whose words are cut, because nothing else fits

Cells = Callable[[str], int]  # how many places a text takes on the screen


def fit(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    right: Sequence[int] = (),
    cells: Cells = len,
) -> list[list[str]]:
    """Tables as lines, the headings first: one, or several below each other that all begin with the first column.

    `width`: of a line, in places; None: unlimited. `right`: columns that are aligned right, and never break.
    """
    across = range(len(columns))
    natural = [max(cells(line) for row in (columns, *rows) for line in row[i].split("\n")) for i in across]
    words = [max(cells(piece.rstrip()) for row in (columns, *rows) for piece in _pieces(row[i])) for i in across]
    least = [natural[i] if i in right else min(natural[i], max(words[i], NARROW)) for i in across]
    limit = sum(natural) + len(GAP) * len(columns) if width is None else width
    return [
        _table(
            [[row[i] for i in group] for row in (columns, *rows)],
            widths,
            {group.index(i) for i in group if i in right},
            cells,
        )
        for group in _groups(least, limit)
        for widths in [_widths([natural[i] for i in group], [least[i] for i in group], limit)]
    ]


def _groups(least: Sequence[int], width: int) -> list[list[int]]:
    """The columns of each table: as many as fit, two at least."""
    groups = [[0]]
    for i in range(1, len(least)):
        needed = sum(least[j] for j in groups[-1]) + least[i] + len(GAP) * len(groups[-1])
        if needed > width and len(groups[-1]) > 1:
            groups.append([0])
        groups[-1].append(i)
    return groups


def _widths(natural: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """The widest columns give way, first down to their longest words, then below."""
    widths = list(natural)
    for floor in (least, [min(each, LEAST) for each in least]):
        while sum(widths) + len(GAP) * (len(widths) - 1) > width:
            able = [i for i, each in enumerate(widths) if each > floor[i]]
            if not able:
                break
            widths[max(able, key=widths.__getitem__)] -= 1
    return widths


def _table(rows: Sequence[Sequence[str]], widths: Sequence[int], right: set[int], cells: Cells) -> list[str]:
    lines = []
    for row in rows:
        broken = [_wrap(text, widths[i], cells) for i, text in enumerate(row)]
        for parts in itertools.zip_longest(*broken, fillvalue=""):
            padded = []
            for i, part in enumerate(parts):
                space = " " * (widths[i] - cells(part))
                padded.append(space + part if i in right else part + space)
            lines.append(GAP.join(padded).rstrip())
    return lines


def _pieces(text: str) -> list[str]:
    """What is kept together: words, and alternatives such as `relu|leaky_relu`; long words in parts."""
    pieces = re.split(r"(?<=[\s|])(?=\S)", text)
    return [part for piece in pieces for part in (re.split(r"(?<=[/,;])", piece) if len(piece) > LONG else [piece])]


def _wrap(text: str, width: int, cells: Cells) -> list[str]:
    """The lines of a cell."""
    lines = []
    for whole in text.split("\n"):
        line = ""
        for piece in _pieces(whole):
            if line and cells((line + piece).rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            line += piece
            while cells(line.rstrip()) > width:  # one long word
                end = next((end for end in range(width, 1, -1) if cells(line[:end]) <= width), 1)
                lines.append(line[:end])
                line = line[end:]
        lines.append(line.rstrip())
    return lines
