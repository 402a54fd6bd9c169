"""A run that was stopped, or killed, and resumed ends with the very bits of one that never was."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_r1, tiny_r3
from support.commands import TIMEOUT, gantool, start_gantool
from support.inprocess import Run
from support.trainings import Silent, different, needs_cuda, run_until, save_npz, start

from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.registry import Plugin
from gantool.run import checkpoint, metrics_log, rundir
from gantool.run.rundir import RunDir
from gantool.system import files
from gantool.training import loop, session

SLOW = ("sngan", "wgan-gp", "cgan-dcgan")  # their states are like those of others
GAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("mlp", {}),
    "dcgan": ("dcgan", {}),
    "cgan": ("cgan", {}),
    "cgan-dcgan": ("cgan", {"body": "dcgan"}),
    "sngan": ("sngan", {}),
    "wgan-gp": ("wgan", {}),
    "wgan-clip": ("wgan", {"loss": "clip", "optimizer": "rmsprop"}),
    "lazy": ("tiny-r1", {}),
    "scheduled": ("tiny-r3", {}),
    "r3gan": ("r3gan", {}),
    "stylegan2": ("stylegan2", {"mixing": 0.9}),
    "no average": ("mlp", {"ema_decay": 0.0}),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[RunDir]:
    """An mlp of 40 steps that has finished, and one that was stopped at step 20."""
    folder = tmp_path_factory.mktemp("trained")
    whole = start("mlp", folder)
    run_until(whole)
    half = start("mlp", folder)
    run_until(half, stop=20)
    return [whole.run, half.run]


def _copy(run: RunDir, folder: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(run.path, folder / run.name)))


@pytest.fixture
def finished(trained: list[RunDir], tmp_path: Path) -> RunDir:
    """A copy to spoil: finished at step 40, with checkpoints of 20 and 40."""
    return _copy(trained[0], tmp_path)


@pytest.fixture
def stopped(trained: list[RunDir], tmp_path: Path) -> RunDir:
    """A copy to spoil: stopped at step 20."""
    return _copy(trained[1], tmp_path)


def _final(run: RunDir) -> dict[str, Any]:
    return checkpoint.load(run.latest_checkpoint())


def _install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry has the tiny architectures, too."""
    made = [module.gantool_architectures()[0] for module in (tiny_r1, tiny_r3)]
    tiny = {found.name: Plugin(found.name, "tests", "1", found) for found in made}
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda name: tiny.get(name) or find(name))


@pytest.mark.parametrize("game", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in GAMES])
def test_stopped_and_resumed_is_bit_equal_to_never_stopped(
    game: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(monkeypatch)
    name, options = GAMES[game]
    whole = start(name, tmp_path, **options)
    assert run_until(whole) == "finished"

    half = start(name, tmp_path, **options)
    assert run_until(half, stop=20) == "interrupted"
    assert half.run.read().status == "interrupted"
    assert half.run.latest_checkpoint() == half.run.checkpoint(20)
    torch.manual_seed(999)  # whatever the process did meanwhile
    resumed = session.resume(half.run)
    assert resumed.state.step == 20
    assert run_until(resumed) == "finished"

    assert different(_final(whole.run), _final(resumed.run)) == []
    one, two = (metrics_log.read_metrics(run) for run in (whole.run, resumed.run))
    timing = ("seconds", "images_per_second")
    assert [{k: v for k, v in r.items() if k not in timing} for r in one] == [
        {k: v for k, v in r.items() if k not in timing} for r in two
    ]


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    one, two = start("mlp", tmp_path, seed=0, steps=1), start("mlp", tmp_path, seed=1, steps=1)
    run_until(one)
    run_until(two)
    assert "modules.generator.generator.layers.0.weight" in different(_final(one.run), _final(two.run))


def test_looking_on_more_often_changes_nothing(tmp_path: Path) -> None:
    often, seldom = start("dcgan", tmp_path, tick=3, steps=12), start("dcgan", tmp_path, tick=12, steps=12)
    run_until(often)
    run_until(seldom)
    assert different(_final(often.run), _final(seldom.run)) == []


def test_resuming_a_finished_run_goes_on_to_more_steps(finished: RunDir, tmp_path: Path) -> None:
    first = start("mlp", tmp_path, steps=20)
    run_until(first)
    resumed = session.resume(first.run, steps=40)
    run_until(resumed)
    assert different(_final(finished), _final(resumed.run)) == []
    with pytest.raises(GantoolError, match="is at step 40, beyond the 30 asked for"):
        session.resume(first.run, steps=30)


def test_a_process_killed_while_training_loses_only_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    save_npz(tmp_path / "noise.npz")
    options = ("--data", "noise.npz", "--widths", "16,24", "--batch-size", 8, "--device", "cpu", "--tick", 20)
    process = start_gantool("train", "mlp", *options, "--steps", 10**6, "--latent-dim", 5, cwd=tmp_path)
    run = RunDir(tmp_path / "runs/0001-mlp-noise")
    deadline = time.monotonic() + TIMEOUT
    while not run.checkpoints() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    killed_at = int(run.latest_checkpoint().stem.removeprefix("step-"))
    assert run.read().status == "running"

    resumed = gantool("train", "mlp", "--resume", 1, "--steps", killed_at + 20, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed at step {killed_at} of {killed_at + 20}" in resumed.stderr
    whole = start("mlp", tmp_path, steps=killed_at + 20)
    run_until(whole)
    assert run.latest_checkpoint() == run.checkpoint(killed_at + 20)
    assert different(_final(whole.run), _final(run)) == []
    steps = [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()]
    assert steps == list(range(20, killed_at + 21, 20))


def test_what_a_killed_run_wrote_after_its_checkpoint_is_forgotten(finished: RunDir) -> None:
    run = finished
    run.checkpoint(40).unlink()  # as if killed between the metrics of step 40 and its checkpoint
    with run.metrics.open("a") as file:
        file.write('{"step": 60, "loss.gen')
    resumed = session.resume(run)
    assert resumed.state.step == 20
    assert [record["step"] for record in metrics_log.read_metrics(run)] == [20]
    assert run.metrics.read_text().endswith("}\n")
    assert [path.name for path in sorted(run.sample(0).parent.iterdir())] == ["step-00000020.png"]


def test_resume_refuses_other_data_and_names_both(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path, steps=1)
    run_until(opened)
    moved = (tmp_path / "noise.npz").rename(tmp_path / "moved.npz")
    with pytest.raises(GantoolError, match=r"noise\.npz"):
        session.resume(opened.run)
    assert session.resume(opened.run, steps=2, data=str(moved)).info.data.source == str(moved)
    save_npz(moved, rows=49)
    with pytest.raises(GantoolError, match="is not what the run was trained on"):
        session.resume(opened.run, data=str(moved))


def test_resume_refuses_a_checkpoint_of_another_network(stopped: RunDir) -> None:
    info = stopped.read()
    info.config["widths"] = [7]
    stopped.write(info)
    with pytest.raises(GantoolError, match=r"does not fit the architecture 'mlp'") as caught:
        session.resume(stopped)
    assert "It was made with gantool" in caught.value.hint


def test_an_architecture_that_is_gone_names_what_to_install(stopped: RunDir) -> None:
    info = stopped.read()
    info.architecture, info.plugin, info.plugin_version = "gone", "gantool-gone", "1.2"
    stopped.write(info)
    message = r"no architecture 'gone'\. The run was made with gantool-gone 1\.2"
    with pytest.raises(GantoolError, match=message) as caught:
        session.resume(stopped)
    assert caught.value.hint == "Install it: pip install gantool-gone"


def test_an_architecture_that_is_broken_keeps_its_own_error(stopped: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "discover", lambda: [registry.Plugin("mlp", "gantool", "0", error="no such module")])
    with pytest.raises(GantoolError, match="is broken: no such module") as caught:
        session.resume(stopped)
    assert "pip install" not in caught.value.hint


@pytest.mark.parametrize(
    ("owner", "name"), [(Path, "unlink"), (Path, "replace"), (Path, "glob"), (Path, "touch"), (Path, "is_file")]
)
def test_a_run_that_may_not_be_written_is_named(
    owner: Any, name: str, finished: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished
    _truncate(run.checkpoint(40))  # to be set aside; the samples of its step, to be removed
    allowed = getattr(owner, name)

    def refuse(*arguments: Any, **options: Any) -> object:  # chmod would not stop root
        if name != "is_file" or arguments[0] == run.metrics:
            raise PermissionError(13, "Permission denied", str(run.path))
        return allowed(*arguments, **options)

    monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(GantoolError, match=r"0001-mlp-noise can't be written: .*Permission denied") as caught:
        session.resume(run)
    assert "--resume" in caught.value.hint


def test_metrics_that_are_no_text_are_cut_where_they_end(stopped: RunDir) -> None:
    with stopped.metrics.open("ab") as file:
        file.write(bytes(100) + b"\xff\n")
    session.resume(stopped)
    assert [record["step"] for record in metrics_log.read_metrics(stopped)] == [20]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _flip(path: Path) -> None:
    """One bit of one weight."""
    weight = checkpoint.load(path)["modules"]["generator.generator"]["layers.0.weight"]
    data = bytearray(path.read_bytes())
    data[data.index(weight.numpy().tobytes()) + 7] ^= 0x20
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_truncate, _flip])
def test_a_damaged_newest_checkpoint_is_noted_and_the_one_before_it_serves_exactly(
    damage: Callable[[Path], None], finished: RunDir
) -> None:
    wanted = _final(finished)
    newest = finished.latest_checkpoint()
    damage(newest)
    resumed = session.resume(finished)
    assert resumed.state.step == 20
    (note,) = resumed.notes
    assert "step-00000040.pt is damaged: " in note
    assert note.endswith(" step-00000020.pt is used instead.")
    assert newest.with_suffix(".damaged").is_file()
    run_until(resumed)
    assert different(wanted, _final(finished)) == []
    assert [record["step"] for record in metrics_log.read_metrics(finished)] == [20, 40]


def test_the_command_says_which_checkpoint_was_passed_over(finished: RunDir, cli: Run) -> None:
    _truncate(finished.latest_checkpoint())
    code, _, errors = cli("export", finished.path, "--onnx")
    assert code == 0
    assert "note: The checkpoint" in errors
    assert "step-00000040.pt is damaged" in errors
    code, _, errors = cli("train", "mlp", "--resume", finished.path)
    assert code == 0
    assert "step-00000040.pt is damaged" in errors
    assert "resumed at step 20 of 40" in errors


def test_a_run_without_a_sound_checkpoint_is_an_error_and_left_as_it_is(finished: RunDir) -> None:
    for path in finished.checkpoints():
        _truncate(path)
    before = {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()}
    with pytest.raises(GantoolError, match=r"step-00000040\.pt is damaged") as caught:
        session.resume(finished)
    assert "start a new run" in caught.value.hint
    assert {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()} == before


def _rates(opened: session.Session) -> dict[str, float]:
    return {name: made.torch.param_groups[0]["lr"] for name, made in opened.state.optimizers.items()}


def test_a_longer_run_has_the_rates_of_one_that_was_always_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(monkeypatch)
    first = start("tiny-r3", tmp_path, steps=20)
    run_until(first)
    always = start("tiny-r3", tmp_path, steps=40)
    run_until(always, stop=30)
    resumed = session.resume(first.run, steps=40)
    run_until(resumed, stop=30)
    assert _rates(resumed) == _rates(always)
    assert 0.25 < _rates(resumed)["discriminator"] / 2e-4 < _rates(resumed)["generator"] / 1e-4 + 1e-9 < 0.75


def test_halved_rates_stay_halved_in_a_checkpoint_that_knows_rollbacks_only(stopped: RunDir) -> None:
    saved = _final(stopped)
    del saved["rate_scale"]
    checkpoint.save(stopped.checkpoint(20), {**saved, "schema": 2, "rollbacks": 2})
    resumed = session.resume(stopped)
    run_until(resumed)
    rate = resumed.info.recipe["learning_rate"] / 4
    assert _rates(resumed) == {"discriminator": rate, "generator": rate}


def test_a_run_of_an_older_gantool_goes_on(finished: RunDir, stopped: RunDir) -> None:
    state = {key: value for key, value in _final(stopped).items() if key not in ("schema", "digest")}
    torch.save({"schema": 1, **state}, stopped.checkpoint(20))
    described = stopped.path / "run.json"
    new = ("keep", "keep_every", "on_nan", "rollbacks")
    fields = {key: value for key, value in json.loads(described.read_text()).items() if key not in new}
    described.write_text(json.dumps({**fields, "schema_version": 1}))
    resumed = session.resume(stopped)
    assert (resumed.info.keep, resumed.info.keep_every, resumed.info.on_nan) == (2, 0, "stop")
    run_until(resumed)
    assert different(_final(finished), _final(stopped)) == []
    assert stopped.read().schema_version == rundir.SCHEMA


def test_a_run_goes_on_where_it_was_moved(finished: RunDir, stopped: RunDir, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    moved = stopped.path.rename(tmp_path / "archive" / "any name")
    resumed = session.resume(rundir.find(tmp_path / "nowhere", str(moved)))
    run_until(resumed)
    assert resumed.run.path == moved
    assert different(_final(finished), _final(resumed.run)) == []


def test_how_many_checkpoints_are_kept_is_remembered_and_can_change(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path, steps=30, tick=5, keep=1, keep_every=10)
    run_until(opened)
    assert [opened.run.step_of(path) for path in opened.run.checkpoints()] == [10, 20, 30]
    resumed = session.resume(opened.run, steps=45)
    run_until(resumed)
    assert [opened.run.step_of(path) for path in opened.run.checkpoints()] == [10, 20, 30, 40, 45]
    resumed = session.resume(opened.run, steps=60, keep=3, keep_every=0)
    run_until(resumed)
    assert [opened.run.step_of(path) for path in opened.run.checkpoints()] == [50, 55, 60]
    assert (opened.run.read().keep, opened.run.read().keep_every) == (3, 0)


def test_what_a_killed_process_was_writing_is_swept_away(stopped: RunDir) -> None:
    left = [stopped.path / ".gantool-abc.tmp", stopped.checkpoint(0).parent / ".gantool-abc.tmp"]
    for path in left:
        (path / "new").mkdir(parents=True)
        (path / "new" / "run.json").write_bytes(b"half")
    with files.replacing_files(stopped.export) as others:  # an export may be running now
        (others / "generator.onnx").write_bytes(b"half")
        session.resume(stopped)
        assert [path.exists() for path in (*left, others)] == [False, False, True]


def test_a_checkpoint_that_a_gpu_wrote_goes_on_on_the_cpu(stopped: RunDir) -> None:
    saved = _final(stopped)
    wanted = {name: tensor.clone() for name, tensor in saved["modules"]["generator.generator"].items()}
    # what is different in one of a CUDA device and the graph engine: random streams, and how the optimizers compute
    saved["sampler"]["latents"] = torch.zeros(16, dtype=torch.uint8)
    saved["rng"]["cuda"] = torch.zeros(16, dtype=torch.uint8)
    for optimizer in saved["optimizers"].values():
        optimizer["param_groups"][0]["capturable"] = True
    checkpoint.save(stopped.checkpoint(20), saved)
    info = stopped.read()
    info.device, info.engine = "cuda:0", "graph"
    stopped.write(info)
    resumed = session.resume(stopped, device="cpu")
    assert (resumed.info.device, resumed.info.engine) == ("cpu", "rewritten")
    weights = resumed.state.game.modules()["generator.generator"].state_dict()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    assert run_until(resumed) == "finished"


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", registry.architecture_names("image"))
def test_a_run_of_a_gpu_goes_on_on_a_cpu(name: str, tmp_path: Path) -> None:
    opened = start(name, tmp_path, device="cuda")
    assert run_until(opened, stop=20) == "interrupted"
    assert all(p.is_cuda for p in opened.state.game.generator.parameters())
    again = session.resume(opened.run)  # on the device it was on
    assert again.state.device.type == "cuda"
    resumed = session.resume(opened.run, device="cpu")
    listener = Silent()
    assert loop.train(resumed.state, resumed.run, resumed.info, listener) == "finished"
    assert resumed.run.read().device == "cpu"
    assert [record["step"] for record in listener.records] == [40]


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_every_precision_trains_on_a_gpu(precision: str, tmp_path: Path) -> None:
    opened = start("dcgan", tmp_path, device="cuda", precision=precision)
    assert run_until(opened) == "finished"
