"""How a training runs that a program or the command line has started: with progress, until it ends or Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from gantool.api.progress import Display, Reporting, SecondInterrupt, display_for
from gantool.run import curves, metrics_log
from gantool.run.rundir import RunDir, Status
from gantool.training import distributed, loop, session, tensorboard
from gantool.training.session import Session

Callback = Callable[[dict[str, float]], object]


def resume(run: RunDir, progress: bool = True, callback: Callback | None = None, **changes: Any) -> None:
    """Go on with a run: see `Run.resume`."""
    with distributed.joined() as group:
        opened = session.resume(run, group=group, **changes)
        run_session(opened, display_of(opened, progress, callback))


def display_of(opened: Session, progress: bool, callback: Callback | None) -> Display:
    display = display_for(opened) if progress and opened.state.group.leads else Display()
    return Reporting(display, callback) if callback and opened.state.group.leads else display


def _raise() -> NoReturn:
    raise SecondInterrupt


def run_session(
    opened: Session,
    display: Display,
    signals: Sequence[signal.Signals] = (signal.SIGINT,),
    leave: Callable[[], NoReturn] = _raise,
) -> Status:
    """Train to the end, or until one of `signals` comes; then draw the curves and unlock the run.

    `leave`: what a second Ctrl-C does.
    """
    state, run, info = opened.state, opened.run, opened.info
    try:
        with display, _interruptible(display, signals, leave):
            if not state.group.leads:
                return loop.train(state, run, info, display, lambda: display.interrupted, budget=opened.budget)
            with tensorboard.listening(display, run, info) as listener:
                status = loop.train(
                    state, run, info, listener, lambda: display.interrupted, opened.figures, opened.budget
                )
        with run.writing():
            curves.draw(run, metrics_log.read_metrics(run))
        return status
    finally:
        if opened.lock:
            opened.lock.release()


@contextmanager
def _interruptible(
    display: Display, signals: Sequence[signal.Signals], leave: Callable[[], NoReturn]
) -> Iterator[None]:
    """The first of `signals` lets the step end and saves; another Ctrl-C leaves at once.

    Not another SIGTERM: a batch system sends one to every process, and torchrun passes its own on. Python takes
    signals in the main thread only: in another one nothing is changed.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        if display.interrupted and number == signal.SIGINT:
            leave()
        if not display.interrupted:
            display.interrupted = True
            display.stopping()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
