"""Compare images: the proof that a timed session makes the right ones, and the quality of each variant's."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gantool.artifact import latents, onnxfile
from gantool.artifact.cards import card
from gantool.artifact.manifest import InputInfo, Manifest, file_name
from gantool.benching.matrix import Cell, reference_of
from gantool.errors import GantoolError
from gantool.runtime import Generator
from gantool.runtime.generator import MAX_LEVELS, MAX_SHARE, MAX_SHARES

FRESH_SEED = 0x6E657721  # neither timed nor among the golden seeds
EXTRA_BATCH = 7  # checked even when it was not timed: else batch 1 would only be compared with itself
QUALITY_IMAGES, QUALITY_BATCH, QUALITY_SEED = 1024, 64, 0x7175616C
ROUNDED_VALUES = 8  # that may differ by a level: in one small image a single one is already more than MAX_SHARE

# What 10 bits of a factor may cost, in levels: as fp16 files are admitted (gantool.exporting.onnx_files.precision), for
# TF32 keeps as many. A stale or a wrong image is further off.
REDUCED_WORST, REDUCED_MEAN = 8, 0.5

_HINT = "The times of such a runtime mean nothing: try --provider cpu, or another build of onnxruntime."


class Limits(NamedTuple):
    """Levels of 255 that a variant's images may be off the float32 file's: at worst, and in the mean."""

    worst: float
    mean: float


@dataclass(frozen=True)
class Difference:
    """`worst` and `mean`: in levels; `count`: of the `values` that differ by about one or more.

    A level is a 255th of the range, or of audio in 16 bits a step. `rounded`: the share that may differ by one;
    `fineness`: how many of them are a 255th of the range.
    """

    worst: float
    count: int
    values: int
    mean: float = 0.0
    rounded: float = MAX_SHARE
    fineness: int = 1

    @property
    def worst_of_255(self) -> float:
        return self.worst / self.fineness

    @property
    def mean_of_255(self) -> float:
        return self.mean / self.fineness

    @property
    def share(self) -> float:
        return self.count / max(1, self.values)

    def within(self, tolerance: float) -> bool:
        """Whether it is rounding (1 level on few of the values, or on 8 of them), or at most `tolerance` levels.

        `tolerance`: above 1 where a variant computes in fewer bits.
        """
        rounding = self.worst <= MAX_LEVELS and self.count <= max(ROUNDED_VALUES, self.rounded * self.values)
        return rounding or (tolerance > MAX_LEVELS and self.worst <= tolerance)


def difference(images: np.ndarray, wanted: np.ndarray) -> Difference:
    """Compare images, uint8 or float in [-1, 1]; other shapes, NaN and infinity are infinitely far."""
    if images.shape != wanted.shape:
        return Difference(math.inf, images.size, images.size, math.inf)
    levels = np.abs(_levels(images) - _levels(wanted))
    if not np.isfinite(levels).all():
        return Difference(math.inf, images.size, images.size, math.inf)
    mean = float(levels.mean()) if levels.size else 0.0
    # floats are not rounded yet: half a level may still round to the same one
    rounded = MAX_SHARES.get(images.dtype.name, MAX_SHARE)
    count, fineness = int((levels > 0.5).sum()), latents.FINENESS.get(images.dtype.name, 1)
    return Difference(float(levels.max(initial=0)), count, levels.size, mean, rounded, fineness)


def _levels(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) * np.float32(127.5 if images.dtype.kind == "f" else 1)


def maker(generator: Generator, seed: int, first: int, count: int) -> Callable[[], np.ndarray]:
    """A call that makes images `first … first+count-1` of `seed`; inputs that are data are made here, untimed.

    Where a seed decides all, it is `Generator.sample`, as in an app: uint8 (count, H, W, C), latents drawn within the
    call. Where a picture goes in, it is `Generator.translate` of `sources`. A generator that takes other data
    gets uniform noise in [-1, 1] made from (seed, index), and the call returns the graph's output.
    """
    inputs, picture = generator.manifest.inputs, generator.manifest.picture
    if picture is not None:
        return partial(generator.translate, sources(picture, seed, first, count), seed, first)
    if generator.seeded or (generator.manifest.latents and all(i.distribution != "data" for i in inputs)):
        return partial(generator.sample, count, seed, first)
    index = np.arange(first, first + count, dtype=np.int64)
    normal = {i.name: i.shape for i in inputs if i.distribution == "normal"}
    feeds: dict[str, np.ndarray] = dict(latents.draw(normal, seed, index))
    feeds |= {i.name: _data(i, seed, index) for i in inputs if i.distribution != "normal"}
    return partial(generator.run, feeds)


def sources(item: InputInfo, seed: int, first: int, count: int) -> np.ndarray:
    """Pictures of the sides that a generator was trained on, uint8 (count, H, W, C): test cards, moved.

    A card's number counts modulo 256; moved by what is left, those of two seeds or images differ.
    """
    numbers = [(seed * 2_654_435_761 + first + i) % 2**32 for i in range(count)]
    made = [
        np.roll(card(number % 256, *item.sides, item.channels), (number >> 8, number >> 20), (0, 1))
        for number in numbers
    ]
    return np.stack(made)


def _data(item: InputInfo, seed: int, index: np.ndarray) -> np.ndarray:
    """Labels in turn, a value's default, or noise that depends on (seed, index) alone."""
    if item.distribution == "value":
        return np.full(len(index), item.default, np.float32)
    if item.dtype == "int64":
        labels = (index % max(1, item.classes)).reshape(-1, *[1] * len(item.shape))
        return np.broadcast_to(labels, (len(index), *item.shape))
    rows = [np.random.default_rng((seed, int(i))).random(item.shape, np.float32) for i in index]
    return np.stack(rows) * np.float32(2) - np.float32(1)


def prove(
    generator: Generator,
    timed: Mapping[int, np.ndarray],
    reopen: Callable[[], Generator],
    alive: Callable[[], None] = lambda: None,
    reference: Generator | None = None,
    arithmetic: str | None = None,
) -> dict[str, Any]:
    """Check the session of `generator` after timing; the `proof` of a report. `timed`: batch → its last timed images.

    `reference`: the same generator in float32, on the CPU. `arithmetic`: TF32 or fp16, where the session computes in
    fewer bits than the file asks for: images may then be REDUCED_WORST levels off.

    GantoolError when golden images come out different, when a batch differs from the same images made one at a time
    (`Difference.within`), when images are further off the reference's than `limits`, or when new images equal old ones
    and those of `reopen()`, which opens the file in a session of its own, do not.
    """
    allowed = limits(generator.manifest, generator.path)
    if arithmetic is not None:
        allowed = Limits(max(allowed.worst, REDUCED_WORST), max(allowed.mean, REDUCED_MEAN))
        fineness = latents.FINENESS.get(generator.manifest.output.levels, 1)
        tolerance = max(generator.manifest.tolerance, REDUCED_WORST * fineness)
        generator.manifest = replace(generator.manifest, tolerance=tolerance)  # of this session, for what follows
    noun = generator.manifest.output.noun
    golden = generator.self_test() if generator.manifest.golden else None
    batches = sorted({*timed, EXTRA_BATCH})
    together = {batch: maker(generator, FRESH_SEED, 0, batch)() for batch in batches}
    alone = _in_calls_of(1, generator, batches[-1], alive)
    worst_level, worst_share = 0.0, 0.0
    for batch, images in together.items():
        off = difference(images, alone[:batch])
        if not off.within(generator.manifest.tolerance):
            raise GantoolError(
                f"{generator.path} on {generator.provider!r} makes other {noun}s in a batch of {batch} than one at a "
                f"time (by up to {off.worst:.3g} levels, on {off.share:.2%} of the values): stale or wrong output.",
                _HINT,
            )
        worst_level, worst_share = max(worst_level, off.worst), max(worst_share, off.share)
        alive()
    compared = _compare(generator, reference, together[batches[-1]], alive, allowed) if reference else None
    repeated = _count_repeated([alone, *together.values()], timed.values())
    # a generator may repeat itself; a session that never ran before tells that from a stale output
    if repeated:
        again = _in_calls_of(1, reopen(), len(alone), alive)
        if not difference(again, alone).within(generator.manifest.tolerance):
            raise GantoolError(
                f"{generator.path} on {generator.provider!r} gives old {noun}s for new seeds: a stale output.", _HINT
            )
    proof: dict[str, Any] = {
        "golden": golden and {"images": golden.images, "exact": golden.exact, "worst_level": golden.worst},
        "reference": compared,
        "one_at_a_time": {
            "batches": batches,
            "images": len(alone),
            "worst_level": worst_level,
            "worst_share": worst_share,
        },
        "fresh_images": len(alone),
        "repeated": repeated,
        "arithmetic": arithmetic,
    }
    return {**proof, "words": _words(proof, noun)}


def _words(proof: Mapping[str, Any], noun: str) -> list[str]:
    """What was proven, and what was not, in sentences."""
    single, golden, reference = proof["one_at_a_time"], proof["golden"], proof["reference"]
    fresh, repeated = proof["fresh_images"], proof["repeated"]
    relation = "equal"
    if single["worst_share"] > 0 or single["worst_level"] > 0.5:
        levels = max(1, round(single["worst_level"]))
        relation = (
            f"are within {levels} level{'s' if levels > 1 else ''} ({single['worst_share']:.2%} of the values) of"
        )
    words = [
        f"After timing, the same session made {fresh} {noun}s of an unused seed, "
        f"{f'{fresh - repeated} of them new' if repeated else 'all of them new'}: batches of "
        f"{', '.join(map(str, single['batches']))} {relation} the same {noun}s made one at a time."
    ]
    if repeated:
        words.append(f"The others are repeated by a fresh session too: it is the generator that repeats its {noun}s.")
    if golden is None:
        words.append(
            f"Not proven: that they equal the exporter's. This file has no golden {noun}s (it takes more than a seed, "
            "or makes points)."
        )
    elif golden["exact"]:
        words.append(f"Its {golden['images']} golden {noun}s equal the exporter's, byte for byte.")
    else:
        words.append(
            f"Its {golden['images']} golden {noun}s are at most {golden['worst_level']} level off the exporter's on "
            "the recorded values, not byte-equal."
        )
    if reference is not None:
        worst, mean = reference["worst_level"], reference["mean_level"]
        off = f"are at most {worst:.3g} levels of 255 ({mean:.2g} in the mean) off" if worst > 0 else "equal"
        words.append(f"{reference['images']} new {noun}s {off} those of {reference['file']} on the CPU.")
    if proof["arithmetic"] is not None:
        words.append(f"{proof['arithmetic']} keeps 10 bits of a factor: up to {REDUCED_WORST} levels pass.")
    return words


def limits(manifest: Manifest, path: Path) -> Limits:
    """How far the images of the variant at `path` may be off the float32 file's, as measured at its export.

    For a seeded file the plain file beside it has the measurement; where there is none, its tolerance counts.
    """
    worst, mean = "levels off float32, worst", "levels off float32, mean"
    parity = manifest.parity
    if worst not in parity:
        plain = path.with_name(file_name("onnx", manifest.precision))
        if plain != path and plain.is_file():
            parity = onnxfile.read_manifest(plain).parity
    try:
        return Limits(float(parity[worst]["limit"]), float(parity[mean]["limit"]))
    except (KeyError, TypeError, ValueError):
        return Limits(float(manifest.tolerance), float(manifest.tolerance))


def _compare(
    generator: Generator, reference: Generator, images: np.ndarray, alive: Callable[[], None], allowed: Limits
) -> dict[str, Any]:
    """GantoolError when the images are not the reference's, within what the precision costs."""
    off = difference(images, _in_calls_of(EXTRA_BATCH, reference, len(images), alive))
    worst, mean = off.worst_of_255, off.mean_of_255
    if worst > allowed.worst or mean > allowed.mean:
        raise GantoolError(
            f"{generator.path} on {generator.provider!r} makes other {generator.manifest.output.noun}s than "
            f"{reference.path} on the CPU (by up to {worst:.3g} levels of 255, {mean:.2g} in the mean): wrong output.",
            _HINT,
        )
    return {
        "file": reference.path.name,
        "images": len(images),
        "worst_level": worst,
        "mean_level": mean,
        "limits": allowed._asdict(),
    }


def _in_calls_of(size: int, generator: Generator, count: int, alive: Callable[[], None]) -> np.ndarray:
    images = []
    for first in range(0, count, size):
        images.append(maker(generator, FRESH_SEED, first, min(size, count - first))())
        alive()
    return np.concatenate(images)


def _count_repeated(fresh: Iterable[np.ndarray], timed: Iterable[np.ndarray]) -> int:
    """How many images of the worst batch equal a timed one, or another of the same batch."""
    old = {digest for images in timed for digest in _digests(images)}
    return max(len(images) - len(_digests(images) - old) for images in fresh)


def _digests(images: np.ndarray) -> set[bytes]:
    return {hashlib.sha256(image.tobytes()).digest() for image in images}


def add_quality(report: dict[str, Any], listener: Callable[[str], None] = lambda stage: None) -> None:
    """Give `report` its `quality`: a row for each measured file that has a float32 file beside it.

    Of the same latents on the CPU: `worst_level` and `mean_level` of 255, and `distance`, the Fréchet distance of
    QUALITY_IMAGES images on the features `pixels`, which `label` names.
    """
    import torch

    from gantool.metrics import load_extractor
    from gantool.metrics.distances import frechet_distance
    from gantool.plugin.architecture import SampleSpec

    names = {c["file"]["path"]: c["file"]["name"] for c in report["cells"] if c["status"] == "measured"}
    images: dict[Path, np.ndarray] = {}
    rows = []
    for file, name in names.items():
        path, reference = Path(file), reference_of(Cell(file))
        if reference is None:
            continue
        listener(f"quality of {path.name}")
        for one in (path, reference):
            if one not in images:
                generator = Generator(one)
                parts = [
                    maker(generator, QUALITY_SEED, first, QUALITY_BATCH)()
                    for first in range(0, QUALITY_IMAGES, QUALITY_BATCH)
                ]
                images[one] = np.concatenate(parts)
        off = difference(images[path], images[reference])
        samples, wanted = (torch.from_numpy(latents.floats(images[one])) for one in (path, reference))
        extractor = load_extractor("pixels", SampleSpec(tuple(samples.shape[1:])), torch.device("cpu"))
        rows.append(
            {
                "file": file,
                "name": name,
                "reference": reference.name,
                "images": QUALITY_IMAGES,
                "worst_level": off.worst_of_255,
                "mean_level": off.mean_of_255,
                "label": extractor.label,
                "distance": frechet_distance(extractor.features(samples), extractor.features(wanted)),
            }
        )
    report["quality"] = rows
