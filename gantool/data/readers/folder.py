"""Data from a folder of images, sub-folders included; first-level sub-folders are classes."""

from __future__ import annotations

import os
import shlex
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np

from gantool.data.checks import check_bytes, check_sides
from gantool.data.dataset import Dataset
from gantool.data.decode import BrokenImage, Preparation, decode, is_grey
from gantool.errors import GantoolError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MANY_FILES, MANY_BYTES = 20_000, 10**9  # from here on a note says that a pack starts faster
_KINDS = "png, jpg, webp, bmp, gif or tif"


def load_folder(path: Path, size: int | None = None) -> Dataset:
    """The images under `path` in the order of their names, uint8 (N, C, H, W).

    C is 1 when all files are greyscale, else 3. When every image lies in a sub-folder and there are two or
    more of those, they are the classes. Hidden files are skipped; links to files are followed, links to
    folders are not. Without `size` all images must have the same sides; with it each is centre-cropped and
    resized. GantoolError for a folder without images, images that can't be decoded, and sides that differ.
    """
    names, notes = find_images(path)
    files = [path / name for name in names]
    try:
        greys = [is_grey(file) for file in files]  # of all files: a broken header shows before the slow part
        arrays = {"images": _decode_all(files, Preparation("L" if all(greys) else "RGB", size), path)}
    except BrokenImage as error:
        more = f"`gantool data info {shlex.quote(str(path))}` lists all that are broken."
        raise GantoolError(error.message, f"{error.hint} {more}") from error
    class_names, labels = classes_of(names)
    if class_names:
        arrays["labels"] = labels
        notes.append(class_note(class_names))
    if len(files) > MANY_FILES or arrays["images"].nbytes > MANY_BYTES:
        command = f"gantool data pack {shlex.quote(str(path))} -o pack" + (f" --size {size}" if size else "")
        notes.append(
            f"{len(files):,} files are decoded at every start; `{command}` does it once, then give `--data pack`"
        )
    return Dataset(path.resolve().name or "images", str(path), arrays, class_names, notes=tuple(notes))


def find_images(path: Path) -> tuple[list[str], list[str]]:
    """The image files under `path`, sorted, and notes on what else lies there.

    Names are relative to `path`, with `/` between folders; a million of them take about 150 MB. GantoolError when
    there are none.
    """
    names: list[str] = []
    others = links = 0
    for folder, folders, entries in os.walk(path, onerror=_unreadable):
        here = Path(folder)
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += sum(os.path.islink(here / name) for name in folders)  # noqa: PTH114 — never raises, as Path's does
        inside = "" if here == path else here.relative_to(path).as_posix() + "/"
        for entry in entries:
            if entry.startswith("."):
                continue
            if os.path.splitext(entry)[1].lower() in SUFFIXES and not _special(here / entry):  # noqa: PTH122 — fast
                names.append(inside + entry)
            else:
                others += 1
    notes = []
    if others:
        notes.append(f"{others} {'file that is' if others == 1 else 'files that are'} no image ignored")
    if links:
        notes.append(f"{links} linked {'folder' if links == 1 else 'folders'} not followed")
    if not names:
        aside = f" ({'; '.join(notes)})" if notes else ""
        raise GantoolError(f"{path} holds no images{aside}.", f"Give a folder that holds {_KINDS} files, at any depth.")
    names.sort(key=lambda name: name.replace("/", "\0"))  # as the parts of the names sort, without a list of each
    return names, notes


def _special(entry: Path) -> bool:
    """Whether `entry` is a pipe or a device, which would block. What can't be looked at is none: decoding says why."""
    try:
        return not stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return False


def _decode_all(files: list[Path], how: Preparation, path: Path) -> np.ndarray:
    first = decode(files[0], how)
    check_sides(first.shape[1], first.shape[2], str(files[0]))
    check_bytes(
        first.nbytes * len(files),
        f"{path}: {len(files):,} images of {first.shape[2]}×{first.shape[1]} pixels",
    )
    images = np.empty((len(files), *first.shape), np.uint8)

    def fill(row: int) -> None:
        image = decode(files[row], how)
        if image.shape != first.shape:
            raise SizesDiffer((files[0], first.shape), (files[row], image.shape))
        images[row] = image

    threads = min(8, os.cpu_count() or 1)  # of use, because Pillow decodes without the interpreter's lock
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(len(files))):  # raises the first file's error and cancels the rest
            pass
    return images


class SizesDiffer(GantoolError):
    """Two files of shapes (C, H, W) that differ, where one size is needed."""

    def __init__(self, one: tuple[Path, tuple[int, ...]], other: tuple[Path, tuple[int, ...]]) -> None:
        sizes = ", ".join(f"{path} is {shape[2]}×{shape[1]}" for path, shape in (one, other))
        super().__init__(
            f"The images differ in size: {sizes}.", "Add --size N (64, say) to crop and resize them all to N×N."
        )


def classes_of(names: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes of files named relative to their folder, and the label of each, int64 (N,).

    They are the first-level sub-folders, when there are two or more and no file lies outside them; else none.
    """
    folders = {name.partition("/")[0] if "/" in name else "" for name in names}
    if len(folders) < 2 or "" in folders:
        return (), np.empty(0, np.int64)
    class_names = tuple(sorted(folders))
    number = {name: label for label, name in enumerate(class_names)}
    labels = (number[name.partition("/")[0]] for name in names)
    return class_names, np.fromiter(labels, np.int64, len(names))


def class_note(names: tuple[str, ...]) -> str:
    return f"labels are the {len(names)} sub-folders: {_listed(names)}"


def _listed(names: tuple[str, ...], most: int = 10) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _unreadable(error: OSError) -> NoReturn:
    raise GantoolError(
        f"{error.filename} can't be read: {error.strerror}.",
        "Check its permissions, or move it out of the folder.",
    ) from error
