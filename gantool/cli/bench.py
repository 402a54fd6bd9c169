"""`gantool bench`: how fast an exported generator is, proven right."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer


def _batches(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    # 1 to 65536: checked here too, so that it is a usage error
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= 65_536 for part in parts):
        raise typer.BadParameter(f"{text!r}: give whole numbers from 1 to 65536, e.g. 1,64")
    return [int(part) for part in parts]


def command(
    file: Annotated[
        str | None,
        typer.Argument(help="An exported ONNX file, or a run (path, name or number); without it, the newest export."),
    ] = None,
    provider: Annotated[str, typer.Option(help="cpu, cuda, tensorrt or openvino; never replaced by another.")] = "cpu",
    batches: Annotated[str, typer.Option(help="Batch sizes to time.", metavar="N,N,…")] = "1,8,64,256",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of one operator; without it, onnxruntime's: one a core.", show_default=False),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, max=3600, help="Time each batch at least this long, and 10 runs.")
    ] = 1.0,
    timeout: Annotated[
        float, typer.Option(min=1, help="Stop the measured process after so many seconds of silence.")
    ] = 600.0,
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time an exported generator in a fresh process without torch, and prove its images right.

    Cold: from the start of a process to its first image. Warm: images a second and latencies at each batch. Then the
    same session makes images it never made, and they are compared: wrong or stale ones are an error.
    """
    sizes = _batches(batches)
    from gantool.bench.runner import bench
    from gantool.cli.artifacts import find_artifact
    from gantool.cli.show import print_json

    path = find_artifact(file, runs)
    with _progress() as listener:
        report = bench(
            path,
            provider=provider,
            batches=sizes,
            threads=threads,
            seconds=seconds,
            timeout=timeout,
            listener=listener,
        )
    if as_json:
        print_json(report)
    else:
        _show(report)


def _progress() -> AbstractContextManager[Any]:
    """What hears the stages: a line that changes on a terminal, nothing elsewhere."""
    from gantool.cli.show import console

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


def _show(report: dict[str, Any]) -> None:
    from gantool.cli.show import console, megabytes, print_table

    out = console()
    file, machine, versions, cold = (report[key] for key in ("file", "machine", "versions", "cold"))
    shape = "×".join(map(str, file["output"]))
    threads = report["threads"] or "default"
    out.print(
        f"{file['path']} ({file['architecture']}, {file['kind']}, {shape}, {megabytes(file['bytes'])})", markup=False
    )
    out.print(f"on {report['provider']}, threads: {threads}; {machine['cpu']}, {machine['cores']} cores", markup=False)
    out.print(", ".join(f"{name} {version}" for name, version in versions.items()), markup=False)
    print_table(
        ["interpreter", "imports", "session", "first image", "in all"],
        [[f"{cold[f'{part}_ms']:.0f} ms" for part in ("interpreter", "import", "session", "first_image", "total")]],
        title="\nCold: a new process to its first image",
        right=(0, 1, 2, 3, 4),
    )
    rows = [
        [
            str(row["batch"]),
            f"{row['images_per_second']:,.0f}",
            *(f"{row[f'p{p}_ms']:.3g}" if row[f"p{p}_ms"] < 100 else f"{row[f'p{p}_ms']:,.0f}" for p in (50, 90, 99)),
            f"{row['first_ms']:.3g}" if row["first_ms"] < 100 else f"{row['first_ms']:,.0f}",
            str(row["runs"]),
            "–" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:.0f}",
        ]
        for row in report["batches"]
    ]
    print_table(
        ["batch", "images/s", "p50 ms", "p90 ms", "p99 ms", "first ms", "runs", "peak MB"],
        rows,
        title="Warm: one call of Generator.sample",
        right=tuple(range(8)),
    )
    if max(row["batch"] for row in report["batches"]) > report["chunk"]:
        out.print(f"Batches above {report['chunk']} are run in chunks of {report['chunk']}, as in an app.")
    out.print("Proof: " + "\n       ".join(report["proof"]["words"]), markup=False)
