"""`python -m gantool.doctor.worker TASK`: what may crash or hang, in a process of its own. It never loads torch but
for the task `torch`.

TASK is `survey`, `gpus`, `torch` or the name of a provider as onnxruntime writes it. Lines of JSON go to stdout, each
an object with one key: `stage` (what it is about to do), `probe` (one result), `result` (the answer). A failure is a
traceback on stderr and exit code 1.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

MAX_WHY = 4000  # characters of a message, from its end: onnxruntime starts with the signatures of its templates

Send = Callable[[str, Any], None]


def survey(send: Send) -> None:
    """onnxruntime itself: `version`, `package`, `cuda` (built for), `providers`, and `numpy`."""
    send("stage", "importing onnxruntime")
    import numpy as np
    import onnxruntime as ort

    result = {
        "version": ort.__version__,
        "package": getattr(ort, "package_name", None),
        "cuda": getattr(ort, "cuda_version", None) or None,
        "providers": list(ort.get_available_providers()),
        "numpy": np.__version__,
    }
    send("result", result)


def gpus(send: Send) -> None:
    """`gantool.doctor.nvidia.gpus`."""
    from gantool.doctor.nvidia import gpus as ask

    send("stage", "asking the NVIDIA driver")
    send("result", ask())


def torch(send: Send) -> None:
    """`version`, `cuda` (built for, or null), `available`, `devices` (how many)."""
    send("stage", "importing torch")
    import torch as torch_

    send("stage", "asking torch for CUDA")
    available = torch_.cuda.is_available()
    result = {"version": str(torch_.__version__), "cuda": torch_.version.cuda, "available": available}
    send("result", {**result, "devices": torch_.cuda.device_count() if available else 0})


def provider(full: str, send: Send) -> None:
    """Every probe on one provider, through the door that `gantool.runtime` opens for users."""
    send("stage", "importing onnxruntime")
    from pathlib import Path

    from gantool.doctor.libraries import loaded
    from gantool.doctor.probes import probes
    from gantool.errors import GantoolError
    from gantool.runtime import session

    name = {value: key for key, value in session.PROVIDERS.items()}[full]
    told = False
    for probe in probes():
        path = Path(f"{probe.name}.onnx")  # for messages: there is no such file
        send("stage", f"running {probe.name}")
        try:
            opened = session.open_session(probe.model, path, name)
            got = session.run(opened, probe.feeds, path)
        except GantoolError as error:
            why = str(error.__cause__ or error)[-MAX_WHY:]
            send("probe", {"name": probe.name, "status": "failed", "difference": None, "why": why})
            if not told:
                told = True
                send("stage", f"finding out why {probe.name} failed")
                _say_why(full, probe.model)
            continue
        difference = probe.difference(got)
        status = "right" if probe.right(difference, name) else "wrong"
        shown = difference if difference != float("inf") else None
        send("probe", {"name": probe.name, "status": status, "difference": shown, "why": None})
    send("stage", "listing libraries")
    send("result", {"libraries": loaded(), "torch_loaded": "torch" in sys.modules})


def _say_why(full: str, model: bytes) -> None:
    """Fail once more with onnxruntime's own log on stderr: only there does it name the library that it misses."""
    import ctypes

    import onnxruntime as ort

    from gantool.doctor.remedies import TENSORRT_MAJOR
    from gantool.runtime.session import ORT_ERRORS

    if full == "TensorrtExecutionProvider" and sys.platform == "linux":
        try:  # the loader stops at the first missing library, and that one may be CUDA's
            ctypes.CDLL(f"libnvinfer.so.{TENSORRT_MAJOR}")
        except OSError as error:
            sys.stderr.write(f"{error}\n")
    try:
        ort.InferenceSession(model, providers=[full], enable_fallback=0)
    except ORT_ERRORS as error:
        sys.stderr.write(f"{error}\n")


TASKS: dict[str, Callable[[Send], None]] = {"survey": survey, "gpus": gpus, "torch": torch}


def main(task: str) -> None:
    # native libraries print to descriptor 1 as they like: it is made stderr, and the parent's pipe kept apart
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(key: str, value: Any) -> None:
        pipe.write(json.dumps({key: value}, allow_nan=False) + "\n")
        pipe.flush()

    if task in TASKS:
        TASKS[task](send)
    else:
        provider(task, send)


if __name__ == "__main__":
    main(sys.argv[1])
