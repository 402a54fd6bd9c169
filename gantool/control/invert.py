"""The latents whose samples come closest to given ones: Adam from the best of many draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gantool.control.space import Space
from gantool.metrics.extractors import Extractor
from gantool.metrics.samples import as_samples, gather

DRAWS, MAX_DRAWS = 1024, 4096  # random samples among which the starts are
MAX_VALUES = 2**26  # of them
ROWS = 128  # samples that are made at a time
RATE = 0.2  # of Adam, at first; it falls to 0 along a cosine
FEATURES = 0.1  # weight beside the pixels; both in shares of how far random samples are
PRIOR = 1e-3  # weight of (mean square of the latent - 1)²
FAR = 0.5  # of how far random samples are


@dataclass(frozen=True)
class Found:
    """Of N pictures: `inputs` of the generator, with the latent z; `points` (N, size), with which they are nearest.

    `samples` (N, *shape); `levels` (N,): mean absolute difference in grey levels (0 to 255); `features` (N,): distance
    of features, 1 where it is that of random samples; `far`: whether either is more than half that of random ones.
    """

    inputs: dict[str, Tensor]
    points: Tensor
    samples: Tensor
    levels: Tensor
    features: Tensor
    far: Tensor


@dataclass(frozen=True)
class _Wanted:
    """Pictures and their features (N, …), and how far random samples are from each (N,): squares, by pixel, by picture.

    A loss is made of both distances, each in shares of that.
    """

    pictures: Tensor
    features: Tensor
    pixels_scale: Tensor
    features_scale: Tensor

    def losses(self, samples: Tensor, features: Tensor, own: Tensor) -> Tensor:
        """Of samples (M, …) for the pictures `own` (M,)."""
        pixels = (samples - self.pictures[own]).square().flatten(1).mean(1) / self.pixels_scale[own]
        return pixels + FEATURES * (features - self.features[own]).square().sum(1) / self.features_scale[own]


def invert(
    space: Space,
    pictures: Tensor,
    extractor: Extractor,
    *,
    label: int | None = None,
    starts: int,
    steps: int,
    seed: int,
    advance: Callable[[int], None] = lambda count: None,
) -> Found:
    """The latents nearest to pictures (N, *shape), float32 in [-1, 1]; with a `space.place` also the points there.

    First in the latent: of DRAWS random samples the best `starts` (of each class the best one first, or of the class
    `label`) take `steps` steps of Adam; after a sixth of them a quarter of the starts goes on, after a third one. The
    points of what was found then take as many steps more. `advance` is told of steps × pictures.

    GantoolError for an extractor that passes no gradients.
    """
    for parameter in space.source.generator.parameters():
        parameter.requires_grad_(False)
    latent = replace(space, place="")
    name = space.input.name
    index = np.arange(_draws(space), dtype=np.int64)
    drawn = latent.inputs(seed, index, label)
    fixed = {key: tensor[:1] for key, tensor in latent.inputs(0, index[:1]).items()}  # noise: as of other latents
    drawn |= {k: t.expand(len(index), *t.shape[1:]) for k, t in fixed.items() if k != name and t.is_floating_point()}
    random = torch.cat(list(latent.batches(drawn)))
    features = gather(extractor, random).features
    aims = gather(extractor, pictures).features
    apart = torch.cdist(pictures.flatten(1), random.flatten(1)).square() / pictures[0].numel()
    strange = torch.cdist(aims, features).square()
    middle = apart.median(1).values.clamp(min=1e-8), strange.median(1).values.clamp(min=1e-8)
    wanted = _Wanted(pictures, aims, *middle)
    losses = apart / middle[0][:, None] + FEATURES * strange / middle[1][:, None]
    labels = next((drawn[item.name] for item in space.source.inputs if item.distribution == "label"), None)
    chosen = _starts(losses, labels, starts)
    given = {key: tensor[chosen.flatten()] for key, tensor in drawn.items()}
    best, points = _fit(latent, given, latent.points(given), wanted, extractor, steps, advance)
    inputs = {key: tensor[best] for key, tensor in given.items()} | {name: points.reshape(-1, *space.input.shape)}
    if space.place:
        cloud = space.points(drawn)
        start = space.points(inputs)
        mean, spread = cloud.mean(0), cloud.std(0).clamp(min=1e-6)
        _, points = _fit(space, inputs, start, wanted, extractor, steps, advance, mean, spread)
    samples = torch.cat(list(space.batches(inputs, points)))
    shown, wished = as_samples(samples), as_samples(pictures)
    levels = (shown - wished).abs().flatten(1).mean(1) * 127.5
    distance = ((gather(extractor, samples).features - aims).square().sum(1) / middle[1]).sqrt()
    usual = torch.cdist(wished.flatten(1), as_samples(random).flatten(1), p=1).median(1).values / pictures[0].numel()
    return Found(inputs, points, samples, levels, distance, (levels > FAR * 127.5 * usual) | (distance > FAR))


def _draws(space: Space) -> int:
    """DRAWS, or more for many classes; fewer large ones, which memory has to hold."""
    classes = max((item.classes for item in space.source.inputs), default=0)
    return min(MAX_DRAWS, max(DRAWS, 2 * classes), max(ROWS, MAX_VALUES // space.source.output.elements))


def _starts(losses: Tensor, labels: Tensor | None, count: int) -> Tensor:
    """The numbers (N, count) of the draws to start from: the best of each class, then the best."""
    ranked = losses.clone()
    if labels is not None:
        for label in range(int(labels.max()) + 1):
            own = (labels == label).nonzero()[:, 0]
            if not len(own):
                continue
            best = own[losses[:, own].argmin(1)]
            ranked[torch.arange(len(losses)), best] -= losses.max()
    return ranked.topk(min(count, losses.shape[1]), largest=False).indices


def _fit(
    space: Space,
    inputs: dict[str, Tensor],
    points: Tensor,
    wanted: _Wanted,
    extractor: Extractor,
    steps: int,
    advance: Callable[[int], None],
    mean: Tensor | float = 0.0,
    spread: Tensor | float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The best of the starts `points` (N · starts, size) after `steps`: its row of `inputs` (N,), its place (N, size).

    Steps are taken in (points - `mean`) / `spread`, where points are about as far from 0 as normal numbers.
    """
    count = len(wanted.pictures)
    starts = len(points) // count

    def measured(row: Tensor, own: Tensor, place: Tensor) -> Tensor:
        samples = space.samples({key: tensor[row] for key, tensor in inputs.items()}, place * spread + mean)
        features = extractor.differentiable(samples).features
        return wanted.losses(samples, features, own) + PRIOR * (place.square().mean(1) - 1).square()

    rows, found = [], []
    for pictures in torch.split(torch.arange(count), max(1, ROWS // starts)):
        row = torch.arange(int(pictures[0]) * starts, (int(pictures[-1]) + 1) * starts)
        # of each start: its row of inputs, its picture, where it is, and Adam's moments
        own = pictures.repeat_interleave(starts)
        place = (points[row] - mean) / spread
        first = second = torch.zeros_like(place)
        for step in range(steps):
            with torch.enable_grad():
                here = place.detach().requires_grad_()
                losses = measured(row, own, here)
                (slope,) = torch.autograd.grad(losses.sum(), here)
            keep = 1 if step == steps // 3 else starts // 4 if step == steps // 6 else 0
            if 0 < keep < len(row) // len(pictures):
                best = losses.detach().view(len(pictures), -1).topk(keep, largest=False).indices
                kept = (torch.arange(len(pictures))[:, None] * (len(row) // len(pictures)) + best).flatten()
                row, own, place, slope, first, second = (t[kept] for t in (row, own, place, slope, first, second))
            first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope.square()
            rate = RATE * (1 + math.cos(math.pi * step / steps)) / 2
            unit = (first / (1 - 0.9 ** (step + 1))) / ((second / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)
            place = place - rate * unit
            advance(len(pictures))
        rows.append(row)
        found.append(place * spread + mean)
    return torch.cat(rows), torch.cat(found)
