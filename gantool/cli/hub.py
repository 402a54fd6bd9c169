"""`gantool push` and `gantool pull`: exported files on a Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gantool.cli.card import DATASET, LICENCE, SOURCE
from gantool.cli.directions import RUNS
from gantool.system.terminal import console


def push(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="At the hub; made if it does not exist.")],
    source: SOURCE = None,
    private: Annotated[bool, typer.Option("--private", help="When it is made: for you only.")] = False,
    licence: LICENCE = "",
    dataset: DATASET = None,
    message: Annotated[str, typer.Option("-m", "--message", help="Of the commit.", show_default=False)] = "",
    runs: RUNS = Path("runs"),
) -> None:
    """Send exported files and their model card to a Hugging Face hub. The token: `hf auth login`, or HF_TOKEN."""
    from gantool.api.hub import push

    done = push(repo, source, private=private, licence=licence, datasets=dataset or (), message=message, runs=runs)
    out = console()
    for name in done.sent:
        out.print(f"→ {name}", soft_wrap=True)
    for name in done.removed:
        out.print(f"removed there: {name}", soft_wrap=True)
    out.print(done.url, soft_wrap=True)


def pull(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="At the hub.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A new folder. Default: NAME.", show_default=False)
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="COMMIT", help="A commit, a branch or a tag.", show_default=False)
    ] = None,
) -> None:
    """Fetch exported files from a Hugging Face hub; digests are checked, nothing is run."""
    from gantool.api.hub import pull

    console().print(f"→ {pull(repo, output, revision=revision)}", soft_wrap=True)
