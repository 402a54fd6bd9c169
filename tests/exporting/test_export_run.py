"""gantool.exporting.export_run: a run becomes files, its averaged generator and no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from gantool import exporting
from gantool.artifact.inspection import inspect
from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import SampleSpec
from gantool.run import checkpoint
from gantool.run.rundir import RunDir
from gantool.runtime import Generator


@pytest.fixture
def run(exported_run: RunDir, tmp_path: Path) -> RunDir:
    """A copy to spoil, not exported yet."""
    copy = RunDir(tmp_path / "runs" / exported_run.name)
    shutil.copytree(exported_run.path, copy.path, ignore=shutil.ignore_patterns("export"))
    return copy


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
    generator = architecture.build(config, SampleSpec((1, 8, 8))).generator
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
