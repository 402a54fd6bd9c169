"""`gantool doctor`: what works on this machine, and the line that mends what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer


def command(
    provider: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, tensorrt or openvino: one that has to work, else the exit code is 1."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, max=86_400, help="Seconds that each process may take before it counts as hung.")
    ] = 120.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for bug reports; without names of yours.")
    ] = False,
) -> None:
    """Run real operators on every provider, and give the line that mends what fails.

    Conv, ConvTranspose, Gemm and the latents of a seed, each provider in a fresh process without torch, compared with
    numpy. Exit code 0 when all that is usable here works: a provider without its device is not a fault.
    """
    from gantool.doctor import examine
    from gantool.system.terminal import print_json

    with _progress() as listener:
        report = examine(provider=provider, timeout=timeout, listener=listener)
    if as_json:
        print_json(report)
    else:
        _show(report)
    if not report["ok"]:
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What hears the stages: a line that changes on a terminal, nothing elsewhere."""
    from gantool.system.terminal import console

    err = console(stderr=True)
    if not err.is_terminal:
        yield lambda stage: None
        return
    with err.status("starting") as status:
        yield lambda stage: status.update(f"trying {stage}")


def _show(report: dict[str, Any]) -> None:
    from rich.text import Text

    from gantool.doctor import words
    from gantool.system.terminal import console, print_table

    out = console()
    for line in words.heading(report):
        out.print(Text(line))
    if rows := words.provider_rows(report):
        print_table(words.PROVIDER_COLUMNS, rows, title="\nProviders")
    if rows := words.library_rows(report):
        print_table(words.LIBRARY_COLUMNS, rows, title="Libraries loaded")
    for line in words.remarks(report):
        out.print(Text(line))
    for severity, what, mend in words.faults(report):
        style = "bold red" if severity == "fault" else "bold yellow"
        out.print(Text("\n") + Text(f"{severity.capitalize()}: ", style=style) + Text(what))
        for line in mend:
            # a line to paste is never broken
            out.print(Text(f"  {line}", style="none"), soft_wrap=True)
    out.print(Text(f"\n{words.verdict(report)}", style="bold"))
