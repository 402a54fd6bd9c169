"""Data from a folder of images, sounds or volumes, sub-folders included, or from a zip archive of one."""

from __future__ import annotations

import os
import shlex
import stat
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from gantool.data.dataset import Dataset, check_bytes
from gantool.data.image_files import Half, Preparation
from gantool.data.kinds import KINDS, Kind, kind_of, kind_of_shape
from gantool.data.readers.archive import file_names, is_archive
from gantool.data.readers.labels import DATASET_JSON, find_labels
from gantool.data.sounds import check_rate
from gantool.data.source_files import BrokenFile
from gantool.errors import ArgumentError, GantoolError, excerpt
from gantool.system.machine import usable_cores

T = TypeVar("T")
SHOWN = 5  # broken files that a note names
MANY_FILES, MANY_BYTES = 20_000, 10**9  # from here on a note recommends a pack


def load_folder(
    path: Path,
    size: int | None = None,
    skip_broken: bool | Broken = False,
    *,
    rate: int | None = None,
    names: list[str] | None = None,
    half: Half = "",
) -> Dataset:
    """The samples under `path`, a folder or a zip archive, in the order of their names.

    Images are uint8 (N, C, H, W), and C is 1 when all files are greyscale, else 3. Sounds are int16 (N, C, T), of
    `rate` samples a second, and C is 2 when all are stereo, else 1; volumes are uint8 (N, C, D, H, W). Labels are those
    of `find_labels`. Hidden files are skipped; links to files are followed, links to folders are not. Without
    `size` all images, or volumes, must have the same sides. GantoolError for a folder without samples, files that can't
    be decoded (unless `skip_broken`: then a note names them), and sides that differ. `names`: the files, in order;
    None: all. `half`: only that half of each picture.
    """
    kind, found, notes = find_files(path)
    names = names or found
    files = [path / name for name in names]
    broken = skip_broken if isinstance(skip_broken, Broken) else Broken(skip_broken)
    asked = Preparation(size, rate, half=half)
    check_rate_of(kind, rate)
    try:
        with kind.decoding():
            # of all files: a broken one shows before the slow part
            peeked = [broken.sound(partial(kind.peek, file, asked), row) for row, file in enumerate(files)]
            how = kind.settle(peeked, asked)
            arrays = {"images": _decode_all(kind, files, how, path, broken)}
    except BrokenFile as error:
        more = f"`gantool data info {shlex.quote(str(path))}` lists all that are broken."
        raise GantoolError(error.message, f"{error.hint} {more}") from error
    labelled = find_labels(path, names)
    if labelled.labels is not None:
        arrays["labels"] = np.delete(labelled.labels, broken.rows)
    if broken.rows:
        shown = [*(excerpt(names[row]) for row in broken.rows[:SHOWN]), *(["…"] if len(broken.rows) > SHOWN else [])]
        count = f"{len(broken.rows):,} of {len(files):,}"
        notes.append(f"{count} files can't be decoded and are left out: {', '.join(shown)}")
    notes += [*labelled.notes, *kind.notes(arrays["images"])]
    if len(files) > MANY_FILES or arrays["images"].nbytes > MANY_BYTES:
        options = (f" --size {size}" if size else "") + (f" --rate {rate}" if rate else "")
        command = f"gantool data pack {shlex.quote(str(path))} -o pack{options}"
        notes.append(
            f"{len(files):,} files are decoded at every start; `{command}` does it once, then give `--data pack`"
        )
    return Dataset(name_of(path), str(path), arrays, labelled.class_names, notes=tuple(notes), rate=how.rate or 0)


def check_rate_of(kind: Kind, rate: int | None) -> None:
    """GantoolError for a rate that is none, or of samples that have none."""
    if rate is None:
        return
    if kind.name != "audio":
        raise ArgumentError(f"--rate {rate} is for sounds, and the data is {kind.plural}.", "Leave --rate out.")
    check_rate(rate)


def name_of(path: Path) -> str:
    """What the data in the folder or archive `path` is called."""
    return (path.stem if is_archive(path) else path.resolve().name) or "images"


def find_files(path: Path) -> tuple[Kind, list[str], list[str]]:
    """What the files under `path`, a folder or a zip archive, are; their names, sorted; notes on what else lies there.

    Most of the files decide whether they are images, sounds or volumes; the others are ignored, with a note. Names are
    relative to `path`, with `/` between folders; a million of them take about 150 MB. GantoolError when there are none.
    """
    listed = _listed_in_archive(path) if is_archive(path) else _listed_in_folder(path)
    kind = max(KINDS.values(), key=lambda kind: len(listed.names[kind.name]))  # the first of equal ones: images
    names = listed.names[kind.name]
    for name, others in listed.names.items():
        if name != kind.name:
            listed.others.update(_suffix(each) for each in others)
    notes = []
    if listed.others:
        kinds = ", ".join(
            f"{count} {suffix}" for suffix, count in sorted(listed.others.items(), key=lambda item: (-item[1], item[0]))
        )
        notes.append(f"ignored, as they are not {kind.plural}: {excerpt(kinds)}")
    if listed.links:
        notes.append(f"linked folders not followed: {listed.links}")
    if not names:
        aside = f" ({'; '.join(notes)})" if notes else ""
        raise GantoolError(
            f"{path} holds no images, sounds or volumes{aside}.",
            f"Give a folder or a zip archive that holds {', or '.join(each.examples for each in KINDS.values())}, "
            "at any depth.",
        )
    names.sort(key=lambda name: name.replace("/", "\0"))  # the order of the names' parts, without a list of each
    return kind, names, notes


class _Listed:
    """The names of files by their kind, how many others there are of each suffix, and how many linked folders."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {kind: [] for kind in KINDS}
        self.others: Counter[str] = Counter()
        self.links = 0


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 — fast


def _listed_in_archive(path: Path) -> _Listed:
    found = _Listed()
    for name in file_names(path):
        parts = name.split("/")
        if any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX":
            continue
        suffix = _suffix(parts[-1])
        if kind := kind_of(suffix):
            found.names[kind].append(name)
        elif name != DATASET_JSON:
            found.others[suffix or "without a suffix"] += 1
    return found


def _listed_in_folder(path: Path) -> _Listed:
    found = _Listed()
    for folder, folders, entries in os.walk(path, onerror=_unreadable):
        here = Path(folder)
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.links += sum(os.path.islink(here / name) for name in folders)  # noqa: PTH114 — never raises, as Path's does
        inside = "" if here == path else here.relative_to(path).as_posix() + "/"
        for entry in entries:
            if entry.startswith("."):
                continue
            suffix = _suffix(entry)
            kind = kind_of(suffix)
            if kind and not _special(here / entry):
                found.names[kind].append(inside + entry)
            elif inside + entry != DATASET_JSON:
                found.others["pipe or device" if kind else suffix or "without a suffix"] += 1
    return found


def _special(entry: Path) -> bool:
    """Whether `entry` is a pipe or a device, whose reading would block. An entry without access is not: decoding
    reports it."""
    try:
        return not stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return False


def _unreadable(error: OSError) -> NoReturn:
    raise GantoolError(
        f"{error.filename} can't be read: {error.strerror}.",
        "Check its permissions, or move it out of the folder.",
    ) from error


class Broken:
    """The rows of the files that can't be decoded, when they are to be skipped; otherwise the first one raises."""

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self._rows: set[int] = set()

    @property
    def rows(self) -> list[int]:
        return sorted(self._rows)

    def sound(self, read: Callable[[], T], row: int) -> T | None:
        """What `read` gives for the file of this row, or None for a broken one."""
        if row in self._rows:
            return None
        try:
            return read()
        except BrokenFile:
            if not self.skip:
                raise
            self._rows.add(row)
            return None


def _decode_all(kind: Kind, files: list[Path], how: Preparation, path: Path, broken: Broken) -> np.ndarray:
    def decoded(row: int) -> np.ndarray | None:
        return broken.sound(partial(kind.decode, files[row], how), row)

    sound = ((row, sample) for row in range(len(files)) if (sample := decoded(row)) is not None)
    start, first = next(sound, (0, None))
    if first is None:
        raise GantoolError(
            f"None of the {len(files):,} files in {path} can be decoded.",
            f"Type: gantool data info {shlex.quote(str(path))}",
        )
    kind.check_row(first.shape, str(files[start]))
    check_bytes(first.nbytes * len(files), f"{path}: {len(files):,} {kind.plural} of {sides_text(first.shape)}")
    samples = np.empty((len(files), *first.shape), kind.dtype)

    def fill(row: int) -> None:
        sample = decoded(row)
        if sample is None:
            return
        if sample.shape != first.shape:
            raise SizesDiffer((files[start], first.shape), (files[row], sample.shape))
        samples[row] = sample

    threads = min(8, usable_cores())  # Pillow and libsndfile decode without the interpreter's lock
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(len(files))):  # raises the first file's error and cancels the rest
            pass
    return np.delete(samples, broken.rows, axis=0) if broken.rows else samples


def sides_text(shape: tuple[int, ...]) -> str:
    """The sides of a sample (C, …) in words: of an image width×height, in pixels."""
    kind = kind_of_shape((1, *shape))
    sides = "×".join(map(str, shape[:0:-1] if kind.name == "image" else shape[1:]))
    return f"{sides} {kind.unit}"


class SizesDiffer(GantoolError):
    """Two files of different shapes (C, …), where one size is needed."""

    def __init__(self, one: tuple[Path, tuple[int, ...]], other: tuple[Path, tuple[int, ...]]) -> None:
        kind = kind_of_shape((1, *one[1]))
        sizes = ", ".join(f"{path} is {sides_text(shape).partition(' ')[0]}" for path, shape in (one, other))
        message = f"The {kind.plural} differ in size: {sizes}."
        hint = f"Add --size N ({kind.usual}, say) to {kind.resizing}."
        if one[1][0] != other[1][0]:
            counts = ", ".join(f"{path} has {shape[0]}" for path, shape in (one, other))
            message, hint = f"The {kind.plural} differ in channels: {counts}.", "Give all of them the same number."
        super().__init__(message, hint)
