"""When timing starts and ends, by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, cycle, repeat

import pytest

from gantool.benching.timing import MAX_WINDOWS, MIN_RUNS, WINDOW, Timing, parts, percentile, time_runs, time_steadily


def runs(seconds: Iterable[float]) -> Callable[[], float]:
    times: Iterator[float] = iter(seconds)
    return lambda: next(times)


def test_the_first_run_and_those_that_settle_are_not_on_record() -> None:
    # one of 10 s, five of 3 s, then 1 s for ever: the third window is as the second
    timing = time_runs(runs(chain([10.0], repeat(3.0, 5), repeat(1.0))), seconds=30.0)
    assert (timing.first, timing.warm, timing.settled) == (10.0, 3 * WINDOW, True)
    assert timing.latencies == (1.0,) * 30


def test_a_slope_is_not_settled() -> None:
    slower = (1.1**i for i in range(10**6))
    timing = time_runs(runs(slower), seconds=1e3)
    assert not timing.settled


def test_what_never_settles_is_timed_all_the_same() -> None:
    apart = chain([1.0], cycle([*repeat(1.0, WINDOW), *repeat(2.0, WINDOW)]))
    timing = time_runs(runs(apart), seconds=1e6)
    assert (timing.settled, timing.warm) == (False, MAX_WINDOWS * WINDOW)
    # and is given no more time for it than the timing itself
    timing = time_runs(runs(chain([1.0], cycle([*repeat(1.0, WINDOW), *repeat(2.0, WINDOW)]))), seconds=12.0)
    assert (timing.settled, timing.warm) == (False, 2 * WINDOW)


@pytest.mark.parametrize(("seconds", "count"), [(0.0, MIN_RUNS), (3.0, MIN_RUNS), (50.0, 50)])
def test_at_least_so_long_and_so_often(seconds: float, count: int) -> None:
    assert len(time_runs(runs(repeat(1.0)), seconds).latencies) == count


def test_row() -> None:
    timing = Timing(5.0, 10, True, tuple(float(i) for i in range(1, 21)))
    row = timing.row(batch=4)
    assert row["first_ms"] == 5000
    assert row["images_per_second"] == pytest.approx(4 * 20 / 210)
    assert (row["p50_ms"], row["p90_ms"], row["p99_ms"], row["max_ms"]) == (10_000, 18_000, 20_000, 20_000)
    assert row["variation"] == pytest.approx(5.7663 / 10.5, rel=1e-3)  # the standard deviation of 1 … 20 by its mean
    assert row["windows"] == pytest.approx([8 / 3, 8 / 7, *(8 / (4 * i + 3) for i in range(2, 10))])


@pytest.mark.parametrize(("count", "sizes"), [(10, [1] * 10), (25, [2, 3] * 5), (3, [1, 1, 1])])
def test_parts_are_consecutive_and_nearly_equal(count: int, sizes: list[int]) -> None:
    found = parts(range(count))
    assert [len(part) for part in found] == sizes
    assert [i for part in found for i in part] == list(range(count))


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (90, 9), (99, 10), (100, 10), (1, 1)])
def test_percentile_is_a_measured_value(percent: int, value: float) -> None:
    assert percentile([float(i) for i in range(1, 11)], percent) == value


def test_unsteady_runs_are_timed_once_more() -> None:
    # ten parts on record, every second one three times as long; then steady ones
    busy = chain([9.0], repeat(1.0, 2 * WINDOW), *repeat((1.0, 3.0), MIN_RUNS // 2))
    timing, repeated = time_steadily(runs(chain(busy, repeat(2.0))), seconds=0.0)
    assert repeated
    assert timing.first == 9.0
    assert set(timing.latencies) == {2.0}
    assert time_steadily(runs(repeat(1.0)), seconds=0.0)[1] is False


def test_the_steadier_of_two_unsteady_timings_counts() -> None:
    def busy(slow: float) -> Iterator[float]:
        return chain([9.0], repeat(1.0, 2 * WINDOW), *repeat((1.0, slow), MIN_RUNS // 2))

    timing, repeated = time_steadily(runs(chain(busy(3.0), busy(20.0))), seconds=0.0)
    assert repeated
    assert set(timing.latencies) == {1.0, 3.0}
