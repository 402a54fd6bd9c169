"""`gantool evaluate`: how good a generator is, in named figures that can be had again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gantool.errors import GantoolError
from gantool.system.terminal import console, print_json, print_table

if TYPE_CHECKING:
    from gantool.data import Dataset
    from gantool.metrics.evaluation import Evaluation, Watch
    from gantool.metrics.extractors import Extractor

SAMPLES = 10_000
MAX_SEED = 2**63 - 1


def command(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|FILE]", help="A run, or an exported .onnx. Default: the newest run."),
    ] = None,
    step: Annotated[
        str | None, typer.Option(metavar="N|best", help="An older checkpoint of the run, or its best (--keep-best).")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="What to compare with. Default: what it was trained on.", show_default=False)
    ] = None,
    size: Annotated[int | None, typer.Option(min=4, help="Crop and resize the data to this side.")] = None,
    extractor: Annotated[
        str | None,
        typer.Option(
            help="digits, inception, pixels, or your own TorchScript file: opening one runs code in it, so open no "
            "one else's. Default: digits for the built-in digits, else pixels.",
            show_default=False,
        ),
    ] = None,
    inception_weights: Annotated[
        Path | None, typer.Option(help="torch-fidelity's weights of Inception. Default: where torch.hub keeps them.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Fakes, and at most as many reals. Default: the data's, 10,000 at most.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Decides the fakes and the choice of reals.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 256,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; exported files run on the CPU.")] = "auto",
    floor: Annotated[bool, typer.Option("--floor", help="Judge one half of the data by the other: the best.")] = False,
    ceiling: Annotated[bool, typer.Option("--ceiling", help="Judge uniform noise by the data: the worst.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder for evaluation.json and neighbours.png, or a .png. Default: evaluation/ in the run, "
            "NAME.evaluation/ beside a file, nothing of --floor and --ceiling.",
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a generator: distances to the data, precision and recall, diversity, classes, memorisation."""
    _check_request(subject, step, floor, ceiling)
    from gantool.cli import subjects
    from gantool.data import load
    from gantool.metrics import evaluation, library, report
    from gantool.metrics.extractors import default_extractor, load_extractor
    from gantool.training.state import pick_device

    library.require()  # before anything that takes long
    progress = console(stderr=True)
    target = pick_device(device)
    notes: tuple[str, ...] = ()
    if floor or ceiling:
        dataset = load(data or "digits", size)
        judged = subjects.floor(dataset, seed) if floor else subjects.ceiling(dataset, seed)
    else:
        judged, origin = subjects.find_subject(
            subject, runs, step, seed, target, lambda note: progress.print(f"note: {note}")
        )
        dataset, notes = origin.load(data, size, judged)
    measure = load_extractor(extractor or default_extractor(dataset), dataset.spec, target, inception_weights)
    with _watching() as watch:
        found = evaluation.evaluate(
            judged.draw,
            min(samples or min(SAMPLES, len(dataset)), judged.most or MAX_SEED),
            dataset,
            measure,
            against=judged.against,
            seed=seed,
            batch=batch,
            watch=watch,
        )
    about = {"kind": judged.kind, "path": judged.path and str(judged.path), "step": judged.step}
    notes = (*dataset.notes, *judged.notes, *notes, *found.notes)
    described = report.as_json(found, about, dataset, measure, notes)
    folder = output or judged.folder
    if folder:
        described["files"] = _write(described, found, dataset, folder)
    if as_json:
        print_json(described)
    else:
        _show(found, judged.title, dataset, measure, described["files"])
    for note in notes:
        progress.print(f"note: {note}")


def _check_request(subject: str | None, step: str | None, floor: bool, ceiling: bool) -> None:
    if floor and ceiling:
        raise GantoolError("--floor and --ceiling are two evaluations.", "Ask for one at a time.")
    if (floor or ceiling) and (subject is not None or step is not None):
        raise GantoolError(
            f"{'--floor' if floor else '--ceiling'} judges the data itself, not "
            f"{subject if subject is not None else f'step {step}'}.",
            "Leave one of them out.",
        )


@contextmanager
def _watching() -> Iterator[Watch]:
    """A bar on stderr for each thing that is being done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:

        def watch(what: str, total: int) -> Callable[[int], None]:
            task = bars.add_task(what, total=total)
            return lambda done: bars.advance(task, done)

        yield watch


def _write(described: dict[str, Any], found: Evaluation, data: Dataset, output: Path) -> dict[str, str]:
    """evaluation.json and neighbours.png in the folder `output`; when that is a .png: that, and its .json beside it."""
    from gantool.artifact import pictures
    from gantool.metrics.memory import neighbours_picture
    from gantool.system.files import write_json

    picture = output if output.suffix.lower() == ".png" else output / "neighbours.png"
    listing = output.with_suffix(".json") if picture == output else output / "evaluation.json"
    files = {"evaluation": str(listing), "neighbours": str(picture)}
    try:
        pictures.save_png(neighbours_picture(found.memorisation, data.images), picture)
        write_json(listing, {**described, "files": files})
    except OSError as error:
        raise GantoolError(f"{output} can't be written: {error.strerror}.", "Name another with -o.") from error
    return files


def _show(found: Evaluation, title: str, data: Dataset, extractor: Extractor, files: dict[str, str]) -> None:
    out = console()
    rows = [[f.name, _value(f.value, f.deviation), f.better] for f in found.figures]
    memory = found.memorisation
    for name, space in (("features", memory.features), ("pixels", memory.pixels)):
        value = "–" if space.ratio is None else f"{space.ratio:.3f}"
        rows.append([f"nearest real, by {name}", value, "near 1 (less: copies)"])
    print_table(["figure", "value", "better"], rows, title=title, right=(1,))
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
    for path in files.values():
        out.print(f"→ {path}", soft_wrap=True)
    if files:
        out.print("a row there: a fake, the 4 nearest reals by features, the 4 by pixels")


def _value(value: float, deviation: float | None) -> str:
    return f"{value:.4g}" if deviation is None else f"{value:.4g} ± {deviation:.2g}"
