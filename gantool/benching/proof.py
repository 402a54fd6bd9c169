"""Was it right? New images, made by the very session that was timed, against what they must be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from gantool.artifact import onnxfile
from gantool.artifact.manifest import Manifest, file_name
from gantool.benching.images import difference, digests, maker
from gantool.errors import GantoolError
from gantool.runtime import Generator, SelfTest

FRESH_SEED = 0x6E657721  # neither timed nor among the golden seeds
TOGETHER = 7  # a batch that is checked even when it was not timed: else batch 1 would only be compared with itself

# What 10 bits of a factor may cost, in levels: as fp16 files are admitted (gantool.exporting.onnx_files.precision), for
# TF32 keeps as many. A stale or a wrong image is further off.
REDUCED_WORST, REDUCED_MEAN = 8, 0.5

_HINT = "The times of such a runtime mean nothing: try --provider cpu, or another build of onnxruntime."


@dataclass(frozen=True)
class Golden:
    """The exporter's images, made again: `exact` to the byte, else at most `worst_level` on the known pixels."""

    images: int
    exact: bool
    worst_level: int


@dataclass(frozen=True)
class OneAtATime:
    """Each batch of `batches` against the same images made one at a time."""

    batches: tuple[int, ...]
    images: int
    worst_level: float
    worst_share: float


@dataclass(frozen=True)
class Limits:
    """Levels of 255 that a variant's images may be off the float32 file's: the worst value, the mean of all."""

    worst: float
    mean: float


@dataclass(frozen=True)
class Reference:
    """The new images against those of `file`, which computes in float32 on the CPU, in levels of 255."""

    file: str
    images: int
    worst_level: float
    mean_level: float
    limits: Limits


@dataclass(frozen=True)
class Proof:
    """`golden` is None when nothing recorded says what the images should be, `reference`, when no float32 file was
    at hand. `repeated`: new images that equal another one, which a session of its own makes equal as well.
    `arithmetic`: TF32 or fp16, which allow more than the file was admitted with; None: as the file says."""

    golden: Golden | None
    reference: Reference | None
    one_at_a_time: OneAtATime
    fresh_images: int
    repeated: int
    arithmetic: str | None = None

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "words": self.words()}

    def words(self) -> list[str]:
        """What was proven, and what was not, in sentences."""
        parity = self.one_at_a_time
        differs = parity.worst_share > 0 or parity.worst_level > 0.5
        levels = max(1, round(parity.worst_level))
        within = f"within {levels} level{'s' if levels > 1 else ''}"
        equal = f"{within} (on {parity.worst_share:.2%} of the values)" if differs else "the same"
        new = f"{self.fresh_images - self.repeated} of them new" if self.repeated else "all of them new"
        words = [
            f"The timed session then made {self.fresh_images} images of a seed it never had, {new}, and {equal} at "
            f"batch {', '.join(map(str, parity.batches))} as one at a time."
        ]
        if self.repeated:
            words.append(
                "The others repeat an image, and do so in a session of its own: it is the generator that repeats."
            )
        if self.golden is None:
            words.append(
                "Not provable: that they equal the exporter's. This file has no golden images (it takes more than a "
                "seed, or makes no images)."
            )
        elif self.golden.exact:
            words.append(f"Its {self.golden.images} golden images are equal to the exporter's, byte for byte.")
        else:
            words.append(
                f"Its {self.golden.images} golden images are not byte-equal to the exporter's, but at most "
                f"{self.golden.worst_level} level off on the pixels on record."
            )
        if self.reference is not None:
            words.append(
                f"Against {self.reference.file} on the CPU, {self.reference.images} new images are off by at most "
                f"{self.reference.worst_level:.3g} levels of 255, and by {self.reference.mean_level:.2g} in the mean."
            )
        if self.arithmetic is not None:
            words.append(
                f"It multiplies in {self.arithmetic}, which keeps 10 bits of a factor: up to {REDUCED_WORST} levels "
                "pass."
            )
        return words


def prove(
    generator: Generator,
    timed: Mapping[int, np.ndarray],
    reopen: Callable[[], Generator],
    alive: Callable[[], None] = lambda: None,
    reference: Generator | None = None,
    arithmetic: str | None = None,
) -> Proof:
    """Check the session of `generator` after timing. `timed`: batch → the last images that were timed at it.

    `reference`: the same generator in float32, on the CPU. `arithmetic`: TF32 or fp16, where the session computes in
    fewer bits than the file asks for: images may then be REDUCED_WORST levels off.

    GantoolError when golden images come out different, when a batch differs from the same images made one at a
    time (`Difference.within`), when they are further from the reference's than `limits`, or when new images are old
    ones and `reopen()`, which opens the file in a session of its own, does not repeat them too.
    """
    allowed = limits(generator.manifest, generator.path)
    if arithmetic is not None:
        allowed = Limits(max(allowed.worst, REDUCED_WORST), max(allowed.mean, REDUCED_MEAN))
        tolerance = max(generator.manifest.tolerance, REDUCED_WORST)
        generator.manifest = replace(generator.manifest, tolerance=tolerance)  # of this session, for what follows
    golden = _golden(generator)
    batches = tuple(sorted({*timed, TOGETHER}))
    together = {batch: maker(generator, FRESH_SEED, 0, batch)() for batch in batches}
    alone = _one_at_a_time(generator, max(batches), alive)
    worst_level, worst_share = 0.0, 0.0
    for batch, images in together.items():
        off = difference(images, alone[:batch])
        if not off.within(generator.manifest.tolerance):
            raise GantoolError(
                f"{generator.path} on {generator.provider!r} makes other images in a batch of {batch} than one at a "
                f"time (by up to {off.worst:.3g} levels, on {off.share:.2%} of the values): stale or wrong output.",
                _HINT,
            )
        worst_level, worst_share = max(worst_level, off.worst), max(worst_share, off.share)
        alive()
    compared = _compared(generator, reference, together[max(batches)], alive, allowed) if reference else None
    repeated = _repeated([alone, *together.values()], timed.values())
    if repeated:
        _demand_repeats(generator, reopen(), alone, alive)
    parity = OneAtATime(batches, len(alone), worst_level, worst_share)
    return Proof(golden, compared, parity, len(alone), repeated, arithmetic)


def limits(described: Manifest, path: Path) -> Limits:
    """How far the images of the variant at `path` may be off the float32 file's, as measured at its export.

    A seeded file's are on record in the plain file beside it; where there is none, its tolerance counts.
    """
    worst, mean = "levels off float32, worst", "levels off float32, mean"
    parity = described.parity
    if worst not in parity:
        twin = path.with_name(file_name("onnx", described.precision))
        if twin != path and twin.is_file():
            parity = onnxfile.read_manifest(twin).parity
    try:
        return Limits(float(parity[worst]["limit"]), float(parity[mean]["limit"]))
    except (KeyError, TypeError, ValueError):
        return Limits(float(described.tolerance), float(described.tolerance))


def _golden(generator: Generator) -> Golden | None:
    if not generator.manifest.golden:
        return None
    test: SelfTest = generator.self_test()
    return Golden(test.images, test.exact, test.worst)


def _compared(
    generator: Generator, reference: Generator, images: np.ndarray, alive: Callable[[], None], allowed: Limits
) -> Reference:
    """GantoolError when the images are not the reference's, within what the precision costs."""
    parts = []
    for first in range(0, len(images), TOGETHER):
        parts.append(maker(reference, FRESH_SEED, first, min(TOGETHER, len(images) - first))())
        alive()
    off = difference(images, np.concatenate(parts))
    if off.worst > allowed.worst or off.mean > allowed.mean:
        raise GantoolError(
            f"{generator.path} on {generator.provider!r} makes other images than {reference.path} on the CPU (by up to "
            f"{off.worst:.3g} levels, {off.mean:.2g} in the mean): wrong output.",
            _HINT,
        )
    return Reference(reference.path.name, len(images), off.worst, off.mean, allowed)


def _one_at_a_time(generator: Generator, count: int, alive: Callable[[], None]) -> np.ndarray:
    images = []
    for index in range(count):
        images.append(maker(generator, FRESH_SEED, index, 1)())
        alive()
    return np.concatenate(images)


def _repeated(fresh: Iterable[np.ndarray], timed: Iterable[np.ndarray]) -> int:
    """How many of the fresh images equal a timed one, or another fresh one of the same making; the worst making."""
    old = {digest for images in timed for digest in digests(images)}
    return max(len(images) - len(set(digests(images)) - old) for images in fresh)


def _demand_repeats(generator: Generator, other: Generator, alone: np.ndarray, alive: Callable[[], None]) -> None:
    """A generator may repeat itself; a session that never ran before tells that from a stale output."""
    again = _one_at_a_time(other, len(alone), alive)
    if not difference(again, alone).within(generator.manifest.tolerance):
        raise GantoolError(
            f"{generator.path} on {generator.provider!r} gives old images for new seeds: a stale output.", _HINT
        )
