"""`gantool plugins`: the installed plugins, their state and options."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from gantool.errors import GantoolError
from gantool.system.terminal import console, print_json, print_table

app = typer.Typer(help="List the installed architectures, show one's options, or write a new one.")


@app.callback(invoke_without_command=True)
def _list(context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the architectures, data sets and readers of installed plugins, and why any can't be used."""
    if context.invoked_subcommand is not None:
        return
    from gantool.plugin.registry import discover, find

    rows = []
    for plugin in discover():
        status, kind, summary = plugin.error, "", ""
        if plugin.architecture:
            kind, summary = "architecture", plugin.architecture.summary
            try:
                find(plugin.name)
            except GantoolError as error:
                status = error.message
        elif plugin.dataset:
            from gantool.data.catalog import problem_of  # imports numpy: only where a plugin has a data set

            kind, summary, status = "data set", plugin.dataset.summary, problem_of(plugin)
        elif plugin.reader:
            from gantool.data.kinds import problem_of_reader

            kind, summary = "reader", f"{plugin.reader.kind} from {', '.join(plugin.reader.suffixes)}"
            status = problem_of_reader(plugin)
        rows.append([plugin.name, kind, summary, plugin.distribution, plugin.version, status or "ok"])
    columns = ["name", "kind", "summary", "distribution", "version", "status"]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="An architecture, e.g. dcgan.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every option of an architecture: type, bounds, default, help."""
    from gantool.plugin.options import options_of
    from gantool.plugin.registry import find

    plugin = find(name)
    assert plugin.architecture is not None
    options = options_of(plugin.architecture)
    if as_json:
        about: dict[str, Any] = {
            "name": plugin.name,
            "summary": plugin.architecture.summary,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "options": [
                {
                    "option": o.flag,
                    "type": o.type,
                    "bounds": o.bounds,
                    "default": o.default,
                    "help": o.help,
                    "from": "recipe" if o.panel == "Recipe" else "config",
                }
                for o in options
            ],
        }
        print_json(about)
        return
    console().print(f"{plugin.name}: {plugin.architecture.summary}\n({plugin.distribution} {plugin.version})")
    for panel in ("Architecture", "Recipe"):
        rows = [[o.flag, o.metavar, o.default_text, o.help] for o in options if o.panel == panel]
        print_table(["option", "type and bounds", "default", "help"], rows, title=f"\n{panel}")


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the architecture, e.g. my-gan.")],
    directory: Annotated[Path, typer.Option("--dir", help="Folder to make gantool-NAME in.")] = Path(),
) -> None:
    """Write a new plugin package to start from: a small GAN that trains, exports and passes its test."""
    from gantool.scaffold import Names, create

    folder = create(name, directory)
    made = Names(name).files()
    width = max(map(len, made))
    lines = [f"  {path:{width}}  {use}" for path, (_, use) in made.items()]
    steps = [f"cd {shlex.quote(str(folder))}", "python -m pip install -e '.[dev]'", "python -m pytest"]
    next_lines = [f"  {step}" for step in [*steps, f"gantool train {name}"]]
    text = "\n".join([f"{folder}{os.sep}", *lines, "", "Next:", *next_lines])
    console().print(text, soft_wrap=True)
