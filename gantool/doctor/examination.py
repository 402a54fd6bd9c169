"""`examine`: try every provider in a child process, and report its state and how to fix what fails."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gantool import __version__
from gantool.doctor import remedies
from gantool.doctor.diagnosis import NVIDIA, WORKS, Machine, Outcome, judge, summary
from gantool.doctor.libraries import Wheel, installed, owner, runtimes
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
Run = Callable[[str, str], Outcome]  # a task of the worker, and what to call it
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

    wheels = installed() if wheels is None else wheels
    faults: list[Fault] = []
    gpus = _gpus(run("gpus", "the NVIDIA driver"), faults)
    outcome = run("onnxruntime", "onnxruntime")
    runtime = outcome.result
    machine = Machine(provider, wheels, gpus, runtime)
    if runtime is None:
        faults.append(_no_runtime(machine, outcome))
    available = runtime["providers"] if runtime else []
    rows = [_row(machine, name, PROVIDERS[name], run, faults) for name in PROVIDERS if PROVIDERS[name] in available]
    if runtime is not None:
        faults += _absent_providers(machine, runtime, [row["name"] for row in rows])
        faults += _two_runtimes(machine)
    torch = _torch(machine, run, faults)
    works = {row["name"] for row in rows if row["state"] == WORKS}
    serious = any(fault.severity == "fault" for fault in faults)
    report = {
        "schema_version": 1,
        "ok": not serious and works >= {"cpu", provider or "cpu"},
        "required": provider,
        "gantool": __version__,
        "python": {"version": platform.python_version(), "path": sys.executable},
        "platform": {"system": platform.platform(terse=True), "machine": platform.machine()},
        "onnxruntime": runtime,
        "gpus": gpus,
        "providers": rows,
        "unused": [name for name in available if name not in PROVIDERS.values()],
        "wheels": [{"name": wheel.name, "version": wheel.version} for wheel in wheels],
        "torch": torch,
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "faults": [asdict(fault) for fault in faults],
    }
    return private(report)  # type: ignore[no-any-return]


def _gpus(outcome: Outcome, faults: list[Fault]) -> dict[str, Any]:
    if outcome.result is not None:
        return outcome.result
    why = f"the process that asked the NVIDIA driver {outcome.failure}"
    faults.append(Fault(None, "fault", f"{why}.", then="Try nvidia-smi; restart the machine."))
    return {"driver": None, "cuda": None, "devices": [], "files": False, "why": why}


def _no_runtime(machine: Machine, outcome: Outcome) -> Fault:
    names = [wheel.name for wheel in runtimes(machine.wheels)]
    needed = remedies.cuda_requirements(None)
    if len(names) > 1:
        lines = remedies.replace(names, *needed)
    elif names:
        lines = remedies.install(*names, options="--force-reinstall")
    else:
        lines = remedies.install(*(needed if machine.has_gpu else ["onnxruntime"]))
    what = f"onnxruntime can't be imported (its process {outcome.failure}): {summary(outcome.stderr)}"
    return Fault(None, "fault", what, **lines)


def _torch(machine: Machine, run: Run, faults: list[Fault]) -> dict[str, Any] | None:
    wheel = next((wheel for wheel in machine.wheels if wheel.name == "torch"), None)
    if wheel is None:
        return None
    outcome = run("torch", "torch")
    if outcome.result is None:
        why = f"its process {outcome.failure}: {summary(outcome.stderr)}"
        return {"version": wheel.version, "cuda": None, "available": False, "devices": 0, "why": why}
    found = {**outcome.result, "why": None}
    if machine.has_gpu and not found["available"]:
        built = f"for CUDA {found['cuda']}" if found["cuda"] else "without CUDA"
        what = f"torch {found['version']}, built {built}, sees no GPU: it trains on the CPU."
        then = "Install the build that https://pytorch.org/get-started/locally/ names."
        if found["cuda"]:
            then = remedies.driver_advice(found["cuda"])
        faults.append(Fault(None, "advice", what, then=then))
    return found


def _row(machine: Machine, name: str, full_name: str, run: Run, faults: list[Fault]) -> dict[str, Any]:
    """Try a provider."""
    outcome = run(full_name, name)
    state, why, fault = judge(machine, name, outcome)
    if fault is not None:
        faults.append(fault)
    libraries = (outcome.result or {}).get("libraries")
    if libraries is not None:
        libraries = [{**library, "wheel": owner(library["path"], machine.wheels)} for library in libraries]
    return {
        "name": name,
        "provider": full_name,
        "state": state,
        "why": why,
        "probes": outcome.probes,
        "libraries": libraries,
    }


def _absent_providers(machine: Machine, runtime: dict[str, Any], present: list[str]) -> Iterator[Fault]:
    """There is a GPU and no CUDA provider, or the required provider is absent."""
    lacks = f"The installed onnxruntime {runtime['version']} has no"
    required, names = machine.required, [wheel.name for wheel in runtimes(machine.wheels)]
    if "cuda" not in present and (machine.has_gpu or required in NVIDIA):
        expected = required in NVIDIA or GPU_WHEEL in names
        what = f"{lacks} CUDA provider{', and there is a GPU' if machine.has_gpu else ''}."
        lines = remedies.replace(
            names or [runtime["package"] or "onnxruntime"], *remedies.cuda_requirements(machine.cuda)
        )
        yield Fault("cuda", "fault" if expected else "advice", what, **lines)
    if required == "openvino" and "openvino" not in present:
        lines = remedies.install("onnxruntime-openvino")
        then = "In an environment of its own, without onnxruntime."
        yield Fault("openvino", "fault", f"{lacks} OpenVINO provider.", **lines, then=then)


def _two_runtimes(machine: Machine) -> Iterator[Fault]:
    names = [wheel.name for wheel in runtimes(machine.wheels)]
    if len(names) < 2:
        return
    kept = [GPU_WHEEL if GPU_WHEEL in names else next(name for name in names if name != "onnxruntime")]
    if machine.has_gpu and GPU_WHEEL in names:
        kept = remedies.cuda_requirements(machine.cuda)
    what = f"{' and '.join(names)} are both installed, and contain the same files: one of them is damaged."
    yield Fault(None, "advice", what, **remedies.replace(names, *kept))


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
