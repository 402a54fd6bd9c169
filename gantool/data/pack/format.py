"""A pack: a folder of arrays that training memory-maps instead of loading, and their description.

`images.npy` uint8 (N, C, H, W), or sounds int16 (N, C, T), or volumes uint8 (N, C, D, H, W); `labels.npy` int64 (N,)
when they are known, any other array of N rows; `pack.json`, which describes them; `files.jsonl`, a line a row, when
they came from files: `{"file", "sha256", "label"}`; `broken.jsonl`, a line for each file that was left out: `{"file",
"reason"}`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from gantool import __version__
from gantool.data.dataset import MAX_CLASSES, Dataset
from gantool.data.images import CHANNELS, Fit
from gantool.data.kinds import kind_of_shape
from gantool.data.pack.writer import FILES, HEADER, Layout, Writer, checksums
from gantool.data.readers.npy import open_npy
from gantool.data.readers.npz import resized
from gantool.errors import GantoolError, excerpt
from gantool.plugin.options import reason
from gantool.system.files import read_json, reading, sha256_of, write_json

MAX_NOTES, MAX_NOTE = 20, 500  # that are passed on, and characters of each
PACK = "pack.json"
VERSION = 1
FIRST_BROKEN = 20  # broken files that pack.json names; broken.jsonl names all
_PACK_AGAIN = "Pack it again: gantool data pack SOURCE -o PACK"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# also the name of a file, so it must not lead out of the folder
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]


class ArrayFile(BaseModel, frozen=True, extra="forbid", strict=True):
    """`NAME.npy`: numpy's name of its dtype, its shape, and the SHA-256 of the file."""

    dtype: Annotated[str, StringConstraints(pattern=r"^[<|][biuf][1-8]$")]
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=8)]
    sha256: Sha256


class Description(BaseModel, frozen=True, extra="forbid", strict=True):
    """What pack.json holds. `size`: the side that was asked for; None: the samples kept theirs. `rate`: of sounds."""

    pack_version: Literal[1] = 1
    gantool: str = __version__
    name: str
    source: str
    licence: str = ""
    count: Annotated[int, Field(ge=1)]
    size: int | None = None
    fit: Fit | None = None
    channels: int
    rate: Annotated[int, Field(ge=1, lt=2**20)] | None = None
    background: str | None = None
    labels: str = "none"
    class_names: Annotated[list[str], Field(max_length=MAX_CLASSES)] = []
    fingerprint: Sha256
    arrays: dict[Name, ArrayFile]
    files_sha256: Sha256 | None = None
    broken: Annotated[int, Field(ge=0)] = 0
    broken_first: list[dict[str, str]] = []
    notes: list[str] = []


def is_pack(path: Path) -> bool:
    return os.path.isfile(path / PACK)  # noqa: PTH113 — never raises, as Path's does


def load_pack(path: Path, size: int | None = None) -> Dataset:
    """The pack `path`; its arrays are read-only memory maps: only `pack.json` and labels are read.

    With another `size` than it was packed at, the images are resized in memory. GantoolError for a file that is
    missing, cut short, or not what `pack.json` says.
    """
    description = read_description(path)
    arrays = _open_arrays(path, description)
    fingerprint, shape = description.fingerprint, arrays["images"].shape
    if size is not None and shape[2:] != (size,) * (len(shape) - 2):
        kind = kind_of_shape(shape)
        for name, array in arrays.items():
            if kind.paired(name, array, shape):
                arrays[name] = resized(array, size, f"{path}: {name}")
        fingerprint = ""
    return Dataset(
        name=path.resolve().name or description.name,
        source=str(path),
        arrays=arrays,
        class_names=tuple(description.class_names),
        licence=description.licence,
        notes=tuple(excerpt(note, MAX_NOTE) for note in description.notes[:MAX_NOTES]),
        stored_fingerprint=fingerprint,
        rate=description.rate or 0,
    )


def describe(writer: Writer, **known: Any) -> Description:
    """Write `pack.json` beside what `writer` has finished, as the last file: it is what makes a folder a pack."""
    rows, files = writer.mark.rows, writer.folder / FILES
    digests, fingerprint = checksums(writer.folder, writer.layouts, rows)
    arrays = {
        name: ArrayFile(dtype=layout.dtype, shape=[rows, *layout.row], sha256=digests[name])
        for name, layout in writer.layouts.items()
    }
    description = Description(
        count=rows,
        channels=arrays["images"].shape[1],
        fingerprint=fingerprint,
        arrays=arrays,
        files_sha256=sha256_of(files) if files.is_file() else None,
        broken=writer.mark.broken,
        **known,
    )
    write_json(writer.folder / PACK, description.model_dump())
    return description


def read_description(path: Path) -> Description:
    """The `pack.json` in the folder `path`, validated; GantoolError when it is not one of ours."""
    file = path / PACK
    value = read_json(file)
    if isinstance(value, dict) and isinstance(value.get("pack_version"), int) and value["pack_version"] > VERSION:
        raise GantoolError(
            f"{file} has version {value['pack_version']}; this gantool reads version {VERSION}.",
            "Update gantool, or pack the data again.",
        )
    try:
        return Description.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise GantoolError(
            f"{file} describes no pack: {excerpt(where)}: {excerpt(reason(error))}.", _PACK_AGAIN
        ) from error


def verify(path: Path) -> list[str]:
    """The files in the pack `path` that are not what `pack.json` says, by name; "fingerprint" when that is wrong."""
    description = read_description(path)
    arrays = _open_arrays(path, description)
    layouts = {name: Layout(array.dtype.str, array.shape[1:]) for name, array in arrays.items()}
    with reading(path):
        digests, fingerprint = checksums(path, layouts, description.count)
    wrong = [f"{name}.npy" for name, expected in description.arrays.items() if digests[name] != expected.sha256]
    if description.files_sha256 is not None and sha256_of(path / FILES) != description.files_sha256:
        wrong.append(FILES)
    if not wrong and fingerprint != description.fingerprint:
        wrong.append("fingerprint")
    return wrong


def _map(path: Path, name: str, expected: ArrayFile) -> np.ndarray:
    file = path / f"{name}.npy"
    array = open_npy(file)
    same = (array.dtype.str, list(array.shape), array.offset) == (expected.dtype, expected.shape, HEADER)
    if not same or not array.flags.c_contiguous:
        raise GantoolError(
            f"{file} has shape {array.shape} of {array.dtype.str}; {PACK} says {tuple(expected.shape)} of "
            f"{expected.dtype}, in the order and with the header that gantool writes.",
            _PACK_AGAIN,
        )
    return array


def _open_arrays(path: Path, description: Description) -> dict[str, np.ndarray]:
    """The arrays as memory maps, checked against the description. Of the values only labels are read."""

    def wrong(what: str) -> GantoolError:
        return GantoolError(f"{path / PACK}: {what}.", _PACK_AGAIN)

    arrays = {name: _map(path, name, expected) for name, expected in description.arrays.items()}
    images = arrays.get("images")
    if images is None:
        raise wrong("there is no array `images`")
    kind = kind_of_shape(images.shape) if 3 <= images.ndim <= 5 else None
    if kind is None or images.dtype.str != kind.dtype or (kind.name == "image" and images.shape[1] not in CHANNELS):
        raise wrong(
            f"`images` is {images.dtype} of shape {images.shape}, not uint8 (N, 1 or 3, H, W), int16 (N, C, T) or "
            "uint8 (N, C, D, H, W)"
        )
    kind.check_row(images.shape[1:], f"{path}: a sample")
    if description.rate and kind.name != "audio":
        raise wrong(f"rate is {description.rate}, and `images` are {kind.plural}")
    if description.channels != images.shape[1]:
        raise wrong(f"channels is {description.channels}, and `images` has {images.shape[1]}")
    for name, array in arrays.items():
        if len(array) != description.count:
            raise wrong(f"count is {description.count:,}, and `{name}` has {len(array):,} rows")
    labels = arrays.get("labels")
    if labels is None:
        return arrays
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise wrong(f"`labels` is {labels.dtype} of shape {labels.shape}, not int64 (N,)")
    low, high, classes = int(labels.min()), int(labels.max()), len(description.class_names) or MAX_CLASSES
    if low < 0 or high >= classes:
        raise wrong(f"`labels` run from {low} to {high}, and there are {classes:,} classes")
    return arrays
