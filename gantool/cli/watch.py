"""`gantool watch`: a live page of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gantool.system.terminal import console


def command(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run: its path, folder name or number. Default: the newest."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0: a free one.")] = 0,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
) -> None:
    """Serve a live page of a training on this machine: samples, curves, alarms, Stop and Resume. Ctrl-C ends it."""
    from gantool.api.watch import watch

    def ready(address: str) -> None:
        console().print(address, soft_wrap=True)
        console().print("Only this machine can open it. Ctrl-C ends the page, not the training.")

    watch(run, runs=runs, port=port, open_browser=show, ready=ready)
