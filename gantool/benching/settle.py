"""When the time per run has settled, and how runs are timed from then on. The clock is the caller's."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WINDOW = 5  # runs whose median is compared with that of the next
WITHIN = 0.05  # two consecutive medians that are no further apart are settled
MOST_WINDOWS = 20  # of a run that never settles
MIN_RUNS = 10
PARTS = 10  # consecutive parts of the timed runs, whose rates tell the noise


@dataclass(frozen=True)
class Timing:
    """Seconds. `first`: the first run; `warm`: runs after it and before `latencies`; `settled`: whether those did."""

    first: float
    warm: int
    settled: bool
    latencies: tuple[float, ...]

    @property
    def seconds(self) -> float:
        return sum(self.latencies)

    def row(self, batch: int) -> dict[str, float | int | bool | list[float]]:
        """The figures of a report's row: times in milliseconds, rates in images a second."""
        ordered, total = sorted(self.latencies), self.seconds
        mean = total / len(ordered)
        spread = statistics.pstdev(ordered) / mean if mean else 0.0
        return {
            "first_ms": self.first * 1e3,
            "settled": self.settled,
            "warm_runs": self.warm,
            "runs": len(ordered),
            "seconds": total,
            "images_per_second": batch * len(ordered) / total,
            **{f"p{p}_ms": percentile(ordered, p) * 1e3 for p in (50, 90, 99)},
            "max_ms": ordered[-1] * 1e3,
            "variation": spread,
            "windows": [batch * len(part) / sum(part) for part in parts(self.latencies)],
        }


def time_runs(run: Callable[[], float], seconds: float) -> Timing:
    """Time `run`, which gives the seconds that it took: once, until it has settled, then for the record.

    Settled: the medians of two consecutive windows of WINDOW runs are within WITHIN of each other. It may take
    MOST_WINDOWS windows, or `seconds`; then the rest is timed as it is, and said not to have settled. On record are
    `seconds` of runs, and at least MIN_RUNS.
    """
    first = run()
    warm, settled, spent, before = 0, False, 0.0, math.nan
    for window in range(MOST_WINDOWS):
        times = [run() for _ in range(WINDOW)]
        warm += WINDOW
        spent += sum(times)
        median = statistics.median(times)
        settled = abs(median - before) <= WITHIN * before  # never for NaN, the first time
        before = median
        if settled or (window > 0 and spent >= seconds):
            break
    latencies: list[float] = []
    total = 0.0
    while len(latencies) < MIN_RUNS or total < seconds:
        latencies.append(run())
        total += latencies[-1]
    return Timing(first, warm, settled, tuple(latencies))


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest rank: a value that was measured, none in between."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def parts(latencies: Sequence[float]) -> list[Sequence[float]]:
    """PARTS consecutive runs of nearly equal counts, or one a latency where there are fewer."""
    count = min(PARTS, len(latencies))
    edges = [len(latencies) * i // count for i in range(count + 1)]
    return [latencies[a:b] for a, b in itertools.pairwise(edges)]


def rate(make: Callable[[int], object], batch: int, seconds: float, clock: Callable[[], float]) -> tuple[float, int]:
    """Images a second of one call after another for at least `seconds`, and how many calls that were."""
    runs, start = 0, clock()
    while True:
        make(batch)
        runs += 1
        elapsed = clock() - start
        if elapsed >= seconds:
            return batch * runs / elapsed, runs
