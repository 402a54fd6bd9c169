"""The command line. One file a command; nothing here or at the top of a command's file is slow to import."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gantool import __version__
from gantool.cli import (
    bench,
    card,
    data,
    directions,
    dissect,
    doctor,
    evaluate,
    export,
    film,
    generate,
    hub,
    inspect,
    invert,
    plugins,
    runs,
    train,
    watch,
)
from gantool.errors import GantoolError, not_installed
from gantool.system.machine import let_idle_threads_sleep

app = typer.Typer(
    name="gantool",
    help="Train a GAN, export its generator verified, measure it, embed it in any program.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug of ours keeps its plain traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train.app, name="train")
app.command("watch")(watch.command)
app.command("export")(export.command)
app.command("inspect")(inspect.command)
app.command("evaluate")(evaluate.command)
app.command("card")(card.command)
app.command("push")(hub.push)
app.command("pull")(hub.pull)
app.command("generate")(generate.command)
app.command("film")(film.command)
app.add_typer(directions.app, name="directions")
app.command("invert")(invert.command)
app.command("dissect")(dissect.command)
app.command("bench")(bench.command)
app.command("doctor")(doctor.command)
app.add_typer(data.app, name="data")
app.add_typer(runs.app, name="runs")
app.add_typer(plugins.app, name="plugins")


@app.command("help")
def _help(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", show_default=False)] = None,
) -> None:
    """Show the help of a command: gantool help train dcgan."""
    assert context.parent is not None
    shown: Any = context.parent
    for name in names or ():
        command = shown.command.get_command(shown, name) if hasattr(shown.command, "get_command") else None
        if command is None:
            raise typer.BadParameter(f"{shown.command_path} has no command {name!r}")
        shown = typer.Context(command, parent=shown, info_name=name)
    typer.echo(shown.get_help())


def _version(value: bool) -> None:
    if value:
        typer.echo(f"gantool {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _check_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise GantoolError("The folder that this was started in is gone.", "Go to another: cd ~") from error


def main() -> None:
    """Run the command line; a GantoolError is printed with its hint and exits 1. So is a library that is missing."""
    let_idle_threads_sleep()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without “≥” gets a question mark, not a traceback
    try:
        _check_folder()
        app()
    except (GantoolError, ModuleNotFoundError) as error:
        shown = not_installed(error) if isinstance(error, ModuleNotFoundError) else error
        if shown is None:
            raise
        from gantool.system.terminal import print_error

        print_error(shown)
        sys.exit(1)
