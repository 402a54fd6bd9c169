"""Files that can't be opened: damaged, foreign, or changed since their manifest was written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from support.changed import described_as, edited, sealed, with_text

from gantool.artifact import manifest, onnxfile
from gantool.artifact.inspection import inspect
from gantool.artifact.manifest import Manifest
from gantool.errors import GantoolError
from gantool.runtime import Generator


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


@pytest.mark.parametrize("content", [b"not an onnx file", b"PK\x03\x04" + bytes(100), b"{}", b"\x00"])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(content)
    assert "Is it an ONNX file, and whole?" in refused(path).hint


def test_an_onnx_file_of_somebody_else(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "foreign.onnx")
    assert "has no gantool manifest" in refused(tmp_path / "foreign.onnx").message


def test_a_manifest_of_the_future(plain: Path, tmp_path: Path) -> None:
    value = json.loads(inspect(plain).manifest.to_json()) | {"schema_version": manifest.SCHEMA + 1}
    error = refused(with_text(plain, tmp_path / "g.onnx", json.dumps(value)))
    assert f"has schema {manifest.SCHEMA + 1}; this gantool reads up to {manifest.SCHEMA}" in error.message
    assert "Upgrade" in error.hint


def test_a_manifest_of_schema_1_has_no_digest_of_the_graph(plain: Path, tmp_path: Path) -> None:
    new = {"precision", "tolerance", "batch", "optimize", "graph_sha256"}
    value = {k: v for k, v in json.loads(inspect(plain).manifest.to_json()).items() if k not in new}
    generator = Generator(with_text(plain, tmp_path / "g.onnx", json.dumps(value | {"schema_version": 1})))
    assert (generator.manifest.tolerance, generator.manifest.graph_sha256) == (1, None)
    np.testing.assert_array_equal(generator.sample(3), Generator(plain).sample(3))


def brighter(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))


def other_node(model: onnx.ModelProto) -> None:
    next(n for n in model.graph.node if n.op_type == "Tanh").op_type = "Sin"


@pytest.mark.parametrize("edit", [brighter, other_node], ids=lambda edit: edit.__name__)
def test_other_weights_or_nodes_than_the_manifest_says(
    plain: Path, tmp_path: Path, edit: Callable[[onnx.ModelProto], None]
) -> None:
    before = sealed(plain, tmp_path / "before.onnx")
    model = onnx.load(before)
    edit(model)
    onnx.save(model, tmp_path / "g.onnx")
    error = refused(tmp_path / "g.onnx")
    said, found = (onnxfile.read(path).graph_sha256 for path in (before, tmp_path / "g.onnx"))
    assert f"other weights or nodes than its manifest says: sha256 {found} instead of {said}." in error.message
    assert "export it again" in error.hint
    assert inspect(tmp_path / "g.onnx").graph_match is False


def test_metadata_of_others_is_no_change(plain: Path, tmp_path: Path) -> None:
    model = onnx.load(sealed(plain, tmp_path / "g.onnx"))
    model.metadata_props.add(key="mine", value="anything")
    model.producer_name = "another"
    onnx.save(model, tmp_path / "g.onnx")
    np.testing.assert_array_equal(Generator(tmp_path / "g.onnx").sample(2), Generator(plain).sample(2))


def test_weights_in_other_files_never_reach_onnxruntime(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the file's folder, nor from the working one: such a path may name any file of this machine."""

    def outside(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        (tmp_path / "weights").write_bytes(tensor.raw_data)
        onnx.external_data_helper.set_external_data(tensor, "weights")
        tensor.ClearField("raw_data")

    model = onnx.load(plain)
    outside(model)
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    monkeypatch.chdir(tmp_path)
    ort.InferenceSession("g.onnx", providers=["CPUExecutionProvider"])  # which takes it
    monkeypatch.setattr(ort, "InferenceSession", lambda *args, **kwargs: pytest.fail("ONNX Runtime saw the file"))
    assert "keeps weights in weights: files outside are never read" in refused(tmp_path / "g.onnx").message


def test_what_was_looked_at_is_what_runs(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the file is written to between the two."""
    path = tmp_path / "g.onnx"
    path.write_bytes(plain.read_bytes())
    honest = ort.InferenceSession

    def session(*args: object, **rest: object) -> object:
        path.write_bytes(b"something else")
        return honest(*args, **rest)

    monkeypatch.setattr(ort, "InferenceSession", session)
    images = Generator(path).sample(2)
    assert path.read_bytes() == b"something else"
    monkeypatch.undo()
    np.testing.assert_array_equal(images, Generator(plain).sample(2))


def test_shapes_that_no_manifest_should_say(plain: Path, tmp_path: Path) -> None:
    """They are compared with the graph's where it tells them; else they are bounded, and compared when it has run."""

    def says(shape: tuple[int, ...]) -> Callable[[Manifest], Manifest]:
        def change(described: Manifest) -> Manifest:
            return dataclasses.replace(described, output=dataclasses.replace(described.output, shape=shape))

        return change

    def silent(model: onnx.ModelProto) -> None:
        """A graph whose output has any sides: the shape that it is given is an input of no known value."""
        value = model.graph.output[0].type.tensor_type
        value.ClearField("shape")
        reshape = next(n for n in model.graph.node if n.op_type == "Reshape")
        sides = next(t for t in model.graph.initializer if t.name == reshape.input[1])
        model.graph.node.insert(0, helper.make_node("Shape", ["z"], ["of_z"]))
        model.graph.node.insert(1, helper.make_node("Slice", ["of_z", "no", "no"], ["nothing"]))
        model.graph.node.insert(2, helper.make_node("Concat", [sides.name, "nothing"], ["sides"], axis=0))
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "no"))
        reshape.input[1] = "sides"
        del model.graph.value_info[:]

    error = refused(described_as(plain, tmp_path / "g.onnx", says((1, 8, 9))))
    assert "has image of (n, 1, 8, 8); its manifest says (n, 1, 8, 9)" in error.message
    for shape in ((2**31 - 1,) * 3, (2**16, 2**16, 1)):
        path = edited(plain, tmp_path / "g.onnx", silent, says(shape))
        assert "too large for any memory" in refused(path).message
    generator = Generator(edited(plain, tmp_path / "g.onnx", silent, says((1, 8, 9))))
    with pytest.raises(GantoolError, match=r"made an output of \(2, 1, 8, 8\); its manifest says \(2, 1, 8, 9\)"):
        generator.sample(2)
    assert Generator(edited(plain, tmp_path / "g.onnx", silent)).sample(2).shape == (2, 8, 8, 1)


@pytest.mark.parametrize("classes", [0, -1, 10**19])
def test_classes_that_there_can_not_be(conditional_export: Path, tmp_path: Path, classes: int) -> None:
    def change(described: Manifest) -> Manifest:
        z, label = described.inputs
        return dataclasses.replace(described, inputs=(z, dataclasses.replace(label, classes=classes)))

    message = refused(described_as(conditional_export / "generator.onnx", tmp_path / "g.onnx", change)).message
    assert "has a label of" in message
    assert len(message) < 300 + len(str(tmp_path))


def test_what_a_file_says_is_shown_within_bounds(plain: Path, tmp_path: Path) -> None:
    name = "\x1b[2J\n\ud800" + "x" * 100_000

    def change(described: Manifest) -> Manifest:
        return dataclasses.replace(described, output=dataclasses.replace(described.output, name=name))

    message = refused(described_as(plain, tmp_path / "g.onnx", change)).message
    assert r"its manifest says \x1b[2J\n\ud800xxx" in message
    assert message.isprintable()
    assert len(message) < 1000


def test_a_manifest_of_other_inputs(plain: Path, seeded: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(inspect(seeded).manifest, graph_sha256=inspect(plain).manifest.graph_sha256)
    message = refused(with_text(plain, tmp_path / "g.onnx", other.to_json())).message
    assert "has the inputs z float32; its manifest says index int64, seed int64" in message


def test_a_manifest_of_another_output(plain: Path, tmp_path: Path) -> None:
    described = inspect(plain).manifest
    other = dataclasses.replace(described, output=dataclasses.replace(described.output, name="picture"))
    message = refused(with_text(plain, tmp_path / "g.onnx", other.to_json())).message
    assert "has the outputs image float32; its manifest says picture float32" in message
