"""`gantool.train`, and how a training runs whoever started it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from gantool.api.progress import Display, Reporting, SecondInterrupt, display_for
from gantool.api.runs import Run
from gantool.plugin import registry
from gantool.plugin.options import all_options, parse
from gantool.run import curves, metrics_log
from gantool.run.rundir import RunDir, Status
from gantool.training import distributed, loop, session, tensorboard
from gantool.training.session import Session

Callback = Callable[[dict[str, float]], object]


def train(
    architecture: str,
    *,
    resume: str | None = None,
    progress: bool = True,
    callback: Callback | None = None,
    **options: Any,
) -> Run:
    """Train an architecture; the run comes back when it has ended.

        run = gantool.train("dcgan", data="pets", size=64, steps=4000)

    `options`: those of `gantool train NAME --help`, with underscores, checked in the same way. `resume`: the number,
    name or path of a run to go on with, or `auto`: the newest unfinished one of these options, else a new run.
    `progress`: show a bar. `callback(record)`: called after every tick with its line of metrics.jsonl.

    Ctrl-C (in a notebook: interrupt) ends the step and saves; the run then comes back with the status `interrupted`,
    and `run.resume()` goes on. A second one raises KeyboardInterrupt at once. A callback that raises KeyboardInterrupt
    stops the training like the first. In another thread than the main one, only a callback can stop it.

    Raises ArgumentError (a GantoolError and a ValueError) for an option that there is not, or that is out of bounds;
    GantoolError for what else can't be done.
    """
    found = registry.find(architecture)
    assert found.architecture is not None
    given = parse(all_options(found.architecture), options)
    with distributed.joined() as group:
        opened = session.open_session(architecture, given, resume, group)
        run_session(opened, _display(opened, progress, callback))
    return Run(opened.run.path)


def resume(run: RunDir, progress: bool = True, callback: Callback | None = None, **changes: Any) -> None:
    """Go on with a run: see `Run.resume`."""
    with distributed.joined() as group:
        opened = session.resume(run, group=group, **changes)
        run_session(opened, _display(opened, progress, callback))


def _display(opened: Session, progress: bool, callback: Callback | None) -> Display:
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
                return loop.train(state, run, info, display, lambda: display.interrupted)
            with tensorboard.listening(display, run, info) as listener:
                status = loop.train(state, run, info, listener, lambda: display.interrupted, opened.figures)
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
