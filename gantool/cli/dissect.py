"""`gantool dissect`: what the units of a generator do, in a table and on a page where a click switches one off."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gantool.cli.directions import AS_JSON, RUN, RUNS, SEED, STEP, WHICH
from gantool.errors import excerpt
from gantool.system.terminal import console, print_json, print_table, status

ROWS = 12  # of the table


def command(
    run: RUN = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder of the page. Default: dissect/ in the run.", show_default=False),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|all", help="A module; may be repeated. Default: the last of each size."),
    ] = None,
    units: Annotated[
        int, typer.Option(min=1, max=4096, help="How many of each layer are switched off and doubled.")
    ] = 24,
    samples: Annotated[int, typer.Option(min=1, max=100_000, help="On which it is measured.")] = 100,
    extractor: Annotated[
        str | None,
        typer.Option(
            help="What tells the classes of samples, by the data's labels. Default: digits, for those.",
            show_default=False,
        ),
    ] = None,
    step: STEP = None,
    which: WHICH = "",
    seed: SEED = 0,
    runs: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Find out what units of a generator do: a page where a click on one switches it off, and what that changes."""
    from gantool.api import dissect as api

    if output is not None:
        api.check(output)
    found = api.dissect(
        run, layers=layers or (), units=units, samples=samples, extractor=extractor, step=step, which=which, seed=seed,
        runs=runs,
    )  # fmt: skip
    with status():
        page = found.save(output)
    if as_json:
        print_json({"page": str(page), **found.as_json()})
        return
    every = [(layer, unit) for layer in found.layers for unit in layer.units]
    best = sorted(every, key=lambda pair: -pair[1].off.pixels)[:ROWS]
    print_table(
        ["layer", "unit", "off: levels", "twice", *(["other class", ""] if found.extractor else [])],
        [
            [
                layer.name,
                str(unit.number),
                f"{unit.off.pixels:.1f}",
                f"{unit.boost.pixels:.1f}",
                *([] if unit.off.classes is None else [f"{unit.off.classes:.0%}", _flip(unit.off.flips)]),
            ]
            for layer, unit in best
        ],
        title=f"Units that change most of {len(every)} in {len(found.layers)} layer{'s' * (len(found.layers) > 1)}",
        right=(1, 2, 3, 4),
    )
    console().print(f"→ {page}: open it in a browser, and click a unit", soft_wrap=True)


def _flip(flips: tuple[tuple[str, str, float], ...]) -> str:
    return " → ".join(excerpt(name, 12) for name in flips[0][:2]) if flips else ""
