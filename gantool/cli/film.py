"""`gantool film`: a film through a generator's latents."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gantool.cli.threads import THREADS
from gantool.errors import ArgumentError, excerpt
from gantool.system.terminal import console, megabytes, print_json

MUSIC = "Music"


def command(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|FILE]", help="An exported .onnx, or a run. Default: the newest export."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="A .mp4 or .webm, a .gif, .apng, .png or .webp, or a folder (a PNG for each frame)."
        ),
    ] = Path("film.mp4"),
    through: Annotated[
        str | None,
        typer.Option(
            metavar="KEYS",
            help="Key frames: seed:index, or .npz files of latents, as 0:3,5:0,z.npz. Default: the first -n "
            "images of --seed.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Whose images are the key frames, without --through.")] = 0,
    n: Annotated[
        int | None, typer.Option("-n", min=1, help="How many key frames. Default: three for four seconds.")
    ] = None,
    loop: Annotated[
        bool, typer.Option("--loop/--no-loop", help="End where it began, or at the last key frame.")
    ] = True,
    interpolation: Annotated[
        str,
        typer.Option(metavar="KIND", help="slerp, or great-circle: all latents have the same length."),
    ] = "slerp",
    easing: Annotated[
        str, typer.Option(metavar="linear|smooth", help="smooth: it rests at each key frame.")
    ] = "linear",
    label: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Classes, by number or name: one for all, or cycled over the key frames. They change midway. Default: "
            "those that the key frames have.",
            show_default=False,
        ),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FROM..TO",
            help="A value of the generator: one number, as truncation=0.7, or FROM..TO, which swings there and back "
            "over the film. May be given again.",
            show_default=False,
        ),
    ] = None,
    fps: Annotated[int, typer.Option(help="Frames a second.")] = 30,
    seconds: Annotated[
        float | None, typer.Option(help="Length. Default: 8, or that of the song.", show_default=False)
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Pixels of the longer side. Default: 512, or more if it has more.")
    ] = None,
    scaling: Annotated[
        str, typer.Option(metavar="lanczos|pixels", help="Smooth, or pixels repeated a whole number of times.")
    ] = "lanczos",
    audio: Annotated[
        Path | None,
        typer.Option(
            metavar="SONG",
            help="A sound file: the louder, the faster it moves. A .mp4 or .webm plays it.",
            rich_help_panel=MUSIC,
            show_default=False,
        ),
    ] = None,
    drive: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=bass|mid|treble",
            help="A value that a band of the song moves, within its bounds or FROM..TO. May be given again.",
            rich_help_panel=MUSIC,
            show_default=False,
        ),
    ] = None,
    provider: Annotated[str, typer.Option(help="cpu, cuda, tensorrt or openvino.")] = "cpu",
    threads: THREADS = None,
    provenance: Annotated[
        bool,
        typer.Option("--provenance/--no-provenance", help="Write into the film which model made it."),
    ] = True,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Make a film through a generator's latents: MP4, WebM, GIF, APNG, WebP, or frames."""
    from gantool.api.film import film

    values = {name: _number_or_range(text) for name, text in map(_named, value or [])}
    made = film(
        source,
        output,
        through=through,
        seed=seed,
        n=n,
        loop=loop,
        interpolation=interpolation,
        easing=easing,
        label=label,
        values=values,
        fps=fps,
        seconds=seconds,
        size=size,
        scaling=scaling,
        audio=audio,
        drive=dict(map(_named, drive or [])),
        provider=provider,
        threads=threads,
        provenance=provenance,
        runs=runs,
    )
    if as_json:
        print_json(asdict(made))
        return
    keys = f"{len(made.through)} key frame{'s' if len(made.through) > 1 else ''}"
    console().print(
        f"{made.frames} frames through {keys} of {made.artifact} → {output}: "
        f"{made.seconds:.1f} s, {made.width}×{made.height}, {megabytes(made.bytes)}, "
        f"{made.images_per_second:,.0f} images/s"
    )


def _named(text: str) -> tuple[str, str]:
    """The name and the rest of `truncation=0.7`."""
    name, _, rest = text.partition("=")
    if not name or not rest:
        raise ArgumentError(f"{excerpt(text)!r} gives no value.", "Give a name and what it is: NAME=…")
    return name, rest


def _number_or_range(text: str) -> float | tuple[float, float]:
    """`0.7`, or `0..1` as (0, 1)."""
    try:
        low, dots, high = text.partition("..")
        return (float(low), float(high)) if dots else float(low)
    except ValueError:
        raise ArgumentError(
            f"{excerpt(text)!r} is no value.", "Give a number, or two: --value NAME=0.7 or --value NAME=0..1"
        ) from None
