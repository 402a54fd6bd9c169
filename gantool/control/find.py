"""Find directions: by SeFa, GANSpace, measures of the samples, classes, or examples.

Each finder gives unit vectors (directions, size), and what each of them is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gantool.control.measures import measured
from gantool.control.space import CLOSE, Space
from gantool.errors import ArgumentError, GantoolError
from gantool.metrics.extractors import Extractor
from gantool.metrics.samples import gather

SAMPLES = 4096  # points that are looked at
MAX_FEATURES = 4096  # of a layer: more are averaged
ALIKE = 0.9  # cosine of directions that are one
RIDGE = 1e-2  # of the linear classifiers, in shares of the points' variance

Found = tuple[Tensor, list[str]]
Advance = Callable[[int], None]


def sefa(space: Space, count: int) -> Found:
    """Directions along which the first layers' outputs move most: closed form, no samples.

    The layers are those that get the points as they are, and are affine: their matrices A are measured, and the
    directions are the first eigenvectors of the sum of AᵀA (Shen & Zhou 2021, SeFa, arXiv:2007.06600). GantoolError
    where there is no such layer.
    """
    layers = _affine_layers(space)
    if not layers:
        raise GantoolError(
            "This generator has no affine layer right behind its latent, which SeFa needs.", "Use --by pca."
        )
    base = _probe(space, 1)
    gram = torch.zeros(space.size, space.size, dtype=torch.float64)
    outputs: dict[str, list[Tensor]] = {name: [] for name in layers}

    def see(name: str, _first: Tensor, made: Tensor) -> None:
        if name in outputs:
            outputs[name].append(made.flatten(1).double())

    steps = torch.cat([base, base + torch.eye(space.size)])
    with torch.no_grad():
        for part in torch.split(steps, 64):
            space.samples(space.same(len(part)), part, see)
    for made in outputs.values():
        rows = torch.cat(made)
        jacobian = rows[1:] - rows[0]
        gram += jacobian @ jacobian.T
    return _leading(gram, count, "sefa")


def pca(space: Space, count: int, seed: int, advance: Advance) -> Found:
    """Principal components (Härkönen et al. 2020, GANSpace, arXiv:2004.02546).

    Behind a mapping network those of its outputs. Of a latent, which has no preferred axes, those of the first layer
    that is not affine, or of the samples, each carried over to the latent by regression, as the paper does for BigGAN.
    """
    index = np.arange(SAMPLES, dtype=np.int64)
    inputs = space.inputs(seed, index)
    points = space.points(inputs)
    centred = (points - points.mean(0)).double()
    if space.place:
        advance(SAMPLES)
        return _leading(centred.T @ centred, count, "pca")
    first, features = "", []
    affine = set(_affine(space))

    def see(name: str, _first: Tensor, made: Tensor) -> None:
        nonlocal first
        if not first and name not in affine and made.dim() > 1 and made.flatten(1).std(0).max() > CLOSE:
            first = name
        if name == first:
            features.append(_pooled(made))

    with torch.no_grad():
        for start in range(0, SAMPLES, 64):
            part = {name: tensor[start : start + 64] for name, tensor in inputs.items()}
            if "label" in {item.distribution for item in space.source.inputs}:  # what classes change is no direction
                part = space.same(len(points[start : start + 64])) | {space.input.name: part[space.input.name]}
            samples = space.samples(part, see=see)
            if not first:
                features.append(_pooled(samples))
            advance(64)
    rows = torch.cat(features).double()
    rows -= rows.mean(0)
    _, _, axes = torch.svd_lowrank(rows, min(count + 8, *rows.shape), niter=4)
    return _unit((rows @ axes[:, :count]).T @ centred, signed=False), [
        f"pca {k + 1}" for k in range(min(count, axes.shape[1]))
    ]


def measures(space: Space, count: int, seed: int, extractor: Extractor, advance: Advance) -> Found:
    """Directions along which a measure of the samples grows: brightness, slant, … (`control.measures`).

    They are gradients of linear models of the measures. Of generators without a label, what changes the class by an
    extractor that classifies is taken out of them: a thicker 3 stays a 3. Of measures that move together only the first
    is kept, such as of brightness and contrast on a black ground.
    """
    points, samples = _drawn(space, seed, advance)
    values = {name: value for name, value in measured(samples, space.source.output).items() if value.std() > CLOSE}
    if not values:
        raise GantoolError("The samples of this generator all look alike.", "Train it further.")
    vectors = _slopes(points, torch.stack(list(values.values()), 1))
    if extractor.class_names and not any(item.distribution == "label" for item in space.source.inputs):
        found = gather(extractor, samples).probabilities
        assert found is not None
        verdicts = F.one_hot(found.argmax(1), found.shape[1]).double()
        changing = torch.cat([verdicts[:, verdicts.sum(0) > 0], found.double().clamp(min=1e-4).log()], 1)
        axes = torch.linalg.qr(_slopes(points, changing).T)[0]
        if axes.shape[1] < space.size / 2:  # else little would be left
            vectors = _unit(vectors - vectors @ axes @ axes.T)
    kept: list[int] = []
    for number, vector in enumerate(vectors):
        if all(abs(float(vector @ vectors[other])) < ALIKE for other in kept):
            kept.append(number)
    return vectors[kept][:count], [list(values)[number] for number in kept][:count]


def labels(space: Space, count: int, seed: int, extractor: Extractor, advance: Advance) -> Found:
    """Directions towards each class, by the verdicts of an extractor that classifies: normals of a linear classifier.

    Where the points themselves depend on the label (behind the mapping network of a conditional generator), the labels
    are the verdicts. GantoolError where there are neither.
    """
    index = np.arange(SAMPLES, dtype=np.int64)
    inputs = space.inputs(seed, index)
    points = space.points(inputs)
    label = next((item for item in space.source.inputs if item.distribution == "label"), None)
    if label is not None and space.place:
        verdicts = inputs[label.name]
        names = [f"class {number}" for number in range(label.classes)]
        advance(SAMPLES)
    elif extractor.class_names and label is None:
        made = []
        for samples in space.batches(inputs):
            probabilities = extractor.probabilities(samples)
            assert probabilities is not None
            made.append(probabilities.argmax(1))
            advance(len(samples))
        verdicts, names = torch.cat(made), [f"class {name}" for name in extractor.class_names]
    else:
        raise GantoolError(
            "No classes are known of these samples."
            if label is None
            else "The label of this generator decides the class already, beside its latent.",
            "Use --by measures, --by examples, or an --extractor that classifies.",
        )
    seen = [number for number in range(len(names)) if 8 <= int((verdicts == number).sum()) < len(points)]
    vectors = _slopes(points, F.one_hot(verdicts, len(names))[:, seen].double())
    return vectors[:count], [names[number] for number in seen][:count]


def examples(space: Space, these: Tensor, those: Tensor) -> Found:
    """The direction from the points `those` (N, size) to `these` (M, size).

    It is the normal of a linear classifier, shrunk towards the difference of the means where examples are few (linear
    discriminant analysis). GantoolError when the two have one mean.
    """
    for name, points in (("these", these), ("those", those)):
        if not len(points):
            raise ArgumentError(f"--{name} names no example.", f"Give some: --{name} 0:3,0:17 (seed:index)")
    difference = (these.mean(0) - those.mean(0)).double()
    if difference.norm() < CLOSE:
        raise ArgumentError("The examples of --these and --those are the same.", "Name samples that differ.")
    within = torch.cat([these - these.mean(0), those - those.mean(0)]).double()
    spread = within.T @ within / max(1, len(within) - 2)
    share = min(1.0, len(difference) / max(1, len(within) - 2))
    shrunk = (1 - share) * spread + share * max(float(spread.diagonal().mean()), CLOSE) * torch.eye(len(difference))
    return _unit(torch.linalg.solve(shrunk, difference)[None]), ["these, not those"]


def _drawn(space: Space, seed: int, advance: Advance) -> tuple[Tensor, Tensor]:
    inputs = space.inputs(seed, np.arange(SAMPLES, dtype=np.int64))
    made = []
    for samples in space.batches(inputs):
        made.append(samples)
        advance(len(samples))
    return space.points(inputs), torch.cat(made)


def _slopes(points: Tensor, targets: Tensor) -> Tensor:
    """Unit normals (targets, size) of ridge regressions of targets (N, targets) on points (N, size)."""
    x = (points - points.mean(0)).double()
    y = (targets - targets.double().mean(0)).double()
    gram = x.T @ x
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
    return _unit(torch.linalg.solve(gram, x.T @ y).T)


def _leading(gram: Tensor, count: int, name: str) -> Found:
    vectors = torch.linalg.eigh(gram).eigenvectors.flip(1).T[:count]
    return _unit(vectors, signed=False), [f"{name} {k + 1}" for k in range(len(vectors))]


def _unit(vectors: Tensor, signed: bool = True) -> Tensor:
    """Of length 1. Where their signs mean nothing, the largest entry becomes positive: a search again has the same."""
    if not vectors.isfinite().all() or (vectors.norm(dim=1) == 0).any():
        raise GantoolError("The samples of this generator do not change with its latent.", "Train it further.")
    if not signed:
        largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
        vectors = vectors * largest.sign()
    return F.normalize(vectors.double(), dim=1).float()


def _pooled(made: Tensor) -> Tensor:
    """Features (N, F ≤ MAX_FEATURES) of a layer's output."""
    rows = made.flatten(1)
    return rows if rows.shape[1] <= MAX_FEATURES else F.adaptive_avg_pool1d(rows[:, None], MAX_FEATURES)[:, 0]


def _probe(space: Space, rows: int) -> Tensor:
    return torch.randn(rows, space.size, generator=torch.Generator().manual_seed(0))


def _affine(space: Space) -> dict[str, bool]:
    """Modules that are affine in the points, by name: whether they get the points as they are, only turned or moved."""
    base, one, two = _probe(space, 3)
    points = torch.stack([base, base + one, base + two, base + one + two])
    found: dict[str, bool] = {}

    def moved(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        flat = values.flatten(1).double()
        a, b, both = flat[1:] - flat[0]
        return a, b, both - a - b

    def see(name: str, first: Tensor, made: Tensor) -> None:
        if first.shape[0] != 4 or made.shape[0] != 4:
            return
        a, b, bent = moved(made)
        if a.norm() == 0 or bent.norm() > CLOSE * (a.norm() + b.norm()):
            return
        into_a, into_b, into_bent = moved(first)
        products = ((into_a @ into_a, one @ one), (into_b @ into_b, two @ two), (into_a @ into_b, one @ two))
        scale = float(one @ one)
        found[name] = into_bent.norm() <= CLOSE * into_a.norm() and all(
            abs(float(x) - float(y)) <= 10 * CLOSE * scale for x, y in products
        )

    with torch.no_grad():
        space.samples(space.same(4), points, see)
    return found


def _affine_layers(space: Space) -> Sequence[str]:
    """The innermost layers with weights that get the points as they are, and are affine in them.

    Where there are none, the first that gets something affine, such as points of which a part was scaled.
    """
    parts = dict(space.source.generator.named_modules())
    weighty = {
        name: isometric
        for name, isometric in _affine(space).items()
        if any(p.dim() > 1 for p in parts[name].parameters(recurse=False))
    }
    return [name for name, isometric in weighty.items() if isometric] or list(weighty)[:1]
