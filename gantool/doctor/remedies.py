"""The exact lines that fix a fault, for pip and uv."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gantool.doctor.libraries import Wheel
from gantool.system import nvml

# the oldest driver of each CUDA: "CUDA Toolkit and Minimum Required Driver Version", NVIDIA's CUDA release notes
OLDEST_DRIVER = {12: "525.60.13", 13: "580.65.06"}
DRIVERS = "https://www.nvidia.com/drivers"
GPU_WHEEL = "onnxruntime-gpu"


@dataclass(frozen=True)
class Fault:
    """`severity`: "fault" (something that should work does not) or "advice". `pip`, `uv`: a line to paste, or None.

    `then`: what else to do, in words or as a line for the shell.
    """

    provider: str | None
    severity: Literal["fault", "advice"]
    what: str
    pip: str | None = None
    uv: str | None = None
    then: str | None = None


def install(*requirements: str, options: str = "") -> dict[str, str]:
    """`pip` and `uv` lines that install; requirements with special characters of the shell are quoted."""
    words = " ".join([*([options] if options else []), *map(_quoted, requirements)])
    return {"pip": f"pip install {words}", "uv": f"uv pip install {words.replace('--force-reinstall', '--reinstall')}"}


def replace(gone: Iterable[str], *requirements: str) -> dict[str, str]:
    """`pip` and `uv` lines that uninstall, then install."""
    names, lines = " ".join(gone), install(*requirements)
    return {
        "pip": f"pip uninstall -y {names} && {lines['pip']}",
        "uv": f"uv pip uninstall {names} && {lines['uv']}",
    }


def _quoted(requirement: str) -> str:
    return f'"{requirement}"' if set(requirement) & set("[]<>=~*, ") else requirement


def cuda_requirements(cuda: str | None) -> list[str]:
    """What to install for the CUDA provider: the wheel with its extras, and cuBLAS, which no extra names.

    `cuda`: what onnxruntime is built for, e.g. "13.0"; None: what the newest wheels are built for.
    """
    major = cuda_major(cuda) or 13
    # CUDA 13's wheels have no suffix, and CUDA's version
    return [f"{GPU_WHEEL}[cuda,cudnn]", f"nvidia-cublas~={major}.0" if major >= 13 else f"nvidia-cublas-cu{major}"]


def tensorrt_requirement(cuda: str | None, missing: Iterable[str]) -> str:
    """The wheel of the TensorRT that the provider is linked to. `missing`: its libraries, e.g. libnvinfer.so.10."""
    numbers = [found[1] for name in missing if (found := re.search(r"(?:\.so\.|_)(\d+)", name))]
    return f"tensorrt-cu{cuda_major(cuda) or 13}=={numbers[0] if numbers else nvml.TENSORRT_MAJOR}.*"


def tensorrt_path(wheels: Iterable[Wheel]) -> str | None:
    """The line that makes the loader find TensorRT's wheel, where onnxruntime does not look; Linux only."""
    root = next((wheel.root for wheel in wheels if wheel.name.startswith("onnxruntime")), None)
    if root is None or sys.platform != "linux":
        return None
    folder = root / "tensorrt_libs"
    if folder.is_relative_to(Path.home()):  # a shell does not expand ~ within quotes
        folder = Path("$HOME") / folder.relative_to(Path.home())
    return f'export LD_LIBRARY_PATH="{folder}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"'


def driver_advice(cuda: str | None) -> str:
    """What to do about a driver that is missing or too old: no wheel brings one."""
    major = cuda_major(cuda)
    oldest = OLDEST_DRIVER.get(major or 0)
    which = f"CUDA {major} needs {oldest} or newer" if oldest else "the newest"
    return f"Install an NVIDIA driver: {which}, from {DRIVERS}; no wheel brings one."


def cuda_major(cuda: str | None) -> int | None:
    """13 of "13.0"."""
    return int(cuda.partition(".")[0]) if cuda else None
