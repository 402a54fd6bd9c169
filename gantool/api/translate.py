"""Picture files through an exported generator: a file, a folder, or standard input."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gantool.artifact import pictures
from gantool.artifact.provenance import Provenance, of
from gantool.data.image_files import MAX_FILE_BYTES, SUFFIXES, Preparation, decode, strict_decoding
from gantool.data.source_files import BrokenFile
from gantool.errors import ArgumentError, GantoolError
from gantool.runtime import Generator
from gantool.system.files import reading, writing

STDIN = "-"
PIXELS = 2**22  # of the pictures that are read before they are translated


@dataclass(frozen=True)
class Result:
    """A picture that was made: of `source`, written to `path`, with its sides."""

    source: str
    path: str
    height: int
    width: int


def translate_files(
    generator: Generator,
    source: str,
    output: Path,
    *,
    seed: int = 0,
    first: int = 0,
    label: str | None = None,
    values: Mapping[str, float] | None = None,
    provenance: bool = True,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Result]:
    """Write what the generator makes of `source` (a picture, a folder, or - for standard input) to `output`, as PNG.

    `output`: a .png, or a folder, which takes the names and the sub-folders of the sources. Picture k of them, in the
    order of their paths, has the noise of image `first` + k of `seed`; `label`, `values`: as `gantool.runtime.save`
    takes them. Each file appears whole or not at all. `on_progress` is called with the pictures done and all.

    GantoolError, with the file's name, for a picture that can't be read; ArgumentError for a generator that takes no
    picture, and where a result would replace a source or another result.
    """
    item = generator.require_picture()
    if item.channels not in (1, 3) or generator.shape[2] not in (1, 3):
        raise GantoolError(
            f"{generator.path} makes images of {generator.shape[2]} channels from pictures of {item.channels}: no file "
            "holds them.",
            "Use gantool.runtime: generator.translate(arrays)",
        )
    manifest = generator.manifest
    classes = [] if label is None else manifest.parse_classes(label, generator.path)
    pairs = _pairs(source, output)
    about = of(manifest, seed, first, values=values) if provenance else None
    results: list[Result] = []
    for group in _read(pairs, Preparation(channels=item.channels)):
        start = len(results)
        labels = [classes[(first + start + k) % len(classes)] for k in range(len(group))] if classes else None
        made = generator.translate([picture for _, picture in group], seed, first + start, labels, values)
        for (pair, _), image in zip(group, made, strict=True):
            own = about and _own(about, first + len(results), bool(manifest.latents), classes)
            with writing(pair[1], "Name another with -o."):
                pictures.save_png(pictures.grid(image[None], gap=0, scale=1), pair[1], own)
            results.append(Result(str(pair[0]), str(pair[1]), *image.shape[:2]))
        on_progress(len(results), len(pairs))
    return results


def _own(about: Provenance, number: int, drawn: bool, classes: list[int]) -> Provenance:
    """The provenance of one picture; without noise no seed decides it."""
    own = replace(about, first=number, label=classes[number % len(classes)] if classes else None)
    return own if drawn else replace(own, seed=None, first=None)


def _pairs(source: str, output: Path) -> list[tuple[Path, Path]]:
    """Each source with the file of its result."""
    as_folder = output.suffix.lower() != ".png" or output.is_dir()
    if as_folder and output.suffix and not output.is_dir():
        raise ArgumentError(f"Pictures can't be written as {output.name!r}.", "Name a .png, or a folder.")
    given = Path(source)
    with reading(given):
        if source != STDIN and given.is_dir():
            found = sorted(p for p in given.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not as_folder:
                raise ArgumentError(f"{given} is a folder, and {output} is one picture.", "Name a folder: -o results")
            if not found:
                raise ArgumentError(f"There are no pictures in {given}.", f"It reads {', '.join(sorted(SUFFIXES))}.")
        elif source != STDIN and not given.exists():
            raise ArgumentError(f"There is no picture {given}.", "Name a file, a folder, or - for standard input.")
        else:
            found = [given]
    places = {
        path: output / (path.relative_to(given) if path != given else Path(path.name if source != STDIN else "stdin"))
        for path in found
    }
    pairs = [(path, place.with_suffix(".png") if as_folder else output) for path, place in places.items()]
    taken: dict[Path, Path] = {}
    sources = {path.resolve() for path in found}
    for path, result in pairs:
        if result.resolve() in sources:
            raise ArgumentError(f"{result} is a picture that goes in: it is not replaced.", "Name another: -o results")
        if result in taken:
            raise ArgumentError(f"{taken[result]} and {path} would both become {result}.", "Rename one of them.")
        taken[result] = path
    return pairs


def _read(pairs: list[tuple[Path, Path]], how: Preparation) -> Iterator[list[tuple[tuple[Path, Path], np.ndarray]]]:
    """The pictures, uint8 (H, W, C), of some pairs at a time."""
    group: list[tuple[tuple[Path, Path], np.ndarray]] = []
    for pair in pairs:
        try:
            with strict_decoding():
                stream = io.BytesIO(sys.stdin.buffer.read(MAX_FILE_BYTES)) if str(pair[0]) == STDIN else None
                picture = decode(pair[0] if stream is None else Path("Standard input"), how, stream)
        except BrokenFile as error:
            if group:
                yield group  # what comes before it is written
            raise GantoolError(error.message, "Mend or replace it, or take it out.") from error
        group.append((pair, np.ascontiguousarray(picture.transpose(1, 2, 0))))
        if sum(each.size for _, each in group) >= PIXELS:
            yield group
            group = []
    if group:
        yield group
