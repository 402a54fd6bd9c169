"""Data from an .npz file: `images`, `labels`, and any other arrays of as many rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gantool.data.dataset import Dataset, as_labels, check_bytes
from gantool.data.images import as_float32, as_images, check_images, resize, sides_of
from gantool.data.readers.npy import DAMAGE, read_member
from gantool.errors import GantoolError, cause
from gantool.system.archives import open_zip


def load_npz(path: Path, size: int | None = None) -> Dataset:
    """The data set in `path`.

    - `images` (N,H,W), (N,H,W,C) or (N,C,H,W), C 1 or 3: uint8, or floats in [-1, 1], or in [0, 1], which
      are scaled to [-1, 1].
    - `labels`, optional: integers (N,) from 0.
    - Any other array of N rows is kept: uint8 and floats that have the images' sides are paired images, and are
      treated as `images` are; other integers stay as they are, other floats become float32. Arrays of another length
      or without numbers are left out, and a note says so.

    With `size` the images are centre-cropped and resized to it. GantoolError when the file is damaged, or has no such
    arrays.
    """
    arrays: dict[str, np.ndarray] = {}
    notes: list[str] = []

    def images_of(array: np.ndarray, name: str) -> np.ndarray:
        check_images(array.shape, array.dtype, _where(path, name))
        images, note = as_images(array, _where(path, name))
        if note:
            notes.append(f"`{name}`: {note}")
        return resize(images, size, _where(path, name))

    with _damage(path):
        archive = open_zip(path)
    with archive:
        entries = archive.infolist()
        check_bytes(sum(entry.file_size for entry in entries), f"{path}: what it declares")
        members = {entry.filename[:-4]: entry for entry in entries if entry.filename.endswith(".npy")}
        if "images" not in members:
            raise GantoolError(
                f"{path} has no array named `images`; its arrays: {', '.join(sorted(members)) or 'none'}.",
                f'Save it as np.savez_compressed("{path.name}", images=…, labels=…).',
            )
        for name in sorted(members, key=lambda name: name != "images"):  # the first; the others in their order
            with _damage(path, name):
                array = read_member(archive, members[name])
            kind = array.dtype.kind
            if name == "images":
                arrays[name] = images_of(array, name)
                rows, sides = len(array), sides_of(array.shape)
            elif name == "labels":
                arrays[name] = as_labels(array, rows, _where(path, name))
            elif kind not in "iuf":
                notes.append(f"array `{name}` was ignored: dtype {array.dtype} is not numeric")
            elif array.shape[:1] != (rows,):
                notes.append(f"array `{name}` was ignored: shape {array.shape} has not {rows} rows")
            elif sides_of(array.shape) == sides and (array.dtype == np.uint8 or kind == "f"):
                arrays[name] = images_of(array, name)
            elif sides_of(array.shape) == sides and size is not None and sides != (size, size):
                raise GantoolError(
                    f"{_where(path, name)} has the images' sides but dtype {array.dtype}, which can't be resized.",
                    f"Convert it to uint8, resize it yourself, or leave out --size {size}.",
                )
            else:
                arrays[name] = as_float32(array, _where(path, name)) if kind == "f" else np.ascontiguousarray(array)
    if len(members) < len(entries):
        notes.append(f"{path.name}: {len(entries) - len(members)} entries that are no arrays were ignored")
    return Dataset(path.stem, str(path), arrays, notes=tuple(notes))


def _where(path: Path, name: str) -> str:
    return f"{path}: array `{name}`"


@contextmanager
def _damage(path: Path, name: str = "") -> Iterator[None]:
    """Turn what numpy and zipfile raise on damaged bytes into a GantoolError."""
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        raise GantoolError(f"{path} can't be read: {error.strerror}.", "Check the path and its permissions.") from error
    except DAMAGE as error:
        where = f"array `{name}`: " if name else ""
        raise GantoolError(
            f"{path} is damaged or no .npz file: {where}{cause(error)}.",
            'Save it anew with np.savez_compressed("data.npz", images=…), or download it again.',
        ) from error
