"""Divide data without labels into classes of samples that look alike.

A generator of such classes learns sooner, and each can be asked for (Sage, Agustsson, Timofte & Van Gool 2018,
arXiv:1712.04407); classes of few samples collapse (Shahbazi et al. 2022, arXiv:2201.06578). They are found by k-means
on the features of an extractor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics.extractors import Extractor
from gantool.metrics.samples import BATCH, gather, pick

FIT = 50_000  # rows that the centres are found from; the others join the nearest
ROUNDS = 50  # of k-means, at most


def usual_count(rows: int) -> int:
    """Half the square root of the number of rows: of 15,000, 61 classes of 240 on average."""
    return max(2, math.isqrt(rows) // 2)


def clustered(
    data: Dataset, extractor: Extractor, count: int, advance: Callable[[int], None] = lambda count: None
) -> Dataset:
    """`data` with labels 0 … count-1 of what is alike in the features of `extractor`; the largest class is the first.

    The same data give the same labels. `advance` is told how many rows were looked at. Data with fewer different rows
    get fewer classes. GantoolError for a count below 2, or above the number of rows.
    """
    if not 2 <= count <= len(data):
        raise GantoolError(f"{len(data):,} samples can't make {count:,} classes.", f"Give 2 to {len(data):,}.")
    data = data.centred()
    fitted = pick(len(data), min(len(data), FIT), seed=0)
    features = gather(extractor, data.images[fitted], advance=advance).features
    mean = features.mean(0)
    points = F.normalize(features - mean)
    centres = _centres(points, count)
    labels = np.empty(len(data), np.int64)
    labels[fitted] = _nearest(points, centres)
    others = np.setdiff1d(np.arange(len(data)), fitted)
    for start in range(0, len(others), BATCH):
        rows = others[start : start + BATCH]
        made = gather(extractor, data.images[rows], advance=advance).features
        labels[rows] = _nearest(F.normalize(made - mean), centres)
    counts = np.bincount(labels, minlength=len(centres))
    place = np.argsort(np.argsort(-counts, kind="stable"))  # of each centre among all, by their size
    found = np.count_nonzero(counts)
    names = tuple(f"group-{number:0{len(str(found - 1))}}" for number in range(found))
    note = f"Its classes are {len(names)} groups that look alike to {extractor.name}."
    return replace(
        data,
        arrays={**data.arrays, "labels": place[labels]},
        class_names=names,
        notes=(*data.notes, note),
        stored_fingerprint="",
    )


def _centres(points: Tensor, count: int) -> Tensor:
    """Centres (count, D) of the points (N, D) by k-means, started by k-means++ (Arthur & Vassilvitskii 2007)."""
    random = torch.Generator().manual_seed(0)
    chosen = [points[0]]
    distance = torch.full((len(points),), math.inf, dtype=points.dtype)
    while len(chosen) < count:
        distance = torch.minimum(distance, (points - chosen[-1]).square().sum(1))
        if not distance.any():
            break  # there are no more points that differ
        chosen.append(points[int(torch.multinomial(distance, 1, generator=random))])
    centres, labels = torch.stack(chosen), torch.empty(0, dtype=torch.int64)
    for _ in range(ROUNDS):
        before, labels = labels, _nearest(points, centres)
        if torch.equal(before, labels):
            break
        sums = torch.zeros_like(centres).index_add_(0, labels, points)
        sizes = torch.bincount(labels, minlength=len(centres))[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)  # one that nobody is near stays
    return centres


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    """The number of the centre nearest to each point."""
    parts = [(centres.square().sum(1) - 2 * part @ centres.T).argmin(1) for part in torch.split(points, 4096)]
    return torch.cat(parts)
