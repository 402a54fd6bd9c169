"""`gantool evaluate`: how good a generator is, in reproducible metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gantool.system.terminal import console, print_json, print_table, progress

if TYPE_CHECKING:
    from gantool.api.evaluation import Result

MAX_SEED = 2**63 - 1


def command(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|FILE]", help="A run, or an exported .onnx. Default: the newest run."),
    ] = None,
    step: Annotated[
        str | None, typer.Option(metavar="N|best", help="An older checkpoint of the run, or the best by --keep-best.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="What to compare with. Default: what it was trained on.", show_default=False)
    ] = None,
    size: Annotated[int | None, typer.Option(min=4, help="Crop and resize the data to this side.")] = None,
    extractor: Annotated[
        str | None,
        typer.Option(
            help="digits, inception, pixels, or a TorchScript file. Such a file runs code when it is opened: use only "
            "your own. Default: digits for the built-in digits, else pixels.",
            show_default=False,
        ),
    ] = None,
    inception_weights: Annotated[
        Path | None,
        typer.Option(help="torch-fidelity's Inception weights. Default: in the cache of torch.hub."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Fakes, and at most as many reals. Default: as the data, up to 10,000."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the fakes and of the choice of reals.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Samples in a batch.")] = 256,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; exported files run on the CPU.")] = "auto",
    floor: Annotated[
        bool, typer.Option("--floor", help="Compare one half of the data with the other: the best.")
    ] = False,
    ceiling: Annotated[bool, typer.Option("--ceiling", help="Compare uniform noise with the data: the worst.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder for evaluation.json and neighbours.png, or a .png. Default: evaluation/ in the run, "
            "NAME.evaluation/ beside a file, none for --floor and --ceiling.",
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a generator: distances to the data, precision and recall, diversity, classes, memorisation."""
    from gantool.api.evaluation import evaluate

    with progress() as bar:

        def watch(what: str, total: int) -> Callable[[int], None]:
            done = 0
            bar.start(what, total)

            def advance(count: int) -> None:
                nonlocal done
                done += count
                bar.update(done)

            return advance

        result = evaluate(
            subject,
            step=step,
            data=data,
            size=size,
            extractor=extractor,
            inception_weights=inception_weights,
            samples=samples,
            seed=seed,
            batch=batch,
            device=device,
            floor=floor,
            ceiling=ceiling,
            output=output,
            runs=runs,
            on_note=lambda note: bar.note(f"note: {note}"),
            watch=watch,
        )
    if as_json:
        print_json(result.json)
    else:
        _show(result)
    for note in result.notes:
        console(stderr=True).print(f"note: {note}")


def _show(result: Result) -> None:
    out, found, data, extractor = console(), result.evaluation, result.data, result.extractor
    rows = [[f.name, _value(f.value, f.deviation), f.better] for f in found.figures]
    memory = found.memorisation
    for name, space in (("features", memory.features), ("pixels", memory.pixels)):
        value = "–" if space.ratio is None else f"{space.ratio:.3f}"
        rows.append([f"nearest real, by {name}", value, "near 1 (less: copies)"])
    print_table(["figure", "value", "better"], rows, title=result.title, right=(1,))
    if found.classes:
        shares = zip(found.classes.names, found.classes.fakes, found.classes.reals, strict=True)
        table = [[name, f"{fake:.1%}", f"{real:.1%}"] for name, fake, real in shares]
        print_table(["class", "fakes", "reals"], table, right=(1, 2))
        missing = ", ".join(found.classes.missing) or "none"
        out.print(f"largest deviation {100 * found.classes.max_deviation:.1f} points; missing classes: {missing}")
    digest = f", SHA-256 {extractor.sha256[:12]}…" if extractor.sha256 else ""
    out.print(
        f"{found.fakes:,} fakes and {found.reals:,} of {len(data):,} reals, seed {found.seed}\n"
        f"data {data.name}, fingerprint {data.fingerprint[:12]}…\n"
        f"extractor {extractor.name}, version {extractor.version}{digest}, {extractor.dimension} features"
    )
    for path in result.files.values():
        out.print(f"→ {path}", soft_wrap=True)
    if result.files:
        out.print("Each row of the picture: a fake, its 4 nearest reals by features, and by pixels.")


def _value(value: float, deviation: float | None) -> str:
    return f"{value:.4g}" if deviation is None else f"{value:.4g} ± {deviation:.2g}"
