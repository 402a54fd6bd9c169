"""`--tensorboard`: what it leaves is read back with TensorBoard's own reader."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import environment
from support.inprocess import Run
from support.trainings import save_npz
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gantool.run import metrics_log
from gantool.run.rundir import RunDir

TINY = ("--data", "noise.npz", "--widths", 8, "--batch-size", 8, "--device", "cpu", "--tick", 5)


@pytest.fixture
def cli(cli: Run, here: Path) -> Run:
    save_npz(here / "noise.npz")
    return cli


def _board(run: RunDir) -> EventAccumulator:
    return EventAccumulator(str(run.path / "tensorboard")).Reload()


def _train(cli: Run, *arguments: object) -> RunDir:
    code, out, err = cli("train", "mlp", *arguments)
    assert code == 0, err
    run = RunDir(Path("runs/0001-mlp-noise"))
    assert f"tensorboard --logdir {run.path}/tensorboard" in out
    return run


def test_scalars_grids_and_settings_are_there(cli: Run) -> None:
    run = _train(cli, *TINY, "--steps", 15, "--tensorboard")
    board = _board(run)
    records = metrics_log.read_metrics(run)
    for key in ("loss.generator.adversarial", "measure.discriminator.accuracy_real", "diversity", "images_per_second"):
        events = board.Scalars(key.replace(".", "/", 1))
        assert [(e.step, e.value) for e in events] == [(r["step"], pytest.approx(r[key])) for r in records]
    grids = board.Images("samples")
    assert [grid.step for grid in grids] == [5, 10, 15]
    with Image.open(io.BytesIO(grids[-1].encoded_image_string)) as shown, Image.open(run.sample(15)) as drawn:
        assert np.array_equal(np.asarray(shown), np.asarray(drawn.convert("RGB")))
    (settings,) = (board.PluginTagToContent("hparams")["_hparams_/session_start_info"],)
    for words in (b"config.widths", b"recipe.learning_rate", b"[8]", b"mlp"):
        assert words in settings


def test_a_resume_goes_on_and_forgets_what_a_kill_left_behind(cli: Run) -> None:
    run = _train(cli, *TINY, "--steps", 15, "--tensorboard")
    run.checkpoint(15).unlink()  # as if the run had been killed before it was whole
    _train(cli, "--resume", 1, "--steps", 20, "--tick", 10)
    events = _board(run).Scalars("loss/generator.adversarial")
    records = metrics_log.read_metrics(run)
    assert [record["step"] for record in records] == [5, 10, 20]
    assert [(e.step, e.value) for e in events] == [
        (r["step"], pytest.approx(r["loss.generator.adversarial"])) for r in records
    ]


def test_it_can_be_turned_on_and_off_on_resume(cli: Run) -> None:
    assert cli("train", "mlp", *TINY, "--steps", 5)[0] == 0
    run = _train(cli, "--resume", 1, "--steps", 10, "--tensorboard")
    assert cli("train", "mlp", "--resume", 1, "--steps", 15, "--no-tensorboard")[0] == 0
    assert [event.step for event in _board(run).Scalars("diversity")] == [10]
    assert not run.read().tensorboard


def test_without_the_extra_the_pip_line_is_said_and_there_is_no_run(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else real(name, *rest)
    )
    code, _, err = cli("train", "mlp", *TINY, "--steps", 5, "--tensorboard")
    assert code == 1
    assert "needs TensorBoard, which is not installed" in err
    assert "pip install 'gantool[tensorboard]'" in err
    assert not Path("runs").exists()


def test_it_is_not_imported_unless_asked_for(tmp_path: Path) -> None:
    save_npz(tmp_path / "noise.npz")
    arguments = ["train", "mlp", *map(str, TINY), "--steps", "5"]
    code = (
        f"import sys; sys.argv = ['gantool', *{arguments}]\n"
        "from gantool.cli import main\ntry: main()\nfinally: print('tensorboard' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "False"
    assert not (tmp_path / "runs/0001-mlp-noise/tensorboard").exists()
