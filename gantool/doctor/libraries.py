"""The GPU libraries that a process has loaded: their paths from the system, their versions from themselves."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

MAX_LISTED = 200
_FAMILIES = (
    "libcudart", "libcublas", "libcublasLt", "libcudnn", "libcufft", "libcurand", "libnvrtc", "libnvJitLink",
    "libcuda", "libnvidia-ml", "libnvinfer", "libnvonnxparser", "libopenvino", "libonnxruntime_providers",
)  # fmt: skip
_NAME = re.compile(rf"(?:{'|'.join(_FAMILIES)})(?:[_-][\w-]*)?\.so(?:\.[\d.]+)?\Z")


def loaded() -> list[dict[str, str | None]] | None:
    """`name`, `version` (null: not known) and `path` of each, by name; None where the system does not tell (no Linux).

    A version is asked of the library that is loaded; one that has no such function, or fails, gets the digits of its
    file's name.
    """
    if sys.platform != "linux":
        return None
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return [{"name": Path(path).name, "version": version(path), "path": path} for path in parse_maps(maps)]


def parse_maps(text: str) -> list[str]:
    """The paths of GPU libraries in the text of /proc/PID/maps (proc_pid_maps(5)), by file name, each once."""
    found = set()
    for line in text.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith("/"):
            path = fields[5].removesuffix(" (deleted)")
            if _NAME.match(PurePosixPath(path).name):
                found.add(path)
    return sorted(found, key=lambda path: (PurePosixPath(path).name, path))[:MAX_LISTED]


def version(path: str) -> str | None:
    """Of a loaded library, by its own account or its file's name; None when neither tells."""
    try:
        told = _told(Path(path).name, ctypes.CDLL(path))  # it is loaded already: this is the same handle
    except (OSError, AttributeError):
        told = None
    return told or version_in_name(path)


def version_in_name(path: str) -> str | None:
    """The digits after `.so` of the file that a path leads to: libcudart.so.13 → libcudart.so.13.0.96 → 13.0.96."""
    try:
        name = Path(path).resolve().name
    except (OSError, RuntimeError, ValueError):
        name = PurePosixPath(path).name
    digits = re.search(r"\.so\.([0-9]+(?:\.[0-9]+)*)\Z", name)
    return digits[1] if digits else None


def _told(name: str, library: ctypes.CDLL) -> str | None:
    family = name.partition(".")[0]
    if family == "libcudart":
        return cuda_number(_out(library.cudaRuntimeGetVersion))
    if family == "libcuda":
        return cuda_number(_out(library.cuDriverGetVersion))
    if family == "libcudnn":
        library.cudnnGetVersion.restype = ctypes.c_size_t
        return cudnn_number(library.cudnnGetVersion())
    if family == "libnvinfer":
        return tensorrt_number(library.getInferLibVersion())
    if family == "libnvrtc":
        major, minor = ctypes.c_int(), ctypes.c_int()
        if library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)):
            return None
        return f"{major.value}.{minor.value}"
    # libraryPropertyType of library_types.h: 0, 1 and 2 are major, minor and patch
    function = {"libcublas": "cublas", "libcublasLt": "cublasLt", "libcufft": "cufft", "libcurand": "curand"}.get(
        family
    )
    if function is None:
        return None
    ask = getattr(library, f"{function}GetProperty")
    parts = []
    for which in range(3):
        part = ctypes.c_int()
        if ask(which, ctypes.byref(part)):
            return None
        parts.append(str(part.value))
    return ".".join(parts)


def _out(function: Any) -> int:
    """The int that a C function writes through its one argument; 0 when it fails."""
    value = ctypes.c_int()
    return 0 if function(ctypes.byref(value)) else value.value


def cuda_number(number: int) -> str | None:
    """13000 → 13.0, as cudaRuntimeGetVersion and NVML give it."""
    return f"{number // 1000}.{number % 1000 // 10}" if number > 0 else None


def cudnn_number(number: int) -> str | None:
    """91200 → 9.12.0; before cuDNN 9, 8902 → 8.9.2."""
    step = 10_000 if number >= 90_000 else 1000
    return f"{number // step}.{number % step // 100}.{number % 100}" if number > 0 else None


def tensorrt_number(number: int) -> str | None:
    """101601 → 10.16.1; before TensorRT 10, 8601 → 8.6.1."""
    step = 10_000 if number >= 100_000 else 1000
    return f"{number // step}.{number % step // 100}.{number % 100}" if number > 0 else None
