"""Data from a folder of image files, sub-folders included, or from a zip archive of one."""

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

from gantool.artifact.upright import Mode
from gantool.data.dataset import Dataset, check_bytes, check_sides
from gantool.data.image_files import SUFFIXES, BrokenImage, Half, Preparation, decode, is_grey, strict_decoding
from gantool.data.images import darkness
from gantool.data.readers.archive import file_names, is_archive
from gantool.data.readers.labels import DATASET_JSON, find_labels
from gantool.errors import GantoolError, excerpt
from gantool.system.machine import usable_cores

T = TypeVar("T")
SHOWN = 5  # broken files that a note names
MANY_FILES, MANY_BYTES = 20_000, 10**9  # from here on a note recommends a pack


def load_folder(
    path: Path,
    size: int | None = None,
    skip_broken: bool | Broken = False,
    *,
    names: list[str] | None = None,
    half: Half = "",
) -> Dataset:
    """The images under `path`, a folder or a zip archive, in the order of their names, uint8 (N, C, H, W).

    C is 1 when all files are greyscale, else 3. Labels are those of `find_labels`. Hidden files are skipped; links to
    files are followed, links to folders are not. Without `size` all images must have the same sides; with it each is
    centre-cropped and resized. GantoolError for a folder without images, images that can't be decoded (unless
    `skip_broken`: then a note names them), and sides that differ. `names`: the files, in their order; None: all.
    `half`: only that half of each.
    """
    found, notes = find_images(path)
    names = names or found
    files = [path / name for name in names]
    broken = skip_broken if isinstance(skip_broken, Broken) else Broken(skip_broken)
    try:
        with strict_decoding():
            # of all files: a broken header shows before the slow part
            greys = [broken.sound(partial(is_grey, file), row) for row, file in enumerate(files)]
            mode: Mode = "L" if all(grey is not False for grey in greys) else "RGB"
            arrays = {"images": _decode_all(files, Preparation(mode, size, half=half), path, broken)}
    except BrokenImage as error:
        more = f"`gantool data info {shlex.quote(str(path))}` lists all that are broken."
        raise GantoolError(error.message, f"{error.hint} {more}") from error
    labelled = find_labels(path, names)
    if labelled.labels is not None:
        arrays["labels"] = np.delete(labelled.labels, broken.rows)
    if broken.rows:
        shown = [*(excerpt(names[row]) for row in broken.rows[:SHOWN]), *(["…"] if len(broken.rows) > SHOWN else [])]
        count = f"{len(broken.rows):,} of {len(files):,}"
        notes.append(f"{count} files can't be decoded and are left out: {', '.join(shown)}")
    notes += [*labelled.notes, *darkness(arrays["images"])]
    if len(files) > MANY_FILES or arrays["images"].nbytes > MANY_BYTES:
        command = f"gantool data pack {shlex.quote(str(path))} -o pack" + (f" --size {size}" if size else "")
        notes.append(
            f"{len(files):,} files are decoded at every start; `{command}` does it once, then give `--data pack`"
        )
    return Dataset(name_of(path), str(path), arrays, labelled.class_names, notes=tuple(notes))


def name_of(path: Path) -> str:
    """What the data in the folder or archive `path` is called."""
    return (path.stem if is_archive(path) else path.resolve().name) or "images"


def find_images(path: Path) -> tuple[list[str], list[str]]:
    """The image files under `path`, a folder or a zip archive, sorted, and notes on what else lies there.

    Names are relative to `path`, with `/` between folders; a million of them take about 150 MB. GantoolError when
    there are none.
    """
    if is_archive(path):
        names, others, links = _listed_in_archive(path)
    else:
        names, others, links = _listed_in_folder(path)
    notes = []
    if others:
        kinds = ", ".join(
            f"{count} {suffix}" for suffix, count in sorted(others.items(), key=lambda item: (-item[1], item[0]))
        )
        notes.append(f"ignored, as they are not images: {excerpt(kinds)}")
    if links:
        notes.append(f"linked folders not followed: {links}")
    if not names:
        aside = f" ({'; '.join(notes)})" if notes else ""
        raise GantoolError(
            f"{path} holds no images{aside}.",
            "Give a folder or a zip archive that holds PNG, JPEG, WebP, BMP, GIF, TIFF … files, at any depth.",
        )
    names.sort(key=lambda name: name.replace("/", "\0"))  # the order of the names' parts, without a list of each
    return names, notes


def _listed_in_archive(path: Path) -> tuple[list[str], Counter[str], int]:
    names: list[str] = []
    others: Counter[str] = Counter()
    for name in file_names(path):
        parts = name.split("/")
        if any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX":
            continue
        suffix = os.path.splitext(parts[-1])[1].lower()  # noqa: PTH122 — fast
        if suffix in SUFFIXES:
            names.append(name)
        elif name != DATASET_JSON:
            others[suffix or "without a suffix"] += 1
    return names, others, 0


def _listed_in_folder(path: Path) -> tuple[list[str], Counter[str], int]:
    """The images, how many other files there are of each suffix, and how many linked folders."""
    names: list[str] = []
    others: Counter[str] = Counter()
    links = 0
    for folder, folders, entries in os.walk(path, onerror=_unreadable):
        here = Path(folder)
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += sum(os.path.islink(here / name) for name in folders)  # noqa: PTH114 — never raises, as Path's does
        inside = "" if here == path else here.relative_to(path).as_posix() + "/"
        for entry in entries:
            if entry.startswith("."):
                continue
            suffix = os.path.splitext(entry)[1].lower()  # noqa: PTH122 — fast
            if suffix in SUFFIXES and not _special(here / entry):
                names.append(inside + entry)
            elif inside + entry != DATASET_JSON:
                others["pipe or device" if suffix in SUFFIXES else suffix or "without a suffix"] += 1
    return names, others, links


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
        except BrokenImage:
            if not self.skip:
                raise
            self._rows.add(row)
            return None


def _decode_all(files: list[Path], how: Preparation, path: Path, broken: Broken) -> np.ndarray:
    def decoded(row: int) -> np.ndarray | None:
        return broken.sound(partial(decode, files[row], how), row)

    sound = ((row, image) for row in range(len(files)) if (image := decoded(row)) is not None)
    start, first = next(sound, (0, None))
    if first is None:
        raise GantoolError(
            f"None of the {len(files):,} files in {path} can be decoded.",
            f"Type: gantool data info {shlex.quote(str(path))}",
        )
    check_sides(first.shape[1], first.shape[2], str(files[start]))
    check_bytes(
        first.nbytes * len(files),
        f"{path}: {len(files):,} images of {first.shape[2]}×{first.shape[1]} pixels",
    )
    images = np.empty((len(files), *first.shape), np.uint8)

    def fill(row: int) -> None:
        image = decoded(row)
        if image is None:
            return
        if image.shape != first.shape:
            raise SizesDiffer((files[start], first.shape), (files[row], image.shape))
        images[row] = image

    threads = min(8, usable_cores())  # Pillow decodes without the interpreter's lock
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(len(files))):  # raises the first file's error and cancels the rest
            pass
    return np.delete(images, broken.rows, axis=0) if broken.rows else images


class SizesDiffer(GantoolError):
    """Two files of different shapes (C, H, W), where one size is needed."""

    def __init__(self, one: tuple[Path, tuple[int, ...]], other: tuple[Path, tuple[int, ...]]) -> None:
        sizes = ", ".join(f"{path} is {shape[2]}×{shape[1]}" for path, shape in (one, other))
        super().__init__(
            f"The images differ in size: {sizes}.", "Add --size N (64, say) to crop and resize them all to N×N."
        )
