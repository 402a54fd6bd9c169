"""`python -m gantool.benching.worker REQUEST`: the measured process. It never loads torch.

REQUEST is JSON: the fields of `cell.Request`, those of its cell as an object, and `spawned`, the parent's
`time.perf_counter()` just before it started this process (a system-wide clock). Lines of JSON go to stdout:
{"stage": …} while it works, then {"report": …}, or {"error": message, "hint": …} for a GantoolError. Any other failure
is a traceback and exit code 1.
"""

import json
import os
import sys
import time
from typing import Any, TextIO

STARTED = time.perf_counter()
HEARTBEAT = 0.2  # seconds between two lines of the same stage


class Reporter:
    """Lines to the parent."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.stage, self.sent = "", 0.0

    def emit(self, stage: str) -> None:
        """Say that work goes on; rarely enough to cost nothing."""
        now = time.perf_counter()
        if stage != self.stage or now - self.sent > HEARTBEAT:
            self.stage, self.sent = stage, now
            self.send({"stage": stage})

    def send(self, message: dict[str, Any]) -> None:
        self.out.write(json.dumps(message, allow_nan=False) + "\n")
        self.out.flush()


def main(argument: str, out: TextIO) -> None:
    reporter = Reporter(out)
    request = json.loads(argument)
    spawned = request.pop("spawned")
    before = time.perf_counter()
    from gantool.benching.cell import Cell, Request
    from gantool.benching.measure import measure
    from gantool.errors import GantoolError

    imported = time.perf_counter()
    try:
        cell = request.pop("cell")
        cell = Cell(**{**cell, "options": tuple(cell["options"])})
        report = measure(Request(**{**request, "cell": cell, "batches": tuple(request["batches"])}), reporter.emit)
    except GantoolError as error:
        reporter.send({"error": error.message, "hint": error.hint})
        return
    cold = {"interpreter_ms": (STARTED - spawned) * 1e3, "import_ms": (imported - before) * 1e3, **report["cold"]}
    report["cold"] = {**cold, "total_ms": sum(cold.values())}
    report["torch_loaded"] = "torch" in sys.modules
    reporter.send({"report": report})


if __name__ == "__main__":
    # native libraries print to descriptor 1 as they like: it is made stderr, and the parent's pipe kept apart
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main(sys.argv[1], pipe)
