"""`gantool invert`: the latents whose images come closest to given pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gantool.cli.directions import EXTRACTOR, RUNS, STEP, WHICH
from gantool.system.terminal import console, print_json, print_table


def command(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURE…", help="Files, folders, .npz of images; or seed:index, a sample of the run itself."
        ),
    ],
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Default: the newest.", show_default=False)] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="An .npz of latents; a sheet, .sheet.png, is written beside it.")
    ] = Path("z.npz"),
    label: Annotated[
        str | None, typer.Option(help="The class, by number or name. Default: all are tried.", show_default=False)
    ] = None,
    space: Annotated[
        str, typer.Option(metavar="z|w", help="w: also the output of a mapping network, which gets nearer.")
    ] = "z",
    extractor: EXTRACTOR = None,
    starts: Annotated[int, typer.Option(min=1, max=1024, help="Of a picture, from the best of random samples.")] = 16,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Of Adam, from each start that stays good.")] = 600,
    step: STEP = None,
    which: WHICH = "",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the random samples.")] = 0,
    runs: RUNS = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the latents whose images come closest to pictures, for films, directions and edits."""
    from gantool.api import invert as api
    from gantool.artifact.pictures import save_png

    sheet = api.npz(output).with_suffix(".sheet.png")
    found = api.invert(
        given, run, label=label, space=space, extractor=extractor, starts=starts, steps=steps, step=step, which=which,
        seed=seed, runs=runs,
    )  # fmt: skip
    found.save(output)
    save_png(found.sheet, sheet)
    rows = [
        {
            "picture": name,
            "levels": round(float(found.levels[k]), 3),
            "features": round(float(found.features[k]), 4),
            "label": None if found.labels is None else int(found.labels[k]),
            "far": bool(found.far[k]),
        }
        for k, name in enumerate(found.names)
    ]
    if as_json:
        print_json({"latents": str(output), "sheet": str(sheet), "pictures": rows})
        return
    heads = ["picture", "levels", "features", *(["class"] if found.labels is not None else []), ""]
    print_table(
        heads,
        [
            [
                str(row["picture"]),
                f"{row['levels']:.2f}",
                f"{row['features']:.2f}",
                *([] if row["label"] is None else [str(row["label"])]),
                "far" if row["far"] else "",
            ]
            for row in rows
        ],
        right=(1, 2, 3),
    )
    if found.far.any():
        console().print(
            f"{int(found.far.sum())} of {len(rows)} are far: the generator makes nothing like them. More --starts or "
            "--steps may help, and longer training."
        )
    console().print(f"→ {output}, {sheet}", soft_wrap=True)
    console().print(f"Next: gantool film --through {output}")
