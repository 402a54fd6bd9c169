"""gantool.artifact.inspection.inspect: every kind of exported file, changed ones, and other files."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.changed import sealed

from gantool.artifact.inspection import inspect
from gantool.errors import GantoolError
from gantool.run.rundir import RunDir

NAMES = ["generator.onnx", "generator.seeded.onnx", "generator.torchscript.pt"]


@pytest.fixture(scope="module")
def folder(exported_run: RunDir) -> Path:
    return exported_run.export


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_of_file(folder: Path, name: str) -> None:
    found = inspect(folder / name)
    assert found.bytes == (folder / name).stat().st_size
    assert found.manifest.architecture["name"] == "mlp"
    assert found.weights_match is (True if name.endswith(".onnx") else None)
    assert found.manifest == inspect(folder / f"{name}.json").manifest


def test_nodes_are_counted(folder: Path) -> None:
    assert inspect(folder / "generator.onnx").nodes == {"Gemm": 2, "LeakyRelu": 1, "Reshape": 1, "Tanh": 1}


@pytest.mark.parametrize("name", NAMES[:2])
def test_changed_weights_do_not_match(folder: Path, tmp_path: Path, name: str) -> None:
    model = onnx.load(folder / name)
    weight = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    array = onnx.numpy_helper.to_array(weight).copy()
    array.flat[0] = np.nextafter(array.flat[0], np.float32(9))
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    onnx.save(model, tmp_path / name)
    assert inspect(tmp_path / name).weights_match is False
    assert inspect(tmp_path / name).graph_match in (False, None)


def test_a_changed_graph_does_not_match(folder: Path, tmp_path: Path) -> None:
    path = sealed(folder / "generator.onnx", tmp_path / "g.onnx")
    assert (inspect(path).weights_match, inspect(path).graph_match) == (True, True)
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Sin"
    onnx.save(model, path)
    assert (inspect(path).weights_match, inspect(path).graph_match) == (True, False)


def refused(path: Path, message: str) -> GantoolError:
    with pytest.raises(GantoolError, match=message) as error:
        inspect(path)
    assert str(path) in error.value.message
    return error.value


@pytest.mark.parametrize("name", ["g.onnx", "g.pt", "g.json"])
def test_what_is_no_file_of_ours(tmp_path: Path, name: str) -> None:
    refused(tmp_path / name, "No such file")
    for content in (b"", b"\x00", b"nothing of the kind", b"PK\x03\x04" + bytes(50), bytes(range(256)) * 9):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, ".")


def test_a_folder(folder: Path) -> None:
    assert "gantool inspect" in refused(folder, "is a folder").hint


@pytest.mark.parametrize("name", ["g.onnx", "g.json", "g.pt", "g"])
def test_devices_and_pipes_are_not_read(tmp_path: Path, name: str) -> None:
    """A device may have no end, and a pipe without a writer blocks."""
    if Path("/dev/zero").exists():
        (tmp_path / name).symlink_to("/dev/zero")
        refused(tmp_path / name, "no regular file")
        (tmp_path / name).unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / name)
        refused(tmp_path / name, "no regular file")


@pytest.mark.parametrize(
    ("member", "size", "message"),
    [
        (None, 16 * 2**20 + 1, "larger than 16 MB"),
        ("g/extra/gantool.manifest", 17 * 2**20, "larger than 16 MB"),
        ("a/b", 1, "has no gantool manifest"),
    ],
)
def test_manifests_that_are_too_large_or_not_there(tmp_path: Path, member: str | None, size: int, message: str) -> None:
    path = tmp_path / ("g.pt" if member else "g.json")
    if member:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, bytes(size))
    else:
        path.write_bytes(b" " * size)
    refused(path, message)


def test_weights_kept_elsewhere_are_never_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a reference may name any file of this machine."""
    model = onnx.load(folder / "generator.onnx")
    (tmp_path / "secret").write_bytes(bytes(4096))
    monkeypatch.chdir(tmp_path)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "secret")
    model.graph.initializer[0].ClearField("raw_data")
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "g.onnx", "keeps weights in secret: files outside are never read")


def test_weights_that_do_not_fit_their_shape(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "generator.onnx")
    model.graph.initializer[0].dims[0] += 1
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "g.onnx", "weights of .* are damaged")
