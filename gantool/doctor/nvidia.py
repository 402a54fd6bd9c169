"""The NVIDIA driver and its GPUs, asked through NVML, the library that nvidia-smi asks."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

from gantool.doctor.libraries import cuda_number

LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
MAX_GPUS = 64


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpus() -> dict[str, Any]:
    """`driver` and `cuda` (the newest that the driver runs), null when not known; `devices`: name, memory_mb (10^6
    bytes), capability; `files`: whether there are device files of GPUs; `why`: what NVML could not tell, or null.
    """
    files = any(Path("/dev").glob("nvidia[0-9]*"))
    empty: dict[str, Any] = {"driver": None, "cuda": None, "devices": [], "files": files, "why": None}
    if sys.platform == "darwin":
        return {**empty, "why": "macOS has no NVIDIA driver"}
    try:
        nvml = ctypes.CDLL(LIBRARY)
        return {**empty, **_ask(nvml)}
    except (OSError, AttributeError) as error:
        missing = isinstance(error, OSError) and not files
        return {**empty, "why": f"no NVIDIA driver: {LIBRARY} is not there" if missing else f"{LIBRARY}: {error}"}


def _ask(nvml: ctypes.CDLL) -> dict[str, Any]:
    nvml.nvmlErrorString.restype = ctypes.c_char_p
    if code := nvml.nvmlInit_v2():
        return {"why": f"NVML: {nvml.nvmlErrorString(code).decode(errors='replace')}"}
    try:
        cuda, count = ctypes.c_int(), ctypes.c_uint()
        driver = _text(nvml.nvmlSystemGetDriverVersion)
        nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(cuda))
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        devices = [_device(nvml, i) for i in range(min(count.value, MAX_GPUS))]
        why = None if devices else "the NVIDIA driver sees no GPU"
        return {"driver": driver, "cuda": cuda_number(cuda.value), "devices": devices, "why": why}
    finally:
        nvml.nvmlShutdown()


def _device(nvml: ctypes.CDLL, index: int) -> dict[str, Any]:
    handle, memory, major, minor = ctypes.c_void_p(), _Memory(), ctypes.c_int(), ctypes.c_int()
    if code := nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
        return {"name": f"? ({nvml.nvmlErrorString(code).decode(errors='replace')})", "memory_mb": 0, "capability": "?"}
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    nvml.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
    return {
        "name": _text(lambda buffer, size: nvml.nvmlDeviceGetName(handle, buffer, size)) or "?",
        "memory_mb": memory.total // 1_000_000,
        "capability": f"{major.value}.{minor.value}",
    }


def _text(function: Any) -> str | None:
    buffer = ctypes.create_string_buffer(96)
    return None if function(buffer, len(buffer)) else buffer.value.decode(errors="replace")
