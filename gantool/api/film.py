"""`gantool.film`: a film through a generator's latents."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gantool.api import Named, name_of
from gantool.artifact.pictures import to_pictures
from gantool.artifact.provenance import of
from gantool.errors import ArgumentError, GantoolError, excerpt
from gantool.filming import files, frames, keys, music, video
from gantool.filming.files import Form
from gantool.filming.keys import Key
from gantool.filming.way import EASINGS, INTERPOLATIONS, lay
from gantool.plugin.options import closest
from gantool.run.exports import find_artifact, find_plain
from gantool.runtime import Generator
from gantool.runtime.inputs import parse_values
from gantool.system import terminal
from gantool.system.files import replacing, replacing_folder, require_place, writing

FPS, SECONDS = 30, 8.0
KEYS_A_SECOND = 0.75
MAX_FRAMES, MAX_FPS, MAX_SIZE = 1_000_000, 240, 8192
FOLDER = ""  # the suffix of a folder
WRITERS: dict[str, Callable[[Path, Iterator[np.ndarray], Form], None]] = {
    **dict.fromkeys(video.CODECS, video.write_video),
    ".gif": files.write_gif,
    ".apng": files.write_png,
    ".png": files.write_png,
    ".webp": files.write_webp,
    FOLDER: files.write_folder,
}


@dataclass(frozen=True)
class Film:
    """A film that was made. `sha256`: of the raw pixels of all its frames, uint8 (height, width, 1 or 3) each."""

    path: str
    artifact: str
    through: list[str]
    frames: int
    fps: int
    seconds: float
    width: int
    height: int
    sha256: str
    bytes: int
    images_per_second: float


def film(
    source: Named | None = None,
    output: str | os.PathLike[str] = "film.mp4",
    *,
    through: str | Sequence[Key] | None = None,
    seed: int = 0,
    n: int | None = None,
    loop: bool = True,
    interpolation: str = "slerp",
    easing: str = "linear",
    label: str | int | None = None,
    values: Mapping[str, float | tuple[float, float]] | None = None,
    fps: int = FPS,
    seconds: float | None = None,
    size: int | None = None,
    scaling: str = "lanczos",
    audio: str | os.PathLike[str] | None = None,
    drive: Mapping[str, str] | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    provenance: bool = True,
    runs: str | os.PathLike[str] = "runs",
    progress: bool = True,
) -> Film:
    """Write a film through the latents of an exported generator; needs no PyTorch.

        gantool.film(run, "film.mp4", through=[(0, 3), (0, 17)], seconds=4)

    `source`: an exported .onnx file or a run (path, name, number); without any, the newest export. `output`: .mp4 or
    .webm (`pip install "gantool[film]"`), .gif, .apng, .png (animated), .webp, or a folder, a PNG for each frame.

    `through`: the key frames, pairs (seed, index), .npz files with latents `z` float32 (n, …), arrays of them, or a
    text such as "0:3,0:17,faces.npz"; default: images 0 … n-1 of `seed`, three for four seconds. `loop`: it ends
    where it began. `interpolation`: `slerp`, or `great-circle`, where all latents have the same length. `easing`:
    `linear`, or `smooth`, which rests at each key frame. `label`: classes by number or name, `7` or `3,5`, cycled over
    the key frames; default: that of each key frame. The class changes midway. `values`: name → number, or (from, to):
    it swings there and back once.

    `size`: of the longer side in pixels (default 512, or the generator's own); `scaling`: `lanczos`, or `pixels`, which
    repeats pixels a whole number of times. `audio`: a song (`pip install "gantool[audio]"`) that is as long as the film
    unless `seconds` says otherwise: the louder it is, the faster the film moves; .mp4 and .webm also play it. `drive`:
    name of a value → bass, mid or treble, which moves it between its bounds, or those in `values`.

    The file appears whole or not at all. Equal arguments give equal frames (`Film.sha256`) on the same machine.
    `runs`: where a run that is given by number or name lies. `progress`: show on stderr how far it is.

    ArgumentError for an argument that is wrong; GantoolError for a generator of sounds, one that takes pictures, and
    a seeded file without the plain one beside it.
    """
    target = Path(output)
    suffix = target.suffix.lower()
    _check(suffix, fps, seconds, size)
    if suffix and target.is_dir():
        raise ArgumentError(f"{target} is a folder.", "Name a file.")
    for given, name, known in (
        (interpolation, "interpolation", INTERPOLATIONS),
        (easing, "easing", EASINGS),
        (scaling, "scaling", frames.SCALINGS),
    ):
        if given not in known:
            raise ArgumentError(f"There is no {name} {excerpt(given)!r}.", closest(given, list(known)))
    if suffix in video.CODECS:
        import av  # noqa: F401  known to be missing before anything is made
    if drive and audio is None:
        raise ArgumentError("No song is there to drive a value.", "Add one: --audio song.wav")
    song = None if audio is None else music.open_song(Path(audio))
    seconds = seconds or (song.seconds if song else SECONDS)
    count = max(1, round(fps * seconds))
    if count > MAX_FRAMES:
        raise ArgumentError(f"{count:,} frames are too many: the most is {MAX_FRAMES:,}.", "Make a part: --seconds 600")
    path = find_plain(find_artifact(None if source is None else name_of(source), Path(runs)))
    generator = Generator(path, provider, threads)
    manifest = generator.manifest
    _check_fit(generator)
    if through is None:
        n = min(max(2, round(KEYS_A_SECOND * seconds)), keys.MAX_KEYS) if n is None else n
        through = [(seed, row) for row in range(min(n, keys.MAX_KEYS + 1))]
    found = keys.find(generator, keys.parse(through) if isinstance(through, str) else through, seed)
    if label is not None:
        classes = manifest.parse_classes(str(label), path)
        if len(classes) > len(found.z):
            raise ArgumentError(f"{len(classes)} classes were given for {len(found.z)} key frames.", "Give fewer.")
        found = replace(found, labels=np.resize(classes, len(found.z)))
    levels = song.levels(fps, count) if song else {}
    moving = frames.values_of(manifest, values or {}, drive or {}, levels, count, loop)
    if len(found.z) < 2 and not any(isinstance(value, np.ndarray) for value in moving.values()):
        raise ArgumentError("Nothing moves between one key frame and itself.", "Give another: --through 0:3,0:17")
    speed = music.REST + levels["loudness"] if song else None
    way = lay(found, count, loop=loop, interpolation=interpolation, easing=easing, speed=speed)
    numbers = parse_values(moving, count, manifest, path)
    shape = to_pictures(np.zeros((1, *manifest.output.shape), np.float32))[0].shape
    sides, scaled = frames.scaler(shape[0], shape[1], size, scaling, even=suffix in video.CODECS)
    about = None
    if provenance:
        fixed = {name: value for name, value in moving.items() if not isinstance(value, np.ndarray)}
        about = replace(of(manifest, 0, 0, values=fixed), seed=None, first=None, count=None, kind="film")
        about = replace(about, through=found.names[: keys.MAX_NAMED])
    form = Form(sides[1], sides[0], count, fps, about, song)
    digest = hashlib.sha256()

    def made() -> Iterator[np.ndarray]:
        for done, picture in enumerate(frames.pictures(generator, way, numbers)):
            frame = scaled(picture)
            digest.update(frame.tobytes())
            yield frame
            if bar is not None:
                bar.update(done + 1)

    bar: terminal.Progress | None = None
    began = time.perf_counter()
    with ExitStack() as stack:
        if progress:
            bar = stack.enter_context(terminal.progress("frames"))
            bar.start("filming", count)
        if suffix == FOLDER:
            _require_frames(target)
            place = stack.enter_context(replacing_folder(target))
        else:
            stack.enter_context(writing(target, "Name another with -o."))
            place = stack.enter_context(replacing(target))
        WRITERS[suffix](place, made(), form)
        written = sum(file.stat().st_size for file in (place.iterdir() if suffix == FOLDER else [place]))
    rate = count / (time.perf_counter() - began)
    return Film(
        str(target), str(path), list(found.names), count, fps, count / fps, form.width, form.height,
        digest.hexdigest(), written, rate,
    )  # fmt: skip


def _check(suffix: str, fps: int, seconds: float | None, size: int | None) -> None:
    if suffix not in WRITERS:
        known = ", a ".join(filter(None, WRITERS))
        raise ArgumentError(f"A film can't be written as {excerpt(suffix)!r}.", f"Name a {known} or a folder.")
    most = files.MAX_GIF_FPS if suffix == ".gif" else MAX_FPS
    if not 1 <= fps <= most:
        raise ArgumentError(f"{fps} frames a second were asked for; a {suffix or 'film'} has 1 to {most}.")
    if seconds is not None and not 0 < seconds < math.inf:
        raise ArgumentError(f"A film of {seconds} seconds was asked for.", "Give more than 0: --seconds 8")
    if size is not None and not 16 <= size <= MAX_SIZE:
        raise ArgumentError(f"A size of {size} pixels was asked for.", f"Give 16 to {MAX_SIZE}: --size {frames.SIZE}")


def _check_fit(generator: Generator) -> None:
    """GantoolError for a generator that no film can be made of."""
    manifest, path = generator.manifest, generator.path
    if manifest.picture is not None:
        raise GantoolError(
            f"{path} makes a picture of a picture: there is no way through its latents.",
            f"Give it pictures: gantool generate {path} --input FOLDER -o results",
        )
    if manifest.output.kind == "audio":
        raise GantoolError(
            f"{path} makes sounds; a film shows pictures.", f"Type: gantool generate {path} -o sound.wav"
        )
    known = {*(item.name for item in manifest.latents), *(item.name for item in manifest.values)}
    others = [i.name for i in manifest.inputs if i.name not in known and i.distribution != "label"]
    if others or not manifest.latents or not manifest.output.kind:
        raise GantoolError(
            f"{path} takes {excerpt(', '.join(others), 300) or 'no latents'}: no film can be made of it."
        )


def _require_frames(folder: Path) -> None:
    """GantoolError where a folder holds anything but the frames of an earlier film: it is replaced."""
    require_place(folder, "-o")
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    other = next((name for name in names if not (name.startswith("frame-") and name.endswith(".png"))), None)
    if other is not None:
        raise GantoolError(f"{folder} holds {excerpt(other)}: it is not replaced by frames.", "Name a new folder.")
