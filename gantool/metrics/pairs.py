"""Figures of results that each have a target: how near a picture is to what it should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics.extractors import Extractor
from gantool.metrics.samples import as_samples, gather
from gantool.plugin.architecture import Input

Rows = Callable[[int, int], np.ndarray]  # (start, n) → rows start … start+n-1
LEAST_SIDE = 11  # pixels: SSIM's window


@dataclass(frozen=True)
class Pairs:
    """What results are compared with, in their order: `targets`, and the `sources` that they were made of."""

    targets: Rows
    sources: Rows


@dataclass(frozen=True)
class Translated:
    """What a generator that takes pictures is judged on.

    `reals`: the data to compare with, of which `against` are the rows (None: all). `source`: the pictures that it
    takes, (start, count) → (count, *shape), which are the rows `order` of the data. `pairs`: with their targets.
    """

    reals: Dataset
    against: np.ndarray | None
    source: Rows
    order: np.ndarray
    pairs: Pairs | None

    @classmethod
    def of(cls, takes: Input, reals: Input | None, data: Dataset, path: Path | None, seed: int) -> Translated:
        """From `data`, whose rows have pairs (an array `sources`) or are of two classes.

        An architecture that learns without pairs is judged by pairs where the data have them: class 0 are their
        sources, class 1 their targets. GantoolError when the data have not what the generator takes.
        """
        hidden = takes.label is not None and "sources" in data.arrays
        names = [_array_of(item, hidden) if item else "images" for item in (takes, reals)]
        missing = [name for name in names if name not in data.arrays]
        if missing or (data.labels is None and takes.label is not None and not hidden):
            raise GantoolError(
                f"{path} takes pictures, and the data {data.source!r} has no {missing[0] if missing else 'classes'}.",
                "Give data with pairs: --data FOLDER --pairs RULE (gantool evaluate --help).",
            )
        labels = [None if hidden or item is None else item.label for item in (takes, reals)]
        rows = [np.arange(len(data)) if label is None else np.flatnonzero(data.labels == label) for label in labels]
        sources, targets = (data.arrays[name] for name in names)
        order = rows[0][np.random.default_rng(seed).permutation(len(rows[0]))]

        def of(array: np.ndarray) -> Rows:
            return lambda start, count: array[order[start : start + count]]

        return cls(
            replace(data, arrays={"images": targets}, class_names=(), stored_fingerprint=data.fingerprint),
            None if labels[1] is None else rows[1],
            of(sources),
            order,
            Pairs(of(targets), of(sources)) if labels[0] == labels[1] else None,
        )


def _array_of(item: Input, hidden: bool) -> str:
    """The array that an input comes from; `hidden`: of pairs, for an input that is drawn by its class."""
    if not hidden:
        return item.array
    return "images" if item.label else "sources"


@dataclass(frozen=True)
class Nearness:
    """Means over all pairs. `difference` in levels of 255; `psnr` in dB; `ssim` (Wang et al. 2004) is at most 1, None
    for pictures smaller than its window; `features`: 1 - cosine of the extractor's features."""

    difference: float
    psnr: float
    ssim: float | None
    features: float


class Meter:
    """Adds up, batch by batch, how near results are to their targets, and their sources as they are."""

    def __init__(self, pairs: Pairs, extractor: Extractor) -> None:
        self._pairs, self._extractor = pairs, extractor
        self._results, self._sources, self._nearer = _Sum(), _Sum(), 0

    def add(self, start: int, results: np.ndarray | Tensor, features: Tensor) -> None:
        """The results start … (N, *shape), and their features (N, D)."""
        targets, sources = (
            as_samples(rows(start, len(results))) for rows in (self._pairs.targets, self._pairs.sources)
        )
        wanted = gather(self._extractor, targets).features
        of_results = self._results.add(as_samples(results).cpu(), targets, features, wanted)
        sources = _fitted(sources, targets)
        if sources.shape == targets.shape:
            of_sources = self._sources.add(sources, targets, gather(self._extractor, sources).features, wanted)
            self._nearer += int((of_results < of_sources).sum())

    def result(self) -> tuple[Nearness, Nearness | None]:
        """Of the results, and of the sources as they are; None: they can't be shown as targets are."""
        return self._results.result(), self._sources.result() if self._sources.count else None

    @property
    def nearer(self) -> float | None:
        """The share of results that are nearer to their targets than the sources are; None: these can't be shown so."""
        return self._nearer / self._sources.count if self._sources.count else None


def _fitted(sources: Tensor, targets: Tensor) -> Tensor:
    """Sources (N, C, H, W) as targets are, where repeating is enough: grey as colour, smaller as larger."""
    channels, scale = (max(1, targets.shape[axis] // sources.shape[axis]) for axis in (1, 2))
    return sources.repeat_interleave(scale, 2).repeat_interleave(scale, 3).repeat(1, channels, 1, 1)


class _Sum:
    def __init__(self) -> None:
        from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

        self.count = 0
        self._difference = self._features = 0.0
        self._psnr: Any = PeakSignalNoiseRatio(data_range=2.0)
        self._ssim: Any = StructuralSimilarityIndexMeasure(data_range=2.0)

    def add(self, made: Tensor, wanted: Tensor, features: Tensor, wanted_features: Tensor) -> Tensor:
        """The differences (N,) of what is added."""
        self.count += len(made)
        differences = (made - wanted).abs().flatten(1).mean(1)
        self._difference += float(differences.sum()) * 127.5
        self._features += float((1 - F.cosine_similarity(features.double(), wanted_features.double())).sum())
        self._psnr.update(made, wanted)
        if min(made.shape[2:]) >= LEAST_SIDE:
            self._ssim.update(made, wanted)
        return differences

    def result(self) -> Nearness:
        ssim = float(self._ssim.compute()) if self._ssim.update_called else None
        return Nearness(self._difference / self.count, float(self._psnr.compute()), ssim, self._features / self.count)
