"""The examination: every provider tried, its state told, and each fault given its line."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gantool import __version__
from gantool.doctor import causes, children, remedies
from gantool.doctor.children import Outcome
from gantool.doctor.diagnosis import NVIDIA, WORKS, Machine
from gantool.doctor.wheels import Wheel, installed, owner, runtimes
from gantool.errors import GantoolError

# as `gantool.runtime.session.PROVIDERS`; that module imports onnxruntime, which may be what is broken here
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
ENVIRONMENT = (
    "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_TF32_OVERRIDE", "NVIDIA_VISIBLE_DEVICES", "VIRTUAL_ENV",
)  # fmt: skip


def examine(
    *,
    provider: str | None = None,
    timeout: float = 120.0,
    worker: Sequence[str] | None = None,
    wheels: Sequence[Wheel] | None = None,
    listener: Callable[[str], None] = lambda stage: None,
) -> dict[str, Any]:
    """Run real operators on every provider of the installed onnxruntime, each in a fresh process.

    `provider`: one of cpu, cuda, tensorrt, openvino that has to work, or the report is not ok; GantoolError for another
    name. `timeout`: seconds that each process may take. `worker`, `wheels`: stand-ins for the program that is run and
    the wheels that are installed. `listener` hears what is tried. The report:

        schema_version  1
        ok              whether all that is usable here works, and `provider` does
        required        `provider`
        gantool         version
        python          version, path
        platform        system, machine
        onnxruntime     version, package, cuda (what it is built for), providers, numpy; null: it can't be imported
        gpus            driver, cuda (the newest that the driver runs), devices {name, memory_mb, capability}, files
                        (device files are there), why (what is not known, and why)
        providers       name, provider, state (works, not usable here, not installed, broken, wrong values), why,
                        probes {name, status (right, wrong, failed), difference (to numpy, as a share of the largest
                        value; null: none or not finite), why}, libraries {name, version, path, wheel (null: the
                        system's)} or null where the system does not tell
        unused          providers that gantool makes no use of
        wheels          name, version
        torch           version, cuda, available, devices; with `why`, when it can't be imported; null: not installed
        environment     variables that decide which libraries and GPUs are found
        faults          provider, severity (fault, advice), what, pip, uv, then

    The home folder is written ~ and the machine's name left out.
    """
    if provider is not None and provider not in PROVIDERS:
        raise GantoolError(f"There is no provider {provider!r}.", f"Use one of {', '.join(PROVIDERS)}.")
    return _Examination(provider, timeout, worker, wheels, listener).report()


class _Examination(Machine):
    def __init__(
        self,
        required: str | None,
        timeout: float,
        worker: Sequence[str] | None,
        wheels: Sequence[Wheel] | None,
        listener: Callable[[str], None],
    ) -> None:
        super().__init__(required, installed() if wheels is None else wheels)
        self.timeout, self.listener = timeout, listener
        self.worker = children.WORKER if worker is None else worker

    def report(self) -> dict[str, Any]:
        self.gpus = self._ask_gpus()
        self.runtime = self._ask_runtime()
        available = self.runtime["providers"] if self.runtime else []
        rows = [self._try(name, full) for name, full in PROVIDERS.items() if full in available]
        self._absent([row["name"] for row in rows])
        self._conflict()
        torch = self._ask_torch()
        states = {row["name"]: row["state"] for row in rows}
        ok = (
            self.runtime is not None
            and states.get("cpu") == WORKS
            and not any(fault.severity == "fault" for fault in self.faults)
            and (self.required is None or states.get(self.required) == WORKS)
        )
        report = {
            "schema_version": 1,
            "ok": ok,
            "required": self.required,
            "gantool": __version__,
            "python": {"version": platform.python_version(), "path": sys.executable},
            "platform": {"system": platform.platform(terse=True), "machine": platform.machine()},
            "onnxruntime": self.runtime,
            "gpus": self.gpus,
            "providers": rows,
            "unused": [name for name in available if name not in PROVIDERS.values()],
            "wheels": [{"name": wheel.name, "version": wheel.version} for wheel in self.wheels],
            "torch": torch,
            "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            "faults": [fault.as_dict() for fault in self.faults],
        }
        return private(report)  # type: ignore[no-any-return]

    # what is asked

    def _run(self, task: str) -> Outcome:
        return children.run(task, self.timeout, self.worker)

    def _ask_gpus(self) -> dict[str, Any]:
        self.listener("the NVIDIA driver")
        outcome = self._run("gpus")
        if outcome.result is not None and outcome.ended is None:
            return outcome.result
        why = f"the process that asked the NVIDIA driver {outcome.ended}"
        if "hung" in why or "crashed" in why:
            self.fault(None, "fault", why[0].upper() + why[1:] + ".", then="Try nvidia-smi; restart the machine.")
        return {"driver": None, "cuda": None, "devices": [], "files": False, "why": why}

    def _ask_runtime(self) -> dict[str, Any] | None:
        self.listener("onnxruntime")
        outcome = self._run("survey")
        if outcome.result is not None and outcome.ended is None:
            return outcome.result
        names = [wheel.name for wheel in runtimes(self.wheels)]
        last = causes.summary(outcome.said)
        if len(names) > 1:
            mend = remedies.replace(names, *self._gpu_runtime())
        elif names or any(wheel.name == "onnxruntime" for wheel in self.wheels):
            mend = remedies.install(*(names or ["onnxruntime"]), options="--force-reinstall")
        else:
            mend = remedies.install(*(self._gpu_runtime() if self.gpu_there() else ["onnxruntime"]))
        self.fault(None, "fault", f"onnxruntime can't be imported ({outcome.ended}): {last}", **mend)
        return None

    def _ask_torch(self) -> dict[str, Any] | None:
        wheel = next((wheel for wheel in self.wheels if wheel.name == "torch"), None)
        if wheel is None:
            return None
        self.listener("torch")
        outcome = self._run("torch")
        if outcome.result is None or outcome.ended is not None:
            why = f"{outcome.ended}: {causes.summary(outcome.said)}"
            return {"version": wheel.version, "cuda": None, "available": False, "devices": 0, "why": why}
        found = {**outcome.result, "why": None}
        if self.gpu_there() and not found["available"]:
            self._torch_without_cuda(found)
        return found

    def _torch_without_cuda(self, found: dict[str, Any]) -> None:
        version = found["version"]
        if found["cuda"] is not None:
            self.fault(
                None, "advice",
                f"torch {version}, built for CUDA {found['cuda']}, sees no GPU: it trains on the CPU.",
                then=remedies.driver_words(found["cuda"]),
            )  # fmt: skip
            return
        what = f"torch {version} is a build without CUDA: it trains on the CPU, though there is a GPU."
        if sys.platform == "linux":  # PyPI's wheel for Linux is a CUDA build
            self.fault(None, "advice", what, **remedies.install("torch", options="--force-reinstall"))
        else:
            self.fault(None, "advice", what, then="Take the line of https://pytorch.org/get-started/locally/")

    # a provider

    def _try(self, name: str, full: str) -> dict[str, Any]:
        self.listener(name)
        outcome = self._run(full)
        state, why = self.judge(name, outcome)
        libraries = (outcome.result or {}).get("libraries")
        if libraries is not None:
            libraries = [{**library, "wheel": owner(library["path"], self.wheels)} for library in libraries]
        return {
            "name": name,
            "provider": full,
            "state": state,
            "why": why,
            "probes": outcome.probes,
            "libraries": libraries,
        }

    # the installation as a whole

    def _absent(self, present: list[str]) -> None:
        """A GPU that no provider is there for; and a required provider that is not there."""
        if self.runtime is None:
            return
        owners = [wheel.name for wheel in runtimes(self.wheels)]
        if "cuda" not in present and (self.gpu_there() or self.required in NVIDIA):
            told = self.required in NVIDIA or remedies.GPU_WHEEL in owners
            gone = owners or [self.runtime["package"] or "onnxruntime"]
            self.fault(
                "cuda", "fault" if told else "advice",
                f"The installed onnxruntime {self.runtime['version']} has no CUDA provider"
                f"{', and there is a GPU' if self.gpu_there() else ''}.",
                **remedies.replace(gone, *self._gpu_runtime()),
            )  # fmt: skip
        if self.required == "openvino" and "openvino" not in present:
            self.fault(
                "openvino", "fault", f"The installed onnxruntime {self.runtime['version']} has no OpenVINO provider.",
                **remedies.install("onnxruntime-openvino"), then="In an environment of its own, without onnxruntime.",
            )  # fmt: skip

    def _conflict(self) -> None:
        names = [wheel.name for wheel in runtimes(self.wheels)]
        if self.runtime is None or len(names) < 2:
            return
        keep = self._gpu_runtime() if self.gpu_there() and remedies.GPU_WHEEL in names else [_kept(names)]
        what = f"{' and '.join(names)} are both installed, and write the same files: one of them is damaged."
        self.fault(None, "advice", what, **remedies.replace(names, *keep))

    def _gpu_runtime(self) -> list[str]:
        return remedies.cuda_requirements(
            [wheel for wheel in self.wheels if wheel.name == remedies.GPU_WHEEL], (self.runtime or {}).get("cuda")
        )


def _kept(names: list[str]) -> str:
    """Of wheels that overwrite each other, the one with more providers."""
    return (
        remedies.GPU_WHEEL if remedies.GPU_WHEEL in names else next((n for n in names if n != "onnxruntime"), names[0])
    )


def private(value: Any) -> Any:
    """The same report with the home folder written ~, and without the machine's name in onnxruntime's messages."""
    homes = {str(Path.home()), os.path.realpath(Path.home())}
    found = [re.escape(home.rstrip("/\\")) for home in sorted(homes, key=len, reverse=True) if len(home) > 3]
    # not /home/ann in /home/anna or /mnt/home/ann
    home = re.compile(rf"(?<![\w.-])(?:{'|'.join(found)})(?![\w.-])") if found else None

    def cleaned(item: Any) -> Any:
        if isinstance(item, str):
            shown = home.sub("~", item) if home else item
            return re.sub(r"(hostname=)[^\s;]+", r"\1…", shown)
        if isinstance(item, list):
            return [cleaned(inner) for inner in item]
        if isinstance(item, dict):
            return {cleaned(key): cleaned(inner) for key, inner in item.items()}
        return item

    return cleaned(value)
