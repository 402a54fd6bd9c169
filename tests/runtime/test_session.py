"""Files that are none, are damaged, or are somebody else's; providers that are not there or do not start."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from gantool import manifest
from gantool.artifact import inspect
from gantool.errors import GantoolError
from gantool.rundir import RunDir
from gantool.runtime import Generator


@pytest.fixture(scope="module")
def plain(exported_run: RunDir) -> Path:
    return exported_run.export / "generator.onnx"


@pytest.fixture(scope="module")
def seeded(exported_run: RunDir) -> Path:
    return exported_run.export / "generator.seeded.onnx"


def refused(path: Path, provider: str = "cpu") -> GantoolError:
    """The error of a file that can't be opened; it names the file."""
    with pytest.raises(GantoolError) as error:
        Generator(path, provider)
    assert str(path) in error.value.message
    return error.value


# files


def test_a_missing_file(tmp_path: Path) -> None:
    error = refused(tmp_path / "no.onnx")
    assert "No such file" in error.message
    assert "gantool export" in error.hint


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in refused(tmp_path).message


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    assert "has 0 bytes" in refused(tmp_path / "empty.onnx").message


@pytest.mark.parametrize("content", [b"not an onnx file", b"PK\x03\x04" + bytes(100), b"{}", b"\x00"])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(content)
    assert "Is it an ONNX file, and whole?" in refused(path).hint


def test_a_truncated_file(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(plain.read_bytes()[:-100])
    refused(path)


def test_an_onnx_file_of_somebody_else(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "foreign.onnx")
    assert "has no gantool manifest" in refused(tmp_path / "foreign.onnx").message


def with_manifest(path: Path, to: Path, text: str) -> Path:
    model = onnx.load(path)
    helper.set_model_props(model, {manifest.KEY: text})
    onnx.save(model, to)
    return to


def test_a_manifest_of_the_future(plain: Path, tmp_path: Path) -> None:
    value = json.loads(inspect(plain).manifest.to_json()) | {"schema_version": 2}
    error = refused(with_manifest(plain, tmp_path / "g.onnx", json.dumps(value)))
    assert "has schema 2; this gantool reads up to 1" in error.message
    assert "Upgrade" in error.hint


def test_a_manifest_that_is_no_json(plain: Path, tmp_path: Path) -> None:
    assert "valid JSON" in refused(with_manifest(plain, tmp_path / "g.onnx", "{")).message


def test_a_manifest_of_other_inputs(plain: Path, seeded: Path, tmp_path: Path) -> None:
    text = inspect(seeded).manifest.to_json()
    message = refused(with_manifest(plain, tmp_path / "g.onnx", text)).message
    assert "has the inputs z float32; its manifest says index int64, seed int64" in message


def test_a_manifest_of_another_output(plain: Path, tmp_path: Path) -> None:
    described = inspect(plain).manifest
    other = dataclasses.replace(described, output=dataclasses.replace(described.output, name="picture"))
    message = refused(with_manifest(plain, tmp_path / "g.onnx", other.to_json())).message
    assert "has the outputs image float32; its manifest says picture float32" in message


damage = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True), st.just(0)),
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(damage, min_size=1, max_size=3))
def test_damage_gives_images_or_an_error_of_ours(
    plain: Path, tmp_path: Path, damages: list[tuple[str, float, int]]
) -> None:
    data = bytearray(plain.read_bytes())
    for kind, place, bit in damages:
        at = int(place * len(data))
        if kind == "cut":
            del data[at:]
        elif data:
            data[at] ^= 1 << bit
    path = tmp_path / "damaged.onnx"
    path.write_bytes(data)
    with contextlib.suppress(GantoolError):
        generator = Generator(path)
        generator.sample(2)
        generator.self_test()


# providers


@pytest.mark.parametrize("name", ["gpu", "CPU", "CPUExecutionProvider", ""])
def test_an_unknown_provider(plain: Path, name: str) -> None:
    with pytest.raises(GantoolError, match=f"no provider '{name}'") as error:
        Generator(plain, name)
    assert "cpu, cuda, tensorrt, openvino" in error.value.hint


def test_a_provider_that_is_not_installed(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(GantoolError, match="'openvino' is not in the installed onnxruntime") as error:
        Generator(plain, "openvino")
    assert error.value.hint.startswith("It has: cpu.")
    assert "onnxruntime-openvino" in error.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_without_its_device(plain: Path, provider: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The GPU build of onnxruntime lists both on any machine."""
    with pytest.raises(GantoolError, match=f"The provider '{provider}' "):
        Generator(plain, provider)
    assert capsys.readouterr().out == ""


def test_a_provider_that_gives_way_to_another(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where onnxruntime would fall back without a word."""
    everything = ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: everything)
    given_way = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", lambda *args, **kwargs: given_way)
    with pytest.raises(GantoolError, match="'openvino' did not start; onnxruntime would have used CPUExec"):
        Generator(plain, "openvino")


def test_openvino_gets_no_seeded_file(plain: Path, seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It narrows 64-bit integers: wrong images without an error. The CPU stands in for it here."""
    honest = ort.InferenceSession

    def session(path: str, options: object, providers: list[str], **rest: object) -> object:
        made = honest(path, providers=["CPUExecutionProvider"])
        monkeypatch.setattr(made, "get_providers", lambda: providers)
        return made

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["OpenVINOExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    error = refused(seeded, "openvino")
    assert "64-bit integers" in error.message
    assert "gantool export --onnx" in error.hint
    images = Generator(plain, "openvino").sample(3, seed=4)
    monkeypatch.undo()
    np.testing.assert_array_equal(images, Generator(seeded).sample(3, seed=4))
