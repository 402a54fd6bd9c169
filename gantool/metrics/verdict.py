"""One plain sentence of what an evaluation's figures mean, by the fixed rules of docs/evaluate.md. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

FEW = 200  # samples: below, figures change too much from seed to seed
COLLAPSED = 0.3  # diversity of fakes / of reals
UNLIKE = 0.1  # precision and coverage of fakes that are nothing like the data
FEW_KINDS = 0.2  # coverage
COPIES = 0.3  # distance to the nearest real, by features or by pixels, over that between reals
AS_GOOD, WORSE = 0.9, 0.6  # share of what a second half of the data reaches
COMPARED = ("precision", "recall", "coverage")


class ClassShares(Protocol):
    """What `evaluation.Classes` gives."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def missing(self) -> tuple[str, ...]: ...


def verdict(
    samples: int,
    figures: Mapping[str, float | None],
    floor: Mapping[str, float],
    classes: ClassShares | None,
    copies: tuple[float | None, float | None],
) -> str:
    """The first rule that holds, as a sentence.

    `samples`: the smaller of the numbers of fakes and reals. `figures`: by key. `floor`: what one half of the reals
    reaches against the other, of each in COMPARED. `copies`: the ratios of memorisation by features and by pixels.
    """
    if samples < FEW:
        return f"Too few samples for a verdict: {samples}, and it takes {FEW} of each."
    diversity = figures["diversity"]
    if diversity is None:
        return "All samples of the data are alike: there is nothing to compare with."
    if classes and classes.missing:
        missing, of = len(classes.missing), len(classes.names)
        collapsed = ": the generator has collapsed" if 2 * missing >= of else f": {', '.join(classes.missing)}"
        return f"{missing} of {of} classes {'is' if missing == 1 else 'are'} missing{collapsed}."
    if all((figures[key] or 0.0) < UNLIKE for key in ("precision", "coverage")):
        return "The samples are nothing like the data."
    if diversity < COLLAPSED:
        return f"The samples differ by {diversity:.0%} of what the data do: the generator has collapsed."
    if any(ratio is not None and ratio < COPIES for ratio in copies):
        return "The samples are copies of training samples, or nearly so: look at the neighbours."
    coverage = figures["coverage"] or 0.0
    if coverage < FEW_KINDS:
        return f"The samples are near {coverage:.0%} of the data only: the generator makes few kinds of them."
    return _compared(figures, floor)


def nearer(figures: Mapping[str, float | None], sources: float, count: int) -> str:
    """Whether `count` results or their sources are nearer to the targets, by the mean difference of each in levels.

    A little nearer: by less than a tenth, but so many of them that it is no chance (four standard errors above a half).
    """
    results, share = figures["difference"] or 0.0, figures["nearer"] or 0.0
    measured = f"{results:.1f} levels against {sources:.1f}; {share:.0%} of the results are nearer"
    if results < AS_GOOD * sources:
        return f"The results are nearer to their targets than the sources are ({measured})."
    if results < sources and share > 0.5 + 4 * 0.5 / count**0.5:
        return f"The results are a little nearer to their targets than the sources are ({measured})."
    return f"The results are no nearer to their targets than the sources are ({measured})."


def _compared(figures: Mapping[str, float | None], floor: Mapping[str, float]) -> str:
    good, worse, much_worse = [], [], []
    for key in COMPARED:
        value, best = figures[key] or 0.0, floor[key]
        words = f"{key} ({value:.2f} against {best:.2f})"
        if value >= AS_GOOD * best:
            good.append(key)
        elif value >= WORSE * best:
            worse.append(words)
        else:
            much_worse.append(words)
    kinds = (("as good as", good), ("worse than", worse), ("much worse than", much_worse))
    (first, keys), *others = [(words, keys) for words, keys in kinds if keys]
    parts = [f"{first} a second half of the data would be in {_listed(keys)}"]
    parts += [f"{words.removesuffix(' than')} in {_listed(keys)}" for words, keys in others]
    return f"{', '.join(parts)}.".capitalize()


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
