"""`gantool doctor`: what it prints and its exit codes, on this machine and with a stand-in for a broken one."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from support.inprocess import Run

from gantool.doctor import examination
from gantool.doctor.__main__ import main

BROKEN = """
import json, sys
from gantool.doctor import worker
if sys.argv[1] == "gpus":
    device = {"name": "NVIDIA [bold] \\x1b]0;title\\x07H200", "memory_mb": 150000, "capability": "9.0"}
    found = {"driver": "580.65.06", "cuda": "13.0", "devices": [device], "files": True, "why": None}
    print(json.dumps({"result": found}))
elif sys.argv[1] == "onnxruntime":
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    found = {"version": "1.31.1", "package": "onnxruntime-gpu", "cuda": "13.0", "providers": names, "numpy": "2"}
    print(json.dumps({"result": found}))
elif sys.argv[1] == "CUDAExecutionProvider":
    sys.exit("libcublasLt.so.13: cannot open shared object file")
elif sys.argv[1] != "torch":
    worker.main(sys.argv[1])
"""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "worker.py"
    script.write_text(BROKEN)
    monkeypatch.setattr(examination, "WORKER", (sys.executable, "-P", str(script)))


def test_json_and_text(cli: Run) -> None:
    code, out, err = cli("doctor", "--json", "--provider", "cpu")
    report = json.loads(out)
    assert (code, report["required"], err) == (0 if report["ok"] else 1, "cpu", "")
    code, out, _ = cli("doctor")
    assert re.search("cpu +works", out)
    assert "Conv, ConvTranspose, Gemm right to" in out
    assert "torch: " in out


def test_another_provider_is_an_error(cli: Run) -> None:
    code, _, err = cli("doctor", "--provider", "gpu")
    assert code == 1
    assert "no provider 'gpu'" in err


@pytest.mark.usefixtures("broken")
def test_a_broken_machine(cli: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = cli("doctor")
    assert code == 1
    assert r"GPU: NVIDIA [bold] \x1b]0;title\x07H200, 150 GB" in out
    assert "missing: libcublasLt.so.13" in out
    assert 'pip: pip install "onnxruntime-gpu[cuda,cudnn]" "nvidia-cublas~=13.0"' in out
    assert 'uv:  uv pip install "onnxruntime-gpu[cuda,cudnn]" "nvidia-cublas~=13.0"' in out
    assert "Not all works. What does: cpu." in out
    assert main([]) == 1
    plain = capsys.readouterr().out
    for words in (
        r"[bold] \x1b]0;title\x07H200",
        "missing: libcublasLt.so.13",
        "Not all works. What does: cpu.",
        "  pip: pip install",
    ):
        assert words in plain
    assert main(["--json", "--provider", "cpu"]) == 1
    assert json.loads(capsys.readouterr().out)["providers"][1]["state"] == "broken"


@pytest.mark.parametrize("arguments", [["--timeout", "soon"], ["--provider", "gpu"]])
def test_wrong_arguments_of_the_module(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
