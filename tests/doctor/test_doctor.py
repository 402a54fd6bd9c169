"""`examine`: on this machine, and with a worker that plays other machines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
from support.commands import environment

from gantool.doctor import examine
from gantool.doctor.examination import PROVIDERS, private
from gantool.doctor.libraries import Wheel, installed
from gantool.doctor.report import lines
from gantool.errors import GantoolError
from gantool.runtime import session

Worker = Callable[[str], tuple[str, ...]]

GPU = {
    "driver": "580.65.06",
    "cuda": "13.0",
    "devices": [{"name": "NVIDIA H200", "memory_mb": 150_000, "capability": "9.0"}],
    "files": True,
    "why": None,
}
NO_GPU = {**GPU, "driver": None, "cuda": None, "devices": [], "files": False, "why": "no NVIDIA driver"}
RUNTIME = {
    "version": "1.31.1",
    "package": "onnxruntime-gpu",
    "cuda": "13.0",
    "providers": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
    "numpy": "2.4.6",
}
STAND_IN = """
import json, os, sys, time
from gantool.doctor import worker
task = sys.argv[1]
def send(**message): print(json.dumps(message), flush=True)
def probes(**statuses):
    for name in ("Conv", "ConvTranspose", "Gemm", "latents"):
        status = statuses.get(name, "right")
        why = statuses.get("why") if status == "failed" else None
        send(probe={"name": name, "status": status, "difference": 0.0 if status == "right" else None, "why": why})
    send(result={"libraries": []})
def failed(why, stderr=""):
    sys.stderr.write(stderr)
    probes(Conv="failed", ConvTranspose="failed", Gemm="failed", latents="failed", why=why)
"""


def wheel(name: str, version: str = "1.31.1", *owns: str) -> Wheel:
    return Wheel(name, version, Path("/site"), frozenset(owns))


GPU_WHEEL = wheel("onnxruntime-gpu", "1.31.1", "onnxruntime/__init__.py")
CPU_WHEEL = wheel("onnxruntime", "1.31.1", "onnxruntime/__init__.py")
MEND_CUDA = 'pip install "onnxruntime-gpu[cuda,cudnn]" "nvidia-cublas~=13.0"'


@pytest.fixture
def stand_in(tmp_path: Path) -> Worker:
    """A worker that runs `body`; for other tasks it plays a machine with a working CPU and GPU."""

    def write(body: str) -> tuple[str, ...]:
        rest = f"""
            if task == "gpus": send(result=json.loads({json.dumps(json.dumps(GPU))}))
            elif task == "onnxruntime": send(result=json.loads({json.dumps(json.dumps(RUNTIME))}))
            elif task == "CPUExecutionProvider": probes()
            elif task == "TensorrtExecutionProvider": failed("", "libnvinfer.so.10: cannot open shared object file")
            else: probes()
            """
        first = textwrap.dedent(body).strip() or "if False: pass"
        script = tmp_path / "worker.py"
        script.write_text(STAND_IN + first + "\n" + textwrap.dedent(rest).strip().replace("if ", "elif ", 1) + "\n")
        return (sys.executable, "-P", str(script))

    return write


def row(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (row for row in report["providers"] if row["name"] == name)
    return found  # type: ignore[no-any-return]


def fault(report: dict[str, Any], provider: str | None) -> dict[str, Any]:
    (found,) = (fault for fault in report["faults"] if fault["provider"] == provider)
    return found  # type: ignore[no-any-return]


def test_the_names_are_those_of_the_runtime() -> None:
    assert PROVIDERS == session.PROVIDERS


def test_this_machine() -> None:
    report = examine()
    assert list(report) == [
        "schema_version", "ok", "required", "gantool", "python", "platform", "onnxruntime", "gpus", "providers",
        "unused", "wheels", "torch", "environment", "faults",
    ]  # fmt: skip
    cpu = row(report, "cpu")
    assert cpu["state"] == "works"
    assert [probe["name"] for probe in cpu["probes"]] == ["Conv", "ConvTranspose", "Gemm", "latents"]
    assert cpu["probes"][3]["difference"] == 0
    assert report["onnxruntime"]["version"] == ort.__version__
    assert {row["provider"] for row in report["providers"]} | set(report["unused"]) == set(
        ort.get_available_providers()
    )
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    if not report["gpus"]["devices"] and not report["gpus"]["files"]:
        assert report["ok"]
        assert {row["state"] for row in report["providers"] if row["name"] in ("cuda", "tensorrt")} <= {
            "not usable here"
        }


def test_a_gpu_without_the_libraries(stand_in: Worker) -> None:
    """The failures are onnxruntime's own, of the wheel that is installed; only the GPU is made up."""
    if "CUDAExecutionProvider" not in ort.get_available_providers() or sys.platform != "linux":
        pytest.skip("the installed onnxruntime has no CUDA provider for Linux")
    wheels = [found for found in installed() if not found.name.startswith(("torch", "tensorrt"))]
    report = examine(worker=stand_in('if task != "gpus": worker.main(task)'), wheels=wheels)
    cuda = row(report, "cuda")
    if cuda["state"] == "works":
        pytest.skip("this machine has a GPU that works")
    assert cuda["state"] == "broken"
    assert not report["ok"]
    assert re.search(r"missing: .*lib(cublas|cuda|curand|cudart)", cuda["why"]), cuda["why"]
    if "libcublas" in cuda["why"]:
        assert fault(report, "cuda")["pip"] == MEND_CUDA
        assert fault(report, "cuda")["uv"] == f"uv {MEND_CUDA}"
    assert row(report, "tensorrt")["why"] == "missing: libnvinfer.so.10"
    assert fault(report, "tensorrt")["pip"] == 'pip install "tensorrt-cu13==10.*"'


FALLBACK = (
    "This session contains graph nodes that are assigned to the default CPU EP, but fallback to CPU EP has been "
    "explicitly disabled by the user."
)


def missing(*names: str) -> str:
    return "".join(f"{name}: cannot open shared object file: No such file or directory\n" for name in names)


@pytest.mark.parametrize(
    ("why", "stderr", "shown", "pip", "then"),
    [
        ("fallback", missing("libcublasLt.so.13", "libcudart.so.13"), "missing: libcublasLt.so.13", MEND_CUDA, None),
        ('which depends on "cublasLt64_13.dll" which is missing', "", "missing: cublasLt64_13.dll", MEND_CUDA, None),
        ("Could not find module 'C:\\nv\\cudart64_13.dll' (or one of", "", "missing: cudart64_13.dll", MEND_CUDA, None),
        ("", missing("libcudnn.so.9"), "missing: libcudnn.so.9", MEND_CUDA, None),
        ("cuDNN is not available. Install cuDNN", "", "cuDNN is missing", MEND_CUDA, None),
        ("", missing("libcuda.so.1"), "libcuda.so.1 is missing", None, "--gpus all"),
        ("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=-1", "",
         "too old for CUDA 13.0 (driver 580.65.06, for CUDA 13.0)", None, "580.65.06 or newer"),
        ("", "with error: /a/libonnxruntime_providers_cuda.so: undefined symbol: cuTensorMapEncodeTiled\n",
         "too old for CUDA 13.0", None, "LD_LIBRARY_PATH"),
        ("CUDA failure 100: no CUDA-capable device is detected", "", "sees no device", None, "CUDA_VISIBLE_DEVICES"),
        ("CUDNN failure 5003: CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH", "", "different versions",
         MEND_CUDA.replace("install", "install --force-reinstall"), None),
        ("", "/a/libonnxruntime_providers_cuda.so: undefined symbol: cublasGetStatusName, version libcublas.so.13",
         "does not fit: libcublas.so.13", MEND_CUDA.replace("install", "install --force-reinstall"), None),
        ("", "libcublas.so.13: version `libcublas.so.13' not found (required by x)", "does not fit: libcublas.so.13",
         MEND_CUDA.replace("install", "install --force-reinstall"), None),
        ("CUDA failure 2: out of memory", "", "no memory left", None, "nvidia-smi"),
        ("no kernel image is available for execution on the device", "", "not built for this GPU", None, "cpu"),
        ("CUDA failure 719: unspecified launch failure ; GPU=0", "", "Conv failed: CUDA failure 719: unspecified",
         'pip install --force-reinstall "onnxruntime-gpu==1.31.1"', None),
        (FALLBACK, "FAIL : Failed to load library /a/x.so with error: odd thing\n", "Conv failed: odd thing",
         'pip install --force-reinstall "onnxruntime-gpu==1.31.1"', None),
        ("first\nlast \x1b[2J", "", r"Conv failed: last \x1b[2J",
         'pip install --force-reinstall "onnxruntime-gpu==1.31.1"', None),
    ],
)  # fmt: skip
def test_faults_of_cuda(stand_in: Worker, why: str, stderr: str, shown: str, pip: str | None, then: str | None) -> None:
    worker = stand_in(f'if task == "CUDAExecutionProvider": failed({why!r}, {stderr!r})')
    report = examine(worker=worker, wheels=[GPU_WHEEL])
    assert row(report, "cuda")["state"] == "broken"
    assert shown in row(report, "cuda")["why"]
    found = fault(report, "cuda")
    assert found["severity"] == "fault"
    assert found["pip"] == pip
    assert found["uv"] == (pip and "uv " + pip.replace("--force-reinstall", "--reinstall"))
    assert (then is None and found["then"] is None) or then in found["then"]
    assert not report["ok"]


def test_a_driver_for_an_older_cuda_is_named_whatever_the_message(stand_in: Worker) -> None:
    body = f"""
    if task == "gpus": send(result={ {**GPU, "driver": "550.54.14", "cuda": "12.4"} })
    elif task == "CUDAExecutionProvider": failed("CUDA failure 999: unknown error")
    """
    report = examine(worker=stand_in(body), wheels=[GPU_WHEEL])
    assert "too old for CUDA 13.0 (driver 550.54.14, for CUDA 12.4)" in row(report, "cuda")["why"]


def test_without_a_gpu_its_providers_are_no_fault(stand_in: Worker) -> None:
    body = f"""
    if task == "gpus": send(result={NO_GPU})
    elif task == "CUDAExecutionProvider": failed("", {missing("libcublas.so.13")!r})
    elif task == "TensorrtExecutionProvider": os.abort()
    """
    report = examine(worker=stand_in(body), wheels=[GPU_WHEEL])
    assert report["ok"]
    assert report["faults"] == []
    assert row(report, "cuda")["why"] == "no NVIDIA GPU or driver"
    assert "SIGABRT" in row(report, "tensorrt")["why"] or sys.platform == "win32"
    required = examine(worker=stand_in(body), wheels=[GPU_WHEEL], provider="cuda")
    assert not required["ok"]
    assert "580.65.06" in fault(required, "cuda")["then"]
    assert lines(required)[-1] == "cuda does not work here; cpu does."


def test_a_gpu_that_works_without_tensorrt(stand_in: Worker) -> None:
    report = examine(worker=stand_in(""), wheels=[GPU_WHEEL])
    assert report["ok"]
    assert row(report, "tensorrt")["state"] == "not installed"
    assert fault(report, "tensorrt")["severity"] == "advice"
    assert not examine(worker=stand_in(""), wheels=[GPU_WHEEL], provider="tensorrt")["ok"]
    assert examine(worker=stand_in(""), wheels=[GPU_WHEEL], provider="cuda")["ok"]


def test_tensorrt_of_another_version(stand_in: Worker) -> None:
    report = examine(worker=stand_in(""), wheels=[GPU_WHEEL, wheel("tensorrt-cu13", "11.4.0")])
    assert not report["ok"]
    found = fault(report, "tensorrt")
    assert "(installed: tensorrt-cu13 11.4.0)" in found["what"]
    assert found["pip"] == 'pip install "tensorrt-cu13==10.*"'
    if sys.platform == "linux":
        assert "tensorrt_libs" in found["then"]


def test_tensorrt_has_no_seeded_files(stand_in: Worker) -> None:
    body = 'if task == "TensorrtExecutionProvider": probes(latents="failed", why="no uint64")'
    report = examine(worker=stand_in(body), wheels=[GPU_WHEEL], provider="tensorrt")
    assert report["ok"]
    assert "not the seeded file" in row(report, "tensorrt")["why"]
    body = body.replace("Tensorrt", "CUDA")
    assert row(examine(worker=stand_in(body), wheels=[GPU_WHEEL]), "cuda")["state"] == "broken"


def test_a_crash(stand_in: Worker) -> None:
    body = """
    if task == "CPUExecutionProvider":
        send(stage="running ConvTranspose")
        os.kill(os.getpid(), 11)
    """
    report = examine(worker=stand_in(body), wheels=[GPU_WHEEL])
    cpu = row(report, "cpu")
    assert (cpu["state"], cpu["libraries"]) == ("broken", None)
    assert cpu["why"] == "was killed by SIGSEGV while running ConvTranspose"
    assert fault(report, "cpu")["pip"] == 'pip install --force-reinstall "onnxruntime-gpu==1.31.1"'
    assert not report["ok"]
    assert "Libraries loaded: unknown" in "\n".join(lines(report))


@pytest.mark.parametrize("task", ["CUDAExecutionProvider", "gpus"])
def test_a_hang(stand_in: Worker, task: str) -> None:
    body = f"""
    if task == "{task}":
        send(stage="asking the driver")
        time.sleep(600)
    """
    report = examine(worker=stand_in(body), wheels=[GPU_WHEEL], timeout=2)
    assert "hung while asking the driver" in (report["gpus"] if task == "gpus" else row(report, "cuda"))["why"]
    assert row(report, "cpu")["state"] == "works"
    assert not report["ok"]


def test_an_exception_is_a_row(stand_in: Worker) -> None:
    report = examine(worker=stand_in('if task == "CUDAExecutionProvider": raise OSError("odd")'), wheels=[GPU_WHEEL])
    assert row(report, "cuda")["why"] == "ended with exit code 1 while starting: OSError: odd"


@pytest.mark.parametrize("probe", ["Conv", "latents"])
def test_wrong_values_on_the_cpu(stand_in: Worker, probe: str) -> None:
    """The real worker, with zeros for one operator: what a broken kernel or stale memory looks like."""
    body = f"""
    if task == "CPUExecutionProvider":
        from gantool.runtime import session
        real = session.run
        session.run = lambda opened, feeds, path: real(opened, feeds, path) * (0 if path.stem == "{probe}" else 1)
        worker.main(task)
    """
    report = examine(worker=stand_in(body), wheels=[CPU_WHEEL])
    cpu = row(report, "cpu")
    assert (cpu["state"], cpu["why"]) == ("wrong values", f"{probe} differ from the expected values")
    assert [p["status"] for p in cpu["probes"]].count("wrong") == 1
    assert not report["ok"]
    assert fault(report, "cpu")["pip"] == 'pip install --force-reinstall "onnxruntime==1.31.1"'


def test_wrong_values_on_the_gpu_outrank_failures(stand_in: Worker) -> None:
    body = 'if task == "CUDAExecutionProvider": probes(Conv="failed", Gemm="wrong", why="x")'
    report = examine(worker=stand_in(body), wheels=[GPU_WHEEL])
    assert row(report, "cuda")["state"] == "wrong values"
    assert not report["ok"]


def with_runtime(**changes: Any) -> str:
    return f'if task == "onnxruntime": send(result={ {**RUNTIME, **changes} })'


def test_providers_missing(stand_in: Worker) -> None:
    only_cpu = with_runtime(
        package="onnxruntime", cuda=None, providers=["CPUExecutionProvider", "AzureExecutionProvider"]
    )
    report = examine(worker=stand_in(only_cpu), wheels=[CPU_WHEEL])
    assert [row["name"] for row in report["providers"]] == ["cpu"]
    assert report["unused"] == ["AzureExecutionProvider"]
    assert report["ok"]
    found = fault(report, "cuda")
    assert found["severity"] == "advice"
    assert found["pip"] == f"pip uninstall -y onnxruntime && {MEND_CUDA}"
    assert "Not used by gantool: AzureExecutionProvider" in lines(report)
    for name in ("cuda", "tensorrt", "openvino"):
        required = examine(worker=stand_in(only_cpu), wheels=[CPU_WHEEL], provider=name)
        assert not required["ok"]
        assert next(f for f in required["faults"] if f["severity"] == "fault")["pip"]


def test_no_cpu_provider_is_not_ok(stand_in: Worker) -> None:
    assert not examine(worker=stand_in(with_runtime(providers=["CUDAExecutionProvider"])), wheels=[GPU_WHEEL])["ok"]


def test_both_wheels(stand_in: Worker) -> None:
    report = examine(worker=stand_in(""), wheels=[CPU_WHEEL, GPU_WHEEL])
    found = fault(report, None)
    assert found["severity"] == "advice"
    assert found["pip"] == f"pip uninstall -y onnxruntime onnxruntime-gpu && {MEND_CUDA}"
    hidden = with_runtime(package="onnxruntime", cuda=None, providers=["CPUExecutionProvider"])
    report = examine(worker=stand_in(hidden), wheels=[CPU_WHEEL, GPU_WHEEL])
    assert fault(report, "cuda")["severity"] == "fault"  # the GPU wheel is installed, and its provider is gone
    assert not report["ok"]


@pytest.mark.parametrize(
    ("wheels", "pip"),
    [
        ([], MEND_CUDA),
        ([CPU_WHEEL], "pip install --force-reinstall onnxruntime"),
        ([CPU_WHEEL, GPU_WHEEL], f"pip uninstall -y onnxruntime onnxruntime-gpu && {MEND_CUDA}"),
    ],
)
def test_onnxruntime_that_cant_be_imported(stand_in: Worker, wheels: list[Wheel], pip: str) -> None:
    body = """
    if task == "onnxruntime":
        send(stage="importing onnxruntime")
        raise ImportError("libonnxruntime.so.1: file too short")
    """
    report = examine(worker=stand_in(body), wheels=wheels)
    assert report["onnxruntime"] is None
    assert not report["ok"]
    assert "libonnxruntime.so.1: file too short" in fault(report, None)["what"]
    assert fault(report, None)["pip"] == pip
    assert lines(report)[-1] == "Not all works. What does: nothing."


@pytest.mark.parametrize(
    ("body", "shown", "faulty"),
    [
        ('send(result=dict(version="2.13.0+cpu", cuda=None, available=False, devices=0))', "2.13.0+cpu, no CUDA", True),
        (
            'send(result=dict(version="2.13.0", cuda="12.8", available=False, devices=0))',
            "no CUDA (built for 12.8)",
            True,
        ),
        ('send(result=dict(version="2.13.0", cuda="13.0", available=True, devices=2))', "CUDA 13.0, 2 GPU", False),
        (
            'raise ImportError("libtorch.so: no")',
            "its process ended with exit code 1 while starting",
            False,
        ),
    ],
)
def test_torch(stand_in: Worker, body: str, shown: str, faulty: bool) -> None:
    report = examine(worker=stand_in(f'if task == "torch": {body}'), wheels=[GPU_WHEEL, wheel("torch", "2.13.0")])
    assert shown in "\n".join(lines(report))
    assert report["ok"]  # torch trains; it is not what an app runs on
    advice = [f for f in report["faults"] if "torch" in f["what"]]
    assert [f["severity"] for f in advice] == ["advice"] * faulty


def test_without_torch(stand_in: Worker) -> None:
    assert examine(worker=stand_in(""), wheels=[GPU_WHEEL])["torch"] is None


def test_a_worker_that_can_not_be_started(tmp_path: Path) -> None:
    report = examine(worker=(str(tmp_path / "no-such-program"),), wheels=[CPU_WHEEL])
    assert not report["ok"]
    assert "could not be started" in report["faults"][0]["what"]


def test_another_name_is_refused() -> None:
    with pytest.raises(GantoolError, match="no provider 'gpu'"):
        examine(provider="gpu")


def test_a_report_has_no_names_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))
    report = {
        "path": "/home/ann/venv/lib:/home/ann",
        "other": ["/home/anna/x", "/mnt/home/ann/x", "/home/ann-b"],
        "why": "GPU=0 ; hostname=anns-laptop ; file=/home/ann/x.cc",
        "n": 3,
    }
    assert private(report) == {
        "path": "~/venv/lib:~",
        "other": ["/home/anna/x", "/mnt/home/ann/x", "/home/ann-b"],
        "why": "GPU=0 ; hostname=… ; file=~/x.cc",
        "n": 3,
    }
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert private("/usr/lib") == "/usr/lib"


def test_without_anything_but_numpy_and_onnxruntime(tmp_path: Path) -> None:
    """As in an app's environment: what gantool's other parts need can't be imported, there or in the children."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "for name in 'torch onnx typer rich pydantic pluggy matplotlib PIL safetensors filelock'.split():\n"
        "    sys.modules[name] = None\n"
    )
    command = [sys.executable, "-m", "gantool.doctor", "--json", "--provider", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert row(report, "cpu")["state"] == "works"
    assert report["torch"] is None or "can't" not in report["torch"]["version"]
