"""`--on-nan rollback`: back to the last good checkpoint at half the rates, at most three times, all of it logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.trainings import Silent, different, nan_game, start

from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.run import checkpoint, curves, metrics_log
from gantool.training import loop, session
from gantool.training.rollback import LIMIT
from gantool.training.session import Session


def _rates(opened: Session) -> set[float]:
    return {group["lr"] for mover in opened.state.movers for group in mover.optimizer.param_groups}


def _train(opened: Session, stop: int | None = None) -> Silent:
    listener = Silent()
    loop.train(opened.state, opened.run, opened.info, listener, lambda: opened.state.step == stop)
    return listener


def _state(opened: Session) -> dict[str, Any]:
    return checkpoint.load_newest(opened.run)[1]


def test_one_nan_costs_the_steps_since_the_checkpoint_and_half_the_rates(tmp_path: Path) -> None:
    opened = start(nan_game(lambda move: move == 25), tmp_path, tick=10, on_nan="rollback")
    listener = _train(opened)
    assert _rates(opened) == {1e-4}
    assert opened.info.status == "finished"
    assert (opened.run.read().rollbacks, _state(opened)["rollbacks"]) == (1, 1)
    (event,) = metrics_log.read_events(opened.run)
    cause = "loss.generator.adversarial became NaN or infinite at step 25"
    assert event == {
        "event": "rollback",
        "step": 20,
        "failed_step": 30,
        "cause": cause,
        "rollbacks": 1,
        "learning_rates": {"discriminator": 1e-4, "generator": 1e-4},
    }
    assert listener.notes == [f"{cause}: back to step 20 at half the learning rates (rollback 1 of 3)"]
    assert [record["step"] for record in metrics_log.read_metrics(opened.run)] == [10, 20, 30, 40]
    curves.draw(opened.run, metrics_log.read_metrics(opened.run))


def test_what_follows_a_rollback_is_what_half_the_rates_give_from_there(tmp_path: Path) -> None:
    rolled = start(nan_game(lambda move: move == 25), tmp_path, tick=10, on_nan="rollback")
    _train(rolled)
    sound = start(nan_game(lambda move: False), tmp_path, tick=10)
    _train(sound, stop=20)
    for mover in sound.state.movers:
        for group in mover.optimizer.param_groups:
            group["lr"] /= 2
    _train(sound)
    assert different({**_state(sound), "rollbacks": 1}, _state(rolled)) == []


def test_after_three_rollbacks_the_run_stops_and_says_so(tmp_path: Path) -> None:
    opened = start(nan_game(lambda move: move > 25), tmp_path, tick=10, on_nan="rollback")
    with pytest.raises(GantoolError, match="NaN or infinite at step 21, after 3 rollbacks") as caught:
        _train(opened)
    assert caught.value.hint == (
        f"The last good checkpoint is {opened.run.checkpoint(20)}. Start a new run with a smaller --learning-rate."
    )
    assert [event["rollbacks"] for event in metrics_log.read_events(opened.run)] == [1, 2, LIMIT]
    assert [event["learning_rates"]["generator"] for event in metrics_log.read_events(opened.run)] == [
        1e-4,
        5e-5,
        2.5e-5,
    ]
    assert opened.run.read().status == "failed"


def test_a_resume_keeps_the_rates_and_the_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = nan_game(lambda move: move in (15, 40))
    opened = start(faulty, tmp_path, tick=10, on_nan="rollback")
    _train(opened, stop=21)
    assert opened.info.rollbacks == 1
    monkeypatch.setattr(registry, "find", lambda name: faulty)
    resumed = session.resume(opened.run)
    assert (_rates(resumed), resumed.info.rollbacks, resumed.info.on_nan) == ({1e-4}, 1, "rollback")
    listener = _train(resumed)
    assert "(rollback 2 of 3)" in listener.notes[0]
    assert _rates(resumed) == {5e-5}
    assert [event["rollbacks"] for event in metrics_log.read_events(resumed.run)] == [1, 2]
    assert resumed.info.status == "finished"


def test_a_stopped_run_can_be_resumed_with_rollback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = nan_game(lambda move: move in (15, 25))
    opened = start(faulty, tmp_path, tick=10)
    with pytest.raises(GantoolError) as caught:
        _train(opened)
    assert "Resume with --on-nan rollback" in caught.value.hint
    monkeypatch.setattr(registry, "find", lambda name: faulty)
    resumed = session.resume(opened.run, on_nan="rollback")
    _train(resumed)
    assert resumed.run.read().on_nan == "rollback"
    assert resumed.run.read().rollbacks == 1


def test_before_the_first_checkpoint_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    opened = start(nan_game(lambda move: move == 5), tmp_path, tick=10, on_nan="rollback")
    with pytest.raises(GantoolError, match="before the first checkpoint") as caught:
        _train(opened)
    assert "Resume" not in caught.value.hint


def test_a_damaged_checkpoint_is_passed_over_and_what_came_after_the_sound_one_forgotten(tmp_path: Path) -> None:
    def bad(move: int) -> bool:
        if move == 25:
            newest = opened.run.checkpoint(20)
            newest.write_bytes(newest.read_bytes()[:1000])
        return move == 25

    opened = start(nan_game(bad), tmp_path, tick=10, on_nan="rollback")
    listener = _train(opened)
    assert "step-00000020.pt is damaged" in listener.notes[0]
    assert "back to step 10" in listener.notes[1]
    assert [record["step"] for record in metrics_log.read_metrics(opened.run)] == [10, 20, 30, 40]
    assert opened.run.checkpoint(20).with_suffix(".damaged").is_file()


def test_a_rollback_that_was_killed_half_way_happens_again_and_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = nan_game(lambda move: move in (15, 25))
    opened = start(faulty, tmp_path, tick=10, on_nan="rollback")
    saved = checkpoint.save

    def killed(path: Path, state: dict[str, Any]) -> None:
        if state["rollbacks"]:
            raise KeyboardInterrupt
        saved(path, state)

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        _train(opened)
    assert len(metrics_log.read_events(opened.run)) == 1  # logged, and the checkpoint not yet written again
    monkeypatch.setattr(checkpoint, "save", saved)
    monkeypatch.setattr(registry, "find", lambda name: faulty)
    resumed = session.resume(opened.run)
    assert (resumed.info.rollbacks, _rates(resumed)) == (0, {2e-4})
    _train(resumed)
    assert [event["rollbacks"] for event in metrics_log.read_events(resumed.run)] == [1]
