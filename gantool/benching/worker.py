"""`python -m gantool.benching.worker`: the measured process. It never loads torch.

It reads a line of JSON on stdin: the fields of `matrix.Request`, and `spawned`, the parent's `time.perf_counter()` just
before it started this process (a system-wide clock). It writes lines of JSON: {"stage": …} while it works, then
{"report": …}, or {"error": message, "hint": …} for a GantoolError. Any other failure is a traceback and exit code 1.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

STARTED = time.perf_counter()
HEARTBEAT = 0.2  # seconds between two lines of the same stage


def reporter(send: Callable[[dict[str, Any]], None]) -> Callable[[str], None]:
    """A function that tells the parent the stage: when it changes, else rarely enough to cost nothing."""
    stage, sent = "", 0.0

    def emit(now_at: str) -> None:
        nonlocal stage, sent
        now = time.perf_counter()
        if now_at != stage or now - sent > HEARTBEAT:
            stage, sent = now_at, now
            send({"stage": stage})

    return emit


def main() -> None:
    from gantool.system.subprocesses import json_input, json_output

    send = json_output()
    request = next(json_input())
    before = time.perf_counter()
    from gantool.benching.matrix import Cell, Request
    from gantool.benching.measure import measure
    from gantool.errors import GantoolError

    imported = time.perf_counter()
    spawned = request.pop("spawned")
    cell = Cell(**{**request["cell"], "options": tuple(request["cell"]["options"])})
    try:
        report = measure(Request(**{**request, "cell": cell, "batches": tuple(request["batches"])}), reporter(send))
    except GantoolError as error:
        send({"error": error.message, "hint": error.hint})
        return
    cold = {"interpreter_ms": (STARTED - spawned) * 1e3, "import_ms": (imported - before) * 1e3, **report["cold"]}
    report["cold"] = {**cold, "total_ms": sum(cold.values())}
    report["torch_loaded"] = "torch" in sys.modules
    send({"report": report})


if __name__ == "__main__":
    main()
