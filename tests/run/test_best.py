"""`--keep-best`: the best checkpoint by a figure of its tick stays, whatever happens to the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.inprocess import Run
from support.trainings import Silent, plugin, run_until, save_npz, start, tiny_game

from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import SampleSpec
from gantool.plugin.game import Batch, Game, Loss, Player
from gantool.plugin.registry import Plugin
from gantool.run import best, checkpoint, metrics_log
from gantool.run.rundir import RunDir
from gantool.training import loop, session

# the generator's measure in ticks of 5 steps: 3, 1, 4, 1, 5, 9, 2, 6
VALUES = (3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0)
KEY = "measure.generator.quality"


def _scored(bad: int = 0) -> Plugin:
    """The tiny game whose generator has the quality VALUES[n] in tick n of 5 steps, and a NaN in its move `bad`."""

    def build(spec: SampleSpec) -> Game:
        game = tiny_game(spec)
        judge, maker = game.players
        clock = torch.nn.Module()
        clock.register_buffer("moves", torch.zeros((), dtype=torch.int64))
        total = 0

        def loss(batch: Batch) -> Loss:
            nonlocal total
            total += 1
            value = maker.loss(batch).terms["adversarial"]
            quality = torch.tensor(VALUES)[clock.moves // 5]
            clock.moves += 1
            return Loss({"adversarial": value * torch.nan if total == bad else value}, {"quality": quality})

        player = Player(maker.name, maker.role, {**maker.modules, "clock": clock}, loss, maker.draws)
        return Game(game.generator, (judge, player), game.inputs, game.data, game.output)

    return plugin(build)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    found = _scored()
    monkeypatch.setattr(registry, "find", lambda name: found)
    return found


@pytest.fixture
def cli(cli: Run, here: Path) -> Run:
    save_npz(here / "noise.npz")
    return cli


def _steps(run: RunDir) -> list[int]:
    return [run.step_of(path) for path in run.checkpoints()]


def _start(scored: Plugin, folder: Path, goal: str = f"{KEY}:max", **given: Any) -> session.Session:
    return start(scored, folder, **{"tick": 5, "keep": 1, "keep_best": goal, **given})


@pytest.mark.parametrize(
    ("goal", "wanted"),
    [(f"{KEY}:max", [30, 40]), (f"{KEY}:min", [10, 40]), ("", [40]), ("none", [40])],
)
def test_the_best_stays_beside_the_newest(goal: str, wanted: list[int], scored: Plugin, tmp_path: Path) -> None:
    opened = _start(scored, tmp_path, goal)
    run_until(opened)
    assert _steps(opened.run) == wanted  # of two equals, the first
    assert best.best(opened.run, opened.run.read()) == (wanted[0] if len(wanted) > 1 else None)


def test_at_every_moment_only_the_best_so_far_is_kept(scored: Plugin, tmp_path: Path) -> None:
    opened = _start(scored, tmp_path)
    seen = []

    class Looking(Silent):
        def ticked(self, record: dict[str, float]) -> None:
            seen.append(_steps(opened.run))

    loop.train(opened.state, opened.run, opened.info, Looking())
    assert seen == [[5], [5, 10], [15], [15, 20], [25], [30], [30, 35], [30, 40]]


@pytest.mark.parametrize("stop", [10, 13, 30, 35])
def test_a_resume_goes_on_keeping_it(stop: int, scored: Plugin, tmp_path: Path) -> None:
    opened = _start(scored, tmp_path)
    run_until(opened, stop=stop)
    run_until(session.resume(opened.run))
    assert _steps(opened.run) == [30, 40]


@pytest.mark.parametrize("moment", ["save", "prune"])
@pytest.mark.parametrize("tick", [1, 2, 5, 6])
def test_a_kill_around_a_checkpoint_loses_no_best(
    moment: str, tick: int, scored: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _start(scored, tmp_path)
    calls, real = 0, getattr(checkpoint, moment)

    def killed(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > tick:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(checkpoint, moment, killed)
    with pytest.raises(KeyboardInterrupt):
        run_until(opened)
    monkeypatch.setattr(checkpoint, moment, real)
    run_until(session.resume(opened.run))
    assert _steps(opened.run) == [30, 40]


def test_a_rollback_keeps_the_best_and_does_not_go_back_to_it(tmp_path: Path) -> None:
    opened = _start(_scored(bad=38), tmp_path, on_nan="rollback")
    run_until(opened)
    assert metrics_log.read_events(opened.run)[0]["step"] == 35
    assert _steps(opened.run) == [30, 40]


def test_values_that_are_no_numbers_are_never_the_best(scored: Plugin, tmp_path: Path) -> None:
    opened = _start(scored, tmp_path, keep=9)
    run_until(opened)
    lines = metrics_log.read_metrics(opened.run)
    lines[5][KEY], lines[4][KEY], lines[0][KEY] = float("nan"), float("inf"), None
    del lines[7][KEY]
    opened.run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert best.best(opened.run, opened.info) == 15


# --- refusals


@pytest.mark.parametrize(
    ("goal", "message", "hint"),
    [
        ("sharpness", "no tick records 'sharpness'", "Use diversity, frechet, loss."),
        ("seconds", "no tick records 'seconds'", "Use diversity"),
        ("diversity:most", "there is no direction 'most'", "diversity:max or diversity:min"),
        ("measure.generator.quality", "nothing says whether more", f"{KEY}:max or {KEY}:min"),
        ("loss.critic.real", "no player 'critic'", "loss.discriminator.…, loss.generator.…"),
    ],
)
def test_what_no_tick_will_record_is_refused_before_there_is_a_run(
    goal: str, message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(GantoolError) as caught:
        start("mlp", tmp_path, keep_best=goal)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert not (tmp_path / "runs").exists()


def test_an_unknown_term_is_refused_at_the_first_tick_with_all_that_there_are(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path, keep_best="loss.generator.total")
    with pytest.raises(GantoolError, match=r"does not record 'loss\.generator\.total'") as caught:
        run_until(opened)
    for key in ("loss.generator.adversarial", "measure.discriminator.accuracy_real", "diversity"):
        assert key in caught.value.hint
    assert opened.run.checkpoints() == []


def test_a_player_that_has_not_moved_yet_is_waited_for(tmp_path: Path) -> None:
    def build(spec: SampleSpec) -> Game:
        game = tiny_game(spec)
        judge, maker = game.players
        lazy = Player("lazy", "generator", maker.modules, maker.loss, maker.draws, every=8)
        return Game(game.generator, (judge, maker, lazy), game.inputs, game.data, game.output)

    opened = start(plugin(build), tmp_path, tick=4, steps=24, keep=1, keep_best="loss.lazy.adversarial")
    run_until(opened)
    values = {
        r["step"]: r["loss.lazy.adversarial"]
        for r in metrics_log.read_metrics(opened.run)
        if "loss.lazy.adversarial" in r
    }
    assert set(values) == {4, 12, 20}
    assert _steps(opened.run)[0] == min(values, key=lambda step: values[step])


# --- on resume


def test_it_can_be_changed_when_a_run_is_resumed(scored: Plugin, tmp_path: Path) -> None:
    opened = _start(scored, tmp_path, "", keep=2)
    run_until(opened, stop=15)
    assert _steps(opened.run) == [10, 15]
    run_until(session.resume(opened.run, keep_best=f"{KEY}:min", steps=25))
    assert _steps(opened.run) == [10, 20, 25]
    assert opened.run.read().keep_best == f"{KEY}:min"
    run_until(session.resume(opened.run, keep_best="none", steps=30))
    assert _steps(opened.run) == [25, 30]
    with pytest.raises(GantoolError, match=r"does not record 'loss\.generator\.x'"):
        session.resume(opened.run, keep_best="loss.generator.x")
    assert opened.run.read().keep_best == ""


# --- export


def test_export_takes_the_best_or_any_other_step(cli: Run) -> None:
    tiny = ("--data", "noise.npz", "--widths", 8, "--batch-size", 8, "--device", "cpu", "--tick", 5, "--steps", 20)
    code, out, err = cli("train", "mlp", *tiny, "--keep", 1, "--keep-best", "loss.generator.adversarial")
    assert code == 0, err
    run = RunDir(Path("runs/0001-mlp-noise"))
    step = _steps(run)[0]
    assert len(_steps(run)) == 2
    assert f"best     {run.checkpoint(step)} by loss.generator.adversarial" in out
    for wanted in ("best", str(step)):
        code, _, err = cli("export", 1, "--onnx", "--step", wanted, "-o", f"out-{wanted}")
        assert code == 0, err
        manifest = json.loads(Path(f"out-{wanted}/generator.onnx.json").read_text())
        assert manifest["training"]["step"] == step
    code, _, err = cli("export", 1, "--step", "7")
    assert (code, err.splitlines()[-2:]) == (
        1,
        [f"Error: The run {run.path} has no checkpoint '7'.", f"It has: {step}, 20, best."],
    )


def test_a_run_without_a_best_says_how_to_have_one(cli: Run, tmp_path: Path) -> None:
    run_until(start("mlp", tmp_path, steps=1))
    code, _, err = cli("export", 1, "--step", "best")
    assert code == 1
    assert "is known as its best" in err
    assert "Train with --keep-best METRIC" in err


# --- the Fréchet distance


def test_frechet_is_measured_at_every_tick_and_a_resume_measures_the_same(cli: Run) -> None:
    tiny = ("--data", "noise.npz", "--widths", 8, "--batch-size", 8, "--device", "cpu", "--tick", 5)
    for name in ("whole", "parts"):
        steps = 15 if name == "whole" else 10
        code, _, err = cli("train", "mlp", *tiny, "--steps", steps, "--keep-best", "frechet", "--name", name)
        assert code == 0, err
    assert cli("train", "mlp", "--resume", 2, "--steps", 15)[0] == 0
    whole, parts = (RunDir(Path("runs") / name) for name in ("0001-whole", "0002-parts"))
    figures = [record["frechet"] for record in metrics_log.read_metrics(whole)]
    assert len(figures) == 3
    assert all(figure > 0 for figure in figures)
    assert figures == [record["frechet"] for record in metrics_log.read_metrics(parts)]
    assert (whole.read().extractor, whole.read().keep_best) == ("pixels", "frechet")
    assert best.best(whole, whole.read()) == 5 * (1 + figures.index(min(figures)))


def test_frechet_of_something_else_than_the_data_is_refused(tmp_path: Path) -> None:
    def build(spec: SampleSpec) -> Game:
        small = SampleSpec((1, 8, 8))
        game = tiny_game(small)
        real = tiny_game(spec).data  # of the size that the data has
        return Game(game.generator, game.players, game.inputs, real, small)

    with pytest.raises(GantoolError, match="the generator makes 1×8×8 and the data are 1×16×16"):
        start(plugin(build), tmp_path, keep_best="frechet")
    assert not (tmp_path / "runs").exists()
