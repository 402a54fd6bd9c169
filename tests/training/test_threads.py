"""The number of threads: how `auto` is decided, and that a run keeps it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.trainings import Silent, different, start

from gantool.run import checkpoint, metrics_log
from gantool.training import loop, session, threads
from gantool.training.session import Session
from gantool.training.state import State


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two cores, where nobody has named a number of threads."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield  # type: ignore[misc]
    torch.set_num_threads(before)


def _speeds(monkeypatch: pytest.MonkeyPatch, **speeds: float) -> list[Sequence[int]]:
    """Measurements give `one` and `two` images a second with so many threads; returns what was measured."""
    asked: list[Sequence[int]] = []

    def measure(state: State, counts: Sequence[int]) -> dict[int, float]:
        asked.append(counts)
        return {1: speeds["one"], 2: speeds["two"]}

    monkeypatch.setattr(threads, "measure", measure)
    return asked


def _train(opened: Session, stop: int | None = None) -> list[str]:
    listener = Silent()
    loop.train(opened.state, opened.run, opened.info, listener, lambda: opened.state.step == stop)
    opened.lock.release(force=True) if opened.lock else None
    return listener.notes


def _weights(opened: Session) -> dict[str, Any]:
    saved = checkpoint.load(opened.run.latest_checkpoint())
    return {key: saved[key] for key in ("modules", "ema", "optimizers", "sampler", "rng")}


@pytest.mark.parametrize("name", ["mlp", "dcgan"])
def test_a_measured_run_has_the_weights_of_one_with_the_number_that_was_chosen(tmp_path: Path, name: str) -> None:
    measured = start(name, tmp_path, steps=60)
    (said, *_) = _train(measured)
    used = measured.run.read().threads_used
    assert used in (1, 2)
    assert said.startswith(f"computing on {used} of 2 threads: ")
    given = start(name, tmp_path, steps=60, threads=used)
    assert not any("threads" in note for note in _train(given))
    assert different(_weights(measured), _weights(given)) == []


@pytest.mark.parametrize(("one", "two", "used"), [(100, 50, 1), (100, 99, 1), (100, 104, 1), (100, 150, 2)])
def test_more_threads_have_to_be_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: float, two: float, used: int
) -> None:
    _speeds(monkeypatch, one=one, two=two)
    opened = start("mlp", tmp_path, steps=60)
    assert _train(opened)[0] == (f"computing on {used} of 2 threads: {one} images/s with 1, {two} images/s with 2")
    assert opened.run.read().threads_used == used
    assert torch.get_num_threads() == 2  # for what the program does next


@pytest.mark.slow  # test_resume has resumed runs, and the tests above the choice
def test_a_resumed_run_keeps_its_number_and_gives_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _speeds(monkeypatch, one=100, two=200)
    whole = start("mlp", tmp_path, steps=60)
    _train(whole)
    cut = start("mlp", tmp_path, steps=60)
    _train(cut, 20)
    asked = _speeds(monkeypatch, one=200, two=100)
    resumed = session.resume(cut.run)
    _train(resumed)
    assert asked == []
    assert resumed.run.read().threads_used == 2
    assert different(_weights(whole), _weights(resumed)) == []


def test_a_resume_with_another_number_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _speeds(monkeypatch, one=100, two=200)
    opened = start("mlp", tmp_path, steps=160)
    _train(opened, 20)
    _train(session.resume(opened.run, threads=1), 40)
    assert (opened.run.read().threads, opened.run.read().threads_used) == (1, 1)
    _train(session.resume(opened.run, threads="auto"), 60)
    assert (opened.run.read().threads, opened.run.read().threads_used) == ("auto", 2)


def test_at_half_the_speed_the_numbers_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _speeds(monkeypatch, one=100, two=200)
    opened = start("mlp", tmp_path, steps=60)
    chosen = threads.Threads(opened.state, opened.info)
    chosen.begin()
    assert [chosen.look_again(speed) for speed in (150.0, 200.0, 101.0)] == ["", "", ""]
    assert len(asked) == 1
    assert chosen.look_again(99.0) == ""  # looked, and two threads are still better
    assert len(asked) == 2
    _speeds(monkeypatch, one=40, two=20)
    assert chosen.look_again(30.0).startswith("computing on 1 of 2 threads: 40 images/s with 1")
    assert (opened.info.threads_used, torch.get_num_threads()) == (1, 1)


def test_a_change_is_logged_and_in_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _speeds(monkeypatch, one=100, two=200)
    opened = start("mlp", tmp_path, steps=60)
    monkeypatch.setattr(threads, "SLOWER", 1e9)  # every speed is too slow
    began = threads.Threads.begin

    def begin(chosen: threads.Threads) -> str:
        said = began(chosen)
        _speeds(monkeypatch, one=200, two=100)
        return said

    monkeypatch.setattr(threads.Threads, "begin", begin)
    assert any(note.startswith("step 20: computing on 1 of 2 threads") for note in _train(opened))
    assert metrics_log.read_events(opened.run) == [{"event": "threads", "step": 20, "threads": 1}]
    assert checkpoint.load(opened.run.checkpoint(40))["threads"] == 1
    assert json.loads((opened.run.path / "run.json").read_text())["threads_used"] == 1


@pytest.mark.parametrize("case", ["OMP_NUM_THREADS", "few steps", "one core"])
def test_nothing_is_measured_where_there_is_nothing_to_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    asked = _speeds(monkeypatch, one=100, two=200)
    if case == "OMP_NUM_THREADS":
        monkeypatch.setenv(case, "2")
    if case == "one core":
        monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    opened = start("mlp", tmp_path, steps=20 if case == "few steps" else 60)
    assert not any("threads" in note for note in _train(opened))
    assert asked == []
    assert opened.run.read().threads_used == (1 if case == "one core" else 2)
