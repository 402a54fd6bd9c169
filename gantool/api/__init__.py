"""What `import gantool` offers: train, evaluate, export and bench from Python, and the runs on disk.

The command line calls the same functions. A file a function; `gantool/__init__.py` loads them when they are used.
"""

from __future__ import annotations

import os

from gantool.system.machine import let_idle_threads_sleep

let_idle_threads_sleep()

Named = str | os.PathLike[str] | int  # a run or a file: its path, its name, its number, or a `Run`


def name_of(given: Named) -> str:
    """What names the run or the file on the command line."""
    return os.fspath(given) if isinstance(given, os.PathLike) else str(given)
