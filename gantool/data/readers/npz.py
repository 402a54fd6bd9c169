"""Data from an .npz file: `images`, `labels`, and any other arrays of as many rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gantool.data.dataset import Dataset, as_labels
from gantool.data.images import as_float32, as_images, check_images, resize, sides_of
from gantool.data.readers.npy import Archive, Member
from gantool.errors import GantoolError


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
    with Archive(path) as archive:
        images = archive.members.get("images")
        if images is None:
            found = ", ".join(sorted(archive.members)) or "none"
            raise GantoolError(
                f"{path} has no array named `images`; its arrays: {found}.",
                f'Save it as np.savez_compressed("{path.name}", images=…, labels=…).',
            )
        reader = _Reader(path, archive, size, images)
        arrays = {"images": reader.image("images")}
        if "labels" in archive.members:
            arrays["labels"] = reader.labels()
        for name in archive.members:
            if name not in arrays and (extra := reader.extra(name)) is not None:
                arrays[name] = extra
        notes = reader.notes
        if archive.others:
            notes.append(f"{path.name}: {len(archive.others)} entries that are no arrays were ignored")
    return Dataset(path.stem, str(path), arrays, notes=tuple(notes))


class _Reader:
    """Reads one array after the other, and checks each against the images'."""

    def __init__(self, path: Path, archive: Archive, size: int | None, images: Member) -> None:
        self.path, self.archive, self.size = path, archive, size
        check_images(images.shape, images.dtype, self._where("images"))
        self.rows = images.shape[0]
        self.sides = sides_of(images.shape)
        self.notes: list[str] = []

    def image(self, name: str) -> np.ndarray:
        images, note = as_images(self.archive.read(name), self._where(name))
        if note:
            self.notes.append(f"`{name}`: {note}")
        return resize(images, self.size, self._where(name))

    def labels(self) -> np.ndarray:
        member, where = self.archive.members["labels"], self._where("labels")
        # checked before they are read: a stand-in of that dtype and shape, which takes no memory, raises
        if member.dtype.kind not in "iu" or member.shape != (self.rows,):
            as_labels(np.broadcast_to(np.zeros((), member.dtype), member.shape), self.rows, where)
        return as_labels(self.archive.read("labels"), self.rows, where)

    def extra(self, name: str) -> np.ndarray | None:
        member = self.archive.members[name]
        kind = member.dtype.kind
        if kind not in "iuf":
            self.notes.append(f"array `{name}` was ignored: dtype {member.dtype} is not numeric")
            return None
        if member.shape[:1] != (self.rows,):
            self.notes.append(f"array `{name}` was ignored: shape {member.shape} has not {self.rows} rows")
            return None
        if sides_of(member.shape) == self.sides:
            if member.dtype == np.uint8 or kind == "f":
                check_images(member.shape, member.dtype, self._where(name))
                return self.image(name)
            if self.size is not None and self.sides != (self.size, self.size):
                raise GantoolError(
                    f"{self._where(name)} has the images' sides but dtype {member.dtype}, which can't be resized.",
                    f"Convert it to uint8, resize it yourself, or leave out --size {self.size}.",
                )
        array = self.archive.read(name)
        return as_float32(array, self._where(name)) if kind == "f" else np.ascontiguousarray(array)

    def _where(self, name: str) -> str:
        return f"{self.path}: array `{name}`"
