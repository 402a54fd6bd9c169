"""The shared loop: what a tick leaves behind, and how it stops or goes back when numbers go bad."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.trainings import Silent, different, nan_game, plugin, run_until, start, tiny_game, tiny_state

from gantool.artifact import latents, pictures
from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Input, SampleSpec
from gantool.plugin.game import Game, Player
from gantool.plugin.registry import Plugin
from gantool.run import checkpoint, metrics_log
from gantool.training import loop, session
from gantool.training.session import Session

CAUSE = "loss.generator.adversarial became NaN or infinite at step 25"


def _train(opened: Session, stop: int | None = None) -> Silent:
    listener = Silent()
    loop.train(opened.state, opened.run, opened.info, listener, lambda: opened.state.step == stop)
    return listener


def _steps(opened: Session) -> list[int]:
    return [record["step"] for record in metrics_log.read_metrics(opened.run)]


# --- a tick


def test_a_tick_leaves_metrics_samples_and_a_checkpoint_and_keeps_the_last_two(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path, steps=50)
    listener = _train(opened)
    run = opened.run
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert listener.records == records
    assert [record["step"] for record in records] == [20, 40, 50]  # the last step is a tick too
    assert [path.name for path in run.checkpoints()] == ["step-00000040.pt", "step-00000050.pt"]
    assert all(run.sample(step).is_file() for step in (20, 40, 50))
    assert records[-1]["images"] == 50 * 8
    assert records[-1]["epoch"] == 8.0
    assert all(np.isfinite(value) for record in records for value in record.values())
    assert run.read().status == "finished"
    assert run.read().step == 50
    assert not list(run.path.rglob("*.tmp"))


def test_a_sample_grid_is_the_averaged_generator_on_the_latents_of_seed_0(tmp_path: Path) -> None:
    opened = start("dcgan", tmp_path, steps=5)
    run_until(opened)
    z = latents.draw({"z": (5,)}, 0, np.arange(pictures.SAMPLES, dtype=np.int64))["z"]
    with torch.no_grad():
        images = opened.state.sampling_generator()(torch.from_numpy(z))
    wanted = pictures.grid(pictures.to_pictures(images.numpy()))
    with Image.open(opened.run.sample(5)) as drawn:
        assert drawn.format == "PNG"
        assert np.array_equal(np.asarray(drawn), np.asarray(wanted))


def test_weights_are_clipped_after_each_move(tmp_path: Path) -> None:
    opened = start("wgan", tmp_path, steps=3, loss="clip", clip=0.003)
    run_until(opened)
    (critic,) = opened.state.game.players[0].modules.values()
    largest = max(float(p.abs().max()) for p in critic.parameters())
    assert largest == pytest.approx(0.003)


def test_an_epoch_count_becomes_steps(tmp_path: Path) -> None:
    # 50 rows, batches of 8: two passes take 12.5 steps
    assert start("mlp", tmp_path, epochs=2).info.steps == 13
    # two critic steps an iteration draw twice as much
    assert start("wgan", tmp_path, epochs=2).info.steps == 7
    resumable = start("mlp", tmp_path, steps=1)
    run_until(resumable)
    assert session.resume(resumable.run, epochs=4).info.steps == 25


def _with_players(change: Callable[[Game], Game]) -> Plugin:
    return plugin(lambda spec: change(tiny_game(spec)))


def _noise_in_the_data(game: Game) -> Game:
    """A game that lists a normal input among the data; the generator's turn alone draws it."""
    judge, maker = game.players
    noise = Input("noise", (3,), "normal")
    return replace(game, data=(*game.data, noise), players=(judge, replace(maker, draws=(*maker.draws, "noise"))))


def _every_fourth(game: Game) -> Game:
    judge, maker = game.players
    return replace(game, players=(replace(judge, every=4), maker), together=None)


def _third_reuses(game: Game) -> Game:
    """A third player gets the discriminator's reals."""
    judge, maker = game.players
    third = replace(judge, name="third", reuses=("real",), shares="discriminator")
    return replace(game, players=(judge, third, maker), together=None)


def _classes_apart(game: Game) -> Game:
    """The reals are of class 1 alone: half of the rows."""
    (real,) = game.data
    return replace(game, data=(replace(real, label=1),))


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        (lambda game: game, 25),
        (_noise_in_the_data, 25),
        (_every_fourth, 100),
        (_third_reuses, 25),
        (_classes_apart, 13),  # 25 rows
    ],
)
def test_an_epoch_is_a_pass_over_what_is_drawn(change: Callable[[Game], Game], steps: int, tmp_path: Path) -> None:
    opened = start(_with_players(change), tmp_path, epochs=4, batch_size=8, tick=1000)
    assert opened.info.steps == steps
    run_until(opened)
    (record,) = metrics_log.read_metrics(opened.run)
    assert record["epoch"] == pytest.approx(4, abs=0.17)  # a batch at most


def test_a_fraction_of_an_epoch_is_not_rounded_up_twice(tmp_path: Path) -> None:
    assert start("mlp", tmp_path, epochs=0.7, batch_size=5).info.steps == 7


# --- errors


def _planted(fault: Callable[[int, torch.nn.Module], object]) -> Plugin:
    """The tiny game; `fault(move, generator)` is called after the generator's move 1, 2, …"""

    def build(spec: SampleSpec) -> Game:
        game = tiny_game(spec)
        judge, maker = game.players
        moves = 0

        def after() -> None:
            nonlocal moves
            moves += 1
            fault(moves, game.generator)

        mover = Player(maker.name, maker.role, maker.modules, maker.loss, maker.draws, after_step=after)
        return Game(game.generator, (judge, mover), game.inputs, game.data, game.output)

    return plugin(build)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_loss_gone_bad_stops_the_run_and_names_the_step_and_the_term(bad: float, tmp_path: Path) -> None:
    opened = start(nan_game(lambda move: move == 25, bad), tmp_path, steps=60, tick=10)
    with pytest.raises(GantoolError, match=CAUSE) as caught:
        run_until(opened)
    last = opened.run.checkpoint(20)
    assert f"The last good checkpoint is {last}. Resume with --on-nan rollback" in caught.value.hint
    assert "--learning-rate" in caught.value.hint
    assert (opened.run.read().status, opened.run.read().step) == ("failed", 20)
    assert opened.run.latest_checkpoint() == last
    saved = checkpoint.load(last)
    tiny_state().load_state_dict(saved)
    weights = [tensor for module in saved["modules"].values() for tensor in module.values()]
    assert all(bool(tensor.isfinite().all()) for tensor in weights)
    assert _steps(opened) == [10, 20]


def test_infinite_weights_are_found_though_the_losses_were_finite(tmp_path: Path) -> None:
    def blow_up(move: int, generator: Any) -> None:
        if move == 20:
            generator.linear.bias[3] = torch.inf

    opened = start(_planted(blow_up), tmp_path, steps=60, tick=10)
    with pytest.raises(GantoolError, match="the weights of the generator became NaN or infinite by step 20"):
        run_until(opened)
    assert opened.run.latest_checkpoint() == opened.run.checkpoint(10)


def test_a_bug_in_a_plugin_keeps_its_own_error_and_marks_the_run_failed(tmp_path: Path) -> None:
    def fail(move: int, generator: object) -> None:
        raise ZeroDivisionError("the plugin's own")

    opened = start(_planted(fail), tmp_path)
    with pytest.raises(ZeroDivisionError, match="the plugin's own"):
        run_until(opened)
    assert opened.run.read().status == "failed"


def test_a_folder_that_can_no_longer_be_written_is_named(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path)
    assert run_until(opened, stop=20) == "interrupted"
    resumed = session.resume(opened.run)
    folder = opened.run.sample(0).parent
    folder.rename(tmp_path / "away")
    folder.write_text("in the way")
    with pytest.raises(GantoolError, match=r"0001-mlp-noise can't be written: .*samples") as caught:
        run_until(resumed)
    assert "--resume" in caught.value.hint
    assert opened.run.read().status == "failed"
    assert opened.run.latest_checkpoint() == opened.run.checkpoint(20)


# --- rollbacks


def _rates(opened: Session) -> set[float]:
    return {group["lr"] for mover in opened.state.movers for group in mover.optimizer.param_groups}


def _last(opened: Session) -> dict[str, Any]:
    return checkpoint.load_newest(opened.run)[1]


def _faulty(folder: Path, bad: Callable[[int], bool], **given: Any) -> Session:
    return start(nan_game(bad), folder, tick=10, **{"on_nan": "rollback", **given})


def test_one_nan_costs_the_steps_since_the_checkpoint_and_half_the_rates(tmp_path: Path) -> None:
    opened = _faulty(tmp_path, lambda move: move == 25)
    listener = _train(opened)
    assert _rates(opened) == {1e-4}
    assert opened.info.status == "finished"
    assert (opened.run.read().rollbacks, _last(opened)["rollbacks"]) == (1, 1)
    (event,) = metrics_log.read_events(opened.run)
    assert event == {
        "event": "rollback",
        "step": 20,
        "failed_step": 30,
        "cause": CAUSE,
        "rollbacks": 1,
        "learning_rates": {"discriminator": 1e-4, "generator": 1e-4},
    }
    assert listener.notes == [f"{CAUSE}: back to step 20 at half the learning rates (rollback 1 of 3)"]
    assert _steps(opened) == [10, 20, 30, 40]
    # `change` is measured from the samples of the checkpoint
    assert all(record["change"] > 0 for record in metrics_log.read_metrics(opened.run)[1:])


def test_what_follows_a_rollback_is_what_half_the_rates_give_from_there(tmp_path: Path) -> None:
    rolled = _faulty(tmp_path, lambda move: move == 25)
    _train(rolled)
    good = _faulty(tmp_path, lambda move: False)
    _train(good, stop=20)
    good.state.rate_scale /= 2
    _train(good)
    assert different({**_last(good), "rollbacks": 1}, _last(rolled)) == []


def test_after_three_rollbacks_the_run_stops_and_says_so(tmp_path: Path) -> None:
    opened = _faulty(tmp_path, lambda move: move > 25)
    with pytest.raises(GantoolError, match="NaN or infinite at step 21, after 3 rollbacks") as caught:
        _train(opened)
    assert caught.value.hint == (
        f"The last good checkpoint is {opened.run.checkpoint(20)}. Start a new run with a smaller --learning-rate."
    )
    events = metrics_log.read_events(opened.run)
    rates = [(event["rollbacks"], event["learning_rates"]["generator"]) for event in events]
    assert rates == [(1, 1e-4), (2, 5e-5), (3, 2.5e-5)]
    assert opened.run.read().status == "failed"


def test_a_resume_keeps_the_rates_and_the_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = nan_game(lambda move: move in (15, 40))
    opened = start(faulty, tmp_path, tick=10, on_nan="rollback")
    _train(opened, stop=21)
    assert opened.info.rollbacks == 1
    monkeypatch.setattr(registry, "find", lambda name: faulty)
    resumed = session.resume(opened.run)
    assert (_rates(resumed), resumed.info.rollbacks, resumed.info.on_nan) == ({1e-4}, 1, "rollback")
    assert "(rollback 2 of 3)" in _train(resumed).notes[0]
    assert _rates(resumed) == {5e-5}
    assert [event["rollbacks"] for event in metrics_log.read_events(resumed.run)] == [1, 2]
    assert resumed.info.status == "finished"


def test_a_stopped_run_can_be_resumed_with_rollback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = nan_game(lambda move: move in (15, 25))
    opened = start(faulty, tmp_path, tick=10)
    with pytest.raises(GantoolError):
        _train(opened)
    monkeypatch.setattr(registry, "find", lambda name: faulty)
    resumed = session.resume(opened.run, on_nan="rollback")
    _train(resumed)
    assert (resumed.run.read().on_nan, resumed.run.read().rollbacks) == ("rollback", 1)


@pytest.mark.parametrize("on_nan", ["stop", "rollback"])
def test_before_the_first_checkpoint_there_is_nothing_to_go_back_to(on_nan: str, tmp_path: Path) -> None:
    opened = _faulty(tmp_path, lambda move: move == 5, on_nan=on_nan)
    with pytest.raises(GantoolError, match=r"at step 5\b.* before the first checkpoint") as caught:
        _train(opened)
    assert "Resume" not in caught.value.hint
    assert opened.run.checkpoints() == []


def test_a_damaged_checkpoint_is_passed_over_and_what_came_after_the_good_one_forgotten(tmp_path: Path) -> None:
    def bad(move: int) -> bool:
        if move == 25:
            newest = opened.run.checkpoint(20)
            newest.write_bytes(newest.read_bytes()[:1000])
        return move == 25

    opened = _faulty(tmp_path, bad)
    listener = _train(opened)
    assert "step-00000020.pt is damaged" in listener.notes[0]
    assert "back to step 10" in listener.notes[1]
    assert _steps(opened) == [10, 20, 30, 40]
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


@pytest.mark.parametrize("slower", [4.0, 0.25])
def test_a_time_budget_holds_when_the_machine_becomes_faster_or_slower(
    slower: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    class Clock(Silent):
        def stepped(self, step: int) -> None:
            now[0] += 1.0 if step <= 30 else slower

    listener = Clock()
    opened = start("mlp", tmp_path, steps=10**6, tick=250, widths=(4,), latent_dim=2)
    assert loop.train(opened.state, opened.run, opened.info, listener, budget=100.0) == "finished"
    assert now[0] == pytest.approx(100, rel=0.15)
    assert any("the speed has changed" in note for note in listener.notes)
    assert opened.info.steps == opened.state.step == pytest.approx(30 + 70 / slower, rel=0.2)


def test_a_budget_for_a_small_part_of_the_recipe_says_so(tmp_path: Path) -> None:
    listener = Silent()
    opened = start("mlp", tmp_path, steps=10**9, widths=(4,), latent_dim=2)
    loop.train(opened.state, opened.run, opened.info, listener, budget=0.3)
    assert any("0% of this recipe's 1,000,000,000, so samples will be rough" in note for note in listener.notes)
