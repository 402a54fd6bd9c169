"""What onnxruntime's messages mean: the cause in them, told apart by what mends it."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_TEXT = 200_000

# by the file's name, without lib, version and ending: who brings a library
_PARTS = (
    ("tensorrt", ("nvinfer", "nvonnxparser")),
    ("cudnn", ("cudnn",)),
    ("cuda", ("cudart", "cublas", "cufft", "curand", "nvrtc", "nvJitLink")),
    ("driver", ("cuda.", "nvcuda.")),
)
_LIBRARY = r"([A-Za-z][\w+-]{0,80}(?:\.so(?:\.[0-9]+){0,4}|\.dll))"
_MISSING = [
    re.compile(pattern)
    for pattern in (
        _LIBRARY + r": cannot open shared object file",
        r"which depends on \"" + _LIBRARY + r"\" which is missing",
        r"Could not find module '(?:[^'\n]{0,300}[\\/])?" + _LIBRARY + "'",
        r"Could not load library " + _LIBRARY,
        r"Unable to dlopen " + _LIBRARY,
    )
]
_UNFIT = [
    re.compile(r"undefined symbol: [\w.@]{1,200}, version " + _LIBRARY),
    re.compile(_LIBRARY + r": (?:undefined symbol|version `[^']{1,80}' not found|invalid ELF header|wrong ELF class)"),
]
_WORDS = (
    (
        "driver-old",
        r"CUDA driver version is insufficient|cudaErrorInsufficientDriver|"
        r"undefined symbol: cu[A-Z]\w{1,100}\s*(?:\n|\Z)",  # a function of libcuda: those have no version
    ),
    ("driver-mismatch", r"forward compatibility was attempted|Driver/library version mismatch"),
    ("no-device", r"no CUDA-capable device is detected|cudaErrorNoDevice|CUDA failure 100\b"),
    ("cudnn-mixed", r"CUDNN_STATUS_\w*VERSION_MISMATCH"),
    ("cudnn", r"cuDNN is (?:not available|unavailable)|cuDNN library was not found"),
    ("gpu-unsupported", r"no kernel image is available|CUDNN_STATUS_ARCH_MISMATCH"),
    ("memory", r"CUDA failure 2\b|cudaErrorMemoryAllocation|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED"),
    ("fallback", r"fallback to CPU EP has been explicitly disabled"),
)


@dataclass(frozen=True)
class Causes:
    """`missing`: libraries that are not there; `unfit`: those of a wrong version; `words`: of _WORDS, in its order."""

    missing: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def lacks(self, part: str) -> tuple[str, ...]:
        """The missing libraries of one part: "tensorrt", "cudnn", "cuda", "driver"; "" for any other."""
        return tuple(name for name in self.missing if part_of(name) == part)


def read(text: str) -> Causes:
    """The causes in a log; none of a text that says nothing known."""
    text = text[-MAX_TEXT:]
    words = tuple(kind for kind, pattern in _WORDS if re.search(pattern, text))
    unfit = tuple(name for name in _found(_UNFIT, text) if part_of(name))  # not who looked for the symbol
    return Causes(_found(_MISSING, text), unfit, words)


def part_of(library: str) -> str:
    """Who brings a library: "tensorrt", "cudnn", "cuda" (the toolkit), "driver", or "" when not known."""
    stem = library.removeprefix("lib")
    return next((part for part, names in _PARTS if stem.startswith(names)), "")


def summary(text: str, limit: int = 300) -> str:
    """The line of a message that tells most, for a person: without onnxruntime's source paths and signatures."""
    for pattern in (
        r"Failed to load library [^\n]{1,4000}? with error: ([^\n]+)",
        r"(?:CUDA|CUDNN|CUBLAS|CUFFT|CURAND) failure \d+: [^;\n]{1,200}",
        r"ONNXRuntimeError\] : \d+ : \w+ : ([^\n]+)",
    ):
        if (found := re.search(pattern, text)) and (line := _short(found[found.re.groups], limit)):
            return line
    lines = filter(None, (_short(line, limit) for line in reversed(text.splitlines())))
    return next(lines, "no message")


def _found(patterns: list[re.Pattern[str]], text: str) -> tuple[str, ...]:
    hits = [(found.start(), found[1]) for pattern in patterns for found in pattern.finditer(text)]
    return tuple(dict.fromkeys(name for _, name in sorted(hits)))


def _short(line: str, limit: int) -> str:
    printable = "".join(character if character.isprintable() else " " for character in line).strip()
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"
