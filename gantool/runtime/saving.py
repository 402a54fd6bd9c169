"""Write generated samples to files: a grid of pictures, an array, a sound, a shape, or a folder of files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gantool.artifact import latents
from gantool.artifact.provenance import Provenance, of
from gantool.errors import ArgumentError, GantoolError, excerpt
from gantool.runtime.generator import Generator
from gantool.system.files import replacing, write_bytes, writing

BATCH = 1024  # images between two reports of progress
MAX_GRID = 10_000
MAX_ROW = 1000  # samples in one sound or shape
FOLDER = ""  # the suffix of a folder
MAX_ARRAY = 8 * 10**9  # bytes
WAV_FORMATS = ("pcm16", "float")


@dataclass(frozen=True)
class _Form:
    """How samples of a kind are written: the `array` of a .npz, what a folder holds, all suffixes.

    `channels`: as many as files other than .npz can have.
    """

    array: str
    each: str
    suffixes: tuple[str, ...]
    channels: tuple[int, ...]


_FORMS = {
    "image": _Form("images", ".png", (".png", ".npz", FOLDER), (1, 3)),
    "audio": _Form("sounds", ".wav", (".wav", ".png", ".npz", FOLDER), (1, 2)),
    "volume": _Form("volumes", ".glb", (".glb", ".binvox", ".png", ".npz", FOLDER), (1,)),
}


@dataclass(frozen=True)
class Request:
    """Images `first … first+n-1` of `seed`; image i has the class labels[i % len(labels)], or none when that is empty.

    `rows` of a grid: one for each of `labels`, or 1: as square as possible. `values`: those of the generator. `floats`:
    sounds are written before they are rounded.
    """

    n: int
    seed: int
    first: int
    labels: Sequence[int]
    rows: int = 1
    values: Mapping[str, float] = field(default_factory=dict)
    floats: bool = False

    def classes(self, first: int, count: int) -> list[int] | None:
        """The classes of images `first … first+count-1`."""
        return [self.labels[i % len(self.labels)] for i in range(first, first + count)] if self.labels else None


def save(
    generator: Generator,
    output: Path,
    n: int | None = None,
    *,
    seed: int = 0,
    first: int = 0,
    label: str | None = None,
    values: Mapping[str, float] | None = None,
    provenance: bool = True,
    wav_format: str | None = None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> Request:
    """Write images `first … first+n-1` of `seed` to `output`, and return what was asked for, with defaults filled in.

    The suffix of `output` decides: .png (a grid; of sounds their spectrograms, of volumes views), .npz (arrays images,
    sounds or volumes, with seed, first and labels, which `--data` reads again), none (a folder with a .png, .wav or
    .glb for each sample). Of audio also .wav, one sound after the other; of volumes .glb, one surface beside the other,
    and .binvox, of one. `n`: 64 by default, of .wav, .glb and .binvox 1; for a grid of several classes, 8 for each
    class or more. `label`: classes by number or name, `7`, `cat` or `3,5`, which are cycled over the images; by default
    all classes, of a grid the first 16. `values`: as `Generator.sample` takes them, a number each. `provenance`: the
    files say which model made them. `wav_format`: of WAV files, pcm16 (the default: whole numbers of 16 bits) or float
    (float32, not rounded), for which `generator` must be of generator.onnx. `on_progress` is called with the images
    done and all.

    GantoolError: the file makes no images, there is no such class, there are too many images, or `output` can't be
    written.
    """
    from gantool.artifact import pictures

    suffix, manifest, path = output.suffix.lower(), generator.manifest, generator.path
    kind, channels = manifest.output.kind, generator.shape[-1]
    if kind not in _FORMS:
        hint = "From Python: gantool.Generator(…).sample(n)." if kind == "point" else "Export it again."
        raise GantoolError(f"{path} makes no images, sounds or volumes but samples of {manifest.output.shape}.", hint)
    form = _FORMS[kind]
    if wav_format is not None:
        _check_wav(wav_format, suffix, kind, generator)
    if suffix not in form.suffixes:
        known = ", a ".join(form.suffixes[:-1])
        raise GantoolError(f"{form.array.title()} can't be written as {output.name!r}.", f"Name a {known} or a folder.")
    if n is None and suffix in (".wav", ".glb", ".binvox"):
        n = 1
    request = _request(generator, n, seed, first, label, grid=suffix == ".png")
    request = replace(request, values=values or {}, floats=wav_format == "float")
    most = {".png": MAX_GRID, ".wav": MAX_ROW, ".glb": MAX_ROW, ".binvox": 1}.get(suffix, request.n)
    if request.n > most:
        what = "A grid" if suffix == ".png" else f"One {suffix}"
        raise GantoolError(
            f"{what} of {request.n} {form.array} is too large: the most is {most}.",
            f"Write a folder or a .npz: -o {form.array}.npz",
        )
    if suffix != ".npz" and channels not in form.channels:
        raise GantoolError(
            f"{path} makes {form.array} of {channels} channels.", f"Write them to a .npz: -o {form.array}.npz"
        )
    made = of(manifest, seed, first, request.n, values=values)
    about = _with_classes(made, request, manifest) if provenance else None
    with writing(output, "Name another with -o."):
        if suffix == FOLDER:
            _write_folder(generator, form, request, output, about, on_progress)
            return request
        samples = _all(generator, request, on_progress)
        if suffix == ".png":
            shown = samples if kind == "image" else pictures.to_pictures(latents.floats(samples), manifest.output.rate)
            pictures.save_png(pictures.grid(*pictures.in_rows(shown, request.rows, first)), output, about)
        elif suffix == ".npz":
            _write_npz(samples, form, request, output, about, manifest.output.rate)
        else:
            origins = [about] if about else []
            if about and suffix == ".glb":  # a mesh for each
                origins = [_of_one(about, request, first + row) for row in range(request.n)]
            write_bytes(output, _file(suffix, samples, manifest.output.rate, origins))
    return request


def _check_wav(wav_format: str, suffix: str, kind: str, generator: Generator) -> None:
    """GantoolError where WAV files of this format can't be written."""
    if wav_format not in WAV_FORMATS:
        raise ArgumentError(f"There is no WAV format {excerpt(wav_format)!r}.", f"Use one of {', '.join(WAV_FORMATS)}.")
    if kind != "audio":
        raise ArgumentError(
            f"--wav-format is for sounds; {generator.path} makes {_FORMS[kind].array}.", "Leave it out."
        )
    if suffix not in (".wav", FOLDER):
        raise ArgumentError(f"--wav-format is for WAV files, not {suffix}.", "Name a .wav or a folder: -o sound.wav")


def _of_one(about: Provenance, request: Request, number: int) -> Provenance:
    """The provenance of a single sample of those that `about` tells of."""
    classes = request.classes(number, 1)
    return replace(about, first=number, count=1, label=classes[0] if classes else None, labels=())


def _file(suffix: str, samples: np.ndarray, rate: int, about: Sequence[Provenance]) -> bytes:
    """A file of the samples (n, …, C): .wav, .glb or .binvox."""
    from gantool.artifact import sounds, volumes

    if suffix == ".wav":
        return sounds.wav(samples.reshape(-1, samples.shape[-1]), rate, about[0] if about else None)
    if suffix == ".glb":
        return volumes.glb(samples[..., 0], about)
    return volumes.binvox(samples[0, ..., 0] >= latents.FILLED)


def _request(generator: Generator, n: int | None, seed: int, first: int, label: str | None, grid: bool) -> Request:
    from gantool.artifact import pictures

    classes = generator.manifest.classes
    labels: Sequence[int] = range(classes)
    if label is not None:
        labels = generator.manifest.parse_classes(label, generator.path)
    elif grid and (shown := pictures.class_rows(classes)[0]) > 1:
        labels = range(shown)
    rows, columns = pictures.class_rows(len(labels)) if grid else (1, 0)
    if rows < 2:
        return Request(n or pictures.SAMPLES, seed, first, labels)
    n = n or len(labels) * columns
    return Request(n, seed, first, labels, len(labels) if n > len(labels) else 1)


def _with_classes(about: Provenance, request: Request, manifest: Any) -> Provenance:
    """Add the classes, unless they are those that each image has by default."""
    if len(request.labels) == 1:
        return replace(about, label=request.labels[0])
    default = request.labels == range(manifest.classes)
    return about if default else replace(about, labels=tuple(request.labels))


def _batches(generator: Generator, request: Request, on_progress: Callable[[int, int], object]) -> Iterator[np.ndarray]:
    for start in range(0, request.n, BATCH):
        first, count = request.first + start, min(BATCH, request.n - start)
        classes = request.classes(first, count)
        if request.floats:
            yield np.moveaxis(generator.floats(count, request.seed, first, classes, values=request.values), 1, -1)
        else:
            yield generator.sample(count, request.seed, first, classes, values=request.values)
        on_progress(start + count, request.n)


def _all(generator: Generator, request: Request, on_progress: Callable[[int, int], object]) -> np.ndarray:
    dtype = np.dtype(np.float32 if request.floats else generator.manifest.output.levels)
    size = request.n * math.prod(generator.shape) * dtype.itemsize
    if size > MAX_ARRAY:
        raise GantoolError(
            f"{request.n} {generator.manifest.output.noun}s are {size / 1e9:,.1f} GB: more than one array should hold.",
            "Write a folder, or several files with --first.",
        )
    images = np.empty((request.n, *generator.shape), dtype)
    start = 0
    for batch in _batches(generator, request, on_progress):
        images[start : start + len(batch)] = batch
        start += len(batch)
    return images


def _write_npz(
    samples: np.ndarray, form: _Form, request: Request, output: Path, about: Provenance | None, rate: int
) -> None:
    """Images have their channels last; sounds and volumes have them first, as data has."""
    if form.array != "images":
        samples = np.ascontiguousarray(np.moveaxis(samples, -1, 1))
    arrays: dict[str, Any] = {form.array: samples, "seed": np.int64(request.seed), "first": np.int64(request.first)}
    if rate:
        arrays["rate"] = np.int64(rate)
    if (classes := request.classes(request.first, request.n)) is not None:
        arrays["labels"] = np.array(classes, np.int64)
    if about is not None:
        arrays["provenance"] = np.array(about.to_json())  # a text of NumPy's own, which loads without pickle
    with replacing(output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _write_folder(
    generator: Generator,
    form: _Form,
    request: Request,
    output: Path,
    about: Provenance | None,
    on_progress: Callable[[int, int], object],
) -> None:
    from gantool.artifact import pictures

    if output.exists() and not output.is_dir():
        raise GantoolError(f"{output} exists and is no folder.", "Name a folder, a .png or a .npz.")
    rate = generator.manifest.output.rate
    number = request.first
    for images in _batches(generator, request, on_progress):
        for image in images:
            own = _of_one(about, request, number) if about else None
            path = output / f"seed{request.seed}-{number:08d}{form.each}"
            if form.each == ".png":
                pictures.save_png(pictures.grid(image[None], gap=0, scale=1), path, own)
            else:
                write_bytes(path, _file(form.each, image[None], rate, [own] if own else []))
            number += 1
