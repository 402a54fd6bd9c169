"""`gantool.train` and `Run.resume`: options, the end, Ctrl-C, callbacks, threads, scripts."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.commands import TIMEOUT, environment
from support.trainings import different, save_npz

import gantool
from gantool.api import progress
from gantool.run import checkpoint
from gantool.run.rundir import RunDir

TINY: dict[str, Any] = {"data": "noise.npz", "widths": (8,), "batch_size": 8, "device": "cpu", "tick": 5}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_npz(tmp_path / "noise.npz")
    return tmp_path


def weights(run: gantool.Run) -> Any:
    return checkpoint.load(RunDir(run.path).latest_checkpoint())


def test_a_run_comes_back_when_it_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    records: list[dict[str, float]] = []
    run = gantool.train("mlp", steps=12, seed=3, callback=records.append, **TINY)
    assert (run.path, run.name) == (Path("runs/0001-mlp-noise"), "0001-mlp-noise")
    assert (run.status, run.step, run.info.seed, run.info.config["widths"]) == ("finished", 12, 3, [8])
    assert [record["step"] for record in records] == [5, 10, 12]
    stdout, output = capsys.readouterr()
    assert stdout == ""  # it belongs to the program
    assert "mlp (0.00 M parameters in the generator) on 50 samples" in output
    assert "step 12/12" in output


def test_a_terminal_shows_losses_between_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(progress, "console", lambda stderr: Console(file=terminal, force_terminal=True, width=100))
    monkeypatch.setattr(progress, "LOSSES", 0.0)
    gantool.train("mlp", steps=400, **TINY | {"tick": 400})
    before_the_end = terminal.getvalue().partition(" 400/400 ")[0]
    assert "generator: adversarial " in before_the_end
    assert "discriminator: real " in before_the_end


def test_progress_can_be_silenced(capfd: pytest.CaptureFixture[str]) -> None:
    gantool.train("mlp", steps=2, progress=False, **TINY)
    assert capfd.readouterr() == ("", "")


def test_a_resumed_run_has_the_weights_of_one_never_stopped() -> None:
    whole = gantool.train("mlp", steps=12, progress=False, **TINY)
    half = gantool.train("mlp", steps=7, progress=False, **TINY)
    assert half.resume(steps=12, progress=False) is half
    assert half.step == 12
    assert different(weights(whole), weights(half)) == []


def test_an_unfinished_run_of_the_same_options_is_taken_up() -> None:
    def stop(record: dict[str, float]) -> None:
        raise KeyboardInterrupt

    first = gantool.train("mlp", steps=20, progress=False, callback=stop, **TINY)
    assert first.status == "interrupted"
    again = gantool.train("mlp", steps=20, progress=False, resume="auto", **TINY)
    assert (again.path, again.status, again.step) == (first.path, "finished", 20)
    assert gantool.train("mlp", steps=20, progress=False, resume="auto", **TINY).path != first.path


def test_a_run_stopped_before_its_length_is_known_has_a_guess_of_it() -> None:
    """Its checkpoints are resumed as those of any run."""

    def stop(record: dict[str, float]) -> None:
        raise KeyboardInterrupt

    run = gantool.train("mlp", minutes=1000, progress=False, callback=stop, **TINY)
    assert run.step in (5, 6)
    assert run.info.steps > 1000
    assert run.resume(steps=9, progress=False).status == "finished"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rat": 0.1}, "There is no option 'learning_rat'. Did you mean 'learning_rate'?"),
        ({"steps": 0}, "steps: 0 is not valid: it must be 1 or more."),
        ({"steps": True}, "steps: True is not valid"),
        ({"seed": -1}, "seed: -1 is not valid: it must be 0 or more."),
        ({"precision": "fp8"}, "precision: 'fp8' is not valid"),
        ({"dropout": 1.0}, "dropout: 1.0 is not valid: it must be less than 1."),
        ({"steps": 5, "epochs": 1}, "Give --steps or --epochs, not both."),
        ({"objective": "hinge", "label_smoothing": 0.1}, "--label-smoothing belongs to --objective nonsaturating"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_options_are_checked_as_flags_are(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(gantool.ArgumentError) as caught:
        gantool.train("mlp", **{**TINY, **wrong})
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, gantool.GantoolError)
    assert message in str(caught.value)
    assert not Path("runs").exists()


def test_paths_are_taken_as_texts_are(here: Path) -> None:
    run = gantool.train("mlp", steps=1, progress=False, **{**TINY, "data": here / "noise.npz", "runs": here / "own"})
    assert run.path == here / "own/0001-mlp-noise"


def test_what_would_make_it_another_run_can_not_change() -> None:
    run = gantool.train("mlp", steps=2, progress=False, **TINY)
    with pytest.raises(gantool.ArgumentError, match=r"--seed can't change when a run is resumed\. These can: "):
        run.resume(seed=1)
    with pytest.raises(gantool.ArgumentError, match=r"There is no option 'step'. Did you mean 'steps'\?"):
        run.resume(step=4)
    assert run.resume(steps=3, progress=False).step == 3  # nothing holds the run


# --- Ctrl-C


def test_ctrl_c_saves_and_the_run_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt(record: dict[str, float]) -> None:
        if record["step"] == 5:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    run = gantool.train("mlp", steps=100, callback=interrupt, **TINY)
    assert (run.status, run.step) == ("interrupted", 6)
    assert weights(run)["step"] == 6
    assert "Saving; Ctrl-C again leaves at once." in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
    assert run.resume(steps=8, progress=False).status == "finished"


def test_a_second_ctrl_c_raises_at_once_and_the_last_tick_stays() -> None:
    def twice(record: dict[str, float]) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        gantool.train("mlp", steps=8, progress=False, callback=twice, **TINY)
    (run,) = gantool.runs()
    assert (run.status, weights(run)["step"]) == ("failed", 5)
    assert run.resume(progress=False).status == "finished"


def test_an_error_in_a_callback_comes_out() -> None:
    def fail(record: dict[str, float]) -> None:
        raise RuntimeError("in the callback")

    with pytest.raises(RuntimeError, match="in the callback"):
        gantool.train("mlp", steps=8, progress=False, callback=fail, **TINY)
    (run,) = gantool.runs()
    assert run.resume(progress=False).status == "finished"


def test_a_thread_trains_and_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    runs: list[gantool.Run] = []
    seen: list[object] = []

    def work() -> None:
        callback = lambda record: seen.append(signal.getsignal(signal.SIGINT))  # noqa: E731
        runs.append(gantool.train("mlp", steps=5, progress=False, callback=callback, **TINY))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(TIMEOUT)
    assert runs[0].status == "finished"
    assert seen == [before]


@pytest.mark.slow
def test_a_script_needs_no_guard_of_its_main_part(here: Path) -> None:
    script = here / "script.py"
    script.write_text(
        "import gantool\n"
        "run = gantool.train('mlp', data='noise.npz', widths=(8,), batch_size=8, device='cpu', steps=3)\n"
        "(file,) = run.export('onnx-seeded')\n"
        "print(gantool.Generator(file.path).sample(2).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], env=environment(), cwd=here, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.stdout == "(2, 16, 16, 1)\n", done.stderr
    assert done.stderr.count("mlp (") == 1
