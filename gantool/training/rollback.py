"""`--on-nan rollback`: back to the last good checkpoint at half the learning rates, a few times in a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gantool.errors import GantoolError
from gantool.run import checkpoint, metrics_log
from gantool.run.rundir import RunDir, RunInfo
from gantool.training.state import State

LIMIT = 3  # rates at an eighth did not help: it is not the rates


class Diverged(Exception):
    """A loss or a weight is no longer finite; the text says which, and when."""


def recover(state: State, run: RunDir, info: RunInfo, cause: Diverged, say: Callable[[str], None]) -> None:
    """Take `state` back to the last good checkpoint with its learning rates halved, for `cause`.

    The checkpoint is written again with the new rates and the count of rollbacks, so that a resume keeps both.
    Raises GantoolError when `--on-nan` is stop, after LIMIT rollbacks, and before the first checkpoint.
    """
    failed = state.step
    path, saved, notes = state.group.lead(lambda: _last_good(run, info, cause))
    state.load_state_dict(saved)
    info.rollbacks += 1
    info.step = state.step
    for mover in state.movers:
        for group in mover.optimizer.param_groups:
            group["lr"] *= 0.5
    event = {
        "event": "rollback",
        "step": state.step,
        "failed_step": failed,
        "cause": str(cause),
        "rollbacks": info.rollbacks,
        "learning_rates": {m.player.name: float(m.optimizer.param_groups[0]["lr"]) for m in state.movers},
    }
    saved = snapshot(state, info)
    if state.group.leads:
        with run.writing():
            checkpoint.set_aside(run, path)
            metrics_log.forget_after(run, state.step, info.rollbacks)
            metrics_log.append(run, event)
            checkpoint.save(path, saved)  # after the line: a kill in between leaves neither
            run.write(info)
    for note in notes:
        say(f"note: {note}")
    say(f"{cause}: back to step {state.step} at half the learning rates (rollback {info.rollbacks} of {LIMIT})")


def _last_good(run: RunDir, info: RunInfo, cause: Diverged) -> tuple[Path, dict[str, Any], list[str]]:
    if info.on_nan == "stop" or info.rollbacks >= LIMIT or not run.checkpoints():
        raise _stopped(run, info, cause)
    return checkpoint.load_newest(run)


def snapshot(state: State, info: RunInfo) -> dict[str, Any]:
    """What a checkpoint holds: the state, and how often it was taken back."""
    return {**state.state_dict(), "rollbacks": info.rollbacks}


def _stopped(run: RunDir, info: RunInfo, cause: Diverged) -> GantoolError:
    kept = run.checkpoints()
    good = f"The last good checkpoint is {kept[-1]}." if kept else "It happened before the first checkpoint."
    way = "Resume with --on-nan rollback, or start" if kept and info.on_nan == "stop" else "Start"
    times = f", after {info.rollbacks} rollbacks" if info.rollbacks else ""
    return GantoolError(f"Training stopped: {cause}{times}.", f"{good} {way} a new run with a smaller --learning-rate.")
