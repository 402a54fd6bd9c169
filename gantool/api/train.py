"""`gantool.train`."""

from __future__ import annotations

from typing import Any

from gantool.api.runs import Run
from gantool.api.session import Callback, display_of, run_session
from gantool.plugin import registry
from gantool.plugin.options import all_options, parse
from gantool.training import distributed, session


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
        run_session(opened, display_of(opened, progress, callback))
    return Run(opened.run.path)
