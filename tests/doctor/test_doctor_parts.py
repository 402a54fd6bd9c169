"""What the doctor parses and writes: messages, memory maps, version numbers, wheels and lines to paste."""

from __future__ import annotations

import shutil
import subprocess
import sys
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from gantool.doctor import diagnosis, libraries, remedies, worker
from gantool.doctor.libraries import Wheel
from gantool.system import nvml

LOG = (
    "Failed to load libcurand.so.10: libcurand.so.10: cannot open shared object file: No such file or directory\n"
    "\x1b[1;31m2026-11-21 11:00:27.4 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] "
    "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& onnxruntime::"
    "ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library /venv/onnxruntime/capi/"
    "libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: No such file\n"
    "This session contains graph nodes that are assigned to the default CPU EP, but fallback to CPU EP has been "
    "explicitly disabled by the user.\n"
)
CUDA_35 = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:122 std::conditional_t<THRW, void, onnxruntime::"
    "common::Status> onnxruntime::CudaCall(ERRTYPE, const char*) [with ERRTYPE = cudaError; bool THRW = true] "
    "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=-1 ; hostname=anns-laptop ; "
    "file=/onnxruntime_src/cuda_execution_provider.cc ; line=336 ; expr=cudaSetDevice(info_.device_id); "
)


@pytest.mark.parametrize(
    ("text", "missing", "mismatched", "symptoms"),
    [
        (LOG, ("libcurand.so.10", "libcublasLt.so.13"), (), ("fallback",)),
        (CUDA_35, (), (), ("driver-old",)),
        ("x.so: undefined symbol: cublasLtCreate, version libcublasLt.so.13", (), ("libcublasLt.so.13",), ()),
        ('Error loading "C:\\x\\providers_cuda.dll" which depends on "cublasLt64_13.dll" which is missing. (Error 126',
         ("cublasLt64_13.dll",), (), ()),
        ("Failed to load cudart64_13.dll: Could not find module 'C:\\nvidia\\cudart64_13.dll' (or one of",
         ("cudart64_13.dll",), (), ()),
        ("with error: /a/libonnxruntime_providers_cuda.so: undefined symbol: cuTensorMapEncodeTiled\n",
         (), (), ("driver-old",)),
        ("/a/libonnxruntime_providers_cuda.so: undefined symbol: cublasGetStatusName, version libcublas.so.13",
         (), ("libcublas.so.13",), ()),
        ("all is well", (), (), ()),
        ("", (), (), ()),
    ],
)  # fmt: skip
def test_causes(text: str, missing: tuple[str, ...], mismatched: tuple[str, ...], symptoms: tuple[str, ...]) -> None:
    assert diagnosis.find_causes(text) == diagnosis.Causes(missing, mismatched, symptoms)


def test_what_a_missing_library_belongs_to() -> None:
    names = (
        "libcufft.so.12",
        "cublas64_13.dll",
        "cudnn64_9.dll",
        "nvinfer_10.dll",
        "libcuda.so.1",
        "nvcuda.dll",
        "libm.so.6",
    )
    causes = diagnosis.find_causes("".join(f"{name}: cannot open shared object file\n" for name in names))
    parts = ("cuda", "cudnn", "tensorrt", "driver", "")
    assert [len(causes.missing_of(part)) for part in parts] == [2, 1, 1, 2, 1]


def test_the_summary_of_a_message_leaves_out_the_signatures() -> None:
    assert diagnosis.summary(CUDA_35) == (
        "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version"
    )
    assert diagnosis.summary(LOG) == "libcublasLt.so.13: cannot open shared object file: No such file"
    assert diagnosis.summary("Traceback:\n  File\nImportError: no numpy\n") == "ImportError: no numpy"
    assert diagnosis.summary("last words\n \x1b \n") == "last words"
    assert diagnosis.summary(" \n") == "no message"


PIECES = st.sampled_from([LOG, CUDA_35, "libcudnn.so.9", ": cannot open shared object file", "version `", "'", "\n"])


@given(st.lists(PIECES | st.text(), max_size=8).map("".join))
def test_any_text_is_read(text: str) -> None:
    found = diagnosis.find_causes(text)
    assert all(name in text for name in found.missing + found.mismatched)
    shown = diagnosis.summary(text)
    assert shown
    assert shown.isprintable()
    assert len(shown) <= 300


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


@given(st.text() | st.lists(st.sampled_from([*MAPS.splitlines(True), "/", " ", "\x00", ".so."])).map("".join))
def test_any_maps_are_read(text: str) -> None:
    for path in libraries.parse_maps(text):
        assert path in text
        libraries.version_in_name(path)


def test_version_numbers(tmp_path: Path) -> None:
    assert [libraries.version_of_cuda(n) for n in (12040, 0)] == ["12.4", None]
    assert [libraries.version_of_cudnn(n) for n in (8902, 0)] == ["8.9.2", None]
    assert [libraries.version_of_tensorrt(n) for n in (8601, 0)] == ["8.6.1", None]
    assert libraries.version_in_name("/nowhere/libcudnn.so.9.12.0") == "9.12.0"
    assert libraries.version_in_name("/nowhere/libonnxruntime_providers_cuda.so") is None
    (tmp_path / "libcufft.so.12.0.1").touch()
    (tmp_path / "libcufft.so.12").symlink_to("libcufft.so.12.0.1")
    assert libraries.version_in_name(str(tmp_path / "libcufft.so.12")) == "12.0.1"


def compiled(folder: Path, name: str, source: str) -> Path:
    """A shared library made of C; skips without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc") or pytest.skip("there is no C compiler")
    if sys.platform != "linux":
        pytest.skip("names of libraries as on Linux")
    (folder / "source.c").write_text(source)
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", folder / name, folder / "source.c"], check=True
    )
    return folder / name


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("libcudart.so.13", "int cudaRuntimeGetVersion(int *v) { *v = 13020; return 0; }", "13.2"),
        ("libcudart.so.13", "int cudaRuntimeGetVersion(int *v) { return 35; }", "13"),  # the name's
        ("libcudnn.so.9", "#include <stddef.h>\nsize_t cudnnGetVersion(void) { return 92700; }", "9.27.0"),
        ("libnvinfer.so.10", "int getInferLibVersion(void) { return 101601; }", "10.16.1"),
        ("libnvrtc.so.13", "int nvrtcVersion(int *a, int *b) { *a = 13; *b = 1; return 0; }", "13.1"),
        ("libcublas.so.13", "int cublasGetProperty(int w, int *v) { *v = 13 - w; return 0; }", "13.12.11"),
        ("libcublasLt.so.13", "int other(void) { return 0; }", "13"),
    ],
)  # fmt: skip
def test_the_version_of_a_loaded_library(tmp_path: Path, name: str, source: str, expected: str) -> None:
    path = compiled(tmp_path, name, source)
    code = (
        f"import ctypes; ctypes.CDLL({str(path)!r})\nfrom gantool.doctor import libraries\n"
        "for found in libraries.loaded(): print(found['name'], found['version'], found['path'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{name} {expected} {path}" in done.stdout.splitlines()


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


def test_gpus_of_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compiled(tmp_path, "libnvidia-ml.so.1", NVML.replace("INIT", "0"))
    monkeypatch.setattr(nvml, "LIBRARY", str(path))
    found = worker.find_gpus()
    assert (found["driver"], found["cuda"], found["why"]) == ("580.65.06", "13.0", None)
    assert found["devices"] == [{"name": name, "memory_mb": 150_000, "capability": "9.0"} for name in ("H200", "T4")]


def test_a_driver_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "LIBRARY", str(compiled(tmp_path, "libnvidia-ml.so.1", NVML.replace("INIT", "18"))))
    found = worker.find_gpus()
    assert found["devices"] == []
    assert found["why"] == "NVML: Driver/library version mismatch"


def test_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "LIBRARY", str(tmp_path / "libnvidia-ml.so.1"))
    found = worker.find_gpus()
    assert found["driver"] is None
    assert "libnvidia-ml.so.1" in found["why"]


def distribution(folder: Path, name: str, version: str, record: str = "", more: str = "") -> metadata.Distribution:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{more}")
    (info / "RECORD").write_text(record)
    return metadata.Distribution.at(info)


def test_wheels_and_who_owns_a_library(tmp_path: Path) -> None:
    cublas = "nvidia/cu13/lib/libcublas.so.13"
    found = libraries.installed(
        [
            distribution(tmp_path, "nvidia-cublas", "13.1.0", f"{cublas},sha256=x,5\n"),
            distribution(tmp_path, "Requests", "2.0"),
            distribution(tmp_path, "onnxruntime", "1.31.1", "onnxruntime/__init__.py,,\n"),
            distribution(
                tmp_path, "onnxruntime_gpu", "1.31.0", "onnxruntime/__init__.py,,\n", "Provides-Extra: cuda\n"
            ),
            distribution(tmp_path, "onnxruntime-extensions", "0.15", "onnxruntime_extensions/__init__.py,,\n"),
        ]
    )
    assert [wheel.name for wheel in found] == [
        "nvidia-cublas", "onnxruntime", "onnxruntime-extensions", "onnxruntime-gpu",
    ]  # fmt: skip
    assert libraries.owner(str(tmp_path / cublas), found) == "nvidia-cublas 13.1.0"
    assert libraries.owner("/usr/lib/libcublas.so.13", found) is None
    assert [wheel.name for wheel in libraries.runtimes(found)] == ["onnxruntime", "onnxruntime-gpu"]
    assert found[3].extras == ("cuda",)


class Damaged(metadata.Distribution):
    def read_text(self, filename: str) -> str | None:
        raise OSError("damaged")

    def locate_file(self, path: object) -> Path:
        return Path()

    @property
    def metadata(self) -> Message:  # type: ignore[override]
        raise OSError("damaged")


def test_a_damaged_distribution_is_passed_over() -> None:
    assert libraries.installed([Damaged()]) == []


def test_the_installed_wheels_are_found() -> None:
    names = [wheel.name for wheel in libraries.installed()]
    assert "numpy" in names
    assert names == sorted(names)


def wheel(name: str, version: str = "1.31.1", extras: tuple[str, ...] = ()) -> Wheel:
    return Wheel(name, version, Path("/site"), frozenset(), extras)


@pytest.mark.parametrize(
    ("wheels", "cuda", "line"),
    [
        ([wheel("onnxruntime-gpu", extras=("cuda", "cudnn"))], "13.0",
         'pip install "onnxruntime-gpu[cuda,cudnn]" "nvidia-cublas~=13.0"'),
        ([wheel("onnxruntime-gpu", extras=("cuda", "cudnn"))], "12.9",
         'pip install "onnxruntime-gpu[cuda,cudnn]" nvidia-cublas-cu12'),
        ([], None, 'pip install "onnxruntime-gpu[cuda,cudnn]" "nvidia-cublas~=13.0"'),
        ([wheel("onnxruntime-gpu")], "12.9",
         "pip install nvidia-cuda-runtime-cu12 nvidia-cuda-nvrtc-cu12 nvidia-cufft-cu12 nvidia-curand-cu12 "
         '"nvidia-cudnn-cu12~=9.0" nvidia-cublas-cu12'),
    ],
)  # fmt: skip
def test_the_line_for_cuda(wheels: list[Wheel], cuda: str | None, line: str) -> None:
    requirements = remedies.cuda_requirements(wheels, cuda)
    assert remedies.install(*requirements) == {"pip": line, "uv": f"uv {line}"}
    for requirement in requirements:
        Requirement(requirement)


def test_the_extras_named_are_those_of_the_installed_wheel() -> None:
    """And none of them brings cuBLAS, which is why the line names it."""
    try:
        found = metadata.metadata("onnxruntime-gpu")
    except metadata.PackageNotFoundError:
        pytest.skip("onnxruntime-gpu is not installed")
    assert {"cuda", "cudnn"} <= set(found.get_all("Provides-Extra") or ())
    assert not [line for line in found.get_all("Requires-Dist") or () if "cublas" in line]


def test_the_line_for_tensorrt_names_the_version_that_is_linked() -> None:
    assert remedies.tensorrt_requirement("13.0", ["libnvinfer.so.10"]) == "tensorrt-cu13==10.*"
    assert remedies.tensorrt_requirement("12.8", ["nvinfer_11.dll"]) == "tensorrt-cu12==11.*"
    assert remedies.tensorrt_requirement(None, []) == "tensorrt-cu13==10.*"


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


def test_uninstalling_lines() -> None:
    lines = remedies.replace(["onnxruntime", "onnxruntime-gpu"], "onnxruntime-gpu")
    assert lines["pip"] == "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    assert lines["uv"] == "uv pip uninstall onnxruntime onnxruntime-gpu && uv pip install onnxruntime-gpu"
    assert remedies.install("torch", options="--force-reinstall")["uv"] == "uv pip install --reinstall torch"


@given(st.text() | st.none())
def test_any_version_is_read(text: str | None) -> None:
    assert remedies.driver_advice(text)
    major = remedies.cuda_major(text)
    assert major is None or str(major) == str(int((text or "").partition(".")[0]))
    for requirement in remedies.cuda_requirements([], text):
        Requirement(requirement)
