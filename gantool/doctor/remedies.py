"""The exact line that mends a fault, for pip and for uv."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gantool.doctor.wheels import Wheel

# the oldest driver of each CUDA: "CUDA Toolkit and Minimum Required Driver Version", NVIDIA's CUDA release notes
OLDEST_DRIVER = {12: "525.60.13", 13: "580.65.06"}
DRIVERS = "https://www.nvidia.com/drivers"
GPU_WHEEL = "onnxruntime-gpu"
TENSORRT_MAJOR = 10  # of the libnvinfer that onnxruntime's provider is linked to; the newest wheels are 11


@dataclass(frozen=True)
class Fault:
    """`severity`: "fault" (something that should work does not) or "advice". `pip`, `uv`: a line to paste, or null.

    `then`: what to do besides, in words or as a line of the shell.
    """

    provider: str | None
    severity: Literal["fault", "advice"]
    what: str
    pip: str | None = None
    uv: str | None = None
    then: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def install(*requirements: str, options: str = "") -> dict[str, str]:
    """`pip` and `uv` lines that install; a requirement with characters of the shell is quoted."""
    words = " ".join([*([options] if options else []), *map(quoted, requirements)])
    return {"pip": f"pip install {words}", "uv": f"uv pip install {words.replace('--force-reinstall', '--reinstall')}"}


def replace(gone: Iterable[str], *requirements: str) -> dict[str, str]:
    """`pip` and `uv` lines that uninstall, then install."""
    names, lines = " ".join(gone), install(*requirements)
    return {
        "pip": f"pip uninstall -y {names} && {lines['pip']}",
        "uv": f"uv pip uninstall {names} && {lines['uv']}",
    }


def quoted(requirement: str) -> str:
    return f'"{requirement}"' if set(requirement) & set("[]<>=~*, ") else requirement


def cuda_requirements(wheels: Iterable[Wheel], cuda: str | None) -> list[str]:
    """What the CUDA provider needs, for `pip install`: the extras that the installed wheel has, and cuBLAS.

    `cuda`: what onnxruntime was built for, e.g. "13.0"; without it, what the newest wheels are built for.
    """
    runtime = next((wheel for wheel in wheels if wheel.name == GPU_WHEEL), None)
    major = cuda_major(cuda) or 13
    # CUDA 13's wheels lost the suffix; their version is CUDA's (cuFFT's and cuRAND's is not)
    suffix, pinned = ("", f"~={major}.0") if major >= 13 else (f"-cu{major}", "")
    if runtime is None or {"cuda", "cudnn"} <= set(runtime.extras):
        needed = [f"{GPU_WHEEL}[cuda,cudnn]"]
    else:
        needed = [f"nvidia-cuda-runtime{suffix}{pinned}", f"nvidia-cuda-nvrtc{suffix}{pinned}"]
        needed += [f"nvidia-cufft{suffix}", f"nvidia-curand{suffix}", f"nvidia-cudnn-cu{major}~=9.0"]
    # no extra names it; it comes with cuDNN's wheel, if that does not find another one there
    return [*needed, f"nvidia-cublas{suffix}{pinned}"]


def tensorrt_requirement(cuda: str | None, missing: Iterable[str]) -> str:
    """The wheel of the TensorRT that the provider is linked to; `missing`: its libraries, e.g. libnvinfer.so.10."""
    return f"tensorrt-cu{cuda_major(cuda) or 13}=={tensorrt_major(missing)}.*"


def tensorrt_major(missing: Iterable[str]) -> int:
    """10 of libnvinfer.so.10 or nvinfer_10.dll."""
    numbers = [found[1] for name in missing if (found := re.search(r"(?:\.so\.|_)(\d{1,3})(?:\.|\Z)", name))]
    return int(numbers[0]) if numbers else TENSORRT_MAJOR


def tensorrt_path(wheels: Iterable[Wheel]) -> str | None:
    """The line that lets the loader find TensorRT's wheel, which is not where onnxruntime looks; Linux only."""
    root = next((wheel.root for wheel in wheels if wheel.name.startswith("onnxruntime")), None)
    if root is None or sys.platform != "linux":
        return None
    folder = root / "tensorrt_libs"
    if folder.is_relative_to(Path.home()):  # within quotes, a shell knows $HOME and not ~
        folder = Path("$HOME") / folder.relative_to(Path.home())
    return f'export LD_LIBRARY_PATH="{folder}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"'


def driver_words(cuda: str | None) -> str:
    """What to do about a driver that is missing or too old: no wheel mends it."""
    major = cuda_major(cuda)
    oldest = OLDEST_DRIVER.get(major or 0)
    words = f"CUDA {major} needs {oldest} or newer" if oldest else "take the newest"
    return f"Install an NVIDIA driver: {words}, from {DRIVERS}; no wheel brings one."


def cuda_major(cuda: str | None) -> int | None:
    """13 of "13.0"; None of nothing or of what is no version."""
    digits = (cuda or "").partition(".")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else None
