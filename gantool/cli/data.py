"""`gantool data`: look at data, and pack it for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gantool.cli import data_sources

app = typer.Typer(help="Look at data, pack it for training, fetch well-known sets.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("pack")
def pack(
    source: Annotated[
        str, typer.Argument(help="A folder of images, a .npz, .npy or IDX file, a pack, or a named set: digits.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")],
    size: Annotated[
        int | None, typer.Option(min=4, help="Make all images SIZE×SIZE pixels. Default: they are all of one size.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, max=3, help="1: grey, 3: colour. Default: 1 when all images are grey, else 3.")
    ] = None,
    fit: Annotated[str, typer.Option(help="How an image becomes a square: crop, pad or stretch.")] = "crop",
    labels: Annotated[
        str | None,
        typer.Option(help="folders, none, or a CSV file of file,label. Default: folders when there are any."),
    ] = None,
    background: Annotated[
        str, typer.Option(help="Colour under what is transparent, and beside a padded image: white, #ff8800 …")
    ] = "white",
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out files that can't be decoded.")] = False,
    licence: Annotated[
        str | None, typer.Option(help="A note on the data's licence; it goes into every export.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that decode. Default: one a core.")] = None,
    as_json: Json = False,
) -> None:
    """Decode images once, into a folder that training reads without loading it. Interrupted, it goes on."""
    from gantool.cli import data_show

    data_show.pack(
        source,
        out,
        as_json,
        workers,
        {
            "size": size,
            "channels": channels,
            "fit": fit,
            "labels": labels,
            "background": background,
            "skip_broken": skip_broken,
            "licence": licence,
        },
    )


@app.command("info")
def info(
    source: Annotated[str, typer.Argument(help="Anything that `gantool train --data` takes; a pack, too.")],
    size: Annotated[int | None, typer.Option(min=4, help="Tell what the data takes at SIZE×SIZE pixels.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Draw a contact sheet, a PNG.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare a pack's files with its checksums.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that decode. Default: one a core.")] = None,
    as_json: Json = False,
) -> None:
    """Show what is in SOURCE: counts, sizes, classes, duplicates, broken files. Exit code 1: some are broken."""
    from gantool.cli import data_show

    data_show.info(source, as_json, size=size, out=out, verify=verify, workers=workers)


app.command("list")(data_sources.list_sets)
app.command("fetch")(data_sources.fetch)
