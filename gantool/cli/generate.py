"""`gantool generate`: pictures from an exported file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gantool.cli.show import console
from gantool.errors import GantoolError

if TYPE_CHECKING:
    import numpy as np

    from gantool.provenance import Provenance
    from gantool.runtime import Generator

SHARDS = "Shards: very many images, by many workers"
PART = 1024  # images between two moves of the progress bar
MAX_GRID = 10_000
MAX_ARRAY = 8 * 10**9  # bytes


def command(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|FILE]", help="An exported .onnx, or a run. Default: the newest export."),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many images.")] = 64,
    seed: Annotated[int, typer.Option(help="The seed; image i of a seed is the same everywhere.")] = 0,
    first: Annotated[int, typer.Option(min=0, help="Number of the first image.")] = 0,
    label: Annotated[int | None, typer.Option(min=0, help="Class, of a conditional generator.")] = None,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A .png (a grid), a .npz (an array), or a folder (a PNG an image)."),
    ] = Path("generated.png"),
    provider: Annotated[str, typer.Option(help="cpu, cuda, tensorrt or openvino.")] = "cpu",
    provenance: Annotated[
        bool,
        typer.Option("--provenance/--no-provenance", help="Whether the images say that a model made them, and which."),
    ] = True,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    count: Annotated[
        int | None,
        typer.Option(min=1, help="How many images, as shards in --out instead of -n in -o.", rich_help_panel=SHARDS),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the shards; the same command goes on with what is there. Default: shards.",
            rich_help_panel=SHARDS,
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option(metavar="npy|png-tar|parquet", help="Default: npy.", rich_help_panel=SHARDS)
    ] = None,
    shard_size: Annotated[
        int | None, typer.Option(min=1, help="Images a shard. Default: 10000.", rich_help_panel=SHARDS)
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Classes in turn: image i has number i mod how many. Default: all.",
            rich_help_panel=SHARDS,
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many. Default: one a core, or one a GPU.", rich_help_panel=SHARDS)
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="local|ray",
            help="Processes here, or actors of a Ray cluster. Default: local.",
            rich_help_panel=SHARDS,
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster; auto: the one of this machine.", rich_help_panel=SHARDS)
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read the shards that are there, and compare.", rich_help_panel=SHARDS),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.", rich_help_panel=SHARDS)] = False,
) -> None:
    """Make images: a grid, a folder of PNGs, an .npz, or with --count very many in shards."""
    given = {
        "out": out, "format": format, "shard_size": shard_size, "labels": labels, "workers": workers,
        "engine": engine, "address": address, "verify": verify or None, "json": as_json or None,
    }  # fmt: skip
    if count is None:
        for name, value in given.items():
            if value is not None:
                raise GantoolError(
                    f"--{name.replace('_', '-')} is for shards.", "Say how many images with --count instead of -n."
                )
        _few(source, n, seed, first, label, output, provider, provenance, runs)
        return
    for name, flag, instead in (("n", "-n", "--count"), ("output", "-o", "--out")):
        origin = context.get_parameter_source(name)
        if origin is not None and origin.name != "DEFAULT":
            raise GantoolError(f"{flag} is not for shards.", f"Use {instead} instead, or leave --count out.")
    if address is not None and engine != "ray":
        raise GantoolError("--address is for the engine ray.", "Add --engine ray.")
    from gantool.cli import sharded
    from gantool.cli.artifacts import find_artifact
    from gantool.shards.generating import SHARD_SIZE

    options = {
        "count": count, "seed": seed, "first": first, "format": format or "npy", "shard_size": shard_size or SHARD_SIZE,
        "labels": sharded.labels(label, labels), "provider": provider, "provenance": provenance,
        "engine": engine or "local", "workers": workers, "address": address, "verify": verify,
    }  # fmt: skip
    sharded.generate(find_artifact(source, runs), out or Path("shards"), as_json, options)


def _few(
    source: str | None,
    n: int,
    seed: int,
    first: int,
    label: int | None,
    output: Path,
    provider: str,
    provenance: bool,
    runs: Path,
) -> None:
    """A grid, a folder of PNGs or an .npz."""
    from gantool import pictures
    from gantool.cli.artifacts import find_artifact
    from gantool.provenance import of
    from gantool.runtime import Generator

    suffix = output.suffix.lower()
    if suffix not in ("", ".png", ".npz"):
        raise GantoolError(f"Images can't be written as {output.name!r}.", "Name a .png, a .npz or a folder.")
    if suffix == ".png" and n > MAX_GRID:
        raise GantoolError(f"A grid of {n} images is too large to look at.", "Write a folder or a .npz: -o images.npz")
    path = find_artifact(source, runs)
    generator = Generator(path, provider)
    if generator.manifest.output.layout not in ("CHW", "HWC"):
        raise GantoolError(
            f"{path} makes no images but samples of {generator.manifest.output.shape}.",
            "Use gantool.runtime.",
        )
    if suffix != ".npz" and generator.shape[2] not in (1, 3):
        raise GantoolError(
            f"{path} makes images of {generator.shape[2]} channels.", "Write them to a .npz: -o images.npz"
        )
    where = of(generator.manifest, seed, first, n, label) if provenance else None
    try:
        if suffix == "":
            _write_folder(generator, n, seed, first, label, output, where)
        else:
            images = _all(generator, n, seed, first, label)
            if suffix == ".png":
                pictures.save_png(pictures.grid(images), output, where)
            else:
                _write_npz(images, seed, first, output, where)
    except OSError as error:
        raise GantoolError(f"{output} can't be written: {error.strerror}.", "Name another with -o.") from error
    which = f"{n} images ({first} … {first + n - 1}" if n > 1 else f"1 image ({first}"
    console().print(f"{which} of seed {seed}) of {path} → {output}")


def _parts(generator: Generator, n: int, seed: int, first: int, label: int | None) -> Iterator[np.ndarray]:
    from rich.progress import track

    starts = range(0, n, PART)
    shown = track(starts, "generating", console=console(stderr=True), transient=True, disable=len(starts) < 4)
    for start in shown:
        yield generator.sample(min(PART, n - start), seed, first + start, label)


def _all(generator: Generator, n: int, seed: int, first: int, label: int | None) -> np.ndarray:
    """All images in one array, whose size is known before the first is made."""
    import numpy as np

    size = n * math.prod(generator.shape)
    if size > MAX_ARRAY:
        raise GantoolError(
            f"{n} images are {size / 1e9:,.1f} GB: more than one array should hold.",
            "Write a folder, or several files with --first.",
        )
    images = np.empty((n, *generator.shape), np.uint8)
    start = 0
    for part in _parts(generator, n, seed, first, label):
        images[start : start + len(part)] = part
        start += len(part)
    return images


def _write_npz(images: np.ndarray, seed: int, first: int, output: Path, where: Provenance | None) -> None:
    import numpy as np

    from gantool.files import replacing

    with replacing(output) as temporary, temporary.open("wb") as file:
        arrays: dict[str, Any] = {"images": images, "seed": np.int64(seed), "first": np.int64(first)}
        if where is not None:
            arrays["provenance"] = np.array(where.to_json())  # a text of NumPy's own, which loads without pickle
        np.savez_compressed(file, **arrays)


def _write_folder(
    generator: Generator, n: int, seed: int, first: int, label: int | None, output: Path, where: Provenance | None
) -> None:
    from PIL import Image

    from gantool import pictures

    if output.exists() and not output.is_dir():
        raise GantoolError(f"{output} exists and is no folder.", "Name a folder, a .png or a .npz.")
    number = first
    for images in _parts(generator, n, seed, first, label):
        for image in images:
            picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
            own = None if where is None else replace(where, first=number, count=1)
            pictures.save_png(picture, output / f"seed{seed}-{number:08d}.png", own)
            number += 1
