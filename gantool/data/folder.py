"""Data from a folder of images, sub-folders included; first-level sub-folders are classes."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np

from gantool.data.checks import check_bytes, check_sides
from gantool.data.dataset import Dataset
from gantool.data.decode import decode, is_grey
from gantool.errors import GantoolError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_KINDS = "png, jpg, webp, bmp, gif or tif"


def load_folder(path: Path, size: int | None = None) -> Dataset:
    """The images under `path` in the order of their names, uint8 (N, C, H, W).

    C is 1 when all files are greyscale, else 3. When every image lies in a sub-folder and there are two or
    more of those, they are the classes. Hidden files are skipped; links to files are followed, links to
    folders are not. Without `size` all images must have the same sides; with it each is centre-cropped and
    resized. GantoolError for a folder without images, images that can't be decoded, and sides that differ.
    """
    files, notes = find_images(path)
    if not files:
        inside = f" ({'; '.join(notes)})" if notes else ""
        raise GantoolError(
            f"{path} holds no images{inside}.", f"Give a folder that holds {_KINDS} files, at any depth."
        )
    greys = [is_grey(file) for file in files]  # of all files: a broken header shows before the slow part
    arrays = {"images": _decode_all(files, "L" if all(greys) else "RGB", size, path)}
    class_names, labels = _classes(files, path)
    if class_names:
        arrays["labels"] = labels
        notes.append(f"labels are the {len(class_names)} sub-folders: {_listed(class_names)}")
    return Dataset(path.resolve().name or "images", str(path), arrays, class_names, notes=tuple(notes))


def find_images(path: Path) -> tuple[list[Path], list[str]]:
    """The image files under `path`, sorted, and notes on what else lies there."""
    files: list[Path] = []
    others = links = 0
    for folder, names, entries in os.walk(path, onerror=_unreadable):
        here = Path(folder)
        names[:] = [name for name in names if not name.startswith(".")]
        links += sum(os.path.islink(here / name) for name in names)  # noqa: PTH114 — never raises, as Path's does
        for entry in (here / name for name in entries if not name.startswith(".")):
            if entry.suffix.lower() in SUFFIXES and not _special(entry):
                files.append(entry)
            else:
                others += 1
    notes = []
    if others:
        notes.append(f"{others} {'file that is' if others == 1 else 'files that are'} no image ignored")
    if links:
        notes.append(f"{links} linked {'folder' if links == 1 else 'folders'} not followed")
    return sorted(files, key=lambda file: file.relative_to(path).parts), notes


def _special(entry: Path) -> bool:
    """Whether `entry` is a pipe or a device, which would block. What can't be looked at is none: decoding says why."""
    try:
        return not stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return False


def _decode_all(files: list[Path], mode: str, size: int | None, path: Path) -> np.ndarray:
    first = decode(files[0], mode, size)
    check_sides(first.shape[1], first.shape[2], str(files[0]))
    check_bytes(
        first.nbytes * len(files),
        f"{path}: {len(files):,} images of {first.shape[2]}×{first.shape[1]} pixels",
    )
    images = np.empty((len(files), *first.shape), np.uint8)

    def fill(row: int) -> None:
        image = decode(files[row], mode, size)
        if image.shape != first.shape:
            raise GantoolError(
                f"The images differ in size: {files[0]} is {_pixels(first)}, {files[row]} is {_pixels(image)}.",
                "Add --size N (64, say) to crop and resize them all to N×N.",
            )
        images[row] = image

    threads = min(8, os.cpu_count() or 1)  # of use, because Pillow decodes without the interpreter's lock
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(len(files))):  # raises the first file's error and cancels the rest
            pass
    return images


def _classes(files: list[Path], path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    parts = [file.relative_to(path).parts for file in files]
    names = sorted({each[0] for each in parts})
    if len(names) < 2 or any(len(each) == 1 for each in parts):
        return (), np.empty(0, np.int64)
    number = {name: label for label, name in enumerate(names)}
    return tuple(names), np.array([number[each[0]] for each in parts], np.int64)


def _pixels(image: np.ndarray) -> str:
    return f"{image.shape[2]}×{image.shape[1]}"


def _listed(names: tuple[str, ...], most: int = 10) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _unreadable(error: OSError) -> NoReturn:
    raise GantoolError(
        f"{error.filename} can't be read: {error.strerror}.",
        "Check its permissions, or move it out of the folder.",
    ) from error
