"""The option `--threads` of the commands that run exported files."""

from __future__ import annotations

from typing import Annotated

import typer

from gantool.system.machine import parse_threads


def _parse(text: str) -> int | None:
    try:
        return parse_threads(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


THREADS = Annotated[
    int | None,
    typer.Option(
        parser=_parse,
        metavar="N|auto",
        help="Cores of the CPU to use. Default: auto, those that this process may use.",
        show_default=False,
    ),
]
