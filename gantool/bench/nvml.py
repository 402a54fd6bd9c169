"""What an NVIDIA driver tells of its GPU: memory and energy. By ctypes, so that nothing has to be installed.

Functions and their versions as in NVIDIA's nvml.h (NVML API reference); all are in every driver since 2018.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any

LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
MEGABYTE = 1e6
JOULES = 1e-3  # nvmlDeviceGetTotalEnergyConsumption counts millijoules


class _Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Device:
    """The first GPU that this process may use. Methods give None where the driver does not tell."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library, self._handle = library, handle

    def name(self) -> str | None:
        text = ctypes.create_string_buffer(96)
        return text.value.decode(errors="replace") if self._ask("nvmlDeviceGetName", text, 96) else None

    def used_mb(self) -> float | None:
        """Memory in use on the device by all processes, in megabytes (10^6 bytes)."""
        memory = _Memory()
        return memory.used / MEGABYTE if self._ask("nvmlDeviceGetMemoryInfo", ctypes.byref(memory)) else None

    def joules(self) -> float | None:
        """Energy since the driver was loaded (from Volta on)."""
        total = ctypes.c_ulonglong()
        known = self._ask("nvmlDeviceGetTotalEnergyConsumption", ctypes.byref(total))
        return total.value * JOULES if known else None

    def _ask(self, function: str, *arguments: Any) -> bool:
        try:
            return bool(getattr(self._library, function)(self._handle, *arguments) == 0)
        except AttributeError:  # an older driver
            return False


def open_device(load: Callable[[str], Any] = ctypes.CDLL) -> Device | None:
    """The GPU, or None where there is no driver, or none that answers. `load` opens the library."""
    try:
        library = load(LIBRARY)
        if library.nvmlInit_v2() != 0:
            return None
        handle = ctypes.c_void_p()
        if _find(library, handle) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return Device(library, handle)


def _find(library: Any, handle: ctypes.c_void_p) -> int:
    """NVML counts all GPUs of the machine; CUDA, those of CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if visible.startswith(("GPU-", "MIG-")):
        return int(library.nvmlDeviceGetHandleByUUID(visible.encode(), ctypes.byref(handle)))
    return int(library.nvmlDeviceGetHandleByIndex_v2(int(visible) if visible.isdigit() else 0, ctypes.byref(handle)))
