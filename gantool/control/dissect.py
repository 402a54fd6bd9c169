"""What the units of a generator do: what excites them, and what changes when they are turned off, or up.

GAN Dissection (Bau et al. 2019, arXiv:1811.10597), without labels of pixels. A unit is a channel of a layer, a layer a
module of the generator; both are found by trying, in any architecture.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gantool.control.space import Inputs, seeing
from gantool.errors import ArgumentError, GantoolError, excerpt
from gantool.exporting import Source
from gantool.exporting.edits import Scaled, changed
from gantool.metrics.extractors import Extractor
from gantool.plugin.options import closest

OFF, BOOST = 0.0, 2.0  # what a unit is multiplied with
TOP = 4  # samples that excite a unit most
FLIPS = 3  # pairs of classes, of a change
TRIED = 2  # samples, and as many that excite it most, in which every unit is switched off
SIDE = 32  # of maps, at most
ELEMENTS = 2**21  # of the samples of a batch, about
LEVELS = 127.5
NEXT = 4  # modules in which a layer is looked for again

Layers = dict[str, tuple[int, ...]]  # of modules, the shapes of their outputs: (units, sides…)


@dataclass(frozen=True)
class Change:
    """What a changed unit does to samples, on average.

    `pixels`: mean absolute difference, in levels of 0 to 255. `where`: float32 (H, W), the same at each place, at most
    32 a side; of sounds (1, T), of volumes from the front. `classes`: the share of samples whose class changes, by an
    extractor that classifies; None without. `flips`: the most frequent changes, (from, to, share of all samples).
    """

    pixels: float
    where: np.ndarray
    classes: float | None = None
    flips: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True)
class Unit:
    """Channel `number` of a layer: its activation's `mean`, and its `peak` in any sample.

    `top`: the samples in which it gets highest. `map`: float32 (H, W), the mean activation at each place, at most 32 a
    side; empty in a layer without places. `off`: with the unit at 0; `boost`: with twice its activation.
    """

    number: int
    mean: float
    peak: float
    top: tuple[int, ...]
    map: np.ndarray
    off: Change
    boost: Change


@dataclass(frozen=True)
class Layer:
    """The module `name`, whose output is (N, *shape), units first. `units`: those that change samples most, first."""

    name: str
    shape: tuple[int, ...]
    units: tuple[Unit, ...]


class _Seen:
    """What a layer's units did in the samples so far."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean = torch.zeros(shape[0], dtype=torch.float64)
        self.peaks = torch.full((0, shape[0]), -math.inf)  # of the best samples, and which they are
        self.top = torch.zeros(0, shape[0], dtype=torch.int64)
        self.map = torch.zeros(0)

    def see(self, made: Tensor, samples: np.ndarray) -> None:
        flat = made.flatten(2) if made.dim() > 2 else made[:, :, None]
        self.mean += flat.mean(2).double().sum(0)
        index = torch.from_numpy(samples)[:, None].expand(-1, made.shape[1])
        peaks, index = torch.cat([self.peaks, flat.amax(2)]), torch.cat([self.top, index])
        self.peaks, places = peaks.topk(min(TOP, len(peaks)), 0)
        self.top = index.gather(0, places)
        if made.dim() > 2:
            self.map = self.map + _map(made).sum(0) if len(self.map) else _map(made).sum(0)


def layers_of(source: Source, names: Sequence[str] = ()) -> Layers:
    """Modules whose outputs have units, and the shapes of these, in the order of the forward: (units, sides…).

    They are called once in a forward, and their output is not yet the sample. Of modules one behind the other that
    leave units apart (convolution, norm, ReLU) it is the last; those without sides are left out where others have some.
    By default the last layer of each size, or all where none has sides; `names`: these ones, or `all`. GantoolError
    where there are none, and for a generator that needs data.
    """
    if any(item.distribution == "data" for item in source.inputs) or not source.normals:
        raise GantoolError(
            "This generator makes its samples of data, not of noise alone: which samples a unit changes depends on it.",
            "Dissect a run that makes samples from noise.",
        )
    inputs = list(source.drawn(0, np.arange(2, dtype=np.int64)).values())
    calls: Counter[str] = Counter()
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def see(name: str, _first: Tensor, made: Tensor) -> None:
        calls[name] += 1
        found.pop(name, None)
        found[name] = made, made.clone()  # a layer behind it may work in place

    with torch.no_grad(), seeing(source.generator, see):
        sample = source.generator(*inputs)
    layers: Layers = {}
    for name, (made, _) in found.items():
        if calls[name] == 1 and len(made) == 2 and made.dim() in (2, sample.dim()) and made.shape[1] > 1:
            layers = {other: shape for other, shape in layers.items() if found[other][0] is not made}  # a container's
            layers[name] = tuple(made.shape[1:])

    def only_through(name: str, after: str) -> bool:
        """Whether all that a layer does passes through `after`, unit by unit."""
        factor = torch.ones(2, layers[name][0])
        factor[:, 1::2] = 1.5
        values = found[after][1]
        seen: list[Tensor] = []

        def put_back(made: Tensor) -> Tensor:
            seen.append(made.clone())
            return values.clone()

        module = source.generator.get_submodule
        with torch.no_grad(), changed(module(name), Scaled.times(factor)), changed(module(after), put_back):
            same = torch.equal(source.generator(*inputs), sample)
        return same and torch.equal(seen[0][:, ::2], values[:, ::2])

    every = list(layers)
    for place, name in enumerate(every):
        behind = [after for after in every[place + 1 :] if layers[after][0] == layers[name][0]][:NEXT]
        values = found[name][1]
        is_sample = values.numel() == sample.numel() and torch.equal(values.flatten(), sample.flatten())
        if is_sample or layers[name] == sample.shape[1:] or any(only_through(name, after) for after in behind):
            del layers[name]
    if any(len(shape) > 1 for shape in layers.values()):
        layers = {name: shape for name, shape in layers.items() if len(shape) > 1}
    if not layers:
        raise GantoolError(
            "No module of this generator has units that can be told apart.",
            "Write its layers as modules, each called once: docs/dissect.md",
        )
    for name in names:
        if name not in layers and name != "all":
            known = closest(name, list(layers)) or f"They are {', '.join(layers)}."
            raise ArgumentError(f"There is no layer {excerpt(name)!r} in this generator.", known)
    if names:
        return {name: shape for name, shape in layers.items() if name in names or "all" in names}
    last = {shape[1:]: name for name, shape in layers.items() if max(shape[1:], default=1) > 1}.values()
    return {name: shape for name, shape in layers.items() if name in last or not last}


@torch.no_grad()
def dissect(
    source: Source,
    layers: Layers,
    *,
    units: int,
    samples: int,
    seed: int,
    extractor: Extractor | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Layer, ...]:
    """What the units of `layers` (`layers_of`) do in the first `samples` samples of `seed`.

    All units are looked at, and switched off in four samples: two, and the two that excite it most. The `units` of each
    layer that change these most are turned off and up in all samples, one by one. `extractor`: one that classifies.
    `advance` is told of the samples that were made: see `work`.
    """
    batch = min(64, max(1, ELEMENTS // source.output.elements))
    scaled = Scaled(source.generator, layers)
    seen = {name: _Seen(shape) for name, shape in layers.items()}
    parts = [np.arange(start, min(start + batch, samples), dtype=np.int64) for start in range(0, samples, batch)]

    def see(name: str, _first: Tensor, made: Tensor) -> None:
        if name in seen:
            seen[name].see(made.float(), index)

    for index in parts:
        with seeing(source.generator, see):
            source.generator(*source.drawn(seed, index).values())
        advance(len(index))
    chosen = {}
    for place, name in enumerate(layers):
        effects = _effects(scaled, layers, place, seen[name].top[:TRIED], source, seed, batch, advance)
        chosen[name] = effects.topk(min(units, len(effects))).indices.tolist()
    tally: dict[tuple[str, int, float], _Tally] = {}
    for index in parts:
        _try(scaled, layers, chosen, source.drawn(seed, index), extractor, tally, advance)
    names = extractor.class_names if extractor else ()

    def made(name: str, unit: int) -> Unit:
        it = seen[name]
        return Unit(
            unit,
            float(it.mean[unit]) / samples,
            float(it.peaks[0, unit]),
            tuple(it.top[:, unit].tolist()),
            (it.map[unit] / samples).numpy() if len(it.map) else np.zeros((0, 0), np.float32),
            *(tally[name, unit, factor].change(samples, names) for factor in (OFF, BOOST)),
        )

    return tuple(
        Layer(name, shape, tuple(sorted((made(name, unit) for unit in chosen[name]), key=lambda u: -u.off.pixels)))
        for name, shape in layers.items()
    )


def work(layers: Layers, units: int, samples: int) -> int:
    """What `advance` of `dissect` is told of in all."""
    tried = 4 * min(TRIED, samples) * sum(shape[0] for shape in layers.values())
    return tried + samples * (1 + 2 * sum(min(units, shape[0]) for shape in layers.values()))


class _Tally:
    """What one change of one unit did in the samples so far."""

    def __init__(self) -> None:
        self.pixels = 0.0
        self.where: Tensor | float = 0.0
        self.flips: Counter[tuple[int, int]] | None = None

    def add(self, difference: Tensor, before: Tensor | None, after: Tensor | None) -> None:
        self.pixels += float(difference.flatten(1).mean(1).sum())
        self.where = self.where + _map(difference.mean(1, keepdim=True)).sum((0, 1))
        if before is not None and after is not None:
            pairs = zip(before.tolist(), after.tolist(), strict=True)
            self.flips = (self.flips or Counter()) + Counter((old, new) for old, new in pairs if old != new)

    def change(self, samples: int, names: Sequence[str]) -> Change:
        assert isinstance(self.where, Tensor)
        where = (self.where / samples * LEVELS).numpy()
        pixels = self.pixels / samples * LEVELS
        if self.flips is None:
            return Change(pixels, where)
        flips = ((names[old], names[new], count / samples) for (old, new), count in self.flips.most_common(FLIPS))
        return Change(pixels, where, self.flips.total() / samples, tuple(flips))


def _effects(
    scaled: Scaled,
    layers: Layers,
    place: int,
    top: Tensor,
    source: Source,
    seed: int,
    batch: int,
    advance: Callable[[int], None],
) -> Tensor:
    """How much each unit (C,) of a layer changes the first samples, and those of `top` (TRIED, C), when it is off."""
    tried = torch.cat([torch.arange(len(top))[:, None].expand(top.shape), top]).T  # (C, samples)
    effects = []
    for units in torch.split(torch.arange(len(tried)), max(1, batch // tried.shape[1])):
        given = source.drawn(seed, tried[units].flatten().numpy()).values()
        rows = tried[units].numel()
        factors = [torch.ones(rows, shape[0]) for shape in layers.values()]
        factors[place][torch.arange(rows), units.repeat_interleave(tried.shape[1])] = OFF
        away = (scaled(*given, *factors) - source.generator(*given)).abs()
        effects.append(away.flatten(1).mean(1).view(len(units), -1).mean(1))
        advance(2 * rows)
    return torch.cat(effects)


def _try(
    scaled: Scaled,
    layers: Layers,
    chosen: dict[str, list[int]],
    part: Inputs,
    extractor: Extractor | None,
    tally: dict[tuple[str, int, float], _Tally],
    advance: Callable[[int], None],
) -> None:
    """Turn each chosen unit off and up in a batch."""

    def verdicts(samples: Tensor) -> Tensor | None:
        found = extractor.probabilities(samples) if extractor else None
        return None if found is None else found.argmax(1)

    rows = len(next(iter(part.values())))
    ones = [torch.ones(rows, shape[0]) for shape in layers.values()]
    base = scaled(*part.values(), *ones)
    before = verdicts(base)
    for place, (name, units) in enumerate(chosen.items()):
        for unit in units:
            for factor in (OFF, BOOST):
                ones[place][:, unit] = factor
                made = scaled(*part.values(), *ones)
                after = verdicts(made) if extractor else None
                tally.setdefault((name, unit, factor), _Tally()).add((made - base).abs(), before, after)
            ones[place][:, unit] = 1
            advance(2 * rows)


def _map(values: Tensor) -> Tensor:
    """Values (N, C, …) → (N, C, H, W), at most 32 a side: of sounds (1, T), of volumes from the front."""
    if values.dim() == 3:
        pooled = F.adaptive_avg_pool1d(values, min(2 * SIDE, values.shape[2]))
        return pooled[:, :, None]
    flat = values.mean(2) if values.dim() == 5 else values
    return F.adaptive_avg_pool2d(flat, (min(SIDE, flat.shape[2]), min(SIDE, flat.shape[3])))
