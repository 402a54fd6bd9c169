"""Pairs of pictures: `images` are the targets, the array `sources` what they are made of. And two unpaired domains."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from gantool.data import rules
from gantool.data.dataset import Dataset, check_bytes
from gantool.data.image_files import Half
from gantool.data.images import as_bytes, check_pictures, resize, with_channels
from gantool.data.readers.archive import is_archive
from gantool.data.readers.folder import Broken, find_files, load_folder
from gantool.errors import ArgumentError, GantoolError, excerpt

NAMES, HALVES = "names", "left-right"
GIVEN = (NAMES, HALVES)  # pairs that the data has; the others are made of one set of pictures
MOST = 64  # of `small:N`
SHOWN = 5  # names that a message lists
_SMALL = re.compile(rf"{rules.SMALL}:(\d{{1,2}})")
Load = Callable[[str, int | None, bool], Dataset]


def check_rule(rule: str) -> None:
    """ArgumentError unless `rule` is one of --pairs."""
    found = _SMALL.fullmatch(rule)
    if rule in GIVEN or rule in rules.RULES or (found and 2 <= int(found[1]) <= MOST):
        return
    known = ", ".join((*GIVEN, *rules.RULES, "small:4"))
    raise ArgumentError(
        f"--pairs {excerpt(rule)} is no way to make pairs.",
        f"Give one of {known} (small:N averages N×N pixels, N from 2 to {MOST}).",
    )


def load_pairs(rule: str, source: str, target: str, size: int | None, skip_broken: bool, load: Load) -> Dataset:
    """Pairs of `--pairs rule`, from `--data source` and, for `names` alone, `--target target`.

    `load(source, size, skip_broken)` reads one data set. GantoolError for data that the rule does not fit.
    """
    check_rule(rule)
    if (rule == NAMES) != bool(target):
        lacks = (
            "needs a --target" if rule == NAMES else f"makes pairs of one set of pictures, without --target {target}"
        )
        raise ArgumentError(
            f"--pairs {rule} {lacks}.",
            "Give --pairs names --data SOURCES --target TARGETS, or leave --target out.",
        )
    if rule == NAMES:
        return _by_name(Path(source), Path(target), size, skip_broken)
    if rule == HALVES:
        return _halves(source, size, skip_broken, load)
    data = load(source, size, skip_broken)
    check_pictures(data.images.shape, source)
    factor = int(rule.partition(":")[2] or 1)
    if any(side % factor or side // factor < 4 for side in data.images.shape[2:]):
        height, width = data.images.shape[2:]
        raise GantoolError(
            f"--pairs {rule} can't make pictures of {width}×{height} pixels {factor} times smaller.",
            f"Give --size N, a multiple of {factor} and at least {4 * factor}; a --jitter is one, too.",
        )
    made = rules.apply(rule.partition(":")[0], factor, data.images)
    return _with(data, {**data.arrays, "sources": made}, f"sources are made by the rule {rule}")


def load_domains(source: str, target: str, size: int | None, skip_broken: bool, load: Load) -> Dataset:
    """Two sets without pairs: `source` is class 0, `target` class 1, named after them; their own labels are dropped."""
    domains = [load(each, size, skip_broken) for each in (source, target)]
    for each, data in zip((source, target), domains, strict=True):
        check_pictures(data.images.shape, each)
    shapes = [data.images.shape[2:] for data in domains]
    if shapes[0] != shapes[1]:
        raise GantoolError(
            f"The pictures of {source} have {_sides(shapes[0])} pixels, those of {target} {_sides(shapes[1])}.",
            "Add --size N (64, say) to crop and resize them all to N×N.",
        )
    channels = max(data.images.shape[1] for data in domains)
    pictures = [data.images if _same(domains) else with_channels(as_bytes(data.images), channels) for data in domains]
    check_bytes(sum(part.nbytes for part in pictures), f"{source} and {target} together")
    names = [data.name for data in domains]
    if names[0] == names[1]:
        names = [f"{name}-{letter}" for name, letter in zip(names, "ab", strict=True)]
    licences = dict.fromkeys(data.licence for data in domains if data.licence)
    return Dataset(
        "-to-".join(names),
        source,
        {
            "images": np.concatenate(pictures),
            "labels": np.repeat(np.arange(2), [len(part) for part in pictures]),
        },
        tuple(names),
        licence="; ".join(licences),
        notes=(
            f"two sets without pairs: {names[0]} is class 0, {names[1]} is class 1",
            *dict.fromkeys(note for data in domains for note in data.notes),
        ),
    )


def enlarged(data: Dataset, margin: int) -> Dataset:
    """`data` with square pictures `margin` pixels larger; those of other sides get their part of it."""
    width = data.images.shape[-1]
    arrays = dict(data.arrays)
    for name, array in with_margin(data, margin).arrays.items():
        if array.ndim == 4:
            arrays[name] = resize(np.asarray(array), array.shape[3] + margin * array.shape[3] // width, data.source)
    return replace(data, arrays=arrays, margin=margin, stored_fingerprint="")


def with_margin(data: Dataset, margin: int) -> Dataset:
    """`data`, whose square pictures are `margin` pixels larger than samples. GantoolError when they can't be."""
    width = data.images.shape[-1]
    for name, array in data.arrays.items():
        if name != "images" and array.ndim != 4:
            continue
        if array.ndim != 4 or array.shape[2] != array.shape[3]:
            raise GantoolError(
                f"--jitter crops square pictures, and {name!r} of {data.source} has shape {array.shape[1:]}.",
                "Add --size N, or leave --jitter out.",
            )
        if margin * array.shape[3] % width:
            raise GantoolError(
                f"--jitter {margin} of {width} pixels is no whole number of those of {name!r}: {array.shape[3]}.",
                f"Give a multiple of {width // math.gcd(width, array.shape[3])}.",
            )
    return replace(data, margin=margin)


def _with(data: Dataset, arrays: Mapping[str, np.ndarray], *notes: str) -> Dataset:
    return replace(data, arrays=arrays, notes=(*data.notes, *notes), stored_fingerprint="")


def _same(domains: list[Dataset]) -> bool:
    one, two = (data.images for data in domains)
    return one.shape[1] == two.shape[1] and one.dtype == two.dtype


def _sides(sides: tuple[int, ...]) -> str:
    return f"{sides[1]}×{sides[0]}"


def _halves(source: str, size: int | None, skip_broken: bool, load: Load) -> Dataset:
    """The left half of each picture is the source, the right half the target."""
    path = Path(source)
    if is_archive(path) or (path.is_dir() and not (path / "pack.json").is_file()):
        halves: tuple[Half, Half] = ("left", "right")
        left, right = (load_folder(path, size, skip_broken, half=half) for half in halves)
        check_pictures(right.images.shape, source)
        return replace(right, arrays={**right.arrays, "sources": left.images}, notes=left.notes)
    data = load(source, None, skip_broken)
    check_pictures(data.images.shape, source)
    middle = data.images.shape[3] // 2
    if middle < 4:
        raise GantoolError(
            f"The pictures of {source} are {_sides(data.images.shape[2:])} pixels: their halves are too narrow.",
            "Give pictures that hold the source on the left, the target on the right.",
        )
    parts = {"sources": data.images[..., :middle], "images": data.images[..., data.images.shape[3] - middle :]}
    made = {name: resize(np.ascontiguousarray(part), size, source) for name, part in parts.items()}
    return _with(data, {**data.arrays, **made})


def _by_name(sources: Path, targets: Path, size: int | None, skip_broken: bool) -> Dataset:
    """The pictures of equal names, up to the suffix, in two folders or archives."""
    named = []
    for path in (sources, targets):
        if not (is_archive(path) or (path.is_dir() and not (path / "pack.json").is_file())):
            raise GantoolError(
                f"--pairs names pairs files by their names, and {path} is no folder or .zip of image files.",
                "Give two of them: --data SOURCES --target TARGETS. Or a .npz of `images` (targets) and `sources`.",
            )
        named.append(_stems(path))
    here, there = named
    for path, other, lone in (
        (sources, targets, sorted(here.keys() - there)),
        (targets, sources, sorted(there.keys() - here)),
    ):
        if lone:
            more = ", …" if len(lone) > SHOWN else ""
            raise GantoolError(
                f"{len(lone):,} files in {path} have no partner in {other}: "
                f"{', '.join(map(excerpt, lone[:SHOWN]))}{more}.",
                "Partners have equal names up to the suffix, in equal sub-folders. Move the others away.",
            )
    stems = sorted(here, key=lambda stem: stem.replace("/", "\0"))
    broken = Broken(skip_broken)  # one for both: a file that is left out takes its partner along
    one = load_folder(sources, size, broken, names=[here[stem] for stem in stems])
    before = set(broken.rows)
    two = load_folder(targets, size, broken, names=[there[stem] for stem in stems])
    kept = [row not in broken.rows for row in range(len(stems)) if row not in before]
    name = f"{one.name}-to-{two.name}"
    return replace(
        two,
        name=name,
        source=str(sources),
        arrays={**two.arrays, "sources": one.images if all(kept) else one.images[kept]},
        notes=tuple(dict.fromkeys((*one.notes, *two.notes))),
    )


def _stems(path: Path) -> dict[str, str]:
    """The image files under `path` by their names without suffix. GantoolError for two of one."""
    found: dict[str, str] = {}
    kind, names, _ = find_files(path)
    if kind.name != "image":
        raise GantoolError(f"--pairs is for pictures, and {path} holds {kind.plural}.", "Leave --pairs out.")
    for name in names:
        stem = os.path.splitext(name)[0]  # noqa: PTH122 — of a name in an archive, too
        if stem in found:
            raise GantoolError(
                f"{path} has two files of the name {excerpt(stem)}: {excerpt(found[stem])}, {excerpt(name)}.",
                "Keep one of them: partners are found by name.",
            )
        found[stem] = name
    return found
