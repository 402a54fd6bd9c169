"""gantool.exporting.export_run: a run becomes files, its averaged generator and no other."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.trainings import run_until
from torch import Tensor, nn

from gantool import exporting
from gantool.artifact.inspection import inspect
from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Recipe, SampleSpec
from gantool.plugin.game import Game
from gantool.plugin.train_options import TrainOptions
from gantool.run import checkpoint
from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.system.terminal import status
from gantool.training import session


def test_everything_that_fits_goes_to_the_export_folder_of_the_run(exported_run: RunDir) -> None:
    names = {path.name for path in exported_run.export.iterdir()}
    assert names == {exporting.FILES[kind] + end for kind in exporting.USUAL for end in ("", ".json")}


def test_the_manifest_tells_where_the_generator_came_from(exported_run: RunDir) -> None:
    info, described = exported_run.read(), inspect(exported_run.export / "generator.onnx").manifest
    assert described.architecture["name"] == "mlp"
    assert described.architecture["plugin"] == "gantool"
    assert described.architecture["config"] == info.config
    assert described.training["run"] == "0001-tiny"
    assert described.training["step"] == 2
    assert described.training["recipe"] == info.recipe
    assert described.data["fingerprint"] == info.data.fingerprint
    assert described.licence == info.data.licence != ""


def test_the_files_hold_the_averaged_weights(exported_run: RunDir) -> None:
    state = checkpoint.load(exported_run.latest_checkpoint())
    architecture = registry.find("mlp").architecture
    assert architecture is not None
    config = architecture.config(**exported_run.read().config)
    generator = architecture.build(config, SampleSpec((1, 8, 8)), Recipe()).generator
    generator.load_state_dict(state["ema"])
    runtime = Generator(exported_run.export / "generator.onnx")
    z = runtime.latents(5, seed=3)
    with torch.no_grad():
        wanted = generator(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(runtime.from_latents(z), wanted, atol=1e-6)


def test_kinds_and_folder_can_be_chosen(run: RunDir, tmp_path: Path) -> None:
    (made,) = exporting.export_run(run, ["onnx"], tmp_path / "elsewhere")
    assert made.path == tmp_path / "elsewhere" / "generator.onnx"
    assert not run.export.exists()


class Drawn(nn.Module):
    """Holds what no checkpoint does: a buffer that isn't persistent, and a tensor as a plain attribute."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.noise: Tensor
        self.register_buffer("noise", torch.randn(1, 8, 8), persistent=False)
        self.offset = torch.randn(1, 8, 8)

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = (self.inner(z) + self.noise + self.offset).tanh()
        return images


def test_what_build_draws_is_what_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlp = registry.find("mlp")
    assert mlp.architecture is not None
    honest = mlp.architecture.build

    def build(config: Any, spec: SampleSpec, recipe: Recipe) -> Game:
        game = honest(config, spec, recipe)
        generator = Drawn(game.generator)
        player = dataclasses.replace(game.players[0], modules={"generator": generator})
        return dataclasses.replace(game, generator=generator, players=(player, *game.players[1:]))

    drawn = dataclasses.replace(mlp, architecture=dataclasses.replace(mlp.architecture, build=build))
    monkeypatch.setattr(registry, "find", lambda name: drawn)
    small = {"widths": (8,), "latent_dim": 4, "batch_size": 4, "steps": 2}
    opened = session.start(drawn, small, TrainOptions(size=8, seed=5, device="cpu", runs=tmp_path, name="drawn"))
    run_until(opened)
    (made,) = exporting.export_run(opened.run, ["onnx"])
    runtime = Generator(made.path)
    z = runtime.latents(5, seed=3)
    with torch.no_grad():
        trained = opened.state.sampling_generator()(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(runtime.from_latents(z), trained, atol=1e-5)


def test_a_run_without_a_checkpoint(run: RunDir) -> None:
    shutil.rmtree(run.path / "checkpoints")
    with pytest.raises(GantoolError, match="has no checkpoint"):
        exporting.export_run(run)


def test_a_damaged_checkpoint_is_named(run: RunDir) -> None:
    path = run.latest_checkpoint()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(GantoolError, match=f"checkpoint {path} is damaged"):
        exporting.export_run(run)
    assert not run.export.exists()


def test_a_checkpoint_of_other_networks_is_refused(run: RunDir) -> None:
    info = run.read()
    info.config["widths"] = [9]
    run.write(info)
    with pytest.raises(GantoolError, match="does not fit the architecture 'mlp'"):
        exporting.export_run(run)


def test_a_run_of_a_plugin_that_is_gone(run: RunDir) -> None:
    info = run.read()
    info.architecture = "mlpp"
    run.write(info)
    with pytest.raises(GantoolError, match="no architecture 'mlpp'"):
        exporting.export_run(run)


def test_each_file_and_check_is_named_where_a_status_is_open(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    exporting.export_run(run, ["onnx"])
    assert capsys.readouterr() == ("", "")
    with status(every=0):
        exporting.export_run(run, ["onnx", "onnx-seeded", "torchscript"])
    said = capsys.readouterr().err
    for name in ("generator.onnx", "generator.seeded.onnx", "generator.torchscript.pt"):
        assert f"writing {name}" in said
    for name in ("generator.onnx", "generator.seeded.onnx"):
        assert f"comparing {name} with PyTorch" in said
        assert f"making the golden samples of {name}" in said
