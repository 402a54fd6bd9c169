"""Try a file in a child process: ONNX Runtime was seen to crash with graphs that onnx's checker accepts."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from gantool.system.subprocesses import JsonProcess, json_input, json_output

COMMAND = [sys.executable, "-P", "-m", "gantool.runtime.trial"]
TIMEOUT = 600.0  # seconds; only a hang takes as long


def crash(path: Path) -> str | None:
    """How a process ended that opened an exported file and ran it: `was killed by SIGSEGV`. None: it didn't crash.

    A file that can't be opened, or run, is no crash: whoever opens it next gets the GantoolError.
    """
    with JsonProcess(COMMAND) as child:
        child.send({"path": str(path)})
        try:
            return child.ending() if child.receive(TIMEOUT) is None else None
        except TimeoutError:
            return f"did not answer within {TIMEOUT:.0f} seconds"


def main() -> None:
    send = json_output()
    import numpy as np

    from gantool.errors import GantoolError
    from gantool.runtime import Generator

    for request in json_input():
        with contextlib.suppress(GantoolError):
            generator = Generator(request["path"])
            inputs = generator.manifest.inputs
            generator.run({i.name: np.zeros((1 if i.distribution == "seed" else 2, *i.shape), i.dtype) for i in inputs})
        send({})


if __name__ == "__main__":
    main()
