"""`gantool directions`: find directions of the latents; name one, so that exported files have a slider of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gantool.errors import ArgumentError
from gantool.system.terminal import console, print_json, print_table

if TYPE_CHECKING:
    from gantool.api.directions import Found
    from gantool.run.directions import Direction

SEED = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the samples that are looked at.")]
RUN = Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run. Default: the newest.", show_default=False)]
RUNS = Annotated[Path, typer.Option(help="Folder of the runs.")]
STEP = Annotated[
    str | None, typer.Option(metavar="N|best", help="An older checkpoint of the run, or the best by --keep-best.")
]
WHICH = Annotated[str, typer.Option(metavar="NAME", help="A generator of a run that has several. Default: the first.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OUTPUT = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="The sheet, a .png. Default: directions.png in the run.", show_default=False),
]
EXTRACTOR = Annotated[
    str | None,
    typer.Option(help="What judges samples, as of `gantool evaluate`. Default: that of the data.", show_default=False),
]


class _FindByDefault(TyperGroup):
    """`gantool directions RUN` is `gantool directions find RUN`."""

    default = "find"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_FindByDefault, help="Find directions of a run's latents; name one: exports get a slider of it.")


@app.command("find")
def find(
    run: RUN = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="sefa|pca|measures|labels|examples",
            help="sefa: what moves the first layers most. pca: principal components (GANSpace). measures: brightness, "
            "slant, warmth … labels: towards each class. examples: from --those to --these.",
        ),
    ] = "sefa",
    n: Annotated[int, typer.Option("-n", min=1, max=64, help="How many, at most.")] = 8,
    these: Annotated[
        str, typer.Option(metavar="SEED:INDEX,…", help="Samples that have it, or .npz files of latents.")
    ] = "",
    those: Annotated[str, typer.Option(metavar="SEED:INDEX,…", help="Samples that don't have it.")] = "",
    extractor: EXTRACTOR = None,
    step: STEP = None,
    which: WHICH = "",
    seed: SEED = 0,
    output: OUTPUT = None,
    runs: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Find directions along which samples change in one way, and draw a sheet: a row each, strengths across."""
    from gantool.api import directions as api

    given = (Path(part) for part in (run,) if part)
    if any(path.suffix == ".onnx" for path in given):
        _show_file(Path(str(run)), as_json)
        return
    made = api.directions(
        run, by, n=n, these=these, those=those, extractor=extractor, step=step, which=which, seed=seed, runs=runs
    )
    path = _save(made, output, run, runs)
    if as_json:
        print_json({"sheet": str(path), "directions": [_as_json(d, k) for k, d in enumerate(made.directions, 1)]})
        return
    _print(made.directions)
    console().print(f"→ {path}: a row each, strengths -3 to 3", soft_wrap=True)
    console().print("Next: gantool directions name NUMBER NAME")


@app.command("name")
def name(
    number: Annotated[int, typer.Argument(help="Of the last search.")],
    name: Annotated[str, typer.Argument(help="a-z, 0-9 and _; it becomes an input of the exported files.")],
    run: RUN = None,
    low: Annotated[
        float | None, typer.Option(help="Lowest strength. Default: as far as samples stay like the data.")
    ] = None,
    high: Annotated[
        float | None, typer.Option(help="Highest strength. Default: as far as samples stay like it.")
    ] = None,
    extractor: EXTRACTOR = None,
    seed: SEED = 0,
    output: OUTPUT = None,
    runs: RUNS = Path("runs"),
    as_json: AS_JSON = False,
) -> None:
    """Give a direction a name: the run's exports then have an input of that name, 0 by default."""
    from gantool.api import directions as api

    made = api.name_direction(number, name, run, low=low, high=high, extractor=extractor, seed=seed, runs=runs)
    path = _save(made, output, run, runs, f"directions.{name}.png")
    (chosen,) = made.directions
    if as_json:
        print_json({"sheet": str(path), "direction": _as_json(chosen, number)})
        return
    console().print(f"{name}: {chosen.about}, strengths {chosen.low:g} to {chosen.high:g}")
    console().print(f"→ {path}: a row a sample", soft_wrap=True)
    console().print(f"Next: gantool export\n      gantool generate --value {name}={chosen.high:g}")


@app.command("list")
def list_command(run: RUN = None, runs: RUNS = Path("runs"), as_json: AS_JSON = False) -> None:
    """List the directions that were found last, and those with a name."""
    from gantool.run import directions as stored

    known = stored.read(_run(run, runs))
    if as_json:
        print_json(
            {
                "found": [_as_json(d, k) for k, d in enumerate(known.found, 1)],
                "named": [_as_json(d, None) for d in known.named],
            }
        )
        return
    if not known.found and not known.named:
        console().print("No directions yet. Find some: gantool directions")
    if known.found:
        _print(known.found)
    if known.named:
        rows = [[d.name, d.about, f"{d.low:g} to {d.high:g}", str(d.step)] for d in known.named]
        print_table(["name", "what", "strengths", "step"], rows, title="Inputs of exported files", right=(3,))


@app.command("remove")
def remove(name: Annotated[str, typer.Argument()], run: RUN = None, runs: RUNS = Path("runs")) -> None:
    """Take a direction's name away: exports made from now on don't have it."""
    from gantool.api import directions as api

    api.remove_direction(name, run, runs=runs)
    console().print(f"{name} is no input of exported files any more. Next: gantool export")


def _run(run: str | None, runs: Path) -> Any:
    from gantool.run import rundir

    return rundir.find(runs, run) if run else rundir.newest(runs)


def _save(made: Found, output: Path | None, run: str | None, runs: Path, default: str = "directions.png") -> Path:
    from gantool.artifact.pictures import save_png

    path = output or _run(run, runs).path / default
    if path.suffix != ".png":
        raise ArgumentError(f"{path} is no .png.", "Name a .png with -o.")
    save_png(made.sheet, path)
    return path


def _print(found: tuple[Direction, ...]) -> None:
    rows = [[str(k), d.about, d.place or d.input] for k, d in enumerate(found, 1)]
    print_table(["number", "direction", "moves"], rows, right=(0,))


def _show_file(path: Path, as_json: bool) -> None:
    """The values of an exported file, directions among them."""
    from gantool.artifact import onnxfile

    values = onnxfile.read_manifest(path).values
    if as_json:
        print_json({"values": [{"name": v.name, "low": v.low, "high": v.high, "default": v.default} for v in values]})
    elif values:
        rows = [[v.name, f"{v.low:g} to {v.high:g}", f"{v.default:g}"] for v in values]
        print_table(["value", "range", "default"], rows, right=(2,))
    else:
        console().print(f"{path} has none. Those of a run are found with: gantool directions RUN")


def _as_json(direction: Direction, number: int | None) -> dict[str, Any]:
    return {"number": number, **direction.model_dump(exclude={"vector"})}
