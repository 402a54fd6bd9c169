"""Data: named sets, npz and IDX files, packs, folders and archives of images, sounds or volumes. No torch.

Each becomes a `Dataset`.
"""

from __future__ import annotations

import difflib
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from gantool.data.dataset import Dataset, check_size
from gantool.data.readers.archive import is_archive
from gantool.errors import GantoolError, excerpt

__all__ = ["Dataset", "Request", "load"]

SHOWN = 5  # empty classes that a note lists
ACCEPTED = (
    "Give a folder or .zip of images, sounds or volumes, a pack (gantool data pack), a .npz file, an IDX file "
    "(…-ubyte or .idx, also .gz), or a name that `gantool data list` shows, `digits` say."
)


class Request(NamedTuple):
    """What is asked for: the arguments of `load`, which are the options of a training about its data."""

    source: str
    size: int | None = None
    skip_broken: bool = False
    target: str = ""
    pairs: str = ""
    jitter: int = 0
    rate: int | None = None


def load(
    source: str,
    size: int | None = None,
    skip_broken: bool = False,
    target: str = "",
    pairs: str = "",
    jitter: int = 0,
    rate: int | None = None,
) -> Dataset:
    """The data set that `source` names; `size` centre-crops and resizes its images to `size`×`size` pixels.

    Sounds are cut or padded to `size` samples, at `rate` samples a second; volumes are resized to `size` voxels a side.
    `skip_broken`: leave out the files of a folder or archive that can't be decoded, with a note. `pairs`: how pairs of
    pictures are found or made (`gantool.data.pairs`): `images` are the targets, the array `sources` what they are made
    of. `target`: the other set of pictures; without `pairs` the two are classes 0 and 1. `jitter`: by how many pixels
    pictures are larger than asked for (`Dataset.margin`).

    A bare name (no path separator, no suffix) is a data set that has a name first (built in, fetched, of a plugin),
    and a path second: type `./digits` for a folder of that name. Anything else is a path. GantoolError when there is no
    such thing, or it can't be used.
    """
    if size is not None:
        check_size(size)
    from gantool.data.pairs import enlarged, load_domains, load_pairs, with_margin

    larger = size + jitter if size is not None else None
    if pairs:
        found = load_pairs(pairs, source, target, larger, skip_broken, _load)
    elif target:
        found = load_domains(source, target, larger, skip_broken, _load)
    else:
        found = _load(source, larger, skip_broken, rate)
    if rate is not None:
        from gantool.data.kinds import kind_of_shape
        from gantool.data.readers.folder import check_rate_of

        check_rate_of(kind_of_shape(found.images.shape), rate)
    if jitter:
        found = with_margin(found, jitter) if size is not None else enlarged(found, jitter)
        if jitter >= (side := found.spec.shape[-1]):
            raise GantoolError(
                f"--jitter {jitter} would crop {side} of {side + jitter} pixels: less than half of a picture.",
                f"Give at most {side - 1}.",
            )
    return found


def _load(source: str, size: int | None, skip_broken: bool, rate: int | None = None) -> Dataset:
    found = _read(source, size, skip_broken, rate)
    if rate is not None and found.spec.kind == "audio":
        found = with_rate(found, rate, size)
    found = replace(found, name=_utf8(found.name), class_names=tuple(map(_utf8, found.class_names)))
    missing = found.empty_classes
    if not missing:
        return found
    # a pack keeps the notes of its source: each once
    return replace(found, notes=tuple(dict.fromkeys((*found.notes, _absent(missing, len(found.class_counts))))))


def with_rate(data: Dataset, rate: int, size: int | None = None) -> Dataset:
    """Sounds resampled to `rate`, and of `size` samples; those of no known rate have it from now on."""
    from gantool.data.sounds import check_rate, refitted, rescaled

    check_rate(rate)
    length = size or rescaled(data.images.shape[2], data.rate, rate)
    if data.rate in (0, rate) and length == data.images.shape[2]:
        return replace(data, rate=rate)
    sounds = refitted(data.images, data.images.shape[1], length, data.rate, rate, data.source)
    return replace(data, arrays={**data.arrays, "images": sounds}, rate=rate, stored_fingerprint="")


def _utf8(name: str) -> str:
    """The name of a file or folder as text that every file can hold: bytes that are no UTF-8 are spelt out."""
    return name.encode("utf-8", "backslashreplace").decode()


def _absent(missing: tuple[str, ...], classes: int) -> str:
    shown = ", ".join(excerpt(name, 40) for name in missing[:SHOWN]) + (", …" if len(missing) > SHOWN else "")
    return f"{len(missing)} of {classes} classes have no samples, so a generator can't learn them: {shown}"


def _read(source: str, size: int | None, skip_broken: bool, rate: int | None) -> Dataset:
    path, own = Path(source), size if rate is None else None  # arrays of sounds are resampled before they are cut
    exists = bool(source) and os.path.exists(path)  # noqa: PTH110 — never raises, as Path's does
    if is_bare(source):
        from gantool.data.catalog import load_named, names

        # a broken plugin does not go before a path
        named = None if exists and source not in names() else load_named(source, own)
        if named is not None and exists:
            note = f"this is the data set {source!r}; give ./{source} for the file or folder of that name"
            named = replace(named, notes=(*named.notes, note))
        if named is not None:
            return named
    if not exists:
        raise _unknown(source)
    if path.is_dir():
        if os.path.isfile(path / "pack.json"):  # noqa: PTH113 — never raises, as Path's does
            from gantool.data.pack.format import load_pack

            return load_pack(path, own)
        from gantool.data.readers.folder import load_folder

        return load_folder(path, size, skip_broken, rate=rate)
    if not path.is_file():
        raise GantoolError(f"{path} is neither a file nor a folder.", ACCEPTED)
    if is_archive(path):
        from gantool.data.readers.folder import load_folder

        return load_folder(path, size, skip_broken, rate=rate)
    if path.suffix.lower() == ".npz":
        from gantool.data.readers.npz import load_npz

        return load_npz(path, own)
    from gantool.data.readers.idx import is_idx_name, load_idx

    if is_idx_name(path.name):
        return load_idx(path, own)
    hint = ACCEPTED
    if path.suffix.lower() == ".npy":
        from gantool.data.readers.npy import map_npy

        map_npy(path)  # says why one can't be packed
        hint = f"Pack it: {shlex.join(['gantool', 'data', 'pack', source, '-o', path.stem])}"
    raise GantoolError(f"{path} is a file of a kind that gantool does not read.", hint)


def is_bare(source: str) -> bool:
    """Whether `source` may be the name of a data set: no separator of folders, no suffix."""
    return bool(source) and os.sep not in source and "/" not in source and not Path(source).suffix


def _unknown(source: str) -> GantoolError:
    if source and not is_bare(source):
        return GantoolError(f"There is no file or folder {source!r}.", ACCEPTED)
    from gantool.data.catalog import names

    near = difflib.get_close_matches(source.lower(), names(), n=1)
    meant = f"Did you mean `{near[0]}`? " if near else ""
    return GantoolError(f"There is no data set, file or folder {source!r}.", meant + ACCEPTED)
