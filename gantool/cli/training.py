"""A training as a person sees it: start or resume, live progress, Ctrl-C, and what to do next."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gantool.errors import GantoolError, printable
from gantool.run import best, curves, metrics_log
from gantool.system.terminal import console, print_error
from gantool.training import distributed, loop, session, tensorboard
from gantool.training.session import Session
from gantool.training.state import State


def run_training(name: str, given: dict[str, Any], resumed: str | None) -> None:
    """Train; exits 130 after Ctrl-C (everything saved). Of several processes only the leader speaks."""
    with distributed.joined(_tell) as group:
        opened = session.open_session(name, given, resumed, group)
        (_lead if group.leads else _follow)(name, opened)


def _tell(error: Exception) -> None:
    if isinstance(error, GantoolError):
        print_error(error)
    else:
        traceback.print_exception(error)


def _follow(name: str, opened: Session) -> None:
    with _interruptible(lambda: None) as interrupted:
        status = loop.train(opened.state, opened.run, opened.info, _Silent(), interrupted)
    if status == "interrupted":
        sys.exit(130)


def _lead(name: str, opened: Session) -> None:
    state, run, info = opened.state, opened.run, opened.info
    out = console()
    parameters = sum(p.numel() for p in state.game.generator.parameters())
    out.print(
        f"{info.architecture} ({parameters / 1e6:.2f} M parameters in the generator) on {len(opened.data):,} samples "
        f"{opened.data.spec} of {printable(info.data.name)}{_seen(opened)}, {info.device}, {info.precision}, "
        f"engine {info.engine}, {f'{state.group.size} processes, ' if state.group.size > 1 else ''}seed {info.seed} "
        f"→ {run.path}"
    )
    for note in opened.notes:
        out.print(f"note: {printable(note)}")
    if state.step:
        out.print(f"resumed at step {state.step} of {info.steps}")
    with _view(state, info.steps, info.tick) as view, _interruptible(view.asked_to_stop) as interrupted:
        with tensorboard.listening(view, run, info) as listener:
            status = loop.train(state, run, info, listener, interrupted, opened.figures)
    with run.writing():
        curves.draw(run, metrics_log.read_metrics(run))
    out.print(f"{status} at step {state.step} after {state.seconds:,.0f} s of training")
    out.print(f"samples  {run.sample(state.step)}\ncurves   {run.curves}\nweights  {run.checkpoint(state.step)}")
    if (step := best.best(run, info)) is not None:
        out.print(f"best     {run.checkpoint(step)} by {info.keep_best}")
    if info.tensorboard:
        out.print(f"board    tensorboard --logdir {shlex.quote(str(run.path / tensorboard.FOLDER))}")
    if status == "interrupted":
        out.print(f"Resume with: gantool train {name} --resume {shlex.quote(str(run.path))}")
        sys.exit(130)
    older = "; what is in its export/ is of an earlier step" if run.export.is_dir() else ""
    out.print(f"Next: gantool export {shlex.quote(str(run.path))}{older}")


def _seen(opened: Session) -> str:
    """What is done to the data on their way."""
    info, words = opened.info, []
    if opened.state.sampler.reads_ahead:
        words.append("read batch by batch")
    if info.flip:
        words.append("flipped")
    if info.diffaugment:
        words.append(f"DiffAugment {info.diffaugment}")
    return f" ({', '.join(words)})" if words else ""


SAVING = "Saving; Ctrl-C again leaves at once."


@contextmanager
def _interruptible(asked_to_stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C (or SIGTERM) lets the step end and saves; another Ctrl-C leaves at once.

    Not another SIGTERM: a batch system sends one to every process, and torchrun passes its own on.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            os._exit(130)
        if not asked:
            asked = True
            asked_to_stop()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _view(state: State, steps: int, tick: int) -> _Live | _Plain:
    out = console()
    return _Live(state, steps, tick) if out.is_terminal and not out.is_dumb_terminal else _Plain(steps)


class _Silent:
    """For the processes that do not lead."""

    def stepped(self, step: int) -> None:
        pass

    def ticked(self, record: dict[str, float]) -> None:
        pass

    def noted(self, text: str) -> None:
        pass


def _clock(seconds: float) -> str:
    """Hours (as many as there are), minutes and seconds."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"


class _Plain:
    """A line a tick."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stepped(self, step: int) -> None:
        pass

    def ticked(self, record: dict[str, float]) -> None:
        speed = record["images_per_second"]
        left = (self.steps - record["step"]) * record["images"] / record["step"] / speed if speed else 0.0
        eta = _clock(left)
        line = f"step {record['step']:.0f}/{self.steps}  {speed:,.0f} images/s  {_losses(record)}  ETA {eta}"
        print(line, flush=True)

    def noted(self, text: str) -> None:
        print(text, flush=True)

    def asked_to_stop(self) -> None:
        os.write(2, f"{SAVING}\n".encode())  # raw: the signal may have come in the middle of a print


class _Live:
    """A progress bar that moves with every step; the losses below it change at every tick."""

    def __init__(self, state: State, steps: int, tick: int) -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.text import Text

        self.progress = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]} images/s"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        )
        self.per_step = state.data_per_step()
        self.stopping = False
        self.task = self.progress.add_task("", total=steps, completed=state.step, speed="…")
        self.losses = Text(f"losses at step {min(steps, (state.step // tick + 1) * tick)}", style="dim")
        self.live = Live(Group(self.progress, self.losses), console=console(), refresh_per_second=4)

    def __enter__(self) -> _Live:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def stepped(self, step: int) -> None:
        if self.stopping:
            self.stopping = False
            self.noted(SAVING)
        self.progress.update(self.task, completed=step)
        speed = self.progress.tasks[0].speed  # the bar's own estimate, between ticks
        if speed:
            self.progress.update(self.task, speed=f"{speed * self.per_step:,.0f}")

    def ticked(self, record: dict[str, float]) -> None:
        self.losses.plain = _losses(record).replace("; ", "\n")
        self.losses.style = "none"

    def noted(self, text: str) -> None:
        self.live.console.print(text)

    def asked_to_stop(self) -> None:
        self.stopping = True  # told after the step: printed from a signal, it would tear the bar apart


def _losses(record: dict[str, float]) -> str:
    """`discriminator: real 0.41, fake 0.38, accuracy_real 85%; generator: adversarial 1.20`."""
    players: dict[str, list[str]] = {}
    for key, value in record.items():
        kind, _, rest = key.partition(".")
        if kind in ("loss", "measure"):
            player, _, term = rest.partition(".")
            text = f"{term} {value:.0%}" if term.startswith("accuracy") else f"{term} {value:.3g}"
            players.setdefault(player, []).append(text)
    return "; ".join(f"{player}: {', '.join(terms)}" for player, terms in players.items())
