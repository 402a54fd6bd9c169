"""The NVIDIA driver and its GPUs, as the doctor tells of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gantool.doctor.libraries import cuda_number
from gantool.system import nvml

MAX_GPUS = 64


def gpus() -> dict[str, Any]:
    """`driver` and `cuda` (the newest that the driver runs), null when not known; `devices`: name, memory_mb (10^6
    bytes), capability; `files`: whether there are device files of GPUs; `why`: what NVML could not tell, or null.
    """
    files = any(Path("/dev").glob("nvidia[0-9]*"))
    empty: dict[str, Any] = {"driver": None, "cuda": None, "devices": [], "files": files, "why": None}
    if sys.platform == "darwin":
        return {**empty, "why": "macOS has no NVIDIA driver"}
    try:
        return {**empty, **_ask(nvml.start())}
    except nvml.NvmlError as error:
        return {**empty, "why": f"NVML: {error}"}
    except (OSError, AttributeError) as error:
        missing = isinstance(error, OSError) and not files
        why = f"no NVIDIA driver: {nvml.LIBRARY} is not there" if missing else f"{nvml.LIBRARY}: {error}"
        return {**empty, "why": why}


def _ask(started: nvml.Nvml) -> dict[str, Any]:
    devices = [_device(started, i) for i in range(min(started.count(), MAX_GPUS))]
    why = None if devices else "the NVIDIA driver sees no GPU"
    return {"driver": started.driver(), "cuda": cuda_number(started.cuda()), "devices": devices, "why": why}


def _device(started: nvml.Nvml, index: int) -> dict[str, Any]:
    try:
        device = started.device(index)
    except nvml.NvmlError as error:
        return {"name": f"? ({error})", "memory_mb": 0, "capability": "?"}
    capability = device.capability()
    return {
        "name": device.name() or "?",
        "memory_mb": round(device.total_mb() or 0),
        "capability": "?" if capability is None else f"{capability[0]}.{capability[1]}",
    }
