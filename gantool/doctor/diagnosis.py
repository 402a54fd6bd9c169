"""What a provider's failure means on this machine, and the fault that it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from gantool.doctor import causes, remedies
from gantool.doctor.children import Outcome
from gantool.doctor.remedies import Fault
from gantool.doctor.wheels import Wheel, runtimes

NVIDIA = ("cuda", "tensorrt")
WITHOUT_LATENTS = ("tensorrt", "openvino")  # some of their versions have no uint64: seeded files are not for them
PROBES = ("Conv", "ConvTranspose", "Gemm", "latents")  # of probes.py, which imports numpy
WORKS, UNUSABLE, NOT_INSTALLED, BROKEN, WRONG = "works", "not usable here", "not installed", "broken", "wrong values"


class Machine:
    """What is known of a machine, and the faults found so far.

    `runtime`, `gpus`: as in the report of `gantool.doctor.examine`. `required`: a provider that has to work.
    """

    def __init__(self, required: str | None, wheels: Sequence[Wheel]) -> None:
        self.required, self.wheels = required, list(wheels)
        self.runtime: dict[str, Any] | None = None
        self.gpus: dict[str, Any] = {"driver": None, "cuda": None, "devices": [], "files": False, "why": None}
        self.faults: list[Fault] = []

    def gpu_there(self) -> bool:
        return bool(self.gpus["devices"]) or bool(self.gpus["files"])

    def fault(
        self,
        provider: str | None,
        severity: Literal["fault", "advice"],
        what: str,
        *,
        pip: str | None = None,
        uv: str | None = None,
        then: str | None = None,
    ) -> None:
        self.faults.append(Fault(provider, severity, what, pip, uv, then))

    def judge(self, name: str, outcome: Outcome) -> tuple[str, str]:
        """The state of a provider and why, from what its process told; a fault is added to `faults`."""
        status = {probe.get("name"): probe.get("status") for probe in outcome.probes}
        wrong = [probe for probe in PROBES if status.get(probe) == "wrong"]
        if wrong:
            what = f"{name} computes {', '.join(wrong)} wrong."
            self.fault(name, "fault", what, **self._reinstall(name))
            return WRONG, f"{', '.join(wrong)} differ from numpy"
        failed = [probe for probe in PROBES if status.get(probe) != "right"]
        if not failed and outcome.ended is None:
            return WORKS, ""
        if failed == ["latents"] and name in WITHOUT_LATENTS and outcome.ended is None:
            return WORKS, "no uint64: it runs generator.onnx, not the seeded file"
        if name in NVIDIA and not self.gpu_there():
            why = "no NVIDIA GPU or driver" + (f" (the attempt {outcome.ended})" if outcome.ended else "")
            if name == self.required:
                words = remedies.driver_words((self.runtime or {}).get("cuda"))
                self.fault(name, "fault", f"{name}: {why}.", then=words)
            return UNUSABLE, why
        text = "\n".join([outcome.said, *(str(probe.get("why") or "") for probe in outcome.probes)])
        return self._mend(name, outcome, causes.read(text), text)

    def _mend(self, name: str, outcome: Outcome, found: causes.Causes, text: str) -> tuple[str, str]:
        """The state of a provider that failed where it should work, and its fault."""
        cuda = (self.runtime or {}).get("cuda")
        if name == "tensorrt" and found.lacks("tensorrt"):
            return self._mend_tensorrt(found, cuda)
        if name in NVIDIA:
            toolkit = (*found.lacks("cuda"), *found.lacks("cudnn"))
            if found.lacks("driver"):
                why = f"{_listed(found.lacks('driver'))} is missing, though there is a GPU"
                self.fault(
                    name, "fault", f"{name}: {why}.",
                    then="In a container: docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility … "
                    "Elsewhere: install the driver's CUDA library, libcuda.so.1.",
                )  # fmt: skip
                return BROKEN, why
            if toolkit or "cudnn" in found.words:
                why = f"missing: {_listed(toolkit)}" if toolkit else "cuDNN is missing"
                self.fault(
                    name, "fault", f"{name}: {why}{self._other_cuda(cuda)}.",
                    **remedies.install(*remedies.cuda_requirements(self.wheels, cuda)),
                )  # fmt: skip
                return BROKEN, why
            if known := self._mend_nvidia(name, outcome, found, cuda):
                return known
        why = outcome.ended or ""
        if not why:
            failing = next((p for p in outcome.probes if p.get("status") == "failed"), {})
            told = str(failing.get("why") or text)
            if causes.read(told).words == ("fallback",):  # true, and no cause: the log may have one
                told = outcome.said or told
            why = f"{failing.get('name', 'nothing')} failed: {causes.summary(told).rstrip('.')}"
        elif "crashed" not in why and "hung" not in why:
            why = f"{why}: {causes.summary(text)}"
        if found.missing:
            why = f"missing: {_listed(found.missing)}"
        self.fault(name, "fault", f"{name}: {why}.", **self._reinstall(name))
        return BROKEN, why

    def _mend_nvidia(
        self, name: str, outcome: Outcome, found: causes.Causes, cuda: str | None
    ) -> tuple[str, str] | None:
        reinstall = remedies.install(*remedies.cuda_requirements(self.wheels, cuda), options="--force-reinstall")
        has = f"driver {self.gpus['driver']}, for CUDA {self.gpus['cuda']}" if self.gpus["driver"] else "its driver"
        kinds: dict[str, tuple[str, dict[str, str]]] = {
            "driver-old": (f"the driver is too old for CUDA {cuda} ({has})", {"then": remedies.driver_words(cuda)}),
            "driver-mismatch": (
                f"the driver's parts are of different versions ({has})",
                {"then": "Restart the machine; if it stays so, install the driver again."},
            ),
            "no-device": (
                "CUDA sees no device, though the driver does",
                {"then": "Look at CUDA_VISIBLE_DEVICES: unset it, or give it the number of a GPU."},
            ),
            "cudnn-mixed": ("parts of cuDNN are of different versions", reinstall),
            "gpu-unsupported": (
                "the GPU is not one that these libraries are built for",
                {"then": "Take a version of onnxruntime-gpu that is built for this GPU, or --provider cpu."},
            ),
            "memory": (
                "the GPU has no memory left",
                {"then": "Stop what uses it; nvidia-smi lists the programs."},
            ),
        }
        runs, wanted = remedies.cuda_major(self.gpus["cuda"]), remedies.cuda_major(cuda)
        old = ("driver-old",) if runs and wanted and runs < wanted else ()  # whatever the message says
        loaded = [library["path"] for library in (outcome.result or {}).get("libraries") or []]
        libcuda = next((path for path in loaded if "/libcuda.so" in path), None)
        if self.gpus["cuda"] and not old and libcuda:  # e.g. the toolkit's stub, for linking alone
            kinds["driver-old"] = (
                f"{libcuda} is too old for CUDA {cuda}, and not of the driver ({has})",
                {"then": "Take its folder out of LD_LIBRARY_PATH."},
            )
        for kind in (*old, *found.words):
            if kind in kinds:
                why, mend = kinds[kind]
                self.fault(name, "fault", f"{name}: {why}.", **mend)
                return BROKEN, why
        if found.unfit:
            why = f"of a version that does not fit: {_listed(found.unfit)}"
            self.fault(name, "fault", f"{name}: {why}{self._other_cuda(cuda)}.", **reinstall)
            return BROKEN, why
        return None

    def _mend_tensorrt(self, found: causes.Causes, cuda: str | None) -> tuple[str, str]:
        missing = _listed(found.lacks("tensorrt"))
        major = str(remedies.tensorrt_major(found.lacks("tensorrt")))
        wheels = [wheel for wheel in self.wheels if wheel.name.startswith("tensorrt")]
        fitting = [w for w in wheels if w.version.partition(".")[0] == major]
        path = remedies.tensorrt_path(self.wheels)
        if fitting and path:
            self.fault("tensorrt", "fault", f"tensorrt: {missing} is installed and not found.", then=path)
            return BROKEN, f"{missing} is installed and not found"
        lines = remedies.install(remedies.tensorrt_requirement(cuda, found.lacks("tensorrt")))
        if wheels:
            what = f"tensorrt: {missing} is missing (installed: {wheels[0].name} {wheels[0].version})."
            self.fault("tensorrt", "fault", what, **lines, then=path)
            return BROKEN, f"missing: {missing}"
        severity: Literal["fault", "advice"] = "fault" if self.required == "tensorrt" else "advice"
        self.fault("tensorrt", severity, f"tensorrt is not installed: {missing} is missing.", **lines, then=path)
        return NOT_INSTALLED, f"missing: {missing}"

    def _other_cuda(self, cuda: str | None) -> str:
        """Words on CUDA wheels that are there, for another CUDA: the usual reason why a library is missing."""
        major = remedies.cuda_major(cuda)
        others = [
            f"{wheel.name} {wheel.version}"
            for wheel in self.wheels
            if (suffix := re.search(r"-cu(\d+)\Z", wheel.name)) and int(suffix[1][:4]) != major
        ]
        return f" (installed for another CUDA: {', '.join(others[:3])})" if others and major else ""

    def _reinstall(self, name: str) -> dict[str, str]:
        wheel = next(iter(runtimes(self.wheels)), None)
        if wheel is None:
            return {}
        return remedies.install(f"{wheel.name}=={wheel.version}", options="--force-reinstall")


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
