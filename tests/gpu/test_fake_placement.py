"""What can be shown of exported files on CUDA without a GPU: every node is placed on the CUDA provider.

ONNX Runtime's own CUDA provider is opened over CUDA libraries that compute nothing (support.fakecuda). A process for
each architecture.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import fakecuda
from support.c import source_of

from gantool import exporting
from gantool.artifact import manifest
from gantool.plugin.registry import architecture_names

TESTS = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        fakecuda.provider() is None, reason="this ONNX Runtime has no CUDA provider: pip install onnxruntime-gpu"
    ),
    pytest.mark.skipif(not all(map(shutil.which, ("gcc", "nm"))), reason="there is no gcc, or no nm"),
]
NOT_ON_CUDA = "int8"  # its operators have kernels for the CPU only


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fakecuda")
    fakecuda.build(made)
    return made


def asked(libraries: Path, *words: object) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "support.fakecuda", *map(str, words)],
        cwd=TESTS,
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", architecture_names())
def test_every_node_is_on_cuda(libraries: Path, name: str, tmp_path: Path) -> None:
    source = source_of(name)
    kinds = [kind for kind in source.kinds if kind in manifest.ONNX]
    exporting.write(source, kinds, tmp_path, exporting.Options(manifest.PRECISIONS, force=True))
    found = asked(libraries, "placed", tmp_path)
    assert len(found) >= len(kinds)
    for file, ways in found.items():
        for how, told in ways.items():
            if NOT_ON_CUDA in file and isinstance(told, str):  # a file without an integer operator runs on CUDA, too
                assert "can't run" in told, f"{file} {how}"
            else:
                assert isinstance(told, dict), f"{file} {how}: {told}"
                assert set(told) == {"CUDA"}, f"{file} {how}"


def test_a_node_that_cuda_lacks_is_refused(libraries: Path, tmp_path: Path) -> None:
    """The planted fault: an operator without a CUDA kernel."""
    import onnx

    exporting.write(source_of("mlp"), ["onnx"], tmp_path)
    path = tmp_path / "generator.onnx"
    model = onnx.load(path)
    last = model.graph.node[-1]
    name, last.output[0] = last.output[0], "before"
    model.graph.node.append(onnx.helper.make_node("StringNormalizer", ["words"], ["unused"]))
    model.graph.initializer.append(onnx.helper.make_tensor("words", onnx.TensorProto.STRING, [1], [b"word"]))
    model.graph.node.append(onnx.helper.make_node("Identity", ["before"], [name]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("unused", onnx.TensorProto.STRING, [1]))
    planted = tmp_path / "planted"
    planted.mkdir()
    onnx.save(model, planted / "generator.onnx")
    told = asked(libraries, "placed", planted)["generator.onnx"]["plain"]
    assert isinstance(told, str)


@pytest.mark.parametrize("file", ["generator.seeded.onnx", "generator.onnx"])
def test_requests_of_equal_size_are_replayed(libraries: Path, file: str, tmp_path: Path) -> None:
    """With CUDA graphs, a size is captured once and then replayed: no call computes anew."""
    exporting.write(source_of("mlp"), ["onnx", "onnx-seeded"], tmp_path)
    done = asked(libraries, "requests", tmp_path / file, "graph")
    assert sum(call["captures"] for call in done) >= 1
    for call in (done[3], done[-1]):
        assert (call["captures"], call["replays"], call["mallocs"]) == (0, 1, 0)
    assert all(
        not call["captures"] and not call["replays"] for call in asked(libraries, "requests", tmp_path / file, "plain")
    )
