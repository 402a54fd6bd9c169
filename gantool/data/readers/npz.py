"""Data from an .npz file: `images`, `sounds` or `volumes`, `labels`, and any other arrays of as many rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gantool.data.dataset import Dataset, as_labels, check_bytes
from gantool.data.images import as_float32, as_images, check_images, resize, sides_of
from gantool.data.readers.npy import DAMAGE, read_member
from gantool.data.sounds import CHANNELS, as_sounds, check_rate, refitted
from gantool.data.volumes import as_volumes
from gantool.data.volumes import refitted as refitted_volumes
from gantool.errors import GantoolError, cause
from gantool.system.archives import open_zip

NAMES = ("images", "sounds", "volumes")  # of the array of samples


def load_npz(path: Path, size: int | None = None) -> Dataset:
    """The data set in `path`.

    - `images` (N,H,W), (N,H,W,C) or (N,C,H,W), C 1 or 3: uint8, or floats in [-1, 1], or in [0, 1], which are scaled to
      [-1, 1]. Or sounds (N,C,T) of C 1 or 2, int16; or volumes (N,C,D,H,W).
    - or `sounds` (N,T) or (N,C,T): int16, or floats in [-1, 1]; `rate`, optional: samples a second.
    - or `volumes` (N,D,H,W) or (N,C,D,H,W): booleans, uint8 or floats as of images.
    - `labels`, optional: integers (N,) from 0.
    - Any other array of N rows is kept: uint8 and floats that have the images' sides are paired images, and are
      treated as `images` are; other integers stay as they are, other floats become float32. Arrays of another length
      or without numbers are left out, and a note says so.

    With `size` the images are centre-cropped and resized to it, sounds cut or padded, volumes resized. GantoolError
    when the file is damaged, or has no such arrays.
    """
    arrays: dict[str, np.ndarray] = {}
    notes: list[str] = []
    rate = 0

    def samples_of(array: np.ndarray, name: str) -> np.ndarray:
        samples, note = as_samples(array, name, _where(path, name))
        if note:
            notes.append(f"`{name}`: {note}")
        return resized(samples, size, _where(path, name))

    with _damage(path):
        archive = open_zip(path)
    with archive:
        entries = archive.infolist()
        check_bytes(sum(entry.file_size for entry in entries), f"{path}: what it declares")
        members = {entry.filename[:-4]: entry for entry in entries if entry.filename.endswith(".npy")}
        first = next((name for name in NAMES if name in members), "")
        if not first:
            raise GantoolError(
                f"{path} has no array named `images`, `sounds` or `volumes`; its arrays: "
                f"{', '.join(sorted(members)) or 'none'}.",
                f'Save it as np.savez_compressed("{path.name}", images=…, labels=…).',
            )
        for name in sorted(members, key=lambda name: name != first):  # the first; the others in their order
            with _damage(path, name):
                array = read_member(archive, members[name])
            kind = array.dtype.kind
            if name == first:
                arrays["images"] = samples_of(array, name)
                rows, sides = len(array), sides_of(array.shape) if arrays["images"].ndim == 4 else None
            elif name == "rate" and array.shape == () and kind in "iu" and arrays["images"].ndim == 3:
                rate = int(array)
                check_rate(rate)
            elif name == "labels":
                arrays[name] = as_labels(array, rows, _where(path, name))
            elif kind not in "iuf":
                notes.append(f"array `{name}` was ignored: dtype {array.dtype} is not numeric")
            elif array.shape[:1] != (rows,):
                notes.append(f"array `{name}` was ignored: shape {array.shape} has not {rows} rows")
            elif sides and sides_of(array.shape) == sides and (array.dtype == np.uint8 or kind == "f"):
                arrays[name] = samples_of(array, "images" if name in NAMES else name)
            elif sides and sides_of(array.shape) == sides and size is not None and sides != (size, size):
                raise GantoolError(
                    f"{_where(path, name)} has the images' sides but dtype {array.dtype}, which can't be resized.",
                    f"Convert it to uint8, resize it yourself, or leave out --size {size}.",
                )
            else:
                arrays[name] = as_float32(array, _where(path, name)) if kind == "f" else np.ascontiguousarray(array)
    if len(members) < len(entries):
        notes.append(f"{path.name}: {len(entries) - len(members)} entries that are no arrays were ignored")
    return Dataset(path.stem, str(path), arrays, notes=tuple(notes), rate=rate)


def as_samples(array: np.ndarray, name: str, where: str) -> tuple[np.ndarray, str]:
    """(N, C, …) of an array of samples, and a note on what was scaled. GantoolError for one that holds none.

    An array that is not called `sounds` or `volumes` holds sounds when it is int16 (N, C, T), volumes when it has five
    axes, else images.
    """
    if name == "sounds" or (array.ndim == 3 and array.dtype == np.int16 and array.shape[1] in CHANNELS):
        return as_sounds(array, where), ""
    if name == "volumes" or array.ndim == 5:
        return as_volumes(array, where)
    check_images(array.shape, array.dtype, where)
    return as_images(array, where)


def resized(samples: np.ndarray, size: int | None, where: str) -> np.ndarray:
    """Samples (N, C, …), of any kind, of `size`."""
    if size is None or samples.shape[2:] == (size,) * (samples.ndim - 2):
        return samples
    if samples.ndim == 4:
        return resize(samples, size, where)
    if samples.ndim == 3:
        return refitted(samples, samples.shape[1], size, 0, 0, where)
    return refitted_volumes(samples, size, where)


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
