"""Key frames: the latents that a film goes through, of seeds or of .npz files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gantool.artifact.manifest import InputInfo, Manifest
from gantool.data.readers.npy import DAMAGE, read_member
from gantool.errors import ArgumentError, GantoolError, cause, excerpt
from gantool.plugin.architecture import Input
from gantool.runtime import Generator
from gantool.runtime.inputs import check_labels
from gantool.system.archives import open_zip
from gantool.system.files import regular_size

MAX_KEYS = 10_000
MAX_NAMED = 100  # key frames that a film's provenance lists
MAX_BYTES = 2**28  # of the latents in one file
PAIR = re.compile(r"(-?\d{1,20}):(\d{1,20})")

Key = tuple[int, int] | str | os.PathLike[str] | np.ndarray


@dataclass(frozen=True)
class Keys:
    """`z` float32 (K, …): the latents; `labels` int64 (K,): the classes; `names`: what each is called.

    `noise`: the generator's other normal inputs, (1, …) each: those of the first key frame, for the whole film.
    """

    z: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    noise: dict[str, np.ndarray]


def main_latent(manifest: Manifest) -> InputInfo:
    """The latent that moves: the one that may be truncated, else the first."""
    latents = manifest.latents
    return next((item for item in latents if item.name == manifest.truncation), latents[0])


def parse(text: str) -> list[Key]:
    """The key frames in `0:3,0:17,faces.npz`: pairs seed:index, and files of latents."""
    if Path(text).is_file():
        return [Path(text)]
    found: list[Key] = []
    for part in map(str.strip, text.split(",")):
        pair = PAIR.fullmatch(part)
        if pair:
            found.append((int(pair[1]), int(pair[2])))
        elif part.endswith(".npz"):
            found.append(Path(part))
        else:
            raise ArgumentError(
                f"{excerpt(part)!r} names no sample.", "Give seed:index, or an .npz of latents: 0:3,0:17,faces.npz"
            )
    return found


def find(generator: Generator, through: Sequence[Key], seed: int = 0) -> Keys:
    """The latents of the key frames `through`: pairs (seed, index), .npz files, or arrays float (n, …).

    A pair has the class that image `index` has in `Generator.sample`; a row of a file that of its array `labels`, or
    of its place, in turn. The noise of a file is that of image 0 of `seed`.
    """
    item = main_latent(generator.manifest)
    classes = generator.manifest.classes or 1
    rows: list[np.ndarray] = []
    labels: list[int] = []
    names: list[str] = []
    noise: dict[str, np.ndarray] = {}
    for key in through:
        if isinstance(key, tuple):
            drawn = generator.drawn(1, *key)
            z, own = drawn.pop(item.name), np.array([key[1] % classes])
            name = [f"{key[0]}:{key[1]}"]
        else:
            drawn = generator.drawn(1, seed)
            del drawn[item.name]
            z, given = latents_of(key, item)
            own = np.arange(len(z)) % classes if given is None or not generator.manifest.classes else given
            check_labels(own, classes)
            where = "array" if isinstance(key, np.ndarray) else Path(key).name
            name = [f"{excerpt(where)}[{row}]" for row in range(len(z))]
        noise = noise or drawn
        rows.extend(z)
        labels.extend(own.tolist())
        names.extend(name)
        if len(rows) > MAX_KEYS:
            raise ArgumentError(f"There are more than {MAX_KEYS:,} key frames.", "Give fewer.")
    if not rows:
        raise ArgumentError("There is no key frame.", "Give seed:index pairs: --through 0:3,0:17")
    return Keys(np.stack(rows), np.array(labels, np.int64), tuple(names), noise)


def latents_of(
    key: str | os.PathLike[str] | np.ndarray, item: InputInfo | Input
) -> tuple[np.ndarray, np.ndarray | None]:
    """Latents float32 (n, …), and labels where a file has them."""
    if isinstance(key, np.ndarray):
        z, labels, where = key, None, "The array of key frames"
    else:
        (z, labels), where = _read(Path(key)), f"{key}: the array z"
    shape = "×".join(map(str, item.shape))
    if z.shape[1:] != item.shape or z.ndim != len(item.shape) + 1 or z.dtype.kind != "f":
        raise ArgumentError(f"{where} is {z.dtype} {z.shape}; wanted: float32 (n, {shape}).")
    if not np.isfinite(z).all():
        raise ArgumentError(f"{where} holds values that are NaN or infinite.")
    if labels is not None and (labels.shape != z.shape[:1] or labels.dtype.kind not in "iu"):
        raise ArgumentError(f"{key}: the array labels is {labels.dtype} {labels.shape}; wanted: integers ({len(z)},).")
    return z.astype(np.float32), labels


def _read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays z and labels (None: there are none) of an .npz file."""
    regular_size(path)
    try:
        with open_zip(path) as archive:
            members = {entry.filename: entry for entry in archive.infolist()}
            if "z.npy" not in members:
                held = excerpt(", ".join(name.removesuffix(".npy") for name in members), 200) or "none"
                raise GantoolError(
                    f"{path} has no array z; its arrays: {held}.", "Save latents as np.savez(path, z=…)."
                )
            if sum(members[name].file_size for name in members.keys() & {"z.npy", "labels.npy"}) > MAX_BYTES:
                raise GantoolError(f"{path} holds more than {MAX_BYTES / 2**20:g} MB of latents.", "Give fewer.")
            arrays = [read_member(archive, members[n]) if n in members else None for n in ("z.npy", "labels.npy")]
    except DAMAGE as error:
        raise GantoolError(f"{path} is damaged or no .npz file: {cause(error)}.", "Write it anew.") from error
    assert arrays[0] is not None
    return arrays[0], arrays[1]
