"""gantool.artifact.onnxfile: it reads files as onnx does, and refuses what a self-contained one has no use for."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from gantool.artifact import onnxfile
from gantool.errors import GantoolError
from gantool.run.rundir import RunDir


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        (onnx.ModelProto, onnxfile.MODEL),
        (onnx.StringStringEntryProto, onnxfile.ENTRY),
        (onnx.GraphProto, onnxfile.GRAPH),
        (onnx.NodeProto, onnxfile.NODE),
        (onnx.AttributeProto, onnxfile.ATTRIBUTE),
        (onnx.TensorProto, onnxfile.TENSOR),
        (onnx.SparseTensorProto, onnxfile.SPARSE),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_field_numbers_are_those_of_onnx(message: Any, numbers: dict[str, int]) -> None:
    fields = message.DESCRIPTOR.fields_by_name
    assert numbers == {name: fields[name].number for name in numbers}


@pytest.mark.parametrize(
    ("message", "walked"),
    [
        (onnx.ModelProto, {"graph", "training_info", "functions"}),
        (onnx.GraphProto, {"node", "initializer", "sparse_initializer"}),
        (onnx.NodeProto, {"attribute"}),
        (onnx.AttributeProto, set(onnxfile.ATTRIBUTE)),
        (onnx.SparseTensorProto, {"values", "indices"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_message_that_may_hold_weights_is_walked(message: Any, walked: set[str]) -> None:
    """Also of an onnx newer than this: a new place for tensors fails here."""

    def holds(descriptor: Any, seen: frozenset[str] = frozenset()) -> bool:
        if descriptor.name == "TensorProto":
            return True
        below = [f.message_type for f in descriptor.fields if f.message_type and f.message_type.name not in seen]
        return any(holds(inner, seen | {descriptor.name}) for inner in below)

    fields = message.DESCRIPTOR.fields
    assert {field.name for field in fields if field.message_type and holds(field.message_type)} == walked


# any model

names = st.text(max_size=8)
arrays = st.builds(
    lambda dtype, shape: np.arange(int(np.prod(shape, dtype=int))).reshape(shape).astype(dtype),
    st.sampled_from(["float32", "float64", "int32", "int64", "uint8", "float16", "bool"]),
    st.lists(st.integers(0, 4), max_size=3).map(tuple),
)


@st.composite
def tensors(draw: st.DrawFn) -> TensorProto:
    array, name = draw(arrays), draw(names)
    if draw(st.booleans()):
        return numpy_helper.from_array(array, name)
    return helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.ravel())


@st.composite
def graphs(draw: st.DrawFn, depth: int = 2) -> onnx.GraphProto:
    values = [st.integers(-(2**63), 2**63 - 1), st.floats(width=32), st.lists(st.integers(0, 300), min_size=1), names]
    kinds = [*values, tensors(), st.lists(tensors(), min_size=1, max_size=2)] + ([graphs(depth - 1)] if depth else [])
    nodes = []
    for _ in range(draw(st.integers(0, 3))):
        attributes = draw(st.dictionaries(st.sampled_from("abcdef"), st.one_of(kinds), max_size=3))
        nodes.append(helper.make_node(draw(names), draw(st.lists(names, max_size=3)), ["y"], **attributes))
    inputs = [helper.make_tensor_value_info("x", 1, ["n", 2**40, None])]
    return helper.make_graph(nodes, draw(names), inputs, [], draw(st.lists(tensors(), max_size=3)), draw(names))


@st.composite
def models(draw: st.DrawFn) -> ModelProto:
    model: ModelProto = helper.make_model(
        draw(graphs()), producer_name=draw(names), model_version=draw(st.integers(0, 2**63 - 1))
    )
    helper.set_model_props(model, draw(st.dictionaries(names, st.text(max_size=300), max_size=4)))
    return model


def digest(model: ModelProto) -> str:
    return hashlib.sha256(model.graph.SerializeToString()).hexdigest()


@settings(max_examples=200)
@given(models())
def test_any_model_reads_as_onnx_reads_it(model: ModelProto) -> None:
    data = model.SerializeToString()
    found = onnxfile.parse(data, "m")
    assert found.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert found.graph_sha256 == digest(model)


def external(model: ModelProto) -> bool:
    """Whether any tensor anywhere is said to lie in another file."""

    def look(message: Any) -> bool:
        if isinstance(message, TensorProto) and (message.data_location or message.external_data):
            return True
        below = [value for field, value in message.ListFields() if field.message_type]
        return any(look(inner) for value in below for inner in ([value] if hasattr(value, "ListFields") else value))

    return look(model.graph)


def agree(data: bytes) -> None:
    """A result or an error of ours; and nothing is accepted that onnx reads otherwise."""
    try:
        found = onnxfile.parse(data, "m")
        model = ModelProto.FromString(data)
    except (GantoolError, DecodeError):  # what else onnx finds wrong is no matter of ours
        return
    assert not external(model)
    assert not model.functions
    assert not model.training_info
    assert {entry.key: entry.value for entry in model.metadata_props} == found.metadata


def test_the_comparison_with_onnx_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxfile, "parse", lambda data, origin: onnxfile.OnnxFile({"no": "such"}, "", {}))
    with pytest.raises(AssertionError):
        agree(plain().SerializeToString())


@settings(max_examples=200)
@given(models(), st.randoms(use_true_random=False))
def test_damage_is_an_error_or_reads_as_onnx_reads_it(model: ModelProto, draw: random.Random) -> None:
    data = bytearray(model.SerializeToString())
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    agree(bytes(data))
    agree(bytes(data[: draw.randrange(len(data))]))


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_error_or_read_as_onnx_reads_them(data: bytes) -> None:
    agree(data)
    agree(b"\x3a\x00" + data)  # behind an empty graph


def test_every_truncation_of_an_export(exported_run: RunDir) -> None:
    data = (exported_run.export / "generator.onnx").read_bytes()
    whole = onnxfile.parse(data, "m")
    for size in range(len(data)):
        with contextlib.suppress(GantoolError):  # cut between two fields it may still be a model
            assert onnxfile.parse(data[:size], "m").graph_sha256 == whole.graph_sha256


# what is refused


def plain(**fields: Any) -> ModelProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "g", [], [], [tensor])
    model: ModelProto = helper.make_model(graph, **fields)
    return model


def refused(data: bytes, message: str) -> GantoolError:
    with pytest.raises(GantoolError, match=message) as error:
        onnxfile.parse(data, "this file")
    assert error.value.message.startswith("this file ")
    return error.value


def elsewhere(location: str = "../../etc/passwd") -> TensorProto:
    tensor = TensorProto(name="w", data_type=1, dims=[3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def node_with(**attributes: Any) -> onnx.NodeProto:
    node = helper.make_node("Constant", [], ["c"])
    for name, value in attributes.items():
        attribute = node.attribute.add(name="a")
        if name in ("tensors", "sparse_tensors", "graphs"):
            getattr(attribute, name).append(value)
        else:
            getattr(attribute, name).CopyFrom(value)
    return node


def sparse(part: str) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(**{part: elsewhere()})


def graph_of(node: onnx.NodeProto) -> onnx.GraphProto:
    return onnx.GraphProto(node=[node])


def only(field: str) -> TensorProto:
    tensor = elsewhere()
    tensor.ClearField(field)
    return tensor


EXTERNAL: dict[str, Callable[[onnx.GraphProto], object]] = {
    "initializer": lambda g: g.initializer.append(elsewhere()),
    "only the flag": lambda g: g.initializer.append(only("external_data")),
    "only the path": lambda g: g.initializer.append(only("data_location")),
    "sparse values": lambda g: g.sparse_initializer.append(sparse("values")),
    "sparse indices": lambda g: g.sparse_initializer.append(sparse("indices")),
    "t": lambda g: g.node.append(node_with(t=elsewhere())),
    "tensors": lambda g: g.node.append(node_with(tensors=elsewhere())),
    "sparse_tensor": lambda g: g.node.append(node_with(sparse_tensor=sparse("values"))),
    "sparse_tensors": lambda g: g.node.append(node_with(sparse_tensors=sparse("indices"))),
    "g": lambda g: g.node.append(node_with(g=onnx.GraphProto(initializer=[elsewhere()]))),
    "graphs": lambda g: g.node.append(node_with(graphs=graph_of(node_with(g=graph_of(node_with(t=elsewhere())))))),
}


@pytest.mark.parametrize("where", EXTERNAL)
def test_weights_in_other_files(where: str) -> None:
    model = plain()
    EXTERNAL[where](model.graph)
    assert external(model)
    place = "other files" if where == "only the flag" else "../../etc/passwd"
    refused(model.SerializeToString(), f"keeps weights in {place}: files outside are never read")


def test_a_path_is_shown_within_bounds() -> None:
    model = plain()
    model.graph.initializer.append(elsewhere("\x1b[2J\n" + "x" * 10_000))
    error = refused(model.SerializeToString(), r"keeps weights in \\x1b\[2J\\nxxx")
    assert len(error.message) < 300


def test_what_no_export_of_ours_has() -> None:
    model = plain()
    model.functions.add(name="f", domain="d")
    refused(model.SerializeToString(), "holds functions of its own: no export of ours does")
    model = plain()
    model.training_info.add()
    refused(model.SerializeToString(), "holds training parts")
    model = plain()
    model.graph.node.append(helper.make_node("EPContext", [], ["y"], domain="com.microsoft"))
    refused(model.SerializeToString(), "engine compiled for one machine")
    refused(plain().SerializeToString() + onnx.ModelProto(graph=plain().graph).SerializeToString(), "has 2 graphs")


def test_metadata_is_there_once_and_within_bounds() -> None:
    model = plain()
    for _ in range(2):
        model.metadata_props.add(key="k", value="v")
    refused(model.SerializeToString(), "has the metadata k twice")
    model.metadata_props[1].key = "long"
    model.metadata_props[1].value = "x" * (16 * 2**20)
    refused(model.SerializeToString(), "more than 16 MB of metadata")
    graph = b"\x3a\x00"
    refused(graph + b"\x72\x04\x0a\x00\x0a\x00", "two keys or values")
    refused(graph + b"\x72\x03\x0a\x01\xff", "not UTF-8")
    assert onnxfile.parse(graph + b"\x72\x00", "m").metadata == {"": ""}


def nested(depth: int) -> bytes:
    graph = onnx.GraphProto(name="inner")
    for _ in range(depth - 1):
        graph = graph_of(node_with(g=graph))
    return onnx.ModelProto(graph=graph).SerializeToString()


def test_depth_and_number_of_fields_are_bounded() -> None:
    onnxfile.parse(nested(onnxfile.MAX_DEPTH), "m")
    refused(nested(onnxfile.MAX_DEPTH + 1), "nests graphs more than 16 deep")
    refused(b"\x08\x01" * (onnxfile.MAX_FIELDS + 1), "has more than 2,000,000 fields")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has no graph"),
        (b"\x08\x0a", "it has no graph"),
        (b"\x38\x01", "it has no graph"),  # a varint in the graph's place
        (b"\x3a", "it is cut off"),
        (b"\x3a\x05\x00", "a field of 5 bytes has but 1"),
        (b"\x3a\xff\xff\xff\xff\x0f", r"a field of 4294967295 bytes has but 0"),
        (b"\x3a\xff\xff\xff\xff\xff\x01", "a number has more than 5 bytes"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "a number has more than 10 bytes"),
        (b"\x09\x00", "it is cut off"),
        (b"\x00\x00", "a field has the number 0"),
        (b"\xff\xff\xff\xff\xff", "a number has more than 5 bytes"),
        (b"\xf8\xff\xff\xff\x7f\x00", "a field has the number"),
        (b"\x0b\x0c", "a field has the wire type 3"),
        (b"\x0e", "a field has the wire type 6"),
    ],
)
def test_what_is_no_protobuf(data: bytes, message: str) -> None:
    assert "Is it an ONNX file, and whole?" in refused(data, message).hint


# files


def test_a_file_reads_as_its_bytes(exported_run: RunDir) -> None:
    for path in sorted(exported_run.export.glob("*.onnx")):
        assert onnxfile.read(path) == onnxfile.parse(path.read_bytes(), path)
        assert onnxfile.read(path).graph_sha256 == digest(onnx.load(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "has 0 bytes"),
        (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
        (lambda path: os.mkfifo(path), "no regular file"),
        (lambda path: (path.touch(), os.truncate(path, 2**31)), "has 2147483648 bytes"),
    ],
    ids=["missing", "folder", "empty", "device", "pipe", "2 GB"],
)
def test_paths_that_hold_no_model(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "g.onnx"
    make(path)
    with pytest.raises(GantoolError, match=message) as error:
        onnxfile.read(path)
    assert str(path) in error.value.message
    assert error.value.hint
