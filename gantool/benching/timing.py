"""Time runs once their time has settled. Standard library only; the clock is the caller's."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

WINDOW = 5  # runs whose median is compared with that of the next
TOLERANCE = 0.05  # runs have settled when two consecutive medians are within this share of each other
MAX_WINDOWS = 20  # of runs that never settle
MIN_RUNS = 10
PARTS = 10  # consecutive parts of the timed runs, whose rates tell the noise
UNSTEADY = 0.25  # spread of those rates from which on figures mean little


@dataclass(frozen=True)
class Timing:
    """Seconds. `first`: the first run; `warm`: number of runs between it and `latencies`; `settled`: had those?"""

    first: float
    warm: int
    settled: bool
    latencies: tuple[float, ...]

    @property
    def spread(self) -> float:
        return spread([len(part) / sum(part) for part in parts(self.latencies)])

    def row(self, batch: int) -> dict[str, float | int | bool | list[float]]:
        """The figures of a report's row: times in milliseconds, rates in images a second."""
        ordered, total = sorted(self.latencies), sum(self.latencies)
        mean = total / len(ordered)
        return {
            "first_ms": self.first * 1e3,
            "settled": self.settled,
            "warm_runs": self.warm,
            "runs": len(ordered),
            "seconds": total,
            "images_per_second": batch * len(ordered) / total,
            **{f"p{p}_ms": percentile(ordered, p) * 1e3 for p in (50, 90, 99)},
            "max_ms": ordered[-1] * 1e3,
            "variation": statistics.pstdev(ordered) / mean if mean else 0.0,
            "windows": [batch * len(part) / sum(part) for part in parts(self.latencies)],
        }


def time_runs(run: Callable[[], float], seconds: float) -> Timing:
    """Time `run`, which returns the seconds that it took: once, then until it has settled, then for the record.

    Runs have settled when the medians of two consecutive windows of WINDOW runs are within TOLERANCE. After MAX_WINDOWS
    windows, or `seconds`, the record begins all the same, with `settled` False. It is `seconds` of runs, and at least
    MIN_RUNS.
    """
    first = run()
    warm, settled, spent, before = 0, False, 0.0, math.nan
    for window in range(MAX_WINDOWS):
        times = [run() for _ in range(WINDOW)]
        warm += WINDOW
        spent += sum(times)
        median = statistics.median(times)
        settled = abs(median - before) <= TOLERANCE * before  # never for NaN, the first time
        before = median
        if settled or (window > 0 and spent >= seconds):
            break
    latencies: list[float] = []
    total = 0.0
    while len(latencies) < MIN_RUNS or total < seconds:
        latencies.append(run())
        total += latencies[-1]
    return Timing(first, warm, settled, tuple(latencies))


def time_steadily(run: Callable[[], float], seconds: float) -> tuple[Timing, bool]:
    """As `time_runs`, and whether that was done twice because the first was unsteady: then the steadier one counts."""
    timing = time_runs(run, seconds)
    if timing.spread <= UNSTEADY:
        return timing, False
    again = replace(time_runs(run, seconds), first=timing.first)
    return min((timing, again), key=lambda each: each.spread), True


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest rank: a measured value, never one between two."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def parts(latencies: Sequence[float]) -> list[Sequence[float]]:
    """PARTS consecutive runs of nearly equal counts, or one a latency where there are fewer."""
    count = min(PARTS, len(latencies))
    edges = [len(latencies) * i // count for i in range(count + 1)]
    return [latencies[a:b] for a, b in itertools.pairwise(edges)]


def spread(rates: Sequence[float]) -> float:
    """The standard deviation of the logarithms of rates: 0.1 is about 10 %."""
    return statistics.stdev(map(math.log, rates)) if len(rates) > 1 else 0.0


def rate(make: Callable[[int], object], batch: int, seconds: float, clock: Callable[[], float]) -> float:
    """Images a second of one call after another for at least `seconds`."""
    runs, start, elapsed = 0, clock(), 0.0
    while runs == 0 or elapsed < seconds:
        make(batch)
        runs += 1
        elapsed = clock() - start
    return batch * runs / elapsed
