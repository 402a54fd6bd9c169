"""`gantool bench`: how fast an exported generator is, proven right."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

REGRESSED = 3  # the exit code of a regression


def _batches(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    # 1 to 65536: checked here too, so that it is a usage error
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= 65_536 for part in parts):
        raise typer.BadParameter(f"{text!r}: give whole numbers from 1 to 65536, e.g. 1,64")
    return tuple(int(part) for part in parts)


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


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
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Cores to use; without it, all.", show_default=False),
    ] = None,
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
            min=0, help="How long all of it may take: what promises least is dropped, and named.", show_default=False
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, max=3600, help="How long each batch is timed once it has settled; 10 runs at least.")
    ] = 2.0,
    timeout: Annotated[
        float, typer.Option(min=1, help="Stop a measured process after so many seconds of silence.")
    ] = 600.0,
    p99: Annotated[float, typer.Option(min=0, metavar="MS", help="Answer what is best under this latency.")] = 10.0,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="MB",
            help="Answer only with what takes no more memory than this, of RAM and of the GPU each.",
            show_default=False,
        ),
    ] = None,
    write_choice: Annotated[
        bool,
        typer.Option(
            "--write-choice",
            help="Write the best of each model (under --p99 when that is given) beside its file, as FILE.bench.json.",
        ),
    ] = False,
    quality: Annotated[
        bool, typer.Option("--quality", help="Fréchet distance of each variant's images to the float32 file's.")
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="W,W,…",
            help="torch, compile, torchscript: the same generator through torch, interleaved with ours.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="An earlier --json report: faster, slower or the same? Exits 3 when slower.", show_default=False
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="With --baseline: the loss that is no regression.")
    ] = 0.05,
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write a row a cell and batch.", show_default=False)] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report in one file.", show_default=False)] = None,
    context: typer.Context = None,  # type: ignore[assignment]
) -> None:
    """Time exported generators, each in a fresh process without torch, and prove their images right.

    Cold: from the start of a process to its first image. Warm: images a second and latencies at each batch. Then the
    same session makes images it never made, and they are compared: wrong or stale ones are an error. Exit codes: 1 for
    an error, 2 for a wrong option, 3 for a regression against --baseline.
    """
    sizes, rivals = _batches(batches), _words(compare)
    from gantool.benching import answer, matrix, report
    from gantool.cli.artifacts import find_artifact
    from gantool.cli.bench_show import show
    from gantool.system.files import read_json
    from gantool.system.terminal import console, print_json

    if full and (provider or threads or options):
        raise typer.BadParameter("--full takes every provider, threads and option: leave those out.")
    if rivals:
        from gantool.benching import rivals as torch_rivals

        torch_rivals.check(rivals)
    paths = [find_artifact(given, runs) for given in files or (None,)]
    before = read_json(baseline) if baseline else None
    chosen = provider or matrix.best_provider()
    if full:
        from gantool.benching import machine

        cells = matrix.full(paths, int(machine.describe()["cores"] or 1))
    else:
        cells = matrix.short(paths, chosen, threads, _words(options))
    settings = report.Settings(sizes, seconds, timeout, minutes, answer.Limits(p99, memory))
    with _progress() as listener:
        made = report.bench(
            cells,
            settings,
            listener,
            otherwise=matrix.short(paths, "cpu", threads) if provider is None and chosen != "cpu" else (),
            # a provider that was named is tried: its own refusal says more
            absent=matrix.absent if full else lambda name: None,
        )
        report.demand_one(made)
        if quality:
            from gantool.benching.quality import add_quality

            add_quality(made, listener)
        if rivals:
            on_gpu = any(cell["provider"] == "cuda" and cell["status"] == "measured" for cell in made["cells"])
            device = "cuda" if on_gpu else "cpu"
            made["compare"] = torch_rivals.compare(paths[0], rivals, sizes, seconds, timeout, listener, device)
    regressed = False
    if before is not None:
        from gantool.benching.baseline import compare as compare_reports

        comparison = compare_reports(made, before, tolerance)
        made["baseline"], regressed = comparison.as_dict(), comparison.regressed
    if as_json:
        print_json(made)
    else:
        show(made)
    said = console(stderr=True)
    if csv:
        from gantool.benching.table import write_csv

        write_csv(made, csv)
    if html:
        from gantool.benching.html import write_html

        write_html(made, html)
    if write_choice:
        named = context.get_parameter_source("p99")
        for path in answer.write_choices(made, within_p99=named is not None and named.name == "COMMANDLINE"):
            said.print(f"Written: {path}")
    if regressed:
        raise typer.Exit(REGRESSED)


def _progress() -> AbstractContextManager[Any]:
    """What hears the stages: a line that changes on a terminal, nothing elsewhere."""
    from gantool.system.terminal import console

    err = console(stderr=True)
    if not err.is_terminal:
        return nullcontext(lambda stage: None)
    return _Spinner(err.status("starting"))


class _Spinner:
    def __init__(self, status: Any) -> None:
        self.status = status

    def __enter__(self) -> Any:
        self.status.start()
        return lambda stage: self.status.update(f"measuring: {stage}")

    def __exit__(self, *_: object) -> None:
        self.status.stop()
