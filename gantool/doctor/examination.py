"""`examine`: try every provider in a child process, and report its state and how to fix what fails."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from gantool import __version__
from gantool.doctor import remedies
from gantool.doctor.diagnosis import NVIDIA, WORKS, Machine, Outcome, summary
from gantool.doctor.libraries import Wheel, installed, owner
from gantool.doctor.remedies import GPU_WHEEL, Fault
from gantool.errors import GantoolError
from gantool.system.subprocesses import JsonProcess, describe_exit

# as `gantool.runtime.session.PROVIDERS`; that module imports onnxruntime, which may be broken here
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
MAX_STDERR = 200_000  # bytes that are searched for causes
WORKER = (sys.executable, "-P", "-m", "gantool.doctor.worker")  # -P: imports nothing from the current folder


def examine(
    *,
    provider: str | None = None,
    timeout: float = 120.0,
    worker: Sequence[str] | None = None,
    wheels: Sequence[Wheel] | None = None,
    listener: Callable[[str], None] = lambda stage: None,
) -> dict[str, Any]:
    """Run real operators on every provider of the installed onnxruntime, each in a fresh process.

    `provider`: cpu, cuda, tensorrt or openvino, if one must work for the report to be ok; GantoolError for another
    name. `timeout`: seconds for each process. `worker`, `wheels`: replace the program that is run and the installed
    wheels. `listener` gets the name of what is tried next. The report:

        schema_version  1
        ok              whether everything usable here works, and `provider` does
        required        `provider`
        gantool         version
        python          version, path
        platform        system, machine
        onnxruntime     version, package, cuda (what it is built for), providers, numpy; null: it can't be imported
        gpus            driver, cuda (the newest that the driver supports), devices {name, memory_mb (10^6 bytes),
                        capability}, files (whether there are device files), why (what NVML did not tell, or null)
        providers       name, provider, state (works, not usable here, not installed, broken, wrong values), why,
                        probes {name, status (right, wrong, failed), difference (to the expected values, relative to
                        the largest; null: none or not finite), why}, libraries {name, version, path, wheel (null: not
                        from a wheel)} or null where the system does not list them
        unused          providers that gantool does not use
        wheels          name, version
        torch           version, cuda, available, devices; with `why`, if it can't be imported; null: not installed
        environment     variables that decide which libraries and GPUs are found
        faults          provider, severity (fault, advice), what, pip, uv, then

    The home folder is written ~, and the machine's name is left out.
    """
    if provider is not None and provider not in PROVIDERS:
        raise GantoolError(f"There is no provider {provider!r}.", f"Use one of {', '.join(PROVIDERS)}.")

    def run(task: str, stage: str) -> Outcome:
        listener(stage)
        return run_worker([*(worker or WORKER), task], timeout)

    return _Examination(provider, installed() if wheels is None else wheels, run).report()


class _Examination(Machine):
    def __init__(self, required: str | None, wheels: Sequence[Wheel], run: Callable[[str, str], Outcome]) -> None:
        super().__init__(required, wheels)
        self._run = run

    def report(self) -> dict[str, Any]:
        self.gpus = self._find_gpus()
        self.runtime = self._find_runtime()
        available = self.runtime["providers"] if self.runtime else []
        rows = [self._try(name, full_name) for name, full_name in PROVIDERS.items() if full_name in available]
        if self.runtime is not None:
            self._check_absent_providers(self.runtime, [row["name"] for row in rows])
            self._check_two_runtimes()
        torch = self._find_torch()
        states = {row["name"]: row["state"] for row in rows}
        ok = (
            states.get("cpu") == WORKS
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
            "faults": [asdict(fault) for fault in self.faults],
        }
        return private(report)  # type: ignore[no-any-return]

    def _find_gpus(self) -> dict[str, Any]:
        outcome = self._run("gpus", "the NVIDIA driver")
        if outcome.result is not None:
            return outcome.result
        why = f"the process that asked the NVIDIA driver {outcome.failure}"
        self.faults.append(Fault(None, "fault", f"{why}.", then="Try nvidia-smi; restart the machine."))
        return {"driver": None, "cuda": None, "devices": [], "files": False, "why": why}

    def _find_runtime(self) -> dict[str, Any] | None:
        outcome = self._run("onnxruntime", "onnxruntime")
        if outcome.result is not None:
            return outcome.result
        names = self.runtime_wheels
        if len(names) > 1:
            lines = remedies.replace(names, *remedies.cuda_requirements(self.cuda))
        elif names:
            lines = remedies.install(*names, options="--force-reinstall")
        else:
            lines = remedies.install(*(remedies.cuda_requirements(self.cuda) if self.has_gpu else ["onnxruntime"]))
        what = f"onnxruntime can't be imported (its process {outcome.failure}): {summary(outcome.stderr)}"
        self.faults.append(Fault(None, "fault", what, **lines))
        return None

    def _find_torch(self) -> dict[str, Any] | None:
        wheel = next((wheel for wheel in self.wheels if wheel.name == "torch"), None)
        if wheel is None:
            return None
        outcome = self._run("torch", "torch")
        if outcome.result is None:
            why = f"its process {outcome.failure}: {summary(outcome.stderr)}"
            return {"version": wheel.version, "cuda": None, "available": False, "devices": 0, "why": why}
        found = {**outcome.result, "why": None}
        if self.has_gpu and not found["available"]:
            built = f"for CUDA {found['cuda']}" if found["cuda"] else "without CUDA"
            what = f"torch {found['version']}, built {built}, sees no GPU: it trains on the CPU."
            then = "Install the build that https://pytorch.org/get-started/locally/ names."
            if found["cuda"]:
                then = remedies.driver_advice(found["cuda"])
            self.faults.append(Fault(None, "advice", what, then=then))
        return found

    def _try(self, name: str, full_name: str) -> dict[str, Any]:
        outcome = self._run(full_name, name)
        state, why = self.judge(name, outcome)
        libraries = (outcome.result or {}).get("libraries")
        if libraries is not None:
            libraries = [{**library, "wheel": owner(library["path"], self.wheels)} for library in libraries]
        return {
            "name": name,
            "provider": full_name,
            "state": state,
            "why": why,
            "probes": outcome.probes,
            "libraries": libraries,
        }

    def _check_absent_providers(self, runtime: dict[str, Any], present: list[str]) -> None:
        """Add a fault if there is a GPU and no CUDA provider, or the required provider is absent."""
        lacks = f"The installed onnxruntime {runtime['version']} has no"
        if "cuda" not in present and (self.has_gpu or self.required in NVIDIA):
            expected = self.required in NVIDIA or GPU_WHEEL in self.runtime_wheels
            severity: Literal["fault", "advice"] = "fault" if expected else "advice"
            what = f"{lacks} CUDA provider{', and there is a GPU' if self.has_gpu else ''}."
            remove = self.runtime_wheels or [runtime["package"] or "onnxruntime"]
            self.faults.append(
                Fault("cuda", severity, what, **remedies.replace(remove, *remedies.cuda_requirements(self.cuda)))
            )
        if self.required == "openvino" and "openvino" not in present:
            lines = remedies.install("onnxruntime-openvino")
            then = "In an environment of its own, without onnxruntime."
            self.faults.append(Fault("openvino", "fault", f"{lacks} OpenVINO provider.", **lines, then=then))

    def _check_two_runtimes(self) -> None:
        names = self.runtime_wheels
        if len(names) < 2:
            return
        kept = [GPU_WHEEL if GPU_WHEEL in names else next(name for name in names if name != "onnxruntime")]
        if self.has_gpu and GPU_WHEEL in names:
            kept = remedies.cuda_requirements(self.cuda)
        what = f"{' and '.join(names)} are both installed, and contain the same files: one of them is damaged."
        self.faults.append(Fault(None, "advice", what, **remedies.replace(names, *kept)))


def run_worker(command: Sequence[str], timeout: float) -> Outcome:
    """Run a command that sends the messages of `gantool.doctor.worker`, for at most `timeout` seconds."""
    outcome, stage, code = Outcome(), "starting", None
    try:
        with JsonProcess(command) as process:
            try:
                for message in process.messages(timeout):
                    stage = str(message.get("stage", stage))
                    if "probe" in message:
                        outcome.probes.append(message["probe"])
                    outcome.result = message.get("result", outcome.result)
                code = process.exit_code()
            except TimeoutError:
                pass
            outcome.stderr = process.stderr(MAX_STDERR)
    except OSError as error:
        outcome.failure = f"could not be started: {error}"
        return outcome
    if code is None:
        outcome.failure = f"hung while {stage} and was stopped after {timeout:g} s"
    elif code or outcome.result is None:
        outcome.failure = f"{describe_exit(code)} while {stage}"
    if outcome.failure:
        outcome.result = None
    return outcome


def private(value: Any) -> Any:
    """The same report with the home folder written ~, and without the machine's name in onnxruntime's messages."""
    homes = {str(Path.home()), os.path.realpath(Path.home())}
    found = [re.escape(home.rstrip("/\\")) for home in sorted(homes, key=len, reverse=True) if len(home) > 3]
    # /home/ann, but not in /home/anna or /mnt/home/ann
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
