"""Examine generators of the zoo in a child process: one that crashes costs its own cells only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from gantool.system.subprocesses import JsonProcess

TESTS = Path(__file__).parents[2]
CODE = f"import sys; sys.path.insert(0, {str(TESTS)!r}); from support.zoo import examine; examine.main()"
TIMEOUT = 600.0  # seconds of silence; only a hang takes as long

Cells = dict[str, tuple[str, str]]  # file → (outcome, why)


class Keeper:
    """A context manager that holds the child, and starts another when it died."""

    def __init__(self) -> None:
        self._child: JsonProcess | None = None

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._end()

    def examine(self, name: str, files: Sequence[str]) -> Cells:
        """What became of each of the `files` of a generator. What a child was doing when it died has crashed."""
        if self._child is None:
            self._child = JsonProcess([sys.executable, "-c", CODE])
        self._child.send({"name": name, "files": list(files)})
        doing, answer = "start", self._child.receive(TIMEOUT)
        while answer is not None and "doing" in answer:
            doing, answer = answer["doing"], self._child.receive(TIMEOUT)
        if answer is None:
            cells: Cells = {doing: ("crashed", f"{self._child.ending()}: {self._child.stderr()[-300:]}")}
            self._end()
            return cells
        return {file: (outcome, why) for file, (outcome, why) in answer["cells"].items()}

    def _end(self) -> None:
        if self._child is not None:
            self._child.__exit__()
            self._child = None
