"""Starting from other weights, freezing layers, and resuming with another rate or batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_r1
from support.trainings import different, run_until, start
from torch import Tensor

from gantool.errors import ArgumentError, GantoolError
from gantool.plugin.architecture import Recipe, SampleSpec
from gantool.run import checkpoint
from gantool.run.rundir import RunDir
from gantool.training import finetune, session
from gantool.training.session import Session


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """An mlp of 20 steps."""
    opened = start("mlp", tmp_path_factory.mktemp("origin"), steps=20)
    run_until(opened)
    return opened.run


def _weights(opened: Session) -> dict[str, Tensor]:
    modules = opened.state.game.modules()
    return {f"{name}.{key}": t.clone() for name, m in modules.items() for key, t in m.state_dict().items()}


@pytest.mark.parametrize("what", ["run", "file"])
def test_all_that_fits_is_taken_and_the_optimizers_begin_anew(what: str, origin: RunDir, tmp_path: Path) -> None:
    source = origin.path if what == "run" else origin.latest_checkpoint()
    opened = start("mlp", tmp_path, init_from=str(source), seed=5)
    saved = checkpoint.load(origin.latest_checkpoint())
    for name, module in opened.state.game.modules().items():
        assert different(module.state_dict(), saved["modules"][name]) == []
    assert opened.state.ema is not None
    assert different(opened.state.ema.module.state_dict(), saved["ema"]) == []
    assert not any(made.torch.state for made in opened.state.optimizers.values())
    count = len(_weights(opened))
    assert f"{count} of {count} tensors come from {source}" in opened.notes
    assert (opened.state.step, opened.info.init_from) == (0, str(source))
    assert run_until(opened) == "finished"


def test_what_does_not_fit_is_named_and_begins_anew(origin: RunDir, tmp_path: Path) -> None:
    opened = start("mlp", tmp_path, init_from=str(origin.path), widths=(16, 30), seed=5)
    fresh = start("mlp", tmp_path, widths=(16, 30), seed=5)
    saved = {
        f"{name}.{key}": tensor
        for name, state in checkpoint.load(origin.latest_checkpoint())["modules"].items()
        for key, tensor in state.items()
    }
    begun = _weights(fresh)
    fits = {name for name, tensor in begun.items() if saved[name].shape == tensor.shape}
    assert 0 < len(fits) < len(begun)
    for name, tensor in _weights(opened).items():
        assert torch.equal(tensor, saved[name] if name in fits else begun[name]), name
    (note,) = (note for note in opened.notes if "tensors come from" in note)
    assert note.startswith(f"{len(fits)} of {len(begun)} tensors come from {origin.path}; these begin anew: ")
    assert next(name for name in begun if name not in fits) in note


def test_weights_of_which_nothing_fits_are_refused(origin: RunDir, tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=r"Nothing of .* fits"):
        start("dcgan", tmp_path, init_from=str(origin.path))
    with pytest.raises(GantoolError, match="no run 'nowhere'"):
        start("mlp", tmp_path, init_from="nowhere")
    assert not list((tmp_path / "runs").glob("*"))


def test_frozen_layers_stay_as_they_are_also_after_a_resume(origin: RunDir, tmp_path: Path) -> None:
    given: dict[str, Any] = {"init_from": str(origin.path), "freeze_d": 1}
    opened = start("mlp", tmp_path, **given)
    before = _weights(opened)
    run_until(opened, stop=20)
    resumed = session.resume(opened.run)
    run_until(resumed)
    changed = {name for name, tensor in _weights(resumed).items() if not torch.equal(tensor, before[name])}
    judged = [name for name in before if name.startswith("discriminator.")]
    kept = [name for name in judged if name not in changed]
    first = judged[0].rpartition(".")[0]
    assert kept == [f"{first}.weight", f"{first}.bias"]
    whole = start("mlp", tmp_path, **given)
    run_until(whole)
    assert (
        different(checkpoint.load(whole.run.latest_checkpoint()), checkpoint.load(resumed.run.latest_checkpoint()))
        == []
    )


def test_a_lazy_regulariser_freezes_no_more_layers() -> None:
    architecture = tiny_r1.gantool_architectures()[0]
    game = architecture.build(tiny_r1.Config(), SampleSpec((1, 8, 8)), Recipe())
    finetune.freeze(game, 1)
    judge = game.players[0].modules["discriminator"]
    assert [p.requires_grad for p in judge.parameters()] == [False, False, True, True]


def test_freezing_needs_weights_and_leaves_something_to_train(origin: RunDir, tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="have learned nothing"):
        start("mlp", tmp_path, freeze_d=1)
    with pytest.raises(GantoolError, match="--freeze-d 3 leaves nothing to train: player discriminator has 3 layers"):
        start("mlp", tmp_path, freeze_d=3, init_from=str(origin.path))


def test_a_resume_takes_the_rate_and_the_batch_size_that_are_asked_for(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path)
    run_until(opened, stop=20)
    rate = opened.info.recipe["learning_rate"]
    opened.state.rate_scale = 0.5  # as a rollback leaves it
    saved = checkpoint.load(opened.run.latest_checkpoint())
    checkpoint.save(opened.run.latest_checkpoint(), {**saved, "rate_scale": 0.5})
    same = session.resume(opened.run, learning_rate=rate)
    assert same.state.optimizers["generator"].torch.param_groups[0]["lr"] == rate / 2
    del same
    resumed = session.resume(opened.run, learning_rate=1e-5, batch_size=4)
    seen = resumed.state.sampler.seen
    assert run_until(resumed) == "finished"
    assert {m.optimizer.param_groups[0]["lr"] for m in resumed.state.movers} == {1e-5}
    assert resumed.state.sampler.seen == seen + 4 * 20
    recipe = resumed.run.read().recipe
    assert (recipe["learning_rate"], recipe["batch_size"]) == (1e-5, 4)
    with pytest.raises(ArgumentError, match="--betas can't change when a run is resumed"):
        session.resume(opened.run, betas=(0.5, 0.9))
