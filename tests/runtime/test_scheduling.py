"""gantool.runtime.scheduling: what a request is split into, and the threads that run it."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import pytest

from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.runtime import generator as generator_module
from gantool.runtime.scheduling import Plan, Workers, at_once, call_rows, image_seconds, latency_threads, plan

# plans


@pytest.mark.parametrize("available", [1, 2, 3, 64])
@pytest.mark.parametrize("seconds", [2e-6, 27e-6, 350e-6, 2e-3, 1.0])
@pytest.mark.parametrize("batch", [None, 1, 4, 1000])
def test_a_plan_makes_every_image_in_equal_turns(available: int, seconds: float, batch: int | None) -> None:
    for count in [*range(70), 100, 128, 1000, 1024, 100_000]:
        made = plan(count, seconds, available, batch)
        calls = -(-count // made.rows)
        assert 1 <= made.threads <= available
        assert made.threads <= max(1, calls)
        if batch is not None:
            assert made.rows == batch
        else:
            assert made.rows <= call_rows(seconds)
            # nobody makes more than an equal share, but for an image a call
            turns = -(-calls // made.threads)
            assert made.threads == 1 or turns * made.rows <= count / made.threads + turns
        if available > 1:
            assert (count <= at_once(seconds, batch)) == (made.threads == 1 and count <= made.rows)


def test_plans_of_known_generators() -> None:
    mlp, int8, dcgan_32, dcgan_64 = (
        image_seconds(size, convolutional)
        for size, convolutional in ((6_217_706, False), (1_804_169, False), (4_562_227, True), (14_607_114, True))
    )
    assert [call_rows(seconds) for seconds in (mlp, int8, dcgan_32, dcgan_64)] == [256, 512, 16, 16]
    assert plan(1, mlp, 64) == Plan(1, 256)  # for latency: one call, its operators on several threads
    assert plan(1024, mlp, 2) == Plan(2, 256)
    assert plan(64, dcgan_32, 2) == Plan(2, 16)
    assert plan(48, dcgan_32, 2) == Plan(2, 12)  # not 16, 16 and 16: one would wait
    assert plan(1024, dcgan_32, 64) == Plan(64, 16)
    assert plan(64, dcgan_64, 64) == Plan(64, 1)
    assert plan(64, mlp, 64) == Plan(1, 256)
    assert plan(64, dcgan_32, 64) == Plan(22, 3)  # more threads than work would only be woken


def test_threads_of_one_operator() -> None:
    assert latency_threads(27e-6, 2) == 2
    assert latency_threads(27e-6, 64) == 8
    assert latency_threads(1.0, 64) == 64


# threads


def test_every_job_is_done_once_by_all() -> None:
    """Three threads meet: none could go on alone."""
    together = threading.Barrier(3, timeout=30)
    done: list[int] = []
    names = set()

    def work(job: int) -> None:
        if job < 3:
            together.wait()
        done.append(job)
        names.add(threading.current_thread().name)

    Workers(3).each(work, range(100), 3)
    assert sorted(done) == list(range(100))
    assert 2 <= len(names) <= 3


@pytest.mark.parametrize(("count", "threads", "jobs"), [(1, 5, 9), (4, 1, 9), (4, 4, 1), (4, 4, 0)])
def test_who_needs_no_help_gets_no_thread(count: int, threads: int, jobs: int) -> None:
    done: list[tuple[int, int]] = []
    Workers(count).each(lambda job: done.append((job, threading.get_ident())), range(jobs), threads)
    assert done == [(job, threading.get_ident()) for job in range(jobs)]


@pytest.mark.parametrize("culprit", ["caller", "helper"])
def test_an_error_ends_all_and_is_raised(culprit: str) -> None:
    together = threading.Barrier(2, timeout=30)
    caller, done = threading.get_ident(), []

    def work(job: int) -> None:
        if job < 2:
            together.wait()
            if (threading.get_ident() == caller) == (culprit == "caller"):
                raise KeyError(culprit)
        done.append(job)

    helped = Workers(2)
    with pytest.raises(KeyError, match=culprit):
        helped.each(work, range(1_000_000), 2)
    assert len(done) < 1_000_000
    helped.each(done.append, range(-5, 0), 2)  # it is fit for more
    assert set(range(-5, 0)) <= set(done)


def test_a_caller_whose_helpers_are_busy_goes_on_alone() -> None:
    shared, holding, release = Workers(2), threading.Event(), threading.Event()
    caller = threading.get_ident()

    def hold(job: int) -> None:
        if job == 0:
            holding.set()
        assert release.wait(30)

    first = threading.Thread(target=lambda: shared.each(hold, range(2), 2))
    first.start()
    assert holding.wait(30)
    done: list[int] = []
    shared.each(lambda job: done.append(threading.get_ident()), range(5), 2)
    assert done == [caller] * 5
    release.set()
    first.join(30)
    assert not first.is_alive()


def test_threads_end_with_their_owner() -> None:
    before = set(threading.enumerate())
    together = threading.Barrier(2, timeout=30)
    owner = Workers(2)
    owner.each(lambda job: together.wait(), range(2), 2)
    (helper,) = set(threading.enumerate()) - before
    del owner
    gc.collect()
    helper.join(30)
    assert not helper.is_alive()


PROGRAM = """
import itertools, sys, threading
from gantool.runtime import Generator, scheduling
scheduling.image_seconds = lambda size, convolutional: 1e-3
generator = Generator(sys.argv[1], threads=3)
assert generator.plan(50).threads == 3
assert len(generator.sample(50)) == 50
stream = generator.stream(1000, part=40)
next(stream)
if sys.argv[2] == "caller":  # one that is still at work when the program ends
    threading.Thread(target=lambda: generator.sample(30)).start()
print("ended")
"""


@pytest.mark.parametrize("what", ["idle", "caller"])
def test_a_program_ends_with_its_threads(exported_run: RunDir, what: str) -> None:
    path = exported_run.export / "generator.seeded.onnx"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), what], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_no_threads_for_one_core(exported_run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_module, "usable_cores", lambda: 1)
    generator = Generator(exported_run.export / "generator.seeded.onnx")
    before = threading.active_count()
    assert len(generator.sample(1500)) == 1500
    assert generator.plan(10**6).threads == 1
    assert threading.active_count() == before
