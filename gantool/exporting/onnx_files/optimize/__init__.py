"""Graph work that pays: an exported generator as a faster graph of standard operators, proved equal to the first.

    model, rewrites = optimize(model, feeds)

No-operations and constants always go, and a transposed convolution of a 1×1 map always becomes a matrix product. Other
transposed convolutions become matrix products where this machine's CPU is measurably faster with them, layer by layer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import onnx

from gantool.exporting.onnx_files.optimize import timing
from gantool.exporting.onnx_files.optimize.cleanup import clean
from gantool.exporting.onnx_files.optimize.graph import batch_of
from gantool.exporting.onnx_files.optimize.layers import (
    PROJECTION,
    WINDOWS,
    Layer,
    Rewrite,
    alone,
    find,
    project,
    window,
)
from gantool.exporting.onnx_files.optimize.timing import Arrays, Timing

__all__ = ["Rewrite", "Timing", "optimize", "repeat"]

Feeds = Callable[[int], Mapping[str, np.ndarray]]

MAX_DIFFERENCE = 1e-5  # absolute, of any output value
EXACT_AT = (1, 2, 7)  # batches
TIMED_AT = (1, 64)
MAX_SECONDS = 10.0  # of timing layers; those that are left then stay as they are
MIN_SPEEDUP = 1.1  # of one layer, geometric mean over batches and threads: less is noise
MIN_SPEEDUP_OF_ONE = 0.95  # the same at batch 1: latency isn't sold for throughput


def optimize(
    model: onnx.ModelProto, feeds: Feeds, *, measure: bool = True, say: Callable[[str], None] = lambda note: None
) -> tuple[onnx.ModelProto, list[Rewrite]]:
    """A graph that computes the same images as `model`, faster, and what was rewritten in it.

    `model`: float32, standard operators, opset 17 to 25, batch first (dynamic or fixed); it isn't changed. `feeds(n)`:
    n rows of real inputs. Names of inputs and outputs, batch, opset and IR version stay; output values move by at most
    1e-5, or the step at fault is undone, which `say` is told. `measure=False`: only what is right on every machine, and
    the same bytes each time. With it, about a second a layer of runs in ONNX Runtime's CPU provider.
    """
    fixed = batch_of(model)
    expected = [(rows, timing.run(model, rows)) for rows in map(feeds, EXACT_AT if fixed is None else (fixed,))]

    def tried(before: onnx.ModelProto, build: Callable[[], onnx.ModelProto], what: str) -> onnx.ModelProto:
        """What `build` makes if it is valid and its images are those of `model`, else `before`."""
        try:
            after = build()
            onnx.checker.check_model(after, full_check=True)
            worst = _difference(after, expected, each=fixed is None)
        except Exception as error:  # noqa: BLE001  a fault of ours or of a library costs speed, not the export
            say(f"The graph stays without {what}: {type(error).__name__}: {str(error).strip()[:200]}")
            return before
        if worst > MAX_DIFFERENCE:
            say(f"The graph stays without {what}: values would move by {worst:.1e}, more than {MAX_DIFFERENCE:.0e}.")
            return before
        return after

    done: list[Rewrite] = []
    original = model
    model = tried(model, lambda: clean(original), "cleaning")
    cleaned = model
    projections = [layer for layer in find(cleaned) if layer.fits(PROJECTION)]
    if projections:
        model = tried(cleaned, lambda: clean(project(cleaned, projections)), "layers of 1×1 maps as matrix products")
        done += [layer.rewrite(PROJECTION, ()) for layer in projections if model is not cleaned]
    if measure:
        batches = TIMED_AT if fixed is None else (fixed,)
        plain = model
        chosen = _faster_layers(plain, batches, say)
        layers = [layer for layer, _ in chosen]
        if layers:
            model = tried(plain, lambda: window(plain, layers), "transposed convolutions as matrix products")
        if model is not plain:
            whole = timing.compare(plain, model, [dict(feeds(n)) for n in batches])
            if _speedup(whole) <= 1:
                say(f"The graph as a whole is no faster with {len(layers)} layers rewritten: they stay as they were.")
                return plain, done
            done += [layer.rewrite(WINDOWS, timings) for layer, timings in chosen]
    return model, done


def repeat(model: onnx.ModelProto, rewrites: Iterable[Rewrite]) -> onnx.ModelProto:
    """The rewrites of another model of the same layers, on this one: nothing is timed, and nothing compared."""
    done = {(rewrite.layer, rewrite.kind) for rewrite in rewrites}
    model = clean(model)
    projections = [layer for layer in find(model) if (layer.name, PROJECTION) in done]
    if projections:
        model = clean(project(model, projections))
    return window(model, [layer for layer in find(model) if (layer.name, WINDOWS) in done])


def _faster_layers(
    model: onnx.ModelProto, batches: Sequence[int], say: Callable[[str], None]
) -> list[tuple[Layer, tuple[Timing, ...]]]:
    """The layers to rewrite, in order, each timed alone with the layout that the choices before it leave to it."""
    stream = np.random.default_rng(0)
    chosen: list[tuple[Layer, tuple[Timing, ...]]] = []
    began = time.monotonic()
    for layer in [layer for layer in find(model) if layer.fits(WINDOWS)]:
        if time.monotonic() - began > MAX_SECONDS:
            say(f"{layer.name} and the layers after it stay as they are: {MAX_SECONDS:.0f} s of timing are over.")
            break
        rows = layer.projected or layer.source in {before.result for before, _ in chosen}
        maps = [stream.standard_normal((n, *layer.input_shape), dtype=np.float32) for n in batches]
        before, after, name, turn = alone(model, layer, rows)
        timings = timing.compare(before, after, [{name: m} for m in maps], [{name: turn(m)} for m in maps])
        if _speedup(timings) >= MIN_SPEEDUP and _speedup(t for t in timings if t.batch == 1) >= MIN_SPEEDUP_OF_ONE:
            chosen.append((layer, timings))
    return chosen


def _speedup(timings: Iterable[Timing]) -> float:
    """Geometric mean of before over after; 1 of none."""
    logs = [math.log(t.before_ms / t.after_ms) for t in timings]
    return math.exp(sum(logs) / len(logs)) if logs else 1.0


def _difference(model: onnx.ModelProto, expected: Sequence[tuple[Arrays, Arrays]], each: bool) -> float:
    """The largest to what was expected; with `each`, also of the last batch's rows run one by one. NaN is infinite."""
    session = timing.session(model)
    worst = 0.0
    for rows, outputs in expected:
        made = timing.run(session, rows)
        worst = max([worst, *(_distance(made[name], array) for name, array in outputs.items())])
    if each:
        rows, outputs = expected[-1]
        for i in range(len(next(iter(rows.values())))):
            made = timing.run(session, {name: array[i : i + 1] for name, array in rows.items()})
            worst = max([worst, *(_distance(made[name], array[i : i + 1]) for name, array in outputs.items())])
    return worst


def _distance(one: np.ndarray, two: np.ndarray) -> float:
    if one.shape != two.shape:
        return math.inf
    both = np.abs(one.astype(np.float64) - two)
    return math.inf if np.isnan(both).any() else float(both.max(initial=0.0))
