"""Why a provider failed: the causes in onnxruntime's messages, and the fault that they are on this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gantool.doctor import remedies
from gantool.doctor.libraries import Wheel, runtimes
from gantool.doctor.remedies import Fault
from gantool.errors import excerpt

NVIDIA = ("cuda", "tensorrt")
WITHOUT_LATENTS = ("tensorrt", "openvino")  # some of their versions have no uint64, which seeded files need
PROBES = ("Conv", "ConvTranspose", "Gemm", "latents")  # of probes.py, which imports numpy
WORKS, UNUSABLE, NOT_INSTALLED, BROKEN, WRONG = "works", "not usable here", "not installed", "broken", "wrong values"

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
    symptoms = tuple(kind for kind, pattern in _SYMPTOMS if re.search(pattern, text))
    # not the library that looked for the symbol
    mismatched = tuple(name for name in _found(_MISMATCHED, text) if part_of(name))
    return Causes(_found(_MISSING, text), mismatched, symptoms)


def part_of(library: str) -> str:
    """What a library belongs to: "tensorrt", "cudnn", "cuda" (the toolkit), "driver", or "" when unknown."""
    stem = library.removeprefix("lib")
    return next((part for part, names in _PARTS if stem.startswith(names)), "")


def summary(text: str) -> str:
    """The most telling line of a message, without onnxruntime's source paths and signatures."""
    for pattern in (
        r"Failed to load library [^\n]{1,4000}? with error: ([^\n]+)",
        r"(?:CUDA|CUDNN|CUBLAS|CUFFT|CURAND) failure \d+: [^;\n]{1,200}",
        r"ONNXRuntimeError\] : \d+ : \w+ : ([^\n]+)",
    ):
        if found := re.search(pattern, text):
            return excerpt(found[found.re.groups].strip(), 300)
    lines = text.strip().splitlines()
    return excerpt(lines[-1].strip(), 300) if lines else "no message"


def _found(patterns: list[re.Pattern[str]], text: str) -> tuple[str, ...]:
    hits = [(found.start(), found[1]) for pattern in patterns for found in pattern.finditer(text)]
    return tuple(dict.fromkeys(name for _, name in sorted(hits)))


@dataclass
class Outcome:
    """What a child process reported. `failure`: how it ended, if not well; there is no `result` then."""

    result: dict[str, Any] | None = None
    probes: list[dict[str, Any]] = field(default_factory=list)
    stderr: str = ""
    failure: str | None = None


@dataclass(frozen=True)
class Machine:
    """What is known of a machine. `gpus`, `runtime`: as in a report; `required`: a provider that must work."""

    required: str | None
    wheels: Sequence[Wheel]
    gpus: dict[str, Any]
    runtime: dict[str, Any] | None = None

    @property
    def has_gpu(self) -> bool:
        return bool(self.gpus["devices"] or self.gpus["files"])

    @property
    def cuda(self) -> str | None:
        """The CUDA that onnxruntime is built for, e.g. "13.0"."""
        return (self.runtime or {}).get("cuda")


def judge(machine: Machine, name: str, outcome: Outcome) -> tuple[str, str, Fault | None]:
    """The state of a provider, why, and the fault if it should work and does not."""
    status = {probe["name"]: probe["status"] for probe in outcome.probes}
    wrong = ", ".join(probe for probe in PROBES if status.get(probe) == "wrong")
    if wrong:
        fault = Fault(name, "fault", f"{name} computes {wrong} wrong.", **_reinstall(machine))
        return WRONG, f"{wrong} differ from the expected values", fault
    failed = [probe for probe in PROBES if status.get(probe) != "right"]
    if outcome.failure is None and not failed:
        return WORKS, "", None
    if outcome.failure is None and failed == ["latents"] and name in WITHOUT_LATENTS:
        return WORKS, "no uint64: it runs generator.onnx, not the seeded file", None
    if name in NVIDIA and not machine.has_gpu:
        why = "no NVIDIA GPU or driver" + (f" (its process {outcome.failure})" if outcome.failure else "")
        fault = Fault(name, "fault", f"{name}: {why}.", then=remedies.driver_advice(machine.cuda))
        return UNUSABLE, why, fault if name == machine.required else None
    text = "\n".join([outcome.stderr, *(str(probe.get("why") or "") for probe in outcome.probes)])
    causes = find_causes(text)
    if name == "tensorrt" and causes.missing_of("tensorrt"):
        return _tensorrt_missing(machine, causes.missing_of("tensorrt"))
    known = _nvidia_cause(machine, causes) if name in NVIDIA else None
    why, remedy = known or (_description(outcome, causes, text), _reinstall(machine))
    return BROKEN, why, Fault(name, "fault", f"{name}: {why}.", **remedy)


def _nvidia_cause(machine: Machine, causes: Causes) -> tuple[str, dict[str, str]] | None:
    """The known cause of a failure on CUDA or TensorRT, and its remedy."""
    cuda, requirements = machine.cuda, remedies.cuda_requirements(machine.cuda)
    if libcuda := causes.missing_of("driver"):
        return f"{', '.join(libcuda)} is missing, though there is a GPU", {
            "then": "In a container: docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility … "
            "Elsewhere: install the driver's CUDA library, libcuda.so.1."
        }
    toolkit = (*causes.missing_of("cuda"), *causes.missing_of("cudnn"))
    if toolkit or "cudnn" in causes.symptoms:
        why = f"missing: {', '.join(toolkit)}" if toolkit else "cuDNN is missing"
        return why, remedies.install(*requirements)
    reinstall = remedies.install(*requirements, options="--force-reinstall")
    driver = f"driver {machine.gpus['driver'] or '?'}, for CUDA {machine.gpus['cuda'] or '?'}"
    known: dict[str, tuple[str, dict[str, str]]] = {
        "driver-old": (
            f"the driver, or another libcuda that was loaded, is too old for CUDA {cuda} ({driver})",
            {"then": f"{remedies.driver_advice(cuda)} LD_LIBRARY_PATH must not lead to another libcuda.so.1."},
        ),
        "driver-mismatch": (
            f"the driver's parts are of different versions ({driver})",
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
    supported, needed = remedies.cuda_major(machine.gpus["cuda"]), remedies.cuda_major(cuda)
    too_old = ("driver-old",) if supported and needed and supported < needed else ()  # whatever the message says
    for symptom in (*too_old, *causes.symptoms):
        if symptom in known:
            return known[symptom]
    if causes.mismatched:
        return f"of a version that does not fit: {', '.join(causes.mismatched)}", reinstall
    return None


def _tensorrt_missing(machine: Machine, missing: Sequence[str]) -> tuple[str, str, Fault]:
    why = f"missing: {', '.join(missing)}"
    wheels = [f"{wheel.name} {wheel.version}" for wheel in machine.wheels if wheel.name.startswith("tensorrt")]
    severity: Literal["fault", "advice"] = "fault" if wheels or machine.required == "tensorrt" else "advice"
    what = f"tensorrt: {why} (installed: {', '.join(wheels) or 'none'})."
    lines = remedies.install(remedies.tensorrt_requirement(machine.cuda, missing))
    fault = Fault("tensorrt", severity, what, **lines, then=remedies.tensorrt_path(machine.wheels))
    return BROKEN if wheels else NOT_INSTALLED, why, fault


def _reinstall(machine: Machine) -> dict[str, str]:
    wheel = next(iter(runtimes(machine.wheels)), None)
    return remedies.install(f"{wheel.name}=={wheel.version}", options="--force-reinstall") if wheel else {}


def _description(outcome: Outcome, causes: Causes, text: str) -> str:
    """Words for a failure without a known cause."""
    if causes.missing:
        return f"missing: {', '.join(causes.missing)}"
    failed = next((probe["name"] for probe in outcome.probes if probe["status"] == "failed"), "a probe")
    what = outcome.failure or f"{failed} failed"
    return f"{what}: {summary(text).rstrip('.')}" if text.strip() else what
