"""NVIDIA GPUs through NVML, the driver's own library: names, memory, energy, versions; and whether TensorRT is there.

    device = nvml.open_device()  # None without a GPU
    nvml.visible_devices()  # ["0", "1"], as for CUDA_VISIBLE_DEVICES

Called by ctypes, so nothing has to be installed. Functions and their versions are those of NVIDIA's nvml.h (NVML API
reference); all are in every driver since 2018.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any

LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
TENSORRT_MAJOR = 10  # of the libnvinfer that onnxruntime's provider is linked to; the newest wheels are 11
MEGABYTE = 1e6
JOULES = 1e-3  # nvmlDeviceGetTotalEnergyConsumption counts millijoules
_NAME = 96  # bytes, with the zero at the end: NVML_DEVICE_NAME_V2_BUFFER_SIZE


class NvmlError(Exception):
    """NVML reports an error; the message is its own."""


class _Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def load_tensorrt() -> None:
    """Load TensorRT's library, as onnxruntime's provider does; OSError when it is not there."""
    ctypes.CDLL(f"nvinfer_{TENSORRT_MAJOR}.dll" if sys.platform == "win32" else f"libnvinfer.so.{TENSORRT_MAJOR}")


class Device:
    """A GPU. Methods give None where the driver has no answer."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library, self._handle = library, handle

    def name(self) -> str | None:
        text = ctypes.create_string_buffer(_NAME)
        return text.value.decode(errors="replace") if self._ask("nvmlDeviceGetName", text, _NAME) else None

    def used_mb(self) -> float | None:
        """Memory in use on the device by all processes, in megabytes (10^6 bytes)."""
        memory = self._memory()
        return None if memory is None else memory.used / MEGABYTE

    def total_mb(self) -> float | None:
        """Memory of the device, in megabytes (10^6 bytes)."""
        memory = self._memory()
        return None if memory is None else memory.total / MEGABYTE

    def joules(self) -> float | None:
        """Energy since the driver was loaded (from Volta on)."""
        total = ctypes.c_ulonglong()
        known = self._ask("nvmlDeviceGetTotalEnergyConsumption", ctypes.byref(total))
        return total.value * JOULES if known else None

    def capability(self) -> tuple[int, int] | None:
        """CUDA's compute capability, e.g. (9, 0)."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        known = self._ask("nvmlDeviceGetCudaComputeCapability", ctypes.byref(major), ctypes.byref(minor))
        return (major.value, minor.value) if known else None

    def _memory(self) -> _Memory | None:
        memory = _Memory()
        return memory if self._ask("nvmlDeviceGetMemoryInfo", ctypes.byref(memory)) else None

    def _ask(self, function: str, *arguments: Any) -> bool:
        try:
            return bool(getattr(self._library, function)(self._handle, *arguments) == 0)
        except AttributeError:  # an older driver
            return False


class Nvml:
    """The library, started; see `start`."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def driver(self) -> str | None:
        """The driver's version, e.g. 580.65.06."""
        text = ctypes.create_string_buffer(_NAME)
        failed = self._library.nvmlSystemGetDriverVersion(text, _NAME)
        return None if failed else text.value.decode(errors="replace")

    def cuda(self) -> int:
        """The newest CUDA that the driver runs, 13000 for 13.0; 0 when not known."""
        version = ctypes.c_int()
        failed = self._library.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(version))
        return 0 if failed else version.value

    def count(self) -> int:
        """The GPUs of the machine."""
        count = ctypes.c_uint()
        failed = self._library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        return 0 if failed else count.value

    def device(self, which: int | str) -> Device:
        """By its number on the machine, or by its UUID; NvmlError when there is none."""
        handle = ctypes.c_void_p()
        if isinstance(which, str):
            code = self._library.nvmlDeviceGetHandleByUUID(which.encode(), ctypes.byref(handle))
        else:
            code = self._library.nvmlDeviceGetHandleByIndex_v2(which, ctypes.byref(handle))
        if code:
            raise NvmlError(_error_text(self._library, code))
        return Device(self._library, handle)


def start(load: Callable[[str], Any] = ctypes.CDLL) -> Nvml:
    """Load and start the library. `load` opens it. OSError: it is not there; NvmlError: it does not start."""
    library = load(LIBRARY)
    if code := library.nvmlInit_v2():
        raise NvmlError(_error_text(library, code))
    return Nvml(library)


def open_device(load: Callable[[str], Any] = ctypes.CDLL) -> Device | None:
    """The first GPU that this process may use, or None where there is no driver, or none that answers."""
    # NVML counts all GPUs of the machine; CUDA, those of CUDA_VISIBLE_DEVICES
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    which: int | str = visible
    if not visible.startswith(("GPU-", "MIG-")):
        which = int(visible) if visible.isdigit() else 0
    try:
        return start(load).device(which)
    except (OSError, AttributeError, NvmlError):
        return None


def visible_devices(load: Callable[[str], Any] = ctypes.CDLL) -> list[str]:
    """The GPUs that this process may use, each as CUDA_VISIBLE_DEVICES would name it; [] without a driver."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    try:
        return [str(number) for number in range(start(load).count())]
    except (OSError, AttributeError, NvmlError):
        return []


def _error_text(library: Any, code: int) -> str:
    try:
        library.nvmlErrorString.restype = ctypes.c_char_p
        return str(library.nvmlErrorString(code).decode(errors="replace"))
    except AttributeError:
        return f"error {code}"
