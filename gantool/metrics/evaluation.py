"""Evaluate a generator: compute all figures of quality against the data in one go, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from gantool import __version__
from gantool.artifact.pictures import save_png
from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics import default_extractor, load_extractor, overlaps
from gantool.metrics import pairs as paired
from gantool.metrics.distances import (
    classifier_score,
    frechet_distance,
    kernel_distance,
    require_torchmetrics,
)
from gantool.metrics.extractors import Extractor, Outputs
from gantool.metrics.neighbours import Memorisation, Space, manifolds, memorisation, neighbours_picture
from gantool.metrics.samples import BATCH, as_samples, gather, joined, pick
from gantool.metrics.verdict import COMPARED, FEW, nearer, verdict
from gantool.system.files import write_json, writing

SCHEMA = 1  # of evaluation.json
SAMPLES = 10_000  # fakes by default, at most
LEAST = 10  # samples: the Inception Score is a mean over ten parts
UNBIASED = 2048  # with fewer samples the Fréchet distance is known to be far too high
MANIFOLD_ROWS = 10_000  # rows whose distances to all others are computed
MEMORY_ROWS = 1000  # fakes whose nearest training image is searched
ALIKE = 1e-5  # mean distance of two reals over the mean length of their features: they are all the same
MISSING = 0.1  # a class with less than this part of the reals' share is missing
MEMORISATION_NOTE = (
    "Median distance of a fake to its nearest training sample, divided by that of a real to the nearest other one: "
    "about 1 is as it should be, well below 1 means copies."
)

Better = Literal["lower", "higher", "near 1"]
Draw = Callable[[int, int], "np.ndarray | Tensor"]  # (start, n) → samples start … start+n-1
Advance = Callable[[int], None]
Watch = Callable[[str, int], Advance]  # a task and its number of parts → is told of parts done


@dataclass(frozen=True)
class Figure:
    """One number; None: the data leave nothing to compare with. `better`: the direction; `deviation`: over subsets,
    where the method takes some."""

    key: str
    name: str
    value: float | None
    better: Better
    deviation: float | None = None


@dataclass(frozen=True)
class Classes:
    """The share of each class among fakes and among reals, as the extractor classifies them."""

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
    """The figures, and everything that decides them. `subject`: what was evaluated (kind, path, step)."""

    fakes: int
    reals: int
    seed: int
    figures: tuple[Figure, ...]
    classes: Classes | None
    memorisation: Memorisation
    notes: tuple[str, ...]
    data: Dataset
    extractor: Extractor
    subject: Mapping[str, Any] = field(default_factory=dict)
    floor: Mapping[str, float] = field(default_factory=dict)  # what a half of the reals reaches, of some figures
    sources: paired.Nearness | None = None  # of the sources themselves to the targets, where there are pairs

    @property
    def verdict(self) -> str:
        """One plain sentence, by the rules of docs/evaluate.md."""
        figures = {figure.key: figure.value for figure in self.figures}
        copies = self.memorisation.features.ratio, self.memorisation.pixels.ratio
        sentence = verdict(min(self.fakes, self.reals), figures, self.floor, self.classes, copies)
        if self.sources is None:
            return sentence
        return f"{nearer(figures, self.sources.difference, self.fakes)} {sentence}"

    def picture(self) -> Image:
        """The most suspicious fakes, a row each, beside their nearest reals by features and by pixels."""
        return neighbours_picture(self.memorisation, self.data.images, self.data.rate)

    def save(self, output: str | PathLike[str]) -> dict[str, str]:
        """Write evaluation.json and neighbours.png to the folder `output`; their paths.

        An `output` that ends in .png is the picture, with its .json beside it.
        """
        output = Path(output)
        picture = output if output.suffix.lower() == ".png" else output / "neighbours.png"
        listing = output.with_suffix(".json") if picture == output else output / "evaluation.json"
        files = {"evaluation": str(listing), "neighbours": str(picture)}
        with writing(output, "Name another with -o."):
            save_png(self.picture(), picture)
            write_json(listing, self.to_json() | {"files": files})
        return files

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON: equal calls give equal JSON, so it has six digits of each number, and no time."""
        return {
            "schema_version": SCHEMA,
            "gantool": __version__,
            "subject": dict(self.subject),
            "data": {
                "name": self.data.name,
                "source": self.data.source,
                "shape": list(self.data.spec.shape),
                "count": len(self.data),
                "fingerprint": self.data.fingerprint,
            },
            "extractor": {
                "name": self.extractor.name,
                "version": self.extractor.version,
                "sha256": self.extractor.sha256 or None,
                "features": self.extractor.dimension,
            },
            "seed": self.seed,
            "fakes": self.fakes,
            "reals": self.reals,
            "figures": {
                figure.key: {
                    "name": figure.name,
                    "value": _digits(figure.value),
                    "deviation": _digits(figure.deviation),
                    "better": figure.better,
                }
                for figure in self.figures
            },
            "floor": {key: _digits(value) for key, value in self.floor.items()},
            "sources": self.sources and {key: _digits(value) for key, value in asdict(self.sources).items()},
            "verdict": self.verdict,
            "classes": self.classes
            and {
                "names": list(self.classes.names),
                "fakes": [_digits(share) for share in self.classes.fakes],
                "reals": [_digits(share) for share in self.classes.reals],
                "max_deviation": _digits(self.classes.max_deviation),
                "missing": list(self.classes.missing),
            },
            "memorisation": {
                "how_to_read": MEMORISATION_NOTE,
                "fakes": len(self.memorisation.fakes),
                "features": _space(self.memorisation.features),
                "pixels": _space(self.memorisation.pixels),
            },
            "notes": list(self.notes),
            "files": {},
        }


def evaluate(
    draw: Draw,
    data: Dataset,
    *,
    samples: int | None = None,
    extractor: Extractor | str | None = None,
    inception_weights: Path | None = None,
    device: torch.device | None = None,
    against: np.ndarray | None = None,
    pairs: paired.Pairs | None = None,
    seed: int = 0,
    batch: int = BATCH,
    subject: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    watch: Watch = lambda task, total: lambda done: None,
) -> Evaluation:
    """Compare the samples of `draw` with as many rows of `data`.

    - `draw(start, n)`: the fakes start … start+n-1: (n, *shape), uint8 or float in [-1, 1].
    - `samples`: how many fakes, and at most as many reals; None: as many as there are reals, 10,000 at most.
    - `extractor`: one, or its name (None: the default of the data), opened on `device` (None: the CPU).
    - `against`: the rows of `data` to compare with, which may have been memorised; None: all.
    - `pairs`: the targets of the fakes, one each, and their sources; None: there are none.
    - `seed`: decides which reals are taken, the subsets of KID and the splits of the Inception Score.
    - `subject`, `notes`: go into the result's JSON.
    - `watch(task, total)`: is called at the start of each task, and what it returns with the parts done.

    GantoolError when torchmetrics is missing, or there are too few samples.
    """
    require_torchmetrics()
    if not isinstance(extractor, Extractor):
        name = extractor or default_extractor(data)
        extractor = load_extractor(name, data.spec, device or torch.device("cpu"), inception_weights)
    trained_rows = np.arange(len(data)) if against is None else np.sort(against)
    count = samples or min(SAMPLES, len(trained_rows))
    real_rows = trained_rows[pick(len(trained_rows), count, seed)]
    for what, rows in (("fakes", count), ("reals", len(real_rows))):
        if rows < LEAST:
            hint = f"Take at least {LEAST} of each: --samples N."
            if len(trained_rows) < LEAST:
                hint = f"The data has {len(trained_rows)} to compare with: figures need data of at least {LEAST}."
            raise GantoolError(f"{rows} {what} are too few to compare.", hint)
    reals = gather(extractor, data.images[real_rows], batch, watch("features of the reals", len(real_rows)))
    meter = paired.Meter(pairs, extractor) if pairs else None
    fakes, kept = _fakes(draw, count, extractor, batch, watch("fakes and their features", count), meter)
    # picked at random, because sources are often sorted by class
    some_reals, some_fakes = (
        side.features[torch.from_numpy(pick(len(side.features), MANIFOLD_ROWS, seed))] for side in (reals, fakes)
    )
    figures = _figures(reals, fakes, some_reals, some_fakes, extractor, seed, watch)
    sources = None
    if meter:
        nearness, sources = meter.result()
        figures = [*_of_pairs(nearness, meter.nearer, extractor), *figures]
    floor = _floor(some_reals, watch) if min(count, len(real_rows)) >= FEW else {}
    if data.spec.kind == "volume":
        some = as_samples(data.images[real_rows[pick(len(real_rows), len(kept), seed)]]).flatten(1)
        figures += _of_overlaps(overlaps.matching(some, as_samples(kept).flatten(1)))
        floor |= {each.key: each.value or 0.0 for each in _of_overlaps(overlaps.matching(some[::2], some[1::2]))}
    return Evaluation(
        fakes=count,
        reals=len(real_rows),
        seed=seed,
        figures=tuple(figures),
        classes=_classes(extractor, fakes, reals),
        memorisation=memorisation(
            kept, fakes.features[: len(kept)], reals.features, data.images, real_rows, trained_rows, watch
        ),
        notes=(*data.notes, *notes, *_notes(extractor, count, len(real_rows), data, figures)),
        data=data,
        extractor=extractor,
        subject=subject or {},
        floor=floor,
        sources=sources,
    )


def _of_pairs(found: paired.Nearness, nearer: float | None, extractor: Extractor) -> list[Figure]:
    return [
        Figure("difference", "difference to the target, levels", found.difference, "lower"),
        *([] if nearer is None else [Figure("nearer", "share nearer than their sources", nearer, "higher")]),
        Figure("psnr", "PSNR to the target, dB", found.psnr, "higher"),
        *([] if found.ssim is None else [Figure("ssim", "SSIM to the target", found.ssim, "higher")]),
        Figure("features", f"difference by features ({extractor.name})", found.features, "lower"),
    ]


def _of_overlaps(found: overlaps.Matching) -> list[Figure]:
    return [
        Figure("overlap_coverage", "coverage by IoU", found.coverage, "higher"),
        Figure("overlap", "IoU of a real with its nearest fake", found.matching, "higher"),
    ]


def _floor(reals: Tensor, watch: Watch) -> dict[str, float]:
    """What one half of the reals (N, D) reaches against the other, of the figures that the verdict compares."""
    here, there = reals[::2], reals[1::2]
    found = manifolds(here, there, advance=watch("one half of the reals against the other", len(here) + 2 * len(there)))
    return {key: float(getattr(found, key)) for key in COMPARED}


def _fakes(
    draw: Draw, count: int, extractor: Extractor, batch: int, advance: Advance, meter: paired.Meter | None
) -> tuple[Outputs, np.ndarray]:
    """The outputs of all fakes, and the first fakes themselves."""
    parts, kept = [], []
    for start in range(0, count, batch):
        samples = draw(start, min(batch, count - start))
        parts.append(gather(extractor, samples, batch, advance))
        if meter:
            meter.add(start, samples, parts[-1].features)
        if start < MEMORY_ROWS:
            kept.append(np.asarray(samples[: MEMORY_ROWS - start]))
    return joined(parts), np.concatenate(kept)


def _figures(
    reals: Outputs,
    fakes: Outputs,
    some_reals: Tensor,
    some_fakes: Tensor,
    extractor: Extractor,
    seed: int,
    watch: Watch,
) -> list[Figure]:
    advance = watch("distances of distributions", 2)
    distance = frechet_distance(reals.features, fakes.features)
    advance(1)
    mean, deviation = kernel_distance(reals.features, fakes.features, seed)
    advance(1)
    figures = [
        Figure("frechet_distance", extractor.label, distance, "lower"),
        Figure("kernel_distance", extractor.kernel_label, mean, "lower", deviation),
    ]
    if fakes.probabilities is not None:
        mean, deviation = classifier_score(fakes.probabilities, seed)
        figures.append(Figure("classifier_score", extractor.score, mean, "higher", deviation))
    found = manifolds(some_reals, some_fakes, advance=watch("neighbours", len(some_reals) + 2 * len(some_fakes)))
    # distances of equal rows are the rounding of a product
    alike = found.real_spread <= ALIKE * float(some_reals.norm(dim=1).mean())
    ratio = None if alike else found.fake_spread / found.real_spread
    return [
        *figures,
        Figure("precision", "precision", found.precision, "higher"),
        Figure("recall", "recall", found.recall, "higher"),
        Figure("density", "density", found.density, "near 1"),
        Figure("coverage", "coverage", found.coverage, "higher"),
        Figure("diversity", "diversity of fakes / of reals", ratio, "near 1"),
    ]


def _classes(extractor: Extractor, fakes: Outputs, reals: Outputs) -> Classes | None:
    if fakes.probabilities is None or reals.probabilities is None or not extractor.class_names:
        return None

    def shares(probabilities: Tensor) -> tuple[float, ...]:
        counts = torch.bincount(probabilities.argmax(1), minlength=len(extractor.class_names))
        return tuple((counts.double() / len(probabilities)).tolist())

    return Classes(extractor.class_names, shares(fakes.probabilities), shares(reals.probabilities))


def _notes(extractor: Extractor, fakes: int, reals: int, data: Dataset, figures: Sequence[Figure]) -> list[str]:
    """Reasons not to trust the figures."""
    notes = []
    if any(figure.value is None for figure in figures):
        notes.append("All reals are alike, so there is no diversity to compare with.")
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


def _space(space: Space) -> dict[str, Any]:
    return {
        "ratio": _digits(space.ratio),
        "fake_median": _digits(space.fake_median),
        "real_median": _digits(space.real_median),
        "among": space.among,
    }


def _digits(value: float | None) -> float | None:
    """Six significant digits, which the order of a sum does not change."""
    return None if value is None else float(f"{value:.6g}")
