"""gantool.artifact.manifest: what is written is read back, and anything else is a GantoolError that names the file."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantool.artifact import manifest
from gantool.artifact.manifest import Golden, InputInfo, Manifest, OutputInfo
from gantool.errors import GantoolError

texts = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.integers(-(2**63), 2**63 - 1)
plain_json = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, plain_json, max_size=3)
shapes = st.lists(st.integers(1, 2**31 - 1), max_size=4).map(tuple)
three = st.tuples(*[st.integers(1, 512)] * 3)
normals = st.lists(st.builds(InputInfo, texts, shapes, st.just("float32"), st.just("normal")), max_size=3).map(tuple)
bounds = st.lists(st.floats(-1e20, 1e20), min_size=3, max_size=3, unique=True).map(sorted)
values = st.tuples(texts, bounds).map(
    lambda drawn: InputInfo(drawn[0], (), "float32", "value", 0, drawn[1][1], drawn[1][0], drawn[1][2])
)
others = st.lists(
    st.builds(InputInfo, texts, shapes, st.just("int64"), st.sampled_from(["label", "data"]), st.integers(0, 99))
    | values,
    max_size=2,
).map(tuple)
sides = st.tuples(*[st.integers(1, 64)] * 3)  # channels, and how often height and width have the multiple
pictures = st.tuples(texts, sides, st.integers(0, 512), st.sampled_from(["float32", "uint8"])).map(
    lambda drawn: InputInfo(drawn[0], _picture_shape(*drawn[1:]), drawn[3], "data", multiple=drawn[2])
)
outputs = st.builds(OutputInfo, texts, three, st.sampled_from(["float32", "uint8"]), st.sampled_from(["CHW", "HWC"]))


def _picture_shape(sides: tuple[int, int, int], multiple: int, dtype: str) -> tuple[int, ...]:
    channels, height, width = sides[0], sides[1] * max(1, multiple), sides[2] * max(1, multiple)
    return (channels, height, width) if dtype == "float32" else (height, width, channels)


levels = st.integers(0, 255)
places = st.integers(0, 2**31)
goldens = st.builds(
    Golden,
    numbers,
    numbers,
    st.integers(1, manifest.MAX_GOLDEN // 2),  # of at most two
    texts,
    st.lists(st.tuples(places, places, places, st.lists(levels, min_size=1, max_size=3).map(tuple)), max_size=3).map(
        tuple
    ),
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    kind, latents, rest = (
        draw(st.sampled_from(manifest.KINDS)),
        draw(normals),
        draw(others | pictures.map(lambda p: (p,))),
    )
    takes_picture = [item.is_picture for item in rest if item.distribution == "data"] == [True]
    drawn = manifest.drawn_inputs(kind) if latents or not takes_picture else ()
    return Manifest(
        kind=kind,
        gantool=draw(texts),
        created=draw(texts),
        architecture=draw(objects),
        training=draw(objects),
        data=draw(objects),
        inputs=(drawn if kind in manifest.SEEDED else latents) + rest,
        latents=latents,
        output=draw(outputs),
        rng=draw(st.none() | texts),
        opset=draw(st.none() | st.integers(1, 99)),
        exporter=draw(texts),
        licence=draw(texts),
        weights_sha256=draw(texts),
        parity=draw(objects),
        golden=tuple(draw(st.lists(goldens, max_size=2))),
        versions=draw(st.dictionaries(texts, texts, max_size=2)),
        precision=draw(st.sampled_from(manifest.PRECISIONS)),
        tolerance=draw(levels),
        batch=draw(st.none() | st.integers(1, manifest.MAX_BATCH)),
        optimize=draw(objects),
        graph_sha256=draw(texts if kind in manifest.ONNX else st.none() | texts),
        which=draw(texts),
    )


INT64_SEEDS = [asdict(item) for item in manifest.drawn_inputs("onnx-seeded")]
EXAMPLE = Manifest(
    kind="onnx",
    gantool="0.1.0",
    created="2026-11-21",
    architecture={"name": "mlp", "config": {"widths": [8]}},
    training={"step": 2},
    data={"name": "digits"},
    inputs=(InputInfo("z", (4,), "float32", "normal"), InputInfo("label", (), "int64", "label", 10)),
    latents=(InputInfo("z", (4,), "float32", "normal"),),
    output=OutputInfo("image", (1, 8, 8), "float32", "CHW"),
    rng="squares32-table16/1",
    opset=18,
    exporter="a test",
    licence="",
    weights_sha256="0" * 64,
    parity={"difference": {"value": 0.0, "limit": 1e-4}},
    golden=(Golden(0, 0, 4, "0" * 64, ((0, 1, 2, (3,)),)),),
    versions={"torch": "2"},
    graph_sha256="0" * 64,
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inside for place in leaves(item, (*path, key)))]


PLACES = leaves(json.loads(EXAMPLE.to_json()))[1:]


def read(value: object) -> Manifest:
    return manifest.from_json(json.dumps(value), "g.onnx")


@given(manifests())
def test_what_is_written_is_read_back(described: Manifest) -> None:
    assert manifest.from_json(described.to_json(), "g.onnx") == described


def test_the_file_beside_is_the_same(tmp_path: Path) -> None:
    EXAMPLE.write_beside(tmp_path / "g.onnx")
    path = tmp_path / "g.onnx.json"
    assert manifest.from_json(path.read_bytes(), path) == EXAMPLE
    assert [p.name for p in tmp_path.iterdir()] == ["g.onnx.json"]


@given(plain_json)
def test_any_other_json_is_an_error(value: object) -> None:
    with pytest.raises(GantoolError, match=r"The manifest of g\.onnx"):
        read(value)


@given(st.text() | st.binary())
def test_any_other_text_is_an_error(text: str | bytes) -> None:
    with pytest.raises(GantoolError, match=r"The manifest of g\.onnx"):
        manifest.from_json(text, "g.onnx")


@given(
    st.lists(st.tuples(st.sampled_from(PLACES), plain_json | numbers.map(lambda n: n * 2**9)), min_size=1, max_size=2)
)
def test_any_field_may_be_wrong(changes: list[tuple[tuple[Any, ...], object]]) -> None:
    value = json.loads(EXAMPLE.to_json())
    for place, new in changes:
        inside = value
        # the second change may be of a place that the first took away
        with contextlib.suppress(IndexError, KeyError, TypeError):
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = new
    try:
        described = read(value)
    except GantoolError:
        return
    assert manifest.from_json(described.to_json(), "g.onnx") == described


OPTIONAL = [
    ("output", "rate"),  # it is no audio
    *(("inputs", number, name) for number in (0, 1) for name in ("default", "low", "high", "multiple")),
]  # those are no values, and no pictures


@pytest.mark.parametrize(
    "place",
    [p for p in PLACES if p[0] in ("inputs", "output", "golden", "kind") and p not in OPTIONAL],
    ids=str,
)
def test_a_missing_field_is_named(place: tuple[Any, ...]) -> None:
    value = json.loads(EXAMPLE.to_json())
    if not isinstance(place[-1], str):
        return
    inside = value
    for key in place[:-1]:
        inside = inside[key]
    del inside[place[-1]]
    with pytest.raises(GantoolError, match=f"{place[-1]}', but has nothing"):
        read(value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 3}, "has schema 3; this gantool reads up to 2"),
        ({"schema_version": True}, "no schema_version"),
        ({"schema_version": 0}, "no schema_version"),
        ({"kind": "tflite"}, "one of onnx, onnx-seeded, onnx-portable, torchscript, torchscript-seeded, pt2 in 'kind'"),
        ({"kind": "onnx-seeded"}, "the inputs of kind onnx-seeded in 'inputs'"),
        (
            {"kind": "onnx-portable", "inputs": [asdict(item) for item in manifest.drawn_inputs("onnx-seeded")]},
            "the inputs of kind onnx-portable",
        ),
        ({"latents": []}, "the inputs of kind onnx in 'inputs'"),
        ({"precision": "bfloat16"}, "one of float32, half-weights, half, int8 in 'precision'"),
        ({"tolerance": 256}, "0 to 255 levels in 'tolerance'"),
        ({"batch": 0}, "null or 1 to 65536 in 'batch'"),
        ({"graph_sha256": 5}, "a text in 'graph_sha256'"),
        ({"graph_sha256": None}, "the digest of the graph in 'graph_sha256'"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, object], message: str) -> None:
    with pytest.raises(GantoolError, match=message):
        read(json.loads(EXAMPLE.to_json()) | changes)


def test_schema_1_is_read_as_what_it_meant() -> None:
    value = json.loads(EXAMPLE.to_json())
    for new in ("precision", "tolerance", "batch", "optimize", "graph_sha256"):
        del value[new]
    old = read(value | {"schema_version": 1})
    assert (old.precision, old.tolerance, old.batch, old.optimize, old.graph_sha256) == ("float32", 1, None, {}, None)


PHOTO = InputInfo("photo", (3, 32, 64), "float32", "data", multiple=16)
TRANSLATOR = dataclasses.replace(EXAMPLE, inputs=(PHOTO,), latents=(), golden=())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multiple": -16}, "a number that divides the sides of a picture from data in 'inputs.multiple', but has -16"),
        ({"multiple": 64}, "a number that divides the sides"),
        ({"multiple": "16"}, "a whole number in 'inputs.multiple'"),
        ({"distribution": "label"}, "a number that divides the sides"),
        ({"shape": [32, 64]}, "a number that divides the sides"),
    ],
)
def test_a_multiple_is_that_of_a_picture(changes: dict[str, object], message: str) -> None:
    value = json.loads(TRANSLATOR.to_json())
    assert read(value).picture == PHOTO
    value["inputs"][0] |= changes
    with pytest.raises(GantoolError, match=message):
        read(value)


def test_files_from_before_pictures_had_any_size_take_one() -> None:
    value = json.loads(TRANSLATOR.to_json())
    del value["inputs"][0]["multiple"], value["which"]
    old = read(value)
    assert old.which == ""
    assert old.picture == dataclasses.replace(PHOTO, multiple=0)
    assert old.picture.axes == (3, 32, 64)


def test_a_seeded_file_of_pictures_needs_no_seed_without_latents() -> None:
    value = json.loads(TRANSLATOR.to_json()) | {"kind": "onnx-seeded"}
    value["inputs"][0] |= {"shape": [32, 64, 3], "dtype": "uint8"}
    picture = read(value).picture
    assert picture is not None
    assert (picture.sides, picture.channels, picture.axes) == ((32, 64), 3, (None, None, 3))
    value["latents"] = json.loads(EXAMPLE.to_json())["latents"]
    with pytest.raises(GantoolError, match="the inputs of kind onnx-seeded in 'inputs'"):
        read(value)


def test_two_generators_of_a_run_are_two_models() -> None:
    names = ("", "a-to-b", "b-to-a")
    assert len({dataclasses.replace(TRANSLATOR, which=name).model for name in names}) == 3


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_json_does_not_have(number: str) -> None:
    text = EXAMPLE.to_json().replace('"step": 2', f'"step": {number}')
    with pytest.raises(GantoolError, match="valid JSON"):
        manifest.from_json(text, "g.onnx")


def test_a_hostile_count_of_golden_images_is_no_work() -> None:
    value = copy.deepcopy(json.loads(EXAMPLE.to_json()))
    value["golden"][0]["count"] = 10**12
    with pytest.raises(GantoolError, match="1024 samples at most in 'golden'"):
        read(value)


def test_a_long_value_is_cut_visibly() -> None:
    value = json.loads(EXAMPLE.to_json())
    value["inputs"] = {"n" * 300: 0}
    with pytest.raises(GantoolError, match=r"but has \{'n+…\. The file"):
        read(value)
