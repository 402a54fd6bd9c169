"""`gantool bench`: how fast an exported generator is, with proof that its images are right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gantool.cli.threads import THREADS
from gantool.system.terminal import console, megabytes, print_json, print_table

if TYPE_CHECKING:
    from gantool.benching.tables import Names, Table

REGRESSED = 3  # the exit code of a regression
OMITTED = ("p90 ms", "max ms", "first ms", "runs", "GFLOP/s")  # columns, where there are many rows


def command(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|RUN",
            help="Exported ONNX files, or runs (path, name or number); without any, the newest export.",
        ),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda, tensorrt or openvino, never replaced by another. Default: cuda where it works, else cpu.",
            show_default=False,
        ),
    ] = None,
    batches: Annotated[str, typer.Option(help="Batch sizes to time.", metavar="N,N,…")] = "1,8,64,256",
    threads: THREADS = None,
    options: Annotated[
        str | None,
        typer.Option(
            metavar="O,O,…",
            help="cuda: io-binding, cuda-graph, nhwc, heuristic-search, exhaustive-search, tf32, no-tf32; "
            "tensorrt: io-binding, fp16.",
            show_default=False,
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="All variants beside the file, on every provider, with every number of threads and option."
        ),
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0, help="Time for all of it: the least promising cells are dropped, and named.", show_default=False
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, max=3600, help="How long each batch is timed once it has settled; 10 runs at least.")
    ] = 2.0,
    timeout: Annotated[
        float, typer.Option(min=1, help="Stop a measured process after so many seconds of silence.")
    ] = 600.0,
    p99: Annotated[float, typer.Option(min=0, metavar="MS", help="Recommend what is best under this latency.")] = 10.0,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="MB",
            help="Recommend only what takes no more memory than this, of RAM and of the GPU each.",
            show_default=False,
        ),
    ] = None,
    quality: Annotated[
        bool, typer.Option("--quality", help="Fréchet distance of each variant's samples to the float32 file's.")
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="W,W,…",
            help="torch, compile, torchscript=FILE: time the same generator through torch, in turns with ours.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="An earlier --json report to compare with. Exits 3 when slower.", show_default=False),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="With --baseline: the loss that is no regression.")
    ] = 0.05,
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[
        Path | None, typer.Option(help="Write a CSV file: a row for each cell and batch.", show_default=False)
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report as one HTML file.", show_default=False)] = None,
) -> None:
    """Time exported generators, each in a fresh process without torch, and prove their samples right.

    Cold: from the start of a process to its first sample. Warm: samples a second and latencies at each batch. Then the
    same session makes new samples, and they are compared: wrong or stale ones are an error. Exit codes: 1 for an error,
    2 for a wrong option, 3 for a regression against --baseline.
    """
    sizes = _batches(batches)
    if full and (provider or threads or options):
        raise typer.BadParameter("--full takes every provider, threads and option: leave those out.")
    if html:
        import matplotlib  # noqa: F401  known to be missing before anything is measured
    from gantool.api.bench import bench

    made = bench(
        files,
        provider=provider,
        batches=sizes,
        threads=threads,
        options=_words(options),
        full=full,
        minutes=minutes,
        seconds=seconds,
        timeout=timeout,
        p99=p99,
        memory=memory,
        quality=quality,
        compare=_words(compare),
        baseline=baseline,
        tolerance=tolerance,
        runs=runs,
    )
    if as_json:
        print_json(made)
    else:
        _show(made)
    if csv:
        from gantool.benching.tables import write_csv

        write_csv(made, csv)
    if html:
        from gantool.benching.html import write_html

        write_html(made, html)
    if baseline and made["baseline"]["regressed"]:
        raise typer.Exit(REGRESSED)


def _batches(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    # 1 to 65536: checked here too, so that it is a usage error
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= 65_536 for part in parts):
        raise typer.BadParameter(f"{text!r}: give whole numbers from 1 to 65536, e.g. 1,64")
    return tuple(int(part) for part in parts)


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


def _show(report: dict[str, Any]) -> None:
    """Print each model's cells and answer, then what concerns all."""
    from gantool.benching import tables

    out, machine, names = console(), report["machine"], tables.Names(report["models"])
    measured = [cell for cell in report["cells"] if cell["status"] == "measured"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    out.print(f"{machine['cpu']}, {machine['cores']} cores{gpu}")
    out.print(", ".join(f"{name} {version}" for name, version in measured[0]["versions"].items()))
    for answer in report["answer"]["models"]:
        own = [cell for cell in measured if cell["file"].get("model") == answer["model"]]
        if names.several:
            out.print(f"\nModel: {answer['name']}", style="bold")
        if len(own) == 1:
            _show_cell(own[0], names)
        elif own:
            _print_table(tables.cold(own, names))
            _print_table(tables.warm(own, names, OMITTED))
        if names.several:
            out.print("\n".join(answer["words"]))
    _print_table(tables.failed([cell for cell in report["cells"] if cell["status"] != "measured"], names))
    _print_table(tables.quality(report.get("quality")))
    _print_table(tables.compare(report.get("compare")))
    _print_table(tables.baseline(report.get("baseline")))
    if not names.several:
        out.print("\n".join(report["answer"]["models"][0]["words"]))
    if report["warning"]:
        out.print(f"\n{report['warning']}", style="yellow")


def _show_cell(cell: dict[str, Any], names: Names) -> None:
    """All of a cell that is the only one of its model."""
    from gantool.benching import tables
    from gantool.benching.matrix import label

    out, file, cold, work = console(), cell["file"], cell["cold"], cell.get("work")
    shape = "×".join(map(str, file["output"]))
    flops = f", {tables.figure(work['flops'] / 1e6)} MFLOP a sample" if work else ""
    out.print(
        f"{file['path']} ({file['architecture']}, {file['kind']}, {file['precision']}, {shape}, "
        f"{megabytes(file['bytes'])}{flops}) on {label(cell)}"
    )
    print_table(
        ["interpreter", "imports", "session", f"first {tables.noun([cell])}", "in all"],
        [[f"{cold[part]:.0f} ms" for part in tables.COLD]],
        title=f"\nCold: a new process to its first {tables.noun([cell])}",
        right=(0, 1, 2, 3, 4),
    )
    _print_table(tables.warm([cell], names), ungrouped=True)
    split = [
        f"{row['batch']} as calls of {row['plan']['rows']} on {row['plan']['threads']} thread"
        + ("s" if row["plan"]["threads"] > 1 else "")
        for row in cell["batches"]
        if row["plan"]["threads"] > 1 or row["plan"]["rows"] < row["batch"]
    ]
    if split:
        out.print(f"Batches are split as in an app: {'; '.join(split)}.")
    out.print("Proof: " + "\n       ".join(cell["proof"]["words"]))


def _print_table(table: Table | None, ungrouped: bool = False) -> None:
    if table is None:
        return
    headings, rows, left = list(table.headings), [list(row) for row in table.rows], table.left
    if table.groups and not ungrouped:
        headings = ["cell", *headings]
        rows = [[name, *row] for name, row in zip(table.groups, rows, strict=True)]
        left = (0, *(i + 1 for i in left))
    right = tuple(i for i in range(len(headings)) if i not in left)
    print_table(headings, rows, title=f"\n{table.title}", right=right)
    if table.note:
        console().print(table.note)
