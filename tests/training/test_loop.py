"""The shared loop: what a tick leaves behind, and how it stops when numbers go bad."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.trainings import Silent, TinyGenerator, plugin, run_until, start, tiny_game, tiny_state
from torch import Tensor, nn

from gantool.artifact import latents, pictures
from gantool.errors import GantoolError
from gantool.plugin.architecture import SampleSpec
from gantool.plugin.game import Batch, Game, Loss, Player
from gantool.run import checkpoint, curves, metrics_log
from gantool.training import loop, session


class Clocked(TinyGenerator):
    """A generator that counts its player's moves in a buffer, so that a fault can be planted at a known one."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__(spec)
        self.register_buffer("moves", torch.zeros(()))


def _planted(
    loss: Callable[[Tensor, Tensor], Tensor] = lambda moves, value: value,
    after_step: Callable[[Clocked], None] = lambda generator: None,
) -> Callable[[SampleSpec], Game]:
    """The tiny game whose generator's loss and after_step know the number of its move: 1, 2, …"""

    def build(spec: SampleSpec) -> Game:
        generator = Clocked(spec)
        game = tiny_game(spec, generator)
        judge, maker = game.players

        def planted(batch: Batch) -> Loss:
            generator.moves += 1
            return Loss({"adversarial": loss(generator.moves, maker.loss(batch).terms["adversarial"])})

        mover = Player(
            maker.name, maker.role, maker.modules, planted, maker.draws, after_step=lambda: after_step(generator)
        )
        return Game(generator, (judge, mover), game.inputs, game.data, game.output)

    return build


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_loss_gone_bad_stops_the_run_and_names_the_step_and_the_term(bad: float, tmp_path: Path) -> None:
    build = _planted(loss=lambda moves, value: value * torch.where(moves == 25, bad, 1.0))
    opened = start(plugin(build), tmp_path, steps=60, tick=10)
    with pytest.raises(GantoolError) as caught:
        run_until(opened)
    assert "loss.generator.adversarial became NaN or infinite at step 25" in caught.value.message
    assert f"The last good checkpoint is {opened.run.checkpoint(20)}" in caught.value.hint
    assert "--learning-rate" in caught.value.hint

    assert opened.run.read().status == "failed"
    assert opened.run.read().step == 20
    assert opened.run.latest_checkpoint() == opened.run.checkpoint(20)
    saved = checkpoint.load(opened.run.checkpoint(20))
    tiny_state(build=build).load_state_dict(saved)
    weights = [tensor for module in saved["modules"].values() for tensor in module.values()]
    assert all(bool(tensor.isfinite().all()) for tensor in weights)
    assert [record["step"] for record in metrics_log.read_metrics(opened.run)] == [10, 20]


def test_a_loss_gone_bad_before_the_first_checkpoint_is_said_so(tmp_path: Path) -> None:
    opened = start(plugin(_planted(loss=lambda moves, value: value * torch.nan)), tmp_path, tick=10)
    with pytest.raises(GantoolError, match=r"at step 1\b.* before the first checkpoint"):
        run_until(opened)
    assert opened.run.checkpoints() == []


def test_infinite_weights_are_found_though_the_losses_were_finite(tmp_path: Path) -> None:
    def blow_up(generator: Clocked) -> None:
        if generator.moves == 20:
            generator.linear.bias[3] = torch.inf

    opened = start(plugin(_planted(after_step=blow_up)), tmp_path, steps=60, tick=10)
    with pytest.raises(GantoolError, match="the weights of the generator became NaN or infinite by step 20"):
        run_until(opened)
    assert opened.run.latest_checkpoint() == opened.run.checkpoint(10)


def test_a_bug_in_a_plugin_keeps_its_own_error_and_marks_the_run_failed(tmp_path: Path) -> None:
    def fail(moves: Tensor, value: Tensor) -> Tensor:
        raise ZeroDivisionError("the plugin's own")

    opened = start(plugin(_planted(loss=fail)), tmp_path)
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


def test_a_tick_leaves_metrics_samples_and_a_checkpoint_and_keeps_the_last_two(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path, steps=50)
    assert run_until(opened) == "finished"
    run = opened.run
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [record["step"] for record in records] == [20, 40, 50]  # the last step is a tick too
    assert [path.name for path in run.checkpoints()] == ["step-00000040.pt", "step-00000050.pt"]
    assert [run.sample(step).is_file() for step in (20, 40, 50)] == [True] * 3
    assert records[-1]["images"] == 50 * 8
    assert records[-1]["epoch"] == 8.0
    assert all(np.isfinite(value) for record in records for value in record.values())
    assert run.read().status == "finished"
    assert run.read().step == 50
    assert not [path for path in run.path.rglob("*") if path.suffix == ".tmp"]


def test_a_sample_grid_is_the_averaged_generator_on_the_latents_of_seed_0(tmp_path: Path) -> None:
    opened = start("dcgan", tmp_path, steps=5)
    run_until(opened)
    z = latents.draw({"z": (5,)}, 0, np.arange(loop.SAMPLES, dtype=np.int64))["z"]
    with torch.no_grad():
        images = opened.state.sampling_generator()(torch.from_numpy(z))
    wanted = pictures.grid(pictures.to_pictures(images.numpy()))
    with Image.open(opened.run.sample(5)) as drawn:
        assert drawn.format == "PNG"
        assert np.array_equal(np.asarray(drawn), np.asarray(wanted))


def test_curves_are_a_picture_of_losses_and_measures(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path)
    run_until(opened)
    curves.draw(opened.run, metrics_log.read_metrics(opened.run))
    with Image.open(opened.run.curves) as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 0
        both = picture.height
    lonely = [{"step": 1, "loss.generator.x": 0.5}]
    curves.draw(opened.run, lonely)
    with Image.open(opened.run.curves) as picture:
        assert picture.height < both


def test_curves_show_a_player_that_is_not_in_the_last_record(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path)
    always = [{"step": 1, "loss.a.x": 0.5}, {"step": 2, "loss.a.x": 0.6}]
    seldom = [{**always[0], "measure.b.y": 0.1}, always[1]]
    heights = []
    for records in (always, seldom):
        curves.draw(opened.run, records)
        with Image.open(opened.run.curves) as picture:
            heights.append(picture.height)
    assert heights[1] > heights[0]


def test_nothing_is_drawn_without_records(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path)
    curves.draw(opened.run, [])
    assert not opened.run.curves.exists()


class _Recorder(nn.Module):
    """A weight whose player notes when it moves."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))


def _game_of(spec: SampleSpec, moved: list[str], **changes: dict[str, int]) -> Game:
    generator, other = TinyGenerator(spec), _Recorder()

    def note(name: str, module: nn.Module) -> Callable[[Batch], Loss]:
        def loss(batch: Batch) -> Loss:
            moved.append(name)
            assert [p.requires_grad for p in module.parameters()] == [True] * len(list(module.parameters()))
            frozen = other if module is generator else generator
            assert not any(p.requires_grad for p in frozen.parameters())
            return Loss({"x": sum((p.square().sum() for p in module.parameters()), torch.zeros(()))})

        return loss

    game = tiny_game(spec)
    players = (
        Player("judge", "discriminator", {"m": other}, note("judge", other), ("real",), **changes.get("judge", {})),
        Player("maker", "generator", {"m": generator}, note("maker", generator), ("z",), **changes.get("maker", {})),
    )
    return Game(generator, players, game.inputs, game.data, game.output)


@pytest.mark.parametrize(
    ("changes", "recipe_steps", "wanted"),
    [
        ({}, 1, "judge maker judge maker judge maker judge maker"),
        ({}, 2, "judge judge maker judge judge maker judge judge maker judge judge maker"),
        ({"judge": {"steps": 1}}, 5, "judge maker judge maker judge maker judge maker"),
        ({"judge": {"every": 3}}, 1, "judge maker maker maker judge maker"),
        ({"maker": {"steps": 2, "every": 2}}, 1, "judge maker maker judge judge maker maker judge"),
    ],
)
def test_players_move_in_turn_as_often_as_they_say(
    changes: dict[str, dict[str, int]], recipe_steps: int, wanted: str
) -> None:
    moved: list[str] = []
    state = tiny_state(build=lambda spec: _game_of(spec, moved, **changes), discriminator_steps=recipe_steps)
    for _ in range(4):
        loop.iterate(state)
    assert " ".join(moved) == wanted
    assert state.step == 4


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


def test_the_listener_hears_what_is_written(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path)
    listener = Silent()
    loop.train(opened.state, opened.run, opened.info, listener)
    assert listener.records == metrics_log.read_metrics(opened.run)
