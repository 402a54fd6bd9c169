"""`gantool.watch`: a live page of a training."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Callable
from pathlib import Path

from gantool.api import Named, name_of
from gantool.run import rundir


def watch(
    run: Named | None = None,
    *,
    runs: str | os.PathLike[str] = "runs",
    port: int = 0,
    open_browser: bool = False,
    ready: Callable[[str], object] = print,
) -> None:
    """Serve a page of a run on this machine until Ctrl-C (in a notebook: interrupt).

    It shows samples over the ticks, losses and figures, alarms, speed, and the time that is left, while another
    process trains; its buttons stop that training and resume it.

    `run`: its path, folder name or number, or a `Run`; None: the newest one in the folder `runs`. `port`: of
    127.0.0.1; 0: a free one. `ready(address)`: called once the page can be opened; the address holds a token, without
    which the buttons do nothing. `open_browser`: open it there, too.

    GantoolError when there is no such run, or the port is taken. Needs `pip install 'gantool[watch]'`.
    """
    from gantool.watching.server import serve

    folder = Path(runs)
    found = rundir.latest(folder) if run is None else rundir.find(folder, name_of(run))

    def tell(address: str) -> None:
        ready(address)
        if open_browser:
            webbrowser.open(address)

    serve(found, port, tell)
