"""`gantool data`: look at data, pack it for training, fetch well-known sets."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gantool.errors import GantoolError, excerpt
from gantool.system.terminal import bars, console, megabytes, print_json, print_table, progress

if TYPE_CHECKING:
    from gantool.data.pack.build import Progress as Packed
    from gantool.data.pack.build import Summary
    from gantool.data.survey import Survey

MAX_LINES = 20  # broken files, classes and groups of duplicates that are printed

app = typer.Typer(help="Look at data, pack it for training, fetch well-known sets.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Target = Annotated[
    str, typer.Option(help="A second set of pictures: what those of SOURCE are to become, as of `gantool train`.")
]
Pairs = Annotated[
    str,
    typer.Option(help="How pairs are made: names, left-right, edges, lines, grey, mask or small:4.", metavar="RULE"),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that decode. Default: one for each core.")]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", help="Cache folder. Default: $GANTOOL_CACHE, or the user's cache folder.", metavar="DIR"),
]


@app.command("pack")
def pack(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder of images, sounds or volumes, a .npz, .npy or IDX file, a pack, or a named set: digits."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")],
    size: Annotated[
        int | None,
        typer.Option(
            min=4,
            help="Side in pixels or voxels, or samples of a sound. Default: their own size, if all agree; of "
            "sounds the longest.",
        ),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(help="Sounds: samples a second to resample to. Default: the commonest of the files.")
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=3,
            help="Images: 1 grey, 3 colour. Default: 1 when all are grey, else 3. Sounds: 1 mono, 2 stereo. Default: 2 "
            "when all are stereo, else 1.",
        ),
    ] = None,
    fit: Annotated[str, typer.Option(help="How an image becomes a square: crop, pad or stretch.")] = "crop",
    labels: Annotated[
        str | None,
        typer.Option(help="folders, none, or a CSV file of file,label. Default: folders when there are any."),
    ] = None,
    background: Annotated[
        str, typer.Option(help="Colour behind transparent pixels and around padded images: white, #ff8800 …")
    ] = "white",
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out files that can't be decoded.")] = False,
    licence: Annotated[str | None, typer.Option(help="The data's licence; it is written into every export.")] = None,
    target: Target = "",
    pairs: Pairs = "",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Decode files once, into a folder that training reads from disk. The same command continues a stopped one."""
    from gantool.data.pack import build

    options: dict[str, Any] = {
        "size": size, "channels": channels, "fit": fit, "labels": labels, "background": background,
        "skip_broken": skip_broken, "licence": licence, "target": target, "pairs": pairs,
        "rate": rate,
    }  # fmt: skip
    last: list[Packed] = []
    with progress("files") as bar:

        def show(now: Packed) -> None:
            if not last:
                bar.start("", now.total, now.found)
            last[:] = [now]
            bar.update(now.done, f"{now.broken:,} broken" if now.broken else "")

        try:
            done = build.pack(
                source, out, build.Options(**options), workers=workers, on_progress=show, on_note=bar.note
            )
        except KeyboardInterrupt:
            how_far = f"{last[0].done:,} of {last[0].total:,} are done" if last else "Nothing was decoded yet"
            whole = last and out.is_dir() and any(out.iterdir())  # it came after the last file
            bar.note(f"Stopped. {f'{out} is whole.' if whole else f'{how_far}; the same command continues.'}")
            raise typer.Exit(130) from None
        except build.BrokenFiles as error:
            if as_json:
                print_json({"out": None, "broken": build.broken_files(error.listed)})
            raise
    if as_json:
        broken = build.broken_files(out / "broken.jsonl") if done.description.broken else []
        description = done.description.model_dump() | {"broken": broken}
        print_json({"out": str(out), "bytes": done.bytes, "seconds": round(done.seconds, 3), **description})
    else:
        _show_pack(out, done)


def _show_pack(out: Path, done: Summary) -> None:
    from gantool.data.kinds import kind_of_shape

    packed, text = done.description, console()
    samples = kind_of_shape(tuple(packed.arrays["images"].shape))
    shape = "×".join(map(str, packed.arrays["images"].shape[1:])) + (f" at {packed.rate:,} Hz" if packed.rate else "")
    classes = f", {len(packed.class_names)} classes" if packed.class_names else ""
    rate = f", {done.done / max(done.seconds, 1e-9):,.0f} {samples.plural}/s" if done.done else ""
    text.print(f"{packed.count:,} {samples.plural} of {shape}{classes} → {out}: {megabytes(done.bytes)}{rate}")
    if packed.broken:
        files = "broken files were" if packed.broken > 1 else "broken file was"
        text.print(f"{packed.broken:,} {files} left out; {out}/broken.jsonl lists them:")
        for each in packed.broken_first:
            text.print(f"  {excerpt(each['file'])}: {excerpt(each['reason'], 120)}")
    for note in packed.notes:
        text.print(f"Note: {note}")
    training = _training(samples.name, len(packed.class_names), "sources" in packed.arrays)
    text.print(f"Next: {training} --data {shlex.quote(str(out))}")


def _training(kind: str, classes: int = 0, paired: bool = False) -> str:
    """What to train: of pairs, or one that makes the class that is asked for, where there are several."""
    from gantool.plugin.registry import discover

    if kind == "image":
        return "gantool train pix2pix" if paired else "gantool train cgan" if classes > 1 else "gantool train dcgan"
    serving = [
        (any(spec.kind != kind for spec in plugin.architecture.examples), plugin.name)
        for plugin in discover()
        if plugin.architecture and any(spec.kind == kind for spec in plugin.architecture.examples)
    ]
    return f"gantool train {min(serving)[1] if serving else 'ARCHITECTURE'}"


@app.command("info")
def info(
    source: Annotated[str, typer.Argument(help="Anything that `gantool train --data` takes, packs included.")],
    size: Annotated[
        int | None,
        typer.Option(min=4, help="Show what the data takes at this size, and samples so in the contact sheet."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Draw a contact sheet, a PNG.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check a pack's files against their checksums.")] = False,
    target: Target = "",
    pairs: Pairs = "",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Show what is in SOURCE: counts, sizes, classes, duplicates, broken files. Exit code 1: some are broken."""
    if verify:
        _verify(Path(source), as_json)
        return
    from gantool.data import load
    from gantool.data.survey import sheet, survey
    from gantool.system.files import writing

    data = load(source, size, target=target, pairs=pairs) if target or pairs else None
    with progress("files") as bar:
        bar.start("")
        found = survey(
            source,
            size,
            data=data,
            workers=workers,
            on_progress=lambda done, total: bar.update(done, total=total),
        )
    if out is not None:
        from gantool.artifact.pictures import save_png

        with writing(out, "Name another with -o."):
            save_png(sheet(source, size, data), out)
    advice = _advice_of_pictures(found, target, pairs) if target or pairs or found.pair else _advice(found)
    if as_json:
        print_json(asdict(found) | {"contact_sheet": str(out) if out else None, "next": advice})
    else:
        _show_survey(found)
        if out is not None:
            console().print(f"Contact sheet: {out}")
        console().print(f"Next: {advice}")
    if found.broken:
        raise typer.Exit(1)


def _verify(path: Path, as_json: bool) -> None:
    from gantool.data.pack.format import is_pack, verify

    if not is_pack(path):
        raise GantoolError(f"{path} is no pack: there is nothing to verify.", "Leave --verify out.")
    wrong = verify(path)
    if as_json:
        print_json({"source": str(path), "whole": not wrong, "changed": wrong})
    elif not wrong:
        console().print(f"{path}: no file has changed since it was packed.")
    if wrong:
        raise GantoolError(f"{path}: {', '.join(wrong)} changed since it was packed.", "Pack the data again.")


def _show_survey(found: Survey) -> None:
    from gantool.data.kinds import KINDS

    plural = KINDS[found.samples].plural
    at = f" at {found.size}" if found.size else ""
    rows = [
        ["source", f"{found.source} ({found.kind})"],
        [plural, f"{found.count:,}"],
        *found.facts(),
        ["channels", f"{found.channels}   ({_counts(found.modes)})"],
        *([["formats", _counts(found.formats)]] if found.formats else []),
        ["bytes" + at, found.stored()],
        ["duplicates", f"{found.duplicates:,} equal to another" if found.duplicates else "none"],
        ["broken files", f"{len(found.broken):,}" if found.broken else "none"],
        *([["licence", found.licence]] if found.licence else []),
        *([["fingerprint", f"{found.fingerprint[:12]}…"]] if found.fingerprint else []),
        *(["note", note] for note in found.notes),
    ]
    print_table(["", ""], rows)
    for line in found.hints():
        console().print(line)
    for columns, lines in found.tables():
        print_table(columns, lines, right=(1, 2))
    if found.classes:
        classes = [[excerpt(name, 40), f"{n:,}", _share(n, found.count)] for name, n in found.classes[:MAX_LINES]]
        print_table(["class", plural, ""], classes, right=(1, 2))
        if len(found.classes) > MAX_LINES:
            console().print(f"… and {len(found.classes) - MAX_LINES:,} more classes")
    _print_list("Equal:", [" = ".join(map(excerpt, group)) for group in found.duplicate_groups])
    _print_list("Broken:", [f"{excerpt(file)}: {excerpt(reason, 120)}" for file, reason in found.broken])


def _print_list(title: str, lines: Sequence[str]) -> None:
    if lines:
        more = [f"… and {len(lines) - MAX_LINES:,} more (--json lists them)"] if len(lines) > MAX_LINES else []
        console().print("\n  ".join([title, *lines[:MAX_LINES], *more]))


def _advice(found: Survey) -> str:
    """The command to type next."""
    from gantool.data.readers.folder import MANY_BYTES, MANY_FILES

    source, packing = shlex.quote(found.source), found.packing()
    many = found.count > MANY_FILES or found.bytes_float32 > 4 * MANY_BYTES
    if found.kind in ("folder", "zip") and (many or packing or found.broken):
        if not found.count:
            return "replace the broken files"
        size = packing.partition("--size ")[2].partition(" ")[0]
        name = shlex.quote(f"{found.name}-{size}" if size else f"{found.name}-pack")
        return f"gantool data pack {source} -o {name}{packing}{' --skip-broken' if found.broken else ''}"
    size = f" --size {found.size}" if found.size else ""
    return f"{_training(found.samples, len(found.classes))} --data {source}{size}"


def _advice_of_pictures(found: Survey, target: str, pairs: str) -> str:
    """The command to type next, for pairs or for two sets without pairs."""
    given = [("--data", found.source), ("--target", target), ("--pairs", pairs), ("--size", str(found.size or ""))]
    words = [word for flag, value in given if value for word in (flag, value)]
    return f"{'gantool train pix2pix' if found.pair else 'gantool train cyclegan'} {shlex.join(words)}"


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counted.items()) or "–"


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %"


@app.command("cluster")
def cluster(
    source: Annotated[str, typer.Argument(help="Anything that `gantool train --data` takes.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The pack to make, a folder.")],
    count: Annotated[
        int | None,
        typer.Option("--clusters", min=2, help="Classes. Default: half the square root of the number of samples."),
    ] = None,
    extractor: Annotated[
        str | None,
        typer.Option(
            help="What sees likeness: an extractor of `gantool evaluate`. Default: log-mel for sounds, else pixels."
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(min=4, help="Side in pixels or voxels, or samples of a sound.")] = None,
    rate: Annotated[int | None, typer.Option(help="Sounds: samples a second to resample to.")] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out files that can't be decoded.")] = False,
    as_json: Json = False,
) -> None:
    """Divide data without labels into classes of samples that look alike, as a pack: cgan learns from it sooner."""
    import torch

    from gantool.data import load
    from gantool.data.kinds import kind_of_shape
    from gantool.data.pack import build
    from gantool.metrics import clusters, default_extractor, load_extractor

    build.check_new(out)
    data = load(source, size, skip_broken, rate=rate)
    judge = load_extractor(extractor or default_extractor(data), data.spec, torch.device("cpu"))
    with bars() as start:
        advance = start(f"features ({judge.name})", len(data))
        made = clusters.clustered(data, judge, count or clusters.usual_count(len(data)), advance)
    build.save(made, out)
    samples, counts = kind_of_shape(made.images.shape), made.class_counts
    following = f"{_training(samples.name, len(counts))} --data {shlex.quote(str(out))}"
    if as_json:
        print_json({"out": str(out), "extractor": judge.name, "counts": counts, "next": following})
        return
    console().print(
        f"{len(made):,} {samples.plural} in {len(counts):,} classes of {counts[-1]:,} to {counts[0]:,}, alike to "
        f"{judge.name} → {out}\nLook at them: gantool data info {shlex.quote(str(out))} -o sheet.png\nNext: {following}"
    )


@app.command("list")
def list_sets(cache: Cache = None, as_json: Json = False) -> None:
    """List the data sets that have a name: built in, fetched, to fetch, and of plugins."""
    from gantool.data.catalog import listing

    entries = listing(cache)
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    rows = [
        [
            entry.name,
            "" if entry.images is None else f"{entry.images:,}",
            _pixels(entry.shape),
            "" if entry.classes is None else str(entry.classes),
            entry.licence,
            f"{entry.state}: {entry.detail}" if entry.detail else entry.state,
        ]
        for entry in entries
    ]
    print_table(["name", "images", "size", "classes", "licence", "state"], rows, right=(1, 2, 3))
    if any(entry.state == "to fetch" for entry in entries):
        console().print("Fetch one: gantool data fetch NAME. Train on one: gantool train ARCHITECTURE --data NAME")


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="A set of `gantool data list`, such as mnist, cifar10 or emoji.")],
    size: Annotated[int | None, typer.Option(help="Side in pixels of emoji, which are drawn (64).")] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(help="Download from this address instead of the known ones; may be repeated.", metavar="URL"),
    ] = None,
    cache: Cache = None,
    force: Annotated[bool, typer.Option("--force", help="Download again.")] = False,
    as_json: Json = False,
) -> None:
    """Download a well-known data set, verify it, and keep it in the cache as a pack; continues a stopped download."""
    from gantool.data import catalog
    from gantool.data import fetch as fetching

    known = fetching.find(name)
    with progress("B", every=5.0) as bar:
        try:
            folder, made = fetching.fetch(name, bar, size=size, mirrors=mirror or (), cache=cache, force=force)
        except KeyboardInterrupt:
            bar.note("interrupted; the same command continues")
            raise typer.Exit(130) from None
    data = name if folder == catalog.pack_folder(name) else str(folder)
    shape = catalog.packed_shape(folder)
    if as_json:
        print_json(
            {
                "name": name,
                "path": str(folder),
                "fetched": made,
                "data": data,
                "images": known.count,
                "classes": list(known.class_names),
                "licence": known.licence,
            }
        )
        return
    console().print(
        f"{name}: {known.count:,} images of {_pixels(shape)} pixels, {len(known.class_names)} classes, "
        f"{'in' if made else 'already in'} {folder}\n"
        f"Licence: {known.licence}\n"
        f"Next: gantool train dcgan --data {shlex.quote(data)} --size {64 if shape[-1] >= 64 else 32}"
    )


def _pixels(shape: tuple[int, ...] | None) -> str:
    """(C, H, W) as `width×height×channels`, and the axes of a point."""
    return "×".join(map(str, (*shape[:0:-1], shape[0]))) if shape else ""
