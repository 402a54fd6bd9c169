"""`gantool generate`: pictures from an exported file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gantool.errors import GantoolError

SHARDS = "Shards: very many images, by many workers"


def command(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|FILE]", help="An exported .onnx, or a run. Default: the newest export."),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("-n", min=1, help="How many images. Default: 64; of a grid of classes, 8 a class or more."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed; image i of a seed is the same everywhere.")] = 0,
    first: Annotated[int, typer.Option(min=0, help="Number of the first image.")] = 0,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Class, of a conditional generator, by number or name. Of several, image i has number i mod how many, "
            "and a grid has a row each. Default: all; a grid shows 16 at most.",
        ),
    ] = None,
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
        typer.Option(metavar="A,B,…", help="Another name of --label.", rich_help_panel=SHARDS),
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
    gather: Annotated[
        bool | None,
        typer.Option(
            "--gather/--no-gather",
            help="Ray: whether machines send their shards here. Default: those that do not share --out.",
            rich_help_panel=SHARDS,
            show_default=False,
        ),
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
        "engine": engine, "address": address, "gather": gather, "verify": verify or None, "json": as_json or None,
    }  # fmt: skip
    if count is None:
        for name, value in given.items():
            if value is not None:
                raise GantoolError(
                    f"--{name.replace('_', '-')} is for shards.", "Say how many images with --count instead of -n."
                )
        from gantool.cli import few
        from gantool.cli.artifacts import find_artifact

        few.generate(find_artifact(source, runs), n, seed, first, label, output, provider, provenance)
        return
    for name, flag, instead in (("n", "-n", "--count"), ("output", "-o", "--out")):
        origin = context.get_parameter_source(name)
        if origin is not None and origin.name != "DEFAULT":
            raise GantoolError(f"{flag} is not for shards.", f"Use {instead} instead, or leave --count out.")
    for flag, value in (("--address", address), ("--gather", gather)):
        if value is not None and engine != "ray":
            raise GantoolError(f"{flag} is for the engine ray.", "Add --engine ray.")
    from gantool.cli import sharded
    from gantool.cli.artifacts import find_artifact
    from gantool.shards import SHARD_SIZE

    path = find_artifact(source, runs)
    options = {
        "count": count, "seed": seed, "first": first, "format": format or "npy", "shard_size": shard_size or SHARD_SIZE,
        "labels": sharded.labels(label, labels, path), "provider": provider, "provenance": provenance,
        "engine": engine or "local", "workers": workers, "address": address, "gather": gather, "verify": verify,
    }  # fmt: skip
    sharded.generate(path, out or Path("shards"), as_json, options)
