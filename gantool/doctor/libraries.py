"""GPU libraries that a process has loaded, and the installed wheels that they belong to."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

MAX_LISTED = 200
_FAMILIES = (
    "libcudart", "libcublas", "libcublasLt", "libcudnn", "libcufft", "libcurand", "libnvrtc", "libnvJitLink",
    "libcuda", "libnvidia-ml", "libnvinfer", "libnvonnxparser", "libopenvino", "libonnxruntime_providers",
)  # fmt: skip
_FILE = re.compile(rf"(?:{'|'.join(_FAMILIES)})(?:[_-][\w-]*)?\.so(?:\.[\d.]+)?\Z")
_WHEEL = re.compile(r"(nvidia-.*|onnxruntime(-.*)?|tensorrt(-.*)?|openvino|torch|numpy|onnx|gantool)\Z")


@dataclass(frozen=True)
class Wheel:
    """An installed distribution. `files`: relative to `root`, as in its RECORD; empty without one."""

    name: str
    version: str
    root: Path
    files: frozenset[str] = field(repr=False)
    extras: tuple[str, ...] = ()


def installed(distributions: Iterable[metadata.Distribution] | None = None) -> list[Wheel]:
    """The wheels that matter for running a model, sorted by name; damaged ones are left out."""
    wheels: dict[str, Wheel] = {}
    for found in metadata.distributions() if distributions is None else distributions:
        try:
            name = re.sub(r"[-_.]+", "-", found.metadata["Name"] or "").lower()
            if not _WHEEL.match(name) or name in wheels:  # the first on the path is the one that is imported
                continue
            record = found.read_text("RECORD") or ""
            # "path,hash,size"; a path with a comma is quoted, and no library has one
            files = frozenset(line.split(",")[0] for line in record.splitlines())
            extras = tuple(found.metadata.get_all("Provides-Extra") or ())
            wheels[name] = Wheel(name, found.version, Path(str(found.locate_file(""))), files, extras)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return [wheels[name] for name in sorted(wheels)]


def owner(path: str, wheels: Iterable[Wheel]) -> str | None:
    """`name version` of the wheel that a file belongs to; None: no wheel's."""
    for wheel in wheels:
        try:
            relative = Path(path).resolve().relative_to(wheel.root.resolve()).as_posix()
        except (ValueError, OSError, RuntimeError):
            continue
        if relative in wheel.files:
            return f"{wheel.name} {wheel.version}"
    return None


def runtimes(wheels: Iterable[Wheel]) -> list[Wheel]:
    """The wheels that provide the package `onnxruntime`: two of them overwrite each other's files."""
    return [wheel for wheel in wheels if "onnxruntime/__init__.py" in wheel.files]


def loaded() -> list[dict[str, str | None]] | None:
    """`name`, `version` (None: unknown) and `path` of each library in this process, by name; None but on Linux."""
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
            if _FILE.match(PurePosixPath(path).name):
                found.add(path)
    return sorted(found, key=lambda path: (PurePosixPath(path).name, path))[:MAX_LISTED]


def version(path: str) -> str | None:
    """The version that a loaded library reports, else the digits in its file's name, else None."""
    try:
        reported = _reported(Path(path).name.partition(".")[0], ctypes.CDLL(path))  # the handle that is open already
    except (OSError, AttributeError):
        reported = None
    return reported or version_in_name(path)


def version_in_name(path: str) -> str | None:
    """The digits after `.so` of the file that a path leads to: libcudart.so.13 → libcudart.so.13.0.96 → 13.0.96."""
    try:
        name = Path(path).resolve().name
    except (OSError, RuntimeError, ValueError):
        name = PurePosixPath(path).name
    digits = re.search(r"\.so\.([0-9]+(?:\.[0-9]+)*)\Z", name)
    return digits[1] if digits else None


def _reported(family: str, library: ctypes.CDLL) -> str | None:
    match family:
        case "libcudart":
            return version_of_cuda(_outputs(library.cudaRuntimeGetVersion, 1)[0])
        case "libcuda":
            return version_of_cuda(_outputs(library.cuDriverGetVersion, 1)[0])
        case "libcudnn":
            library.cudnnGetVersion.restype = ctypes.c_size_t
            return version_of_cudnn(library.cudnnGetVersion())
        case "libnvinfer":
            return version_of_tensorrt(library.getInferLibVersion())
        case "libnvrtc":
            parts = _outputs(library.nvrtcVersion, 2)
        case "libcublas" | "libcublasLt" | "libcufft" | "libcurand":
            ask = getattr(library, f"{family.removeprefix('lib')}GetProperty")
            # libraryPropertyType in library_types.h: 0, 1 and 2 are major, minor and patch
            parts = [_outputs(ask, 1, which)[0] for which in range(3)]
        case _:
            return None
    return ".".join(map(str, parts)) if any(parts) else None


def _outputs(function: Any, count: int, *arguments: int) -> list[int]:
    """The `count` ints that a C function writes through its last arguments; zeros when it fails."""
    values = [ctypes.c_int() for _ in range(count)]
    failed = function(*arguments, *map(ctypes.byref, values))
    return [0 if failed else value.value for value in values]


def version_of_cuda(number: int) -> str | None:
    """13000 → 13.0, as cudaRuntimeGetVersion and NVML report it."""
    return f"{number // 1000}.{number % 1000 // 10}" if number > 0 else None


def version_of_cudnn(number: int) -> str | None:
    """91200 → 9.12.0; before cuDNN 9, 8902 → 8.9.2."""
    return _three_parts(number, 10_000 if number >= 90_000 else 1000)


def version_of_tensorrt(number: int) -> str | None:
    """101601 → 10.16.1; before TensorRT 10, 8601 → 8.6.1."""
    return _three_parts(number, 10_000 if number >= 100_000 else 1000)


def _three_parts(number: int, step: int) -> str | None:
    return f"{number // step}.{number % step // 100}.{number % 100}" if number > 0 else None
