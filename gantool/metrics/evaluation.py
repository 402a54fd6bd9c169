"""All figures of quality of one generator against the data, computed in one go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics import library
from gantool.metrics.extractors import Extractor, Outputs
from gantool.metrics.memory import Memorisation, memorisation
from gantool.metrics.neighbours import manifolds
from gantool.metrics.samples import BATCH, gather, joined, pick

LEAST = 10  # samples: the Inception Score is a mean over ten parts
UNBIASED = 2048  # below this many samples the Fréchet distance is known to be far too high
MANIFOLD_ROWS = 10_000  # rows that distances between all pairs are taken of
MEMORY_ROWS = 1000  # fakes whose nearest training image is looked for
MISSING = 0.1  # a class with less than this part of the reals' share is missing

Better = Literal["lower", "higher", "near 1"]
Advance = Callable[[int], None]
Watch = Callable[[str, int], Advance]  # what is being done, of how many parts → is told of parts done


@dataclass(frozen=True)
class Figure:
    """One number. `better`: the direction; `deviation`: over subsets, where the method takes some."""

    key: str
    name: str
    value: float
    better: Better
    deviation: float | None = None


@dataclass(frozen=True)
class Classes:
    """Shares of the classes that the extractor sees in fakes and in reals; what deviates most; what is missing."""

    names: tuple[str, ...]
    fakes: tuple[float, ...]
    reals: tuple[float, ...]

    @property
    def max_deviation(self) -> float:
        return max(abs(f - r) for f, r in zip(self.fakes, self.reals, strict=True))

    @property
    def missing(self) -> tuple[str, ...]:
        """Classes that the reals have, and the fakes less than a tenth as often."""
        both = zip(self.names, self.fakes, self.reals, strict=True)
        return tuple(name for name, f, r in both if r > 0 and f < MISSING * r)


@dataclass(frozen=True)
class Evaluation:
    fakes: int
    reals: int
    seed: int
    figures: tuple[Figure, ...]
    classes: Classes | None
    memorisation: Memorisation
    notes: tuple[str, ...]


def evaluate(
    draw: Callable[[int, int], np.ndarray | Tensor],
    count: int,
    data: Dataset,
    extractor: Extractor,
    *,
    against: np.ndarray | None = None,
    seed: int = 0,
    batch: int = BATCH,
    watch: Watch = lambda what, total: lambda done: None,
) -> Evaluation:
    """Compare `count` fakes with as many rows of `data` (or all that there are).

    `draw(start, n)` gives the fakes start … start+n-1: (n, *shape), uint8 or float in [-1, 1]. `against`: the rows of
    `data` that are taken from, and that may have been memorised; None: all. `seed` decides which reals are taken, the
    subsets of KID and the splits of the Inception Score.
    GantoolError when torchmetrics is missing, or there are too few samples.
    """
    library.require()
    trained_rows = np.arange(len(data)) if against is None else np.sort(against)
    real_rows = trained_rows[pick(len(trained_rows), count, seed)]
    for what, rows in (("fakes", count), ("reals", len(real_rows))):
        if rows < LEAST:
            raise GantoolError(f"{rows} {what} are too few to compare.", f"Take at least {LEAST} of each: --samples N.")
    reals = gather(extractor, data.images[real_rows], batch, watch("features of the reals", len(real_rows)))
    fakes, kept = _fakes(draw, count, extractor, batch, watch("fakes and their features", count))
    figures, diversity = _figures(reals, fakes, extractor, seed, watch)
    memory = memorisation(
        kept, fakes.features[: len(kept)], reals.features, data.images, real_rows, trained_rows, watch
    )
    return Evaluation(
        fakes=count,
        reals=len(real_rows),
        seed=seed,
        figures=(*figures, diversity),
        classes=_classes(extractor, fakes, reals),
        memorisation=memory,
        notes=tuple(_notes(extractor, count, len(real_rows), data)),
    )


def _fakes(
    draw: Callable[[int, int], np.ndarray | Tensor], count: int, extractor: Extractor, batch: int, advance: Advance
) -> tuple[Outputs, np.ndarray]:
    """The outputs of all fakes, and the first of the fakes themselves."""
    parts, kept = [], []
    for start in range(0, count, batch):
        samples = draw(start, min(batch, count - start))
        parts.append(gather(extractor, samples, batch, advance))
        if start < MEMORY_ROWS:
            kept.append(np.asarray(samples[: MEMORY_ROWS - start]))
    return joined(parts), np.concatenate(kept)


def _figures(
    reals: Outputs, fakes: Outputs, extractor: Extractor, seed: int, watch: Watch
) -> tuple[list[Figure], Figure]:
    advance = watch("distances of distributions", 2)
    distance = library.frechet(reals.features, fakes.features)
    advance(1)
    mean, deviation = library.kernel(reals.features, fakes.features, seed)
    advance(1)
    figures = [
        Figure("frechet_distance", extractor.label, distance, "lower"),
        Figure("kernel_distance", extractor.kernel_label, mean, "lower", deviation),
    ]
    if fakes.probabilities is not None:
        mean, deviation = library.score(fakes.probabilities, seed)
        figures.append(Figure("classifier_score", extractor.score, mean, "higher", deviation))
    # picked, not the first: sources are often sorted by class
    some_reals, some_fakes = (
        side.features[torch.from_numpy(pick(len(side.features), MANIFOLD_ROWS, seed))] for side in (reals, fakes)
    )
    found = manifolds(some_reals, some_fakes, advance=watch("neighbours", len(some_reals) + 2 * len(some_fakes)))
    figures += [
        Figure("precision", "precision", found.precision, "higher"),
        Figure("recall", "recall", found.recall, "higher"),
        Figure("density", "density", found.density, "near 1"),
        Figure("coverage", "coverage", found.coverage, "higher"),
    ]
    ratio = found.fake_spread / found.real_spread if found.real_spread else 1.0
    return figures, Figure("diversity", "diversity of fakes / of reals", ratio, "near 1")


def _classes(extractor: Extractor, fakes: Outputs, reals: Outputs) -> Classes | None:
    if fakes.probabilities is None or reals.probabilities is None or not extractor.class_names:
        return None

    def shares(probabilities: Tensor) -> tuple[float, ...]:
        counts = torch.bincount(probabilities.argmax(1), minlength=len(extractor.class_names))
        return tuple((counts.double() / len(probabilities)).tolist())

    return Classes(extractor.class_names, shares(fakes.probabilities), shares(reals.probabilities))


def _notes(extractor: Extractor, fakes: int, reals: int, data: Dataset) -> list[str]:
    """Reasons not to trust the figures."""
    notes = []
    fewest = min(fakes, reals)
    if fewest <= extractor.dimension:
        notes.append(
            f"{fewest} samples are not more than the {extractor.dimension} features: "
            f"the {extractor.label} is far too high, and comparable only between equal numbers of samples."
        )
    elif fewest < UNBIASED:
        notes.append(
            f"{fewest} samples are fewer than {UNBIASED}: the {extractor.label} is too high, "
            "and comparable only between equal numbers of samples."
        )
    if extractor.name == "digits" and data.source != "digits":
        notes.append(f"The extractor digits knows handwritten digits only; the data is {data.name}.")
    return notes
