"""Is an exported file the generator? Checks that are part of every export and can't be turned off."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from gantool.artifact import latents
from gantool.artifact.manifest import Golden
from gantool.errors import GantoolError
from gantool.plugin.architecture import Input
from gantool.runtime import Generator, trial
from gantool.runtime.generator import MAX_LEVELS, MAX_SHARES
from gantool.training.sampler import labels_of
from gantool.training.state import BATCH_NORM, copied

HINT = "`gantool.testing.check_architecture` narrows down what in the architecture does not export."

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], np.ndarray]
Sample = Callable[[Arrays, int, int], np.ndarray]  # of inputs, the first and how many → images

REPEATED, ALONE = "max abs difference, repeated call", "max abs difference, alone to batch 7"
FINITE = "share of finite values"
BATCHES = (1, 2, 7, 64)
MAX_FLOAT = 1e-4
MAX_DRIFT = 0.1  # of the samples' own deviation; sound runs measure 0.003
MAX_SATURATED = 0.999
MIN_SPREAD = 1e-4
STATISTICS = 256  # samples that drift, saturation and spread are measured on, and int8 is calibrated on
TRUNCATION = 0.01  # see `truncation`
GOLDEN_SEEDS = (0, 1, 2**40 + 7)
GOLDEN_COUNT = 4


@dataclass(frozen=True)
class Check:
    """One measure with its limit: `value` must be at most (`least`: at least) `limit`."""

    artifact: str
    measure: str
    value: float
    limit: float
    least: bool = False
    waived: bool = False  # it failed, and the file was asked for all the same

    @property
    def passed(self) -> bool:
        # written so that NaN fails
        return self.value >= self.limit if self.least else self.value <= self.limit


def demand(checks: Sequence[Check]) -> None:
    """GantoolError that names every measure that failed."""
    failed = [check for check in checks if not check.passed and not check.waived]
    if failed:
        what = "; ".join(
            f"{c.artifact}: {c.measure} is {c.value:.3g}, {'at least' if c.least else 'at most'} {c.limit:g} is allowed"
            for c in failed
        )
        raise GantoolError(f"The export failed its verification: {what}.", _hint(failed[0]))


def reference_inputs(
    inputs: Sequence[Input], count: int, rows: Callable[[Input, int], np.ndarray], class_counts: Sequence[int] = ()
) -> dict[str, np.ndarray]:
    """Inputs that the checks use: latents of seed 1, labels, `rows(input, count)` for data.

    Labels are in turn, so that every class is checked; with `class_counts` as training draws them from such data, which
    is what BatchNorm's statistics are for. Every other value is its default, those between them are spread evenly; of
    several values one at a time is.
    """
    normal = {i.name: i.shape for i in inputs if i.distribution == "normal"}
    index = np.arange(count, dtype=np.int64)
    drawn = latents.draw(normal, 1, index)
    arrays: dict[str, np.ndarray] = {}
    values = [item.name for item in inputs if item.distribution == "value"]
    place = index // max(1, len(values))  # values move in turn: several at once may leave the data
    for item in inputs:
        if item.distribution == "normal":
            arrays[item.name] = drawn[item.name]
        elif item.distribution == "label":
            counts = class_counts if item.like_data else ()
            arrays[item.name] = labels_of(index, item.classes, counts)
        elif item.distribution == "value":
            spread = item.low + (item.high - item.low) * (place % 8) / 7
            own = (place % 2 == 1) & (index % len(values) == values.index(item.name))
            arrays[item.name] = np.where(own, spread, item.default).astype(np.float32)
        else:
            arrays[item.name] = rows(item, count)
    return arrays


def at_sizes(inputs: Arrays, picture: Input | None) -> Iterator[tuple[str, Arrays]]:
    """`inputs`, and of a `picture` of any size also larger ones, and ones that are not square.

    Those are mirrored at their edges. Each with its size for the name of a measure; "": that of `inputs`.
    """
    yield "", inputs
    if picture is None or not picture.multiple:
        return
    _, height, width = picture.shape
    longer = [side + -(-side // (2 * picture.multiple)) * picture.multiple for side in (height, width)]
    oblong = (longer[0], width) if longer[0] != width else (height, longer[1])
    for rows, columns in (longer, oblong):
        edges = ((0, 0), (0, 0), (0, rows - height), (0, columns - width))
        yield f", {rows}×{columns}", {**inputs, picture.name: np.pad(inputs[picture.name], edges, "symmetric")}


def batches(inputs: Arrays) -> list[int]:
    """Those of BATCHES that `inputs` has rows for."""
    rows = min(map(len, inputs.values()))
    return [batch for batch in BATCHES if batch <= rows]


def run_torch(module: Callable[..., torch.Tensor], inputs: Arrays) -> np.ndarray:
    with torch.no_grad():
        output = module(*(torch.from_numpy(np.ascontiguousarray(array)) for array in inputs.values()))
    array: np.ndarray = output.float().numpy()
    return array


def check_generator(generator: nn.Module, inputs: Arrays) -> list[Check]:
    """The generator itself, before any file: finite, not blank, and the same in eval as in train mode.

    Its samples must also be the same in a second call, and each alone.
    """

    def run(part: Arrays) -> np.ndarray:
        return run_torch(generator, part)

    samples = run(inputs)
    finite = np.isfinite(samples).mean()
    checks = [Check("generator", FINITE, float(finite), 1.0, least=True)]
    if finite == 1:
        checks += [
            Check(
                "generator",
                "share of saturated pixels",
                float((np.abs(samples) > 0.9999).mean()),
                MAX_SATURATED,
            ),
            Check("generator", "deviation between samples", float(samples.std(0).mean()), MIN_SPREAD, least=True),
            Check("generator", "eval against train drift", _drift(generator, inputs, samples), MAX_DRIFT),
        ]
        again = [run(first(inputs, 7)) for _ in range(2)]
        checks.append(Check("generator", REPEATED, float(np.abs(again[0] - again[1]).max()), MAX_FLOAT))
        if checks[-1].passed:
            checks.append(check_alone("generator", run, inputs))
    return checks


def truncation(generator: nn.Module, inputs: Arrays, latents: Sequence[str]) -> str:
    """The latent whose scale changes the samples, or "": `z`, or the only one of `latents`.

    Half of it must change samples by more than TRUNCATION of what another draw of it changes. A generator that
    normalises `z` first ignores its scale. Other latents are noise inputs, which truncation leaves alone.
    """
    name = latents[0] if len(latents) == 1 else "z"
    if name not in latents:
        return ""
    samples = run_torch(generator, inputs)
    half = run_torch(generator, {**inputs, name: inputs[name] * np.float32(0.5)})
    other = run_torch(generator, {**inputs, name: np.roll(inputs[name], 1, axis=0)})
    return name if np.abs(half - samples).mean() > TRUNCATION * np.abs(other - samples).mean() else ""


def check_float(
    artifact: str, reference: nn.Module, run: Run, inputs: Arrays, picture: Input | None = None
) -> list[Check]:
    """Float samples against torch at every batch and size, and each alone against all together."""
    checks = []
    for where, sized in at_sizes(inputs, picture):
        for batch in batches(inputs):
            part = first(sized, batch)
            difference = float(np.abs(run(part) - run_torch(reference, part)).max())
            checks.append(Check(artifact, f"max abs difference to torch, batch {batch}{where}", difference, MAX_FLOAT))
        checks.append(check_alone(artifact, run, sized, where=where))
    return checks


def check_alone(artifact: str, run: Run, inputs: Arrays, limit: float = MAX_FLOAT, where: str = "") -> Check:
    """Each of seven samples alone against all seven together."""
    together = run(first(inputs, 7))
    alone = np.concatenate([run({k: v[i : i + 1] for k, v in inputs.items()}) for i in range(7)])
    difference = float(np.abs(alone - together).max())
    return Check(artifact, f"{ALONE}{where}", difference, limit)


def check_levels(
    artifact: str, reference: nn.Module, sample: Sample, inputs: Arrays, picture: Input | None = None
) -> list[Check]:
    """Samples in whole numbers against torch on the same inputs at every batch and size, and alone against together.

    The share of values is one of all batches: of a single small image, one pixel is more than is allowed already.
    """
    checks = []
    for where, part in at_sizes(inputs, picture):
        differences = [
            _levels(sample(part, 0, batch), _torch_levels(reference, part, batch)) for batch in batches(part)
        ]
        checks += [
            Check(artifact, f"levels off torch, batch {batch}{where}", float(difference.max()), MAX_LEVELS)
            for batch, difference in zip(batches(part), differences, strict=True)
        ]
        limit = MAX_SHARES[sample(part, 0, 1).dtype.name]
        checks.append(Check(artifact, f"share of values off torch{where}", _share(differences), limit))
        most = batches(part)[-1]
        alone = _levels(np.concatenate([sample(part, i, 1) for i in range(most)]), sample(part, 0, most))
        checks.append(Check(artifact, f"levels off, alone to batch {most}{where}", float(alone.max()), MAX_LEVELS))
        share = _share([alone])
        checks.append(Check(artifact, f"share of values off, alone to batch {most}{where}", share, limit))
    return checks


def check_equal(artifact: str, what: str, images: np.ndarray, wanted: np.ndarray) -> Check:
    """The number of values that differ at all must be zero."""
    return Check(artifact, f"values different {what}", float((images != wanted).sum()), 0)


def goldens(generator: Generator) -> tuple[Golden, ...]:
    """A few samples of a few seeds as digests, and of each its first, middle, last and brightest pixel.

    A generator that takes a picture makes them of test cards.
    """
    made = []
    for seed in GOLDEN_SEEDS:
        images = generator.reference_images(GOLDEN_COUNT, seed, seed % 1000)
        sides = images.shape[1:-1]
        pixels: list[tuple[Any, ...]] = []
        for number, image in enumerate(images):
            brightest = tuple(map(int, np.unravel_index(image.sum(-1, dtype=np.int64).argmax(), sides)))
            middle, last = (tuple(side // 2 for side in sides), tuple(side - 1 for side in sides))
            for place in {(0,) * len(sides), middle, last, brightest}:
                pixels.append((number, *place, tuple(int(v) for v in image[place])))
        digest = hashlib.sha256(images.tobytes()).hexdigest()
        made.append(Golden(seed, seed % 1000, GOLDEN_COUNT, digest, tuple(sorted(pixels))))
    return tuple(made)


def check_opens(path: Path) -> None:
    """GantoolError when ONNX Runtime crashes with a file, which then costs another process than this one."""
    ending = trial.crash(path)
    if ending is not None:
        raise GantoolError(
            f"{path.name} crashes ONNX Runtime {onnxruntime.__version__}: the process that opened it {ending}.",
            "Leave that precision out, or use --half-weights, which changes no operator.",
        )


def self_test(generator: Generator) -> None:
    """GantoolError unless a file as it will be shipped, opened anew, makes its golden images to the byte."""
    if generator.manifest.golden:
        test = generator.self_test()
        levels = Check(generator.path.name, "levels off its golden samples", test.worst, 0)
        demand([levels, Check(generator.path.name, "golden samples repeated", float(test.exact), 1, least=True)])


def _torch_levels(reference: nn.Module, inputs: Arrays, batch: int) -> np.ndarray:
    return latents.levels(run_torch(reference, first(inputs, batch)))


def _levels(images: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    difference: np.ndarray = np.abs(images.astype(int) - wanted.astype(int))
    return difference


def _share(differences: Sequence[np.ndarray]) -> float:
    return float(np.concatenate([difference.ravel() > 0 for difference in differences]).mean())


def _drift(generator: nn.Module, inputs: Arrays, samples: np.ndarray) -> float:
    """Mean |eval - train| over the deviation of the train samples; train means batch statistics, not dropout."""
    training = copied(generator)
    norms = [m for m in training.modules() if isinstance(m, BATCH_NORM)]
    if not norms:
        return 0.0
    for norm in norms:
        norm.train()
    trained = run_torch(training, inputs)
    return float(np.abs(samples - trained).mean() / max(trained.std(), 1e-12))


def first(inputs: Arrays, count: int) -> dict[str, np.ndarray]:
    """The first `count` rows of every input."""
    return {name: array[:count] for name, array in inputs.items()}


_PRECISION_HINTS = {
    "half-weights": "16 bits do not hold its weights: leave --half-weights out.",
    "half": "What it computes is too large or too fine for 16 bits: leave --half out, or use --half-weights.",
    "int8": "Leave --int8 out, or use --half-weights. --force writes the --int8 file all the same.",
}


def _hint(check: Check) -> str:
    of_generator = check.artifact == "generator"
    if check.measure == REPEATED:
        return (
            "Its forward draws random numbers (by torch or numpy, or by a dropout that stays on): no seed repeats its "
            "samples. Make the noise an input of the game: Input(name, shape, 'normal')."
        )
    if check.measure == ALONE and of_generator:
        return (
            "Its forward mixes the samples of a batch: use BatchNorm with running statistics, or norms of each sample. "
            "docs/plugins.md, “What exports”, lists what else does."
        )
    if "drift" in check.measure:
        return "Its BatchNorm statistics do not describe its samples: train longer, or with a larger batch."
    if of_generator:
        return "The generator itself makes nothing of use: look at the run's newest samples, and train again."
    for precision, hint in _PRECISION_HINTS.items():
        if f".{precision}." in check.artifact:
            return hint
    return HINT
