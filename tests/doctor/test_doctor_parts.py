"""What the doctor reads of a machine: memory maps, the driver, wheels; and the lines to paste."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from gantool.doctor import libraries, remedies, worker
from gantool.doctor.libraries import Wheel
from gantool.system import nvml

MAPS = """\
7f1b3000-7f1b4000 r--p 00000000 fe:00 1234                       /usr/lib/libc.so.6
7f1b4000-7f1b5000 r-xp 00001000 fe:00 1235                       /opt/my libs/nvidia/cu13/lib/libcublasLt.so.13
7f1b5000-7f1b6000 rw-p 00002000 fe:00 1235                       /opt/my libs/nvidia/cu13/lib/libcublasLt.so.13
7f1b6000-7f1b7000 r--p 00000000 fe:00 1236                       /usr/lib/libcudnn_engines_precompiled.so.9 (deleted)
7f1b7000-7f1b8000 r--p 00000000 fe:00 1237                       /usr/lib/libcuda.so.580.65.06
7f1b8000-7f1b9000 r--p 00000000 fe:00 1238                       /home/ann/libcudart.so.13.txt
7f1b9000-7f1ba000 rw-p 00000000 00:00 0                          [heap]
"""


def test_maps_are_read() -> None:
    assert libraries.parse_maps(MAPS) == [
        "/opt/my libs/nvidia/cu13/lib/libcublasLt.so.13",
        "/usr/lib/libcuda.so.580.65.06",
        "/usr/lib/libcudnn_engines_precompiled.so.9",
    ]


def test_the_version_of_a_library_is_in_the_name_of_its_file(tmp_path: Path) -> None:
    assert libraries.version_in_name("/nowhere/libonnxruntime_providers_cuda.so") is None
    (tmp_path / "libcufft.so.12.0.1").touch()
    (tmp_path / "libcufft.so.12").symlink_to("libcufft.so.12.0.1")
    assert libraries.version_in_name(str(tmp_path / "libcufft.so.12")) == "12.0.1"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what a process has loaded")
def test_the_libraries_of_this_process(tmp_path: Path) -> None:
    path = compiled(tmp_path, "libcudart.so.13", "int version(void) { return 13; }")
    code = f"import ctypes; ctypes.CDLL({str(path)!r})\nfrom gantool.doctor import libraries; print(libraries.loaded())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert str({"name": "libcudart.so.13", "version": "13", "path": str(path)}) in done.stdout


def compiled(folder: Path, name: str, source: str) -> Path:
    """A shared library made of C; skips without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc") or pytest.skip("there is no C compiler")
    (folder / "source.c").write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / name, folder / "source.c"], check=True)
    return folder / name


NVML = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory;
const char *nvmlErrorString(int code) { return "Driver/library version mismatch"; }
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *b, unsigned n) { strncpy(b, "580.65.06", n); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 13000; return 0; }
int nvmlDeviceGetCount_v2(unsigned *v) { *v = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)(i + 1ul); return 0; }
int nvmlDeviceGetName(void *h, char *b, unsigned n) { strncpy(b, h == (void *)1ul ? "H200" : "T4", n); return 0; }
int nvmlDeviceGetMemoryInfo(void *h, memory *m) { m->total = 150000000000ull; return 0; }
int nvmlDeviceGetCudaComputeCapability(void *h, int *a, int *b) { *a = 9; *b = 0; return 0; }
"""


def gpus(monkeypatch: pytest.MonkeyPatch, library: Path) -> dict[str, Any]:
    """What the worker finds with this library as the driver's."""
    monkeypatch.setattr(nvml, "LIBRARY", str(library))
    sent: dict[str, Any] = {}
    worker.gpus(sent.__setitem__)
    return dict(sent["result"])


def test_gpus_of_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = gpus(monkeypatch, compiled(tmp_path, "libnvidia-ml.so.1", NVML.replace("INIT", "0")))
    assert (found["driver"], found["cuda"], found["why"]) == ("580.65.06", "13.0", None)
    assert found["devices"] == [{"name": name, "memory_mb": 150_000, "capability": "9.0"} for name in ("H200", "T4")]


def test_a_driver_that_does_not_start_or_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = gpus(monkeypatch, compiled(tmp_path, "libnvidia-ml.so.1", NVML.replace("INIT", "18")))
    assert (found["devices"], found["why"]) == ([], "NVML: Driver/library version mismatch")
    found = gpus(monkeypatch, tmp_path / "no-such-library")
    assert found["driver"] is None
    assert "no-such-library" in found["why"]


def distribution(folder: Path, name: str, version: str, record: str = "") -> metadata.Distribution:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(record)
    return metadata.Distribution.at(info)


def test_wheels_and_who_owns_a_library(tmp_path: Path) -> None:
    cublas = "nvidia/cu13/lib/libcublas.so.13"
    (tmp_path / "damaged.dist-info").mkdir()
    found = libraries.installed(
        [
            distribution(tmp_path, "nvidia-cublas", "13.1.0", f"{cublas},sha256=x,5\n"),
            distribution(tmp_path, "Requests", "2.0"),
            metadata.Distribution.at(tmp_path / "damaged.dist-info"),
            distribution(tmp_path, "onnxruntime", "1.31.1", "onnxruntime/__init__.py,,\n"),
            distribution(tmp_path, "onnxruntime_gpu", "1.31.0", "onnxruntime/__init__.py,,\n"),
            distribution(tmp_path, "onnxruntime-extensions", "0.15", "onnxruntime_extensions/__init__.py,,\n"),
        ]
    )
    assert [wheel.name for wheel in found] == [
        "nvidia-cublas", "onnxruntime", "onnxruntime-extensions", "onnxruntime-gpu",
    ]  # fmt: skip
    assert libraries.owner(str(tmp_path / cublas), found) == "nvidia-cublas 13.1.0"
    assert libraries.owner("/usr/lib/libcublas.so.13", found) is None
    assert [wheel.name for wheel in libraries.runtimes(found)] == ["onnxruntime", "onnxruntime-gpu"]


def test_the_line_for_cuda_12() -> None:
    assert remedies.install(*remedies.cuda_requirements("12.9"))["pip"] == (
        'pip install "onnxruntime-gpu[cuda,cudnn]" nvidia-cublas-cu12'
    )
    assert remedies.tensorrt_requirement("12.8", ["nvinfer_11.dll"]) == "tensorrt-cu12==11.*"


def test_the_extras_named_are_those_of_the_installed_wheel() -> None:
    """And none of them brings cuBLAS, which is why the line names it."""
    try:
        found = metadata.metadata("onnxruntime-gpu")
    except metadata.PackageNotFoundError:
        pytest.skip("onnxruntime-gpu is not installed")
    assert {"cuda", "cudnn"} <= set(found.get_all("Provides-Extra") or ())
    assert not [line for line in found.get_all("Requires-Dist") or () if "cublas" in line]


def test_the_path_of_tensorrt_is_one_that_a_shell_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))
    at_home = Wheel("onnxruntime-gpu", "1", Path("/home/ann/my venv"), frozenset())
    line = remedies.tensorrt_path([at_home])
    assert line is not None
    code = f'HOME=/home/ann; LD_LIBRARY_PATH=/a; {line}; printf %s "$LD_LIBRARY_PATH"'
    assert subprocess.run(["sh", "-c", code], capture_output=True, text=True).stdout == (
        "/home/ann/my venv/tensorrt_libs:/a"
    )
    assert "/home/ann" not in line
