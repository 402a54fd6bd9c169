"""`gantool plugins`: what is installed, in what state, with which options."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gantool.cli.show import console, print_json, print_table
from gantool.errors import GantoolError

app = typer.Typer(help="List the installed architectures, or show one's options.")


@app.callback(invoke_without_command=True)
def _list(context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the installed architectures, and what is wrong with those that can't be used."""
    if context.invoked_subcommand is not None:
        return
    from gantool.plugins import discover, find

    rows = []
    for plugin in discover():
        status = plugin.error
        if not status:
            try:
                find(plugin.name)
            except GantoolError as error:
                status = error.message
        summary = plugin.architecture.summary if plugin.architecture else ""
        rows.append([plugin.name, summary, plugin.distribution, plugin.version, status or "ok"])
    columns = ["name", "summary", "distribution", "version", "status"]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows, wrap=(1, 4))


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="An architecture, e.g. dcgan.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every option of an architecture: type, bounds, default, help."""
    from gantool.options import options_of
    from gantool.plugins import find

    plugin = find(name)
    assert plugin.architecture is not None
    options = options_of(plugin.architecture)
    if as_json:
        described: dict[str, Any] = {
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
                    "from": "recipe" if o.of_recipe else "config",
                }
                for o in options
            ],
        }
        print_json(described)
        return
    console().print(f"{plugin.name}: {plugin.architecture.summary}\n({plugin.distribution} {plugin.version})")
    for title, of_recipe in (("Architecture", False), ("Recipe", True)):
        rows = [[o.flag, o.metavar, o.default_text, o.help] for o in options if o.of_recipe is of_recipe]
        print_table(["option", "type and bounds", "default", "help"], rows, title=title, wrap=(1, 3))
