"""GPU libraries that a process has loaded, and the installed wheels that they belong to."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path, PurePosixPath

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
            wheels[name] = Wheel(name, found.version, Path(str(found.locate_file(""))), files)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return [wheels[name] for name in sorted(wheels)]


def owner(path: str, wheels: Iterable[Wheel]) -> str | None:
    """`name version` of the wheel that a file belongs to; None: no wheel's."""
    for wheel in wheels:
        relative = os.path.relpath(os.path.realpath(path), os.path.realpath(wheel.root))
        if Path(relative).as_posix() in wheel.files:
            return f"{wheel.name} {wheel.version}"
    return None


def runtimes(wheels: Iterable[Wheel]) -> list[Wheel]:
    """The wheels that provide the package `onnxruntime`: two of them overwrite each other's files."""
    return [wheel for wheel in wheels if "onnxruntime/__init__.py" in wheel.files]


def loaded() -> list[dict[str, str | None]] | None:
    """`name`, `version` (None: unknown) and `path` of each library in this process, by name; None but on Linux."""
    if sys.platform != "linux":
        return None
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    return [{"name": Path(path).name, "version": version_in_name(path), "path": path} for path in parse_maps(maps)]


def parse_maps(text: str) -> list[str]:
    """The paths of GPU libraries in the text of /proc/PID/maps (proc_pid_maps(5)), by file name, each once."""
    found = set()
    for line in text.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith("/"):
            path = fields[5].removesuffix(" (deleted)")
            if _FILE.match(PurePosixPath(path).name):
                found.add(path)
    return sorted(found, key=lambda path: (PurePosixPath(path).name, path))


def version_in_name(path: str) -> str | None:
    """The digits after `.so` of the file that a path leads to: libcudart.so.13 → libcudart.so.13.0.96 → 13.0.96."""
    digits = re.search(r"\.so\.([0-9]+(?:\.[0-9]+)*)\Z", os.path.realpath(path))
    return digits[1] if digits else None
