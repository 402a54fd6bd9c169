"""The GPU's own figures."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from gantool.system import nvml


class Driver:
    """libnvidia-ml as far as it is asked: 1 GB used, 5 J since it was loaded."""

    def __init__(self, result: int = 0) -> None:
        self.result = result
        self.opened: list[object] = []

    def nvmlInit_v2(self) -> int:
        return self.result

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = 3
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        self.opened.append(index)
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:
        self.opened.append(uuid)
        return 0

    def nvmlDeviceGetName(self, handle: Any, text: Any, size: int) -> int:
        text.value = b"A GPU"
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory._obj.used = 10**9
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, total: Any) -> int:
        total._obj.value = 5000
        return 0


@pytest.mark.parametrize(("visible", "index"), [(None, 0), ("2,0", 2), ("GPU-ab", b"GPU-ab"), ("", 0)])
def test_nvml(monkeypatch: pytest.MonkeyPatch, visible: str | None, index: object) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    driver = Driver()
    device = nvml.open_device(lambda name: driver)
    assert device is not None
    assert (device.name(), device.used_mb(), device.joules()) == ("A GPU", 1000.0, 5.0)
    assert driver.opened == [index]


@pytest.mark.parametrize(
    ("visible", "devices"), [(None, ["0", "1", "2"]), ("2, GPU-ab", ["2", "GPU-ab"]), ("", []), ("-1", ["-1"])]
)
def test_visible_devices(monkeypatch: pytest.MonkeyPatch, visible: str | None, devices: list[str]) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvml.visible_devices(lambda name: Driver()) == devices


def test_no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert nvml.visible_devices(missing) == []
    assert nvml.visible_devices(lambda name: Driver(result=999)) == []
    assert nvml.open_device(missing) is None
    assert nvml.open_device(lambda name: Driver(result=999)) is None
    assert nvml.open_device(lambda name: object()) is None


def test_a_measured_process_starts_without_what_it_does_not_need() -> None:
    """NVML is bound by ctypes alone."""
    code = "import sys; before = set(sys.modules); from gantool.system import nvml; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not {name for name in loaded if name not in sys.stdlib_module_names} - {"gantool"}
