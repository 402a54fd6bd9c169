"""`gantool doctor`: test every provider on this machine, and print the command that repairs what fails."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gantool.system.terminal import console, print_json, print_table, status


def command(
    provider: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, tensorrt or openvino: exit with 1 unless this one works."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, max=86_400, help="Seconds after which a test process counts as hung.")
    ] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for bug reports, without user names.")] = False,
) -> None:
    """Run real operators on every provider, and print the command that repairs what fails.

    Conv, ConvTranspose, Gemm and seeded latents are compared with known values; each provider runs in a fresh process
    without torch. Exit code 0 when all that is usable works: a provider without its device is not a fault.
    """
    from gantool.doctor import examine

    with status() as show:
        report = examine(provider=provider, timeout=timeout, listener=lambda stage: show(f"trying {stage}"))
    if as_json:
        print_json(report)
    else:
        _show(report)
    if not report["ok"]:
        raise typer.Exit(1)


def _show(report: dict[str, Any]) -> None:
    from rich.text import Text

    from gantool.doctor import report as text

    out = console()
    for line in text.heading(report):
        out.print(line)
    if rows := text.provider_rows(report):
        print_table(text.PROVIDER_COLUMNS, rows, title="\nProviders")
    if rows := text.library_rows(report):
        print_table(text.LIBRARY_COLUMNS, rows, title="Libraries loaded")
    for line in text.remarks(report):
        out.print(line)
    for severity, what, remedy in text.faults(report):
        style = "bold red" if severity == "fault" else "bold yellow"
        out.print(Text("\n") + Text(f"{severity.capitalize()}: ", style=style) + Text(what, style="none"))
        for line in remedy:
            out.print(f"  {line}", soft_wrap=True)  # never broken: it is to be pasted
    out.print(f"\n{text.verdict(report)}", style="bold")
