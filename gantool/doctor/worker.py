"""`python -m gantool.doctor.worker TASK`: the child process for what may crash or hang.

TASK is `onnxruntime`, `gpus`, `torch` or the name of a provider as onnxruntime writes it. Messages to the parent have
one key: `stage` (what is about to happen), `probe` (one result) or `result` (the answer). A failure is a traceback on
stderr and exit code 1. Only the task `torch` loads torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gantool.doctor.libraries import loaded
from gantool.system import nvml
from gantool.system.subprocesses import json_output

MAX_WHY = 4000  # characters from the end of a message: onnxruntime's begin with the signatures of its templates

Send = Callable[[str, Any], None]


def onnxruntime(send: Send) -> None:
    """`version`, `package`, `cuda` (what it is built for), `providers`, and `numpy`."""
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
    """The NVIDIA driver and its GPUs: the `gpus` of a report."""
    send("stage", "asking the NVIDIA driver")
    files = any(Path("/dev").glob("nvidia[0-9]*"))
    found: dict[str, Any] = {"driver": None, "cuda": None, "devices": [], "files": files, "why": None}
    try:
        library = nvml.start()
        newest = library.cuda()
        found["driver"], found["cuda"] = library.driver(), f"{newest // 1000}.{newest % 1000 // 10}" if newest else None
        found["devices"] = [_gpu(library.device(number)) for number in range(library.count())]
        found["why"] = None if found["devices"] else "the NVIDIA driver sees no GPU"
    except nvml.NvmlError as error:
        found["why"] = f"NVML: {error}"
    except (OSError, AttributeError) as error:
        found["why"] = f"no NVIDIA driver: {error}"
    send("result", found)


def _gpu(device: nvml.Device) -> dict[str, Any]:
    capability = device.capability()
    return {
        "name": device.name() or "?",
        "memory_mb": round(device.total_mb() or 0),
        "capability": "?" if capability is None else f"{capability[0]}.{capability[1]}",
    }


def torch(send: Send) -> None:
    """`version`, `cuda` (what it is built for, or null), `available`, `devices` (how many)."""
    send("stage", "importing torch")
    import torch as library

    send("stage", "asking torch for CUDA")
    available = library.cuda.is_available()
    result = {"version": str(library.__version__), "cuda": library.version.cuda, "available": available}
    send("result", {**result, "devices": library.cuda.device_count() if available else 0})


def provider(full_name: str, send: Send) -> None:
    """Run every probe on one provider, with sessions opened as `gantool.runtime` opens them."""
    send("stage", "importing onnxruntime")
    from gantool.doctor.probes import probes
    from gantool.errors import GantoolError
    from gantool.runtime import session

    name = {value: key for key, value in session.PROVIDERS.items()}[full_name]
    explained = False
    for probe in probes():
        path = Path(f"{probe.name}.onnx")  # for error messages
        send("stage", f"running {probe.name}")
        try:
            opened = session.open_session(probe.model, path, name)
            output = session.run(opened, probe.feeds, path)
        except GantoolError as error:
            why = str(error.__cause__ or error)[-MAX_WHY:]
            send("probe", {"name": probe.name, "status": "failed", "difference": None, "why": why})
            if not explained:
                explained = True
                send("stage", f"finding out why {probe.name} failed")
                _log_failure(full_name, probe.model)
            continue
        difference = probe.difference(output)
        status = "right" if probe.right(difference, name) else "wrong"
        finite = difference if difference != float("inf") else None
        send("probe", {"name": probe.name, "status": status, "difference": finite, "why": None})
    send("stage", "listing libraries")
    send("result", {"libraries": loaded()})


def _log_failure(full_name: str, model: bytes) -> None:
    """Fail again with onnxruntime's own log on stderr, which names the library that is missing."""
    import onnxruntime as ort

    from gantool.runtime.session import ORT_ERRORS

    if full_name == "TensorrtExecutionProvider" and sys.platform == "linux":
        try:  # the loader names the first missing library only, and that may be one of CUDA's
            nvml.load_tensorrt()
        except OSError as error:
            sys.stderr.write(f"{error}\n")
    try:
        ort.InferenceSession(model, providers=[full_name], enable_fallback=0)
    except ORT_ERRORS as error:
        sys.stderr.write(f"{error}\n")


TASKS: dict[str, Callable[[Send], None]] = {"onnxruntime": onnxruntime, "gpus": gpus, "torch": torch}


def main(task: str) -> None:
    write = json_output()
    TASKS.get(task, partial(provider, task))(lambda key, value: write({key: value}))


if __name__ == "__main__":
    main(sys.argv[1])
