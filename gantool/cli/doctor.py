"""`gantool doctor`: test every provider on this machine, and print the command that repairs what fails."""

from __future__ import annotations

from typing import Annotated

import typer

from gantool.system.terminal import console, print_json, status


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
    from gantool.doctor.report import lines

    with status() as show:
        report = examine(provider=provider, timeout=timeout, listener=lambda stage: show(f"trying {stage}"))
    if as_json:
        print_json(report)
    else:
        out = console()
        for line in lines(report, out.width if out.is_terminal else None):
            out.print(line, soft_wrap=out.soft_wrap or line.startswith("  "))  # commands to be pasted stay whole
    if not report["ok"]:
        raise typer.Exit(1)
