"""`gantool runs`: list, compare and delete runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gantool.errors import GantoolError
from gantool.system.terminal import console, megabytes, print_json, print_table

if TYPE_CHECKING:
    from gantool.run.compare import Summary

Sort = Literal["run", "step", "speed", "diversity", "frechet"]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
Sorted = Annotated[Sort, typer.Option(help="Sort by this; the newest or largest comes last.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Names = Annotated[list[str], typer.Argument(help="Runs: paths, folder names or numbers.", metavar="RUN…")]

app = typer.Typer(help="List the runs, compare some, or delete some.")


@app.callback(invoke_without_command=True)
def _default(context: typer.Context, runs: Runs = Path("runs"), sort: Sorted = "run", as_json: AsJson = False) -> None:
    """List the runs, compare some, or delete some. Without a command: list."""
    if context.invoked_subcommand is None:
        _list(runs, sort, as_json)


@app.command("list")
def list_command(runs: Runs = Path("runs"), sort: Sorted = "run", as_json: AsJson = False) -> None:
    """List the runs, the newest last."""
    _list(runs, sort, as_json)


@app.command("compare")
def compare(
    names: Names,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Draw samples and curves of the runs in this PNG.")
    ] = None,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show how runs differ: in options, then in the metrics of their last ticks."""
    from gantool.run import compare as overview
    from gantool.run import rundir

    if len(names) < 2:
        raise typer.BadParameter("name two runs or more")
    chosen = [overview.summary(rundir.find(runs, name)) for name in names]
    infos = [one.info for one in chosen if one.info]
    for one in chosen:
        if not one.info:
            raise GantoolError(one.error, "List the runs: gantool runs")
    settings, figures = overview.differences(infos), overview.figures(chosen)
    if output:
        from gantool.run import curves

        curves.compare([one.run for one in chosen], output)
    if as_json:
        print_json({"runs": [_as_json(one) for one in chosen], "settings": settings, "figures": _finite(figures)})
        return
    heads = [str(one.run.number) for one in chosen]
    console().print("\n".join(f"{one.run.number}: {one.run.path}" for one in chosen))
    right = tuple(range(1, len(heads) + 1))
    same = len(overview.settings(infos[0])) - len(settings)
    rows = [[name, *map(_value, values)] for name, values in settings.items()]
    if rows:
        print_table(["option", *heads], rows, title=f"Options that differ ({same} do not)")
    else:
        console().print(f"None of the {same} options differs.\n")
    rows = [[name, *map(_figure, values)] for name, values in figures.items()]
    print_table(["last tick", *heads], rows, right=right)
    if output:
        console().print(f"picture  {output}")


@app.command("delete")
def delete(
    names: Names,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Delete runs with everything in their folders, exports too; refuses a run that is being trained."""
    from gantool.run import rundir

    found = {run.path.absolute(): run for run in (rundir.find(runs, name) for name in names)}
    chosen = list(found.values())  # each once
    for run in chosen:
        run.check_deletable()  # all, before the first is deleted
    out = console()
    if not yes:
        for run in chosen:
            out.print(f"{run.path}  {megabytes(run.size())}")
        typer.confirm(f"Delete {'this run' if len(chosen) == 1 else f'these {len(chosen)} runs'} for good?", abort=True)
    for run in chosen:
        out.print(f"deleted {run.path}: {megabytes(run.delete())} freed")


def _list(runs: Path, sort: Sort, as_json: bool) -> None:
    from gantool.run import compare as overview

    found = overview.summaries(runs)
    if sort != "run":
        key = {"speed": "images_per_second"}.get(sort, sort)
        found.sort(key=lambda one: _rank(one.figure(key)))
    if as_json:
        print_json([_as_json(one) for one in found])
    elif not found:
        console().print(f"There is no run in {runs}. Train one: gantool train mlp")
    else:
        _show(found)


def _rank(value: float | None) -> float:
    """Runs without the figure come first."""
    return value if value is not None and math.isfinite(value) else -math.inf


def _show(found: list[Summary]) -> None:
    """A table that fits 80 columns: without figures that no run has, and what the run's name says."""
    kept = [name for name in ("diversity", "frechet") if any(one.figure(name) is not None for one in found)]
    rows = [
        [
            _named(one),
            _progress(one),
            {"interrupted": "stopped"}.get(one.status, one.status),
            _age(one.age),
            _figure(one.figure("images_per_second")),
            *(_figure(one.figure(name)) for name in kept),
        ]
        for one in found
    ]
    columns = ["run", "step", "status", "age", "img/s", *kept]
    if any(one.evaluated for one in found):
        columns.append("evaluate")
        rows = [[*row, _figure(_distance(one))] for row, one in zip(rows, found, strict=True)]
    print_table(columns, rows, right=(1, *range(3, len(columns))))
    for one in found:
        if one.error:
            console().print(f"{one.run.name} is broken: {one.error}")


def _distance(one: Summary) -> float | None:
    """The Fréchet distance of the newest `gantool evaluate`."""
    return next((value for name, value in one.evaluated.items() if name.startswith("Fréchet")), None)


def _named(one: Summary) -> str:
    """The folder's name, with architecture and data unless the name, `0001-mlp-digits`, has them."""
    info, name = one.info, one.run.name
    if info is None or name.partition("-")[2] == f"{info.architecture}-{info.data.name}":
        return name
    return f"{name}: {info.architecture} on {info.data.name}"


def _progress(one: Summary) -> str:
    if one.info is None:
        return "–"
    step, steps = (f"{n / 1000:.0f}k" if n >= 100_000 else str(n) for n in (one.info.step, one.info.steps))
    return step if one.info.step == one.info.steps else f"{step}/{steps}"


def _as_json(one: Summary) -> dict[str, Any]:
    info = one.info
    return {
        "run": one.run.name,
        "path": str(one.run.path),
        "status": one.status,
        "error": one.error or None,
        "architecture": info.architecture if info else None,
        "data": info.data.name if info else None,
        "step": info.step if info else None,
        "steps": info.steps if info else None,
        "created": info.created if info else None,
        **_finite({key: one.figure(key) for key in ("images_per_second", "diversity", "frechet")}),
        "evaluated": _finite(one.evaluated),
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinity by null: JSON has neither."""

    def clean(value: Any) -> Any:
        if isinstance(value, list):
            return [clean(entry) for entry in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: clean(value) for key, value in values.items()}


def _age(seconds: float | None) -> str:
    """`40s`, `12m`, `5h`, `3d`."""
    if seconds is None:
        return "–"
    unit, length = next(((u, n) for u, n in (("d", 86_400), ("h", 3_600), ("m", 60)) if seconds >= n), ("s", 1))
    return f"{seconds // length:.0f}{unit}"


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _value(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
