"""`gantool card`: the model card of exported files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gantool.cli.directions import RUNS
from gantool.system.terminal import console

SOURCE = Annotated[
    str | None, typer.Argument(metavar="[RUN|FILE]", help="An exported .onnx, or a run. Default: the newest export.")
]
LICENCE = Annotated[
    str, typer.Option("--license", metavar="ID", help="Of the model, as the hub names it: mit, cc-by-4.0 …")
]
DATASET = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="The data's name on the hub, as ylecun/mnist. May be given again."),
]


def command(
    source: SOURCE = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder. Default: card/ in the run, or beside the file.", show_default=False
        ),
    ] = None,
    licence: LICENCE = "",
    dataset: DATASET = None,
    runs: RUNS = Path("runs"),
) -> None:
    """Write a model card: README.md for the Hugging Face hub, with a picture of samples. What you add is kept."""
    from gantool.api.card import card

    path = card(source, output, licence=licence, datasets=dataset or (), runs=runs)
    console().print(f"→ {path}", soft_wrap=True)
