"""Why a provider failed: the causes in onnxruntime's messages, and the fault that they are on this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gantool.doctor import remedies
from gantool.doctor.libraries import Wheel, runtimes
from gantool.doctor.remedies import Fault

NVIDIA = ("cuda", "tensorrt")
WITHOUT_LATENTS = ("tensorrt", "openvino")  # some of their versions have no uint64, which seeded files need
PROBES = ("Conv", "ConvTranspose", "Gemm", "latents")  # of probes.py, which imports numpy
WORKS, UNUSABLE, NOT_INSTALLED, BROKEN, WRONG = "works", "not usable here", "not installed", "broken", "wrong values"

MAX_TEXT = 200_000

# what a library belongs to, by the start of its file's name without `lib`
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
_MISMATCHED = [
    re.compile(r"undefined symbol: [\w.@]{1,200}, version " + _LIBRARY),
    re.compile(_LIBRARY + r": (?:undefined symbol|version `[^']{1,80}' not found|invalid ELF header|wrong ELF class)"),
]
_SYMPTOMS = (
    (
        "driver-old",
        r"CUDA driver version is insufficient|cudaErrorInsufficientDriver|"
        r"undefined symbol: cu[A-Z]\w{1,100}\s*(?:\n|\Z)",  # a function of libcuda, whose symbols have no versions
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
    """Libraries that are `missing` or `mismatched` (of a wrong version), and `symptoms`: names in _SYMPTOMS."""

    missing: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    symptoms: tuple[str, ...] = ()

    def missing_of(self, part: str) -> tuple[str, ...]:
        """The missing libraries that belong to "tensorrt", "cudnn", "cuda", "driver" or "" (others)."""
        return tuple(name for name in self.missing if part_of(name) == part)


def find_causes(text: str) -> Causes:
    """The known causes in a log."""
    text = text[-MAX_TEXT:]
    symptoms = tuple(kind for kind, pattern in _SYMPTOMS if re.search(pattern, text))
    mismatched = tuple(
        name for name in _found(_MISMATCHED, text) if part_of(name)
    )  # not the library that looked for the symbol
    return Causes(_found(_MISSING, text), mismatched, symptoms)


def part_of(library: str) -> str:
    """What a library belongs to: "tensorrt", "cudnn", "cuda" (the toolkit), "driver", or "" when unknown."""
    stem = library.removeprefix("lib")
    return next((part for part, names in _PARTS if stem.startswith(names)), "")


def summary(text: str, limit: int = 300) -> str:
    """The most telling line of a message, without onnxruntime's source paths and signatures."""
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


@dataclass
class Outcome:
    """What a child process reported. `failure`: how it ended, if not well; `crashed`: without a Python exception."""

    result: dict[str, Any] | None = None
    probes: list[dict[str, Any]] = field(default_factory=list)
    stderr: str = ""
    failure: str | None = None
    crashed: bool = False


class Machine:
    """What is known of a machine, and the faults found so far.

    `runtime`, `gpus`: as in the report of `gantool.doctor.examine`. `required`: a provider that must work.
    """

    def __init__(self, required: str | None, wheels: Sequence[Wheel]) -> None:
        self.required, self.wheels = required, list(wheels)
        self.runtime: dict[str, Any] | None = None
        self.gpus: dict[str, Any] = {}
        self.faults: list[Fault] = []

    @property
    def has_gpu(self) -> bool:
        return bool(self.gpus["devices"] or self.gpus["files"])

    @property
    def cuda(self) -> str | None:
        """The CUDA that onnxruntime is built for, e.g. "13.0"."""
        return (self.runtime or {}).get("cuda")

    def judge(self, name: str, outcome: Outcome) -> tuple[str, str]:
        """The state of a provider and why. If it should work and does not, a fault is added to `faults`."""
        status = {probe.get("name"): probe.get("status") for probe in outcome.probes}
        wrong = ", ".join(probe for probe in PROBES if status.get(probe) == "wrong")
        if wrong:
            self.faults.append(Fault(name, "fault", f"{name} computes {wrong} wrong.", **self._reinstall()))
            return WRONG, f"{wrong} differ from the expected values"
        failed = [probe for probe in PROBES if status.get(probe) != "right"]
        if outcome.failure is None and not failed:
            return WORKS, ""
        if outcome.failure is None and failed == ["latents"] and name in WITHOUT_LATENTS:
            return WORKS, "no uint64: it runs generator.onnx, not the seeded file"
        if name in NVIDIA and not self.has_gpu:
            why = "no NVIDIA GPU or driver" + (f" (its process {outcome.failure})" if outcome.failure else "")
            if name == self.required:
                self.faults.append(Fault(name, "fault", f"{name}: {why}.", then=remedies.driver_advice(self.cuda)))
            return UNUSABLE, why
        text = "\n".join([outcome.stderr, *(str(probe.get("why") or "") for probe in outcome.probes)])
        causes = find_causes(text)
        if name == "tensorrt" and causes.missing_of("tensorrt"):
            return self._tensorrt_missing(causes.missing_of("tensorrt"))
        why, remedy = (self._nvidia_cause(outcome, causes) if name in NVIDIA else None) or (
            self._description(outcome, causes, text),
            self._reinstall(),
        )
        self.faults.append(Fault(name, "fault", f"{name}: {why}.", **remedy))
        return BROKEN, why

    def _nvidia_cause(self, outcome: Outcome, causes: Causes) -> tuple[str, dict[str, str]] | None:
        """The known cause of a failure on CUDA or TensorRT, and its remedy."""
        cuda, requirements = self.cuda, remedies.cuda_requirements(self.wheels, self.cuda)
        if driver := causes.missing_of("driver"):
            return f"{_listed(driver)} is missing, though there is a GPU", {
                "then": "In a container: docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility … "
                "Elsewhere: install the driver's CUDA library, libcuda.so.1."
            }
        toolkit = (*causes.missing_of("cuda"), *causes.missing_of("cudnn"))
        if toolkit or "cudnn" in causes.symptoms:
            why = f"missing: {_listed(toolkit)}" if toolkit else "cuDNN is missing"
            return why + self._other_cuda(), remedies.install(*requirements)
        reinstall = remedies.install(*requirements, options="--force-reinstall")
        driver_version = (
            f"driver {self.gpus['driver']}, for CUDA {self.gpus['cuda']}" if self.gpus["driver"] else "its driver"
        )
        known: dict[str, tuple[str, dict[str, str]]] = {
            "driver-old": (
                f"the driver is too old for CUDA {cuda} ({driver_version})",
                {"then": remedies.driver_advice(cuda)},
            ),
            "driver-mismatch": (
                f"the driver's parts are of different versions ({driver_version})",
                {"then": "Restart the machine; if that does not help, install the driver again."},
            ),
            "no-device": (
                "CUDA sees no device, though the driver does",
                {"then": "Check CUDA_VISIBLE_DEVICES: unset it, or set it to the number of a GPU."},
            ),
            "cudnn-mixed": ("parts of cuDNN are of different versions", reinstall),
            "gpu-unsupported": (
                "these libraries are not built for this GPU",
                {"then": "Install a version of onnxruntime-gpu that is built for it, or use --provider cpu."},
            ),
            "memory": ("the GPU has no memory left", {"then": "Stop what uses it; nvidia-smi lists the programs."}),
        }
        supported, needed = remedies.cuda_major(self.gpus["cuda"]), remedies.cuda_major(cuda)
        too_old = ("driver-old",) if supported and needed and supported < needed else ()  # whatever the message says
        loaded = [library["path"] for library in (outcome.result or {}).get("libraries") or []]
        libcuda = next((path for path in loaded if "/libcuda.so" in path), None)
        if self.gpus["cuda"] and not too_old and libcuda:  # e.g. the toolkit's stub, which is for linking only
            known["driver-old"] = (
                f"{libcuda} is too old for CUDA {cuda}, and not the driver's ({driver_version})",
                {"then": "Remove its folder from LD_LIBRARY_PATH."},
            )
        for symptom in (*too_old, *causes.symptoms):
            if symptom in known:
                return known[symptom]
        if causes.mismatched:
            return f"of a version that does not fit: {_listed(causes.mismatched)}{self._other_cuda()}", reinstall
        return None

    def _tensorrt_missing(self, missing: Sequence[str]) -> tuple[str, str]:
        why, major = f"missing: {_listed(missing)}", str(remedies.tensorrt_major(missing))
        wheels = [wheel for wheel in self.wheels if wheel.name.startswith("tensorrt")]
        path = remedies.tensorrt_path(self.wheels)
        severity: Literal["fault", "advice"] = "fault" if wheels or self.required == "tensorrt" else "advice"
        lines = remedies.install(remedies.tensorrt_requirement(self.cuda, missing))
        what = f"is not installed: {_listed(missing)} is missing"
        if wheels:
            what = f"is broken: {_listed(missing)} is missing (installed: {wheels[0].name} {wheels[0].version})"
        if path and any(wheel.version.partition(".")[0] == major for wheel in wheels):
            what = why = f"{_listed(missing)} is installed and not found"
            lines = {}
        self.faults.append(Fault("tensorrt", severity, f"tensorrt: {what}.", **lines, then=path))
        return BROKEN if wheels else NOT_INSTALLED, why

    def _description(self, outcome: Outcome, causes: Causes, text: str) -> str:
        """Words for a failure without a known cause."""
        if causes.missing:
            return f"missing: {_listed(causes.missing)}"
        if outcome.failure:
            return outcome.failure if outcome.crashed else f"{outcome.failure}: {summary(text)}"
        probe = next((probe for probe in outcome.probes if probe.get("status") == "failed"), {})
        message = str(probe.get("why") or text)
        if find_causes(message).symptoms == ("fallback",):  # true, but no cause: the log may name one
            message = outcome.stderr or message
        return f"{probe.get('name', 'nothing')} failed: {summary(message).rstrip('.')}"

    def _other_cuda(self) -> str:
        """Names installed CUDA wheels for another CUDA: the usual reason for a missing library."""
        major = remedies.cuda_major(self.cuda)
        others = [
            f"{wheel.name} {wheel.version}"
            for wheel in self.wheels
            if (suffix := re.search(r"-cu(\d+)\Z", wheel.name)) and int(suffix[1][:4]) != major
        ]
        return f" (installed for another CUDA: {', '.join(others[:3])})" if others and major else ""

    def _reinstall(self) -> dict[str, str]:
        wheel = next(iter(runtimes(self.wheels)), None)
        return remedies.install(f"{wheel.name}=={wheel.version}", options="--force-reinstall") if wheel else {}


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
