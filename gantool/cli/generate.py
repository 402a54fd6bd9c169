"""`gantool generate`: images from an exported file."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gantool.cli.threads import THREADS
from gantool.errors import ArgumentError, GantoolError, excerpt
from gantool.system.terminal import console, megabytes, print_json, progress

if TYPE_CHECKING:
    from gantool.shards import Summary

SHARDS = "Shards: very many samples, by many workers"
LINE_EVERY = 60.0  # seconds between two lines of progress where there is no terminal


def command(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|FILE]", help="An exported .onnx, or a run. Default: the newest export."),
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="PICTURE|FOLDER|-",
            help="Of a generator that takes a picture: what it takes. A file, a folder, or - for standard input. "
            "-o names a .png, or a folder.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("-n", min=1, help="How many samples. Default: 64, or 8 or more for each class of a grid."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Sample i of a seed is the same on every machine.")] = 0,
    first: Annotated[int, typer.Option(min=0, help="Number of the first sample.")] = 0,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Classes of a conditional generator, by number or name. Several are cycled over the samples; a grid "
            "has a row for each. Default: all, in a grid 16 at most.",
        ),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            help="A value of the generator, such as truncation=0.7; gantool inspect lists them. May be given again.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="A .png (a grid), a .npz (an array), or a folder (a file for each). Of sounds also a .wav, of "
            "volumes a .glb or .binvox.",
        ),
    ] = Path("generated.png"),
    wav_format: Annotated[
        str | None,
        typer.Option(
            metavar="pcm16|float",
            help="Of WAV files: whole numbers of 16 bits, or float32, not rounded, of generator.onnx. Default: pcm16.",
        ),
    ] = None,
    provider: Annotated[str, typer.Option(help="cpu, cuda, tensorrt or openvino.")] = "cpu",
    threads: THREADS = None,
    provenance: Annotated[
        bool,
        typer.Option("--provenance/--no-provenance", help="Write into the files which model made the samples."),
    ] = True,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    count: Annotated[
        int | None,
        typer.Option(min=1, help="How many samples, as shards in --out; instead of -n and -o.", rich_help_panel=SHARDS),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the shards; the same command continues a stopped one. Default: shards.",
            rich_help_panel=SHARDS,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="npy|png-tar|wav-tar|glb-tar|parquet",
            help="wav-tar: of sounds; glb-tar: of volumes. Default: npy.",
            rich_help_panel=SHARDS,
        ),
    ] = None,
    shard_size: Annotated[
        int | None, typer.Option(min=1, help="Samples in a shard. Default: 10000.", rich_help_panel=SHARDS)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes. Default: one for each core, or each GPU.", rich_help_panel=SHARDS),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="local|ray",
            help="Processes on this machine, or actors of a Ray cluster. Default: local.",
            rich_help_panel=SHARDS,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Address of the Ray cluster; auto: the one of this machine.", rich_help_panel=SHARDS),
    ] = None,
    gather: Annotated[
        bool | None,
        typer.Option(
            "--gather/--no-gather",
            help="With Ray, send shards from the machines to --out here. Default: from those that do not share --out.",
            rich_help_panel=SHARDS,
            show_default=False,
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check the SHA-256 of the shards that are there.", rich_help_panel=SHARDS),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a summary as JSON (also with --input).", rich_help_panel=SHARDS)
    ] = False,
) -> None:
    """Make samples: a grid, a folder of files, an .npz, a sound, a shape, or shards with --count.

    With --input: pictures of pictures.
    """
    from gantool.artifact import onnxfile
    from gantool.run.exports import find_artifact, find_plain

    values = _values(value or [])
    asked = {
        name for name in ("n", "output") if getattr(context.get_parameter_source(name), "name", "DEFAULT") != "DEFAULT"
    }
    if picture is not None:
        for flag, wrong in (
            ("-n", "n" in asked),
            ("--count", count is not None),
            ("--wav-format", wav_format is not None),
        ):
            if wrong:
                raise GantoolError(f"{flag} is not for pictures: each becomes one.", "Leave it or --input out.")
        path = find_artifact(source, runs)
        if "output" not in asked and Path(picture).is_dir():
            output = Path("generated")
        _translate(path, picture, output, seed, first, label, values, provider, threads, provenance, as_json)
        return
    if count is None:
        of_shards = {
            "out": out, "format": format, "shard-size": shard_size, "workers": workers, "engine": engine,
            "address": address, "gather": gather, "verify": verify or None, "json": as_json or None,
        }  # fmt: skip
        for name, given in of_shards.items():
            if given is not None:
                raise GantoolError(f"--{name} is for shards.", "Say how many with --count instead of -n.")
        path = find_artifact(source, runs)
        _refuse_translators(path)
        _classes(label, path, runs)
        if wav_format == "float" and onnxfile.read_manifest(path).output.kind == "audio":
            path = find_plain(path)
        _generate(path, n, seed, first, label, values, output, provider, threads, provenance, wav_format)
        return
    for name, flag, instead in (("n", "-n", "--count"), ("output", "-o", "--out")):
        if name in asked:
            raise GantoolError(f"{flag} is not for shards.", f"Use {instead} instead, or leave --count out.")
    if wav_format is not None:
        raise GantoolError("--wav-format is not for shards, which hold whole numbers.", "Leave it or --count out.")
    if threads is not None:
        raise GantoolError("--threads is not for shards: each worker has one.", f"Add --workers {threads} instead.")
    for flag, given in (("--address", address), ("--gather", gather)):
        if given is not None and engine != "ray":
            raise GantoolError(f"{flag} is for the engine ray.", "Add --engine ray.")
    from gantool.shards import SHARD_SIZE

    path = find_artifact(source, runs)
    _refuse_translators(path)
    options = {
        "count": count, "seed": seed, "first": first, "format": format or "npy", "shard_size": shard_size or SHARD_SIZE,
        "labels": _classes(label, path, runs), "values": values, "provider": provider, "provenance": provenance,
        "engine": engine or "local", "workers": workers, "address": address, "gather": gather, "verify": verify,
    }  # fmt: skip
    _generate_shards(path, out or Path("shards"), as_json, options)


def _generate(
    path: Path,
    n: int | None,
    seed: int,
    first: int,
    label: str | None,
    values: dict[str, float],
    output: Path,
    provider: str,
    threads: int | None,
    provenance: bool,
    wav_format: str | None,
) -> None:
    from gantool.runtime import Generator
    from gantool.runtime.saving import save

    generator = Generator(path, provider, threads)
    noun = generator.manifest.output.noun
    with progress(f"{noun}s") as bar:
        bar.start("generating")
        made = save(
            generator,
            output,
            n,
            seed=seed,
            first=first,
            label=label,
            values=values,
            provenance=provenance,
            wav_format=wav_format,
            on_progress=lambda done, total: bar.update(done, total=total),
        )
    which = f"{made.n} {noun}s ({first} … {first + made.n - 1}" if made.n > 1 else f"1 {noun} ({first}"
    rows = ""
    if made.rows > 1:
        names, classes = generator.manifest.class_names, generator.manifest.classes
        rows = "; rows: " + ", ".join(names[label] if names else str(label) for label in made.labels)
        if classes > len(made.labels):
            rows += f" (--label shows others of the {classes} classes)"
    console().print(f"{which} of seed {seed}) of {path} → {output}{rows}")


def _refuse_translators(path: Path) -> None:
    """ArgumentError for a generator that takes a picture, of which there is none."""
    from gantool.artifact import onnxfile

    if onnxfile.read_manifest(path).picture is not None:
        raise ArgumentError(
            f"{path} makes a picture of a picture.", f"Give it one: gantool generate {path} --input PICTURE -o out.png"
        )


def _translate(
    path: Path,
    picture: str,
    output: Path,
    seed: int,
    first: int,
    label: str | None,
    values: dict[str, float],
    provider: str,
    threads: int | None,
    provenance: bool,
    as_json: bool,
) -> None:
    from gantool.api.translate import translate_files
    from gantool.runtime import Generator

    generator = Generator(path, provider, threads)
    with progress("pictures") as bar:
        bar.start("translating")
        made = translate_files(
            generator,
            picture,
            output,
            seed=seed,
            first=first,
            label=label,
            values=values,
            provenance=provenance,
            on_progress=lambda done, total: bar.update(done, total=total),
        )
    if as_json:
        print_json({"artifact": str(path), "seed": seed, "first": first, "pictures": [asdict(each) for each in made]})
    else:
        what = f"{len(made)} pictures" if len(made) > 1 else f"{made[0].width}×{made[0].height} pixels"
        console().print(f"{picture} through {path} → {output if len(made) > 1 else made[0].path}: {what}")


def _values(given: list[str]) -> dict[str, float]:
    """The numbers in texts such as `truncation=0.7`, by name."""
    values = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            values[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise ArgumentError(f"{excerpt(text)!r} gives no value.", "Give a name and a number: --value NAME=NUMBER")
    return values


def _classes(given: str | None, path: Path, runs: Path) -> list[int] | None:
    """The numbers of the classes asked for. When the file takes none, the error names a run that does."""
    from gantool.artifact import onnxfile
    from gantool.run.exports import newest_with_classes

    if given is None:
        return None
    manifest = onnxfile.read_manifest(path)
    other = None if manifest.classes else newest_with_classes(runs)
    if other is not None:
        error = manifest.takes_no_labels(path)
        raise ArgumentError(error.message, f"The run {other.name} does: gantool generate {other} --label {given}")
    return manifest.parse_classes(given, path)


def _generate_shards(path: Path, out: Path, as_json: bool, options: dict[str, Any]) -> None:
    """Show progress on stderr and a summary on stdout; exits 130 after Ctrl-C."""
    from gantool.artifact import onnxfile
    from gantool.shards import Progress, WorkerLost, generate

    begun = False
    # redirected: Ray prints lost actors to stdout
    nouns = f"{onnxfile.read_manifest(path).output.noun}s"
    with progress(nouns, LINE_EVERY) as bar, redirect_stdout(sys.stderr):

        def show(now: Progress) -> None:
            nonlocal begun
            if not begun:
                begun = True
                bar.start("", now.total, now.found)
            if isinstance(now.event, WorkerLost):
                bar.note(f"The worker of shard {now.event.number} {now.event.why}; the shard is made again.")
            shards = f"{now.shards_found + now.shards_made} of {now.shards_total} shards"
            bar.update(now.found + now.images, shards)

        try:
            summary = generate(path, out, on_progress=show, **options)
        except KeyboardInterrupt:
            bar.note(f"Stopped. The shards in {out} stay; the same command continues.")
            raise typer.Exit(130) from None
    for name in summary.damaged:
        console(stderr=True).print(f"{name} was gone or changed, and was made again.")
    if as_json:
        shown = ("seed", "first", "count", "format", "shard_size", "provider", "engine")
        print_json(
            {"artifact": str(path), "out": str(out), **{name: options[name] for name in shown}, **asdict(summary)}
        )
    else:
        console().print(_sentence(path, out, options, summary, nouns))


def _sentence(path: Path, out: Path, options: dict[str, Any], summary: Summary, nouns: str) -> str:
    first = options["first"]
    which = f"{summary.images:,} {nouns} ({first} … {first + summary.images - 1} of seed {options['seed']})"
    shards = f"{summary.shards:,} shard{'s' if summary.shards > 1 else ''}"
    size = megabytes(summary.bytes)
    if not summary.made:
        return f"{which} were all there: {shards} in {out}, {size}"
    rate = f"{summary.images_made / max(summary.seconds, 1e-9):,.0f} {nouns}/s"
    found = f", {summary.shards - summary.made:,} were there" if summary.made < summary.shards else ""
    return f"{which} of {path} → {out}: {shards}{found}, {size}, {rate}"
