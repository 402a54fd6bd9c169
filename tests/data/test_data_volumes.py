"""Folders of volumes: .binvox, .npy and meshes, what is refused, and packs and surveys of them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from support.inprocess import Run

from gantool.artifact.volumes import binvox
from gantool.data import load, volumes
from gantool.data.kinds import KINDS
from gantool.data.kinds.volumes import projections
from gantool.data.pack.build import Options, pack
from gantool.data.readers import meshes
from gantool.data.readers.meshes import voxels
from gantool.data.readers.volumes import read_binvox
from gantool.data.survey import sheet, survey
from gantool.errors import GantoolError
from gantool.plugin.hookspecs import SourceFile, Wanted

RNG = np.random.default_rng(0)


def file(content: bytes, name: str = "a.binvox") -> SourceFile:
    return SourceFile(name, content, lambda name: b"")


def export(path: Path, mesh: trimesh.Trimesh) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh.export(path)
    return path


# binvox


@given(arrays_of.arrays(bool, arrays_of.array_shapes(min_dims=3, max_dims=3, max_side=9)))
def test_binvox_comes_back(volume: np.ndarray) -> None:
    assert np.array_equal(read_binvox(file(binvox(volume)), Wanted()), volume)


def test_the_axes_of_binvox() -> None:
    # x, z, y: the only voxel is the last in x, the first in z, the second in y
    runs = bytes([0, 2 * 3 * 1 * 1 + 1, 1, 1, 0, 4])
    volume = read_binvox(file(b"#binvox 1\ndim 2 3 2\ntranslate 0 0 0\nscale 1\ndata\n" + runs), Wanted())
    assert volume.shape == (3, 2, 2)
    assert np.argwhere(volume).tolist() == [[2, 0, 1]]  # z 0 is at the back, y 1 above y 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin"),
        (b"#binvox 1\n" + b"x" * 5000, "no line 'data'"),
        (b"#binvox 1\ndata\n", "no line 'dim'"),
        (b"#binvox 1\ndim 2 2\ndata\n", "no line 'dim'"),
        (b"#binvox 1\ndim 9999 9999 9999\ndata\n\1\1", "declares 9999×9999×9999 voxels"),
        (b"#binvox 1\ndim 0 2 2\ndata\n", "declares 0×"),
        (b"#binvox 1\ndim 4 4 4\ndata\n\1\1\1", "last run has no count"),
        (b"#binvox 1\ndim 4 4 4\ndata\n\1\x3f", "make 63 voxels, where it declares 64"),
        (b"#binvox 1\ndim 4 4 4\ndata\n" + b"\1\xff" * 1000, "make 255,000 voxels"),
    ],
)
def test_damaged_binvox(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.binvox").write_bytes(content)
    with pytest.raises(GantoolError, match=rf"a\.binvox can't be decoded: .*{message}"):
        load(str(tmp_path))


@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_a_volume_or_broken(tail: bytes) -> None:
    try:
        volume = read_binvox(file(b"#binvox 1\ndim 4 4 4\ndata\n" + tail), Wanted())
    except ValueError:
        return
    assert volume.shape == (4, 4, 4)


# arrays


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.eye(4, dtype=bool)[None].repeat(4, 0), np.eye(4)[None] * 255),
        (np.eye(4, dtype=np.int64)[None].repeat(4, 0), np.eye(4)[None] * 255),
        (np.full((4, 4, 4), 7, np.uint8), np.full((4, 4, 4), 7)),
        (np.full((4, 4, 4), 0.5, np.float32), np.full((4, 4, 4), 128)),
        (np.full((1, 4, 4, 4), -1.0), np.zeros((4, 4, 4))),
    ],
)
def test_a_npy_file_of_one_volume(array: np.ndarray, expected: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    data = load(str(tmp_path))
    assert (data.images.shape, data.images.dtype) == ((1, 1, 4, 4, 4), np.uint8)
    assert np.array_equal(data.images[0, 0], np.broadcast_to(expected, (4, 4, 4)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4)), "its shape is"),
        (np.full((4, 4, 4), 9, np.int32), "its dtype is int32"),
        (np.full((4, 4, 4), np.nan), "NaN"),
        (np.full((4, 4, 4), 5.0), "values from 5 to 5"),
        (np.array([None]), "pickled objects"),
    ],
)
def test_a_npy_file_that_is_no_volume(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(GantoolError, match=rf"a\.npy can't be decoded: .*{message}"):
        load(str(tmp_path))


def test_a_header_that_declares_more_than_there_is(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 4), bool))
    content = (tmp_path / "a.npy").read_bytes().replace(b"(4, 4, 4)", b"(4, 9999, 9999)").replace(b"      \n", b"\n", 1)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(GantoolError, match=r"a\.npy can't be decoded"):
        load(str(tmp_path))


def test_npz_of_volumes(tmp_path: Path) -> None:
    solid = RNG.random((5, 8, 8, 8)) < 0.5
    np.savez(tmp_path / "a.npz", volumes=solid, labels=[0, 1, 0, 1, 1])
    data = load(str(tmp_path / "a.npz"))
    assert (data.spec.shape, data.spec.classes) == ((1, 8, 8, 8), 2)
    assert np.array_equal(data.images[:, 0] == 255, solid)
    np.savez(tmp_path / "a.npz", images=np.where(solid, 1.0, -1.0)[:, None])
    floats = load(str(tmp_path / "a.npz"))
    assert floats.images.dtype == np.float32
    pack(str(tmp_path / "a.npz"), tmp_path / "out", Options(size=4), workers=1)
    assert load(str(tmp_path / "out")).images.shape == (5, 1, 4, 4, 4)
    np.save(tmp_path / "a.npy", data.images)
    pack(str(tmp_path / "a.npy"), tmp_path / "npy", Options(), workers=1)
    assert np.array_equal(load(str(tmp_path / "npy")).images, data.images)


# meshes


@pytest.mark.parametrize("suffix", ["obj", "stl", "ply", "gltf", "glb"])
def test_a_mesh_is_filled_and_centred(suffix: str, tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=7)
    ball.apply_translation((100, 3, -50))
    if suffix == "gltf":
        for name, content in trimesh.exchange.gltf.export_gltf(trimesh.Scene(ball)).items():
            (tmp_path / ("a.gltf" if name.endswith(".gltf") else name)).write_bytes(content)
    else:
        export(tmp_path / f"a.{suffix}", ball)
    volume = load(str(tmp_path), 32).images[0, 0] == 255
    depth, height, width = (np.indices(volume.shape) + 0.5 - 16) ** 2
    away = np.sqrt(depth + height + width)
    assert volume[away < 13.5].all()
    assert not volume[away > 15].any()
    assert load(str(tmp_path)).images.shape == (1, 1, 32, 32, 32)


def test_up_front_and_right_of_a_mesh(tmp_path: Path) -> None:
    base = trimesh.creation.box((4, 4, 4))
    up, front, right = (trimesh.creation.box((1, 1, 1)) for _ in range(3))
    up.apply_translation((0, 2.5, 0))
    front.apply_translation((0, 0, 2.5))
    right.apply_translation((2.5, 0, 0))
    for number, part in enumerate((up, front, right)):
        export(tmp_path / f"{number}.ply", trimesh.util.concatenate([base, part]))
    centres = [np.argwhere(volume[0]).mean(0) - 15.5 for volume in load(str(tmp_path), 32).images]
    assert [int(np.abs(centre).argmax()) for centre in centres] == [1, 0, 2]
    assert centres[0][1] > 0  # the base is pushed down by what is above it
    assert centres[1][0] > 0
    assert centres[2][2] < 0


def test_the_aspect_stays(tmp_path: Path) -> None:
    export(tmp_path / "a.obj", trimesh.creation.box((1, 4, 2)))
    places = np.argwhere(load(str(tmp_path), 32).images[0, 0])
    assert (np.ptp(places, axis=0) + 1).tolist() == [14, 28, 8] or (np.ptp(places, axis=0) + 1 - [14, 28, 7]).max() <= 2
    export(tmp_path / "a.obj", trimesh.creation.box((1, 4, 0)))  # a sheet
    assert load(str(tmp_path), 32).images[0, 0].any()


def test_a_hollow_is_filled_and_an_open_surface_is_not() -> None:
    box = np.asarray(trimesh.creation.box((1, 1, 1)).triangles)
    assert voxels(box, 16)[2:-2, 2:-2, 2:-2].all()
    open_box = box[np.abs(box[:, :, 1].mean(axis=1) - 0.5) > 1e-6]  # without the lid
    assert not voxels(open_box, 16)[8, 4, 8]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.obj", b""),
        ("a.obj", b"v 0 0 0\nf 1 2 3\n"),
        ("a.stl", b"\0" * 84),
        ("a.stl", b"\0" * 80 + b"\xff\xff\xff\x7f" + b"\0" * 50),
        ("a.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 999999999\nproperty float x\nend_header\n"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
         b"end_header\n0 0 0\n"),
        ("a.glb", b"glTF" + b"\0" * 20),
        ("a.gltf", b"{}"),
        ("a.gltf", b"[" * 100_000),
        ("a.obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"),
        ("a.obj", b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n"),
    ],
)  # fmt: skip
def test_damaged_meshes(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GantoolError, match=rf"{name} can't be decoded"):
        load(str(tmp_path), 16)


def gltf(uri: str, count: int = 3) -> bytes:
    return json.dumps({
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}], "buffers": [{"uri": uri, "byteLength": 36}],
    }).encode()  # fmt: skip


def test_what_a_mesh_refers_to(tmp_path: Path) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(corners)
    (folder / "own.bin").write_bytes(corners)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    for uri in ("own.bin", "data:application/octet-stream;base64," + base64.b64encode(corners).decode()):
        (folder / "a.gltf").write_bytes(gltf(uri))
        assert load(str(folder), 16).images.any()
    for uri in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin", "http://127.0.0.1:9/a.bin", "none.bin"):
        (folder / "a.gltf").write_bytes(gltf(uri))
        with pytest.raises(GantoolError, match=r"a\.gltf can't be"):
            load(str(folder), 16)
    (folder / "a.gltf").write_bytes(gltf("own.bin", 10**12))
    with pytest.raises(GantoolError, match="an accessor has more than"):
        load(str(folder), 16)


def test_names_of_files_that_a_mesh_refers_to_are_decoded(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for path in (tmp_path / "a.bin", tmp_path / "in" / "my buffer.bin"):
        path.write_bytes(np.eye(3, dtype="<f4").tobytes())
    (tmp_path / "in" / "a.gltf").write_bytes(gltf("my%20buffer.bin"))
    assert load(str(tmp_path / "in"), 16).images.any()
    (tmp_path / "in" / "a.gltf").write_bytes(gltf("%2e%2e/a.bin"))
    with pytest.raises(GantoolError, match="no file beside it"):
        load(str(tmp_path / "in"), 16)


def test_a_pipe_that_a_mesh_refers_to_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "own.bin")
    (tmp_path / "a.gltf").write_bytes(gltf("own.bin"))
    with pytest.raises(GantoolError, match="no regular file"):
        load(str(tmp_path), 16)


@pytest.mark.parametrize(
    ("key", "times", "message"),
    [
        ("buffers", 2, "two of its buffers are one file"),
        ("bufferViews", 2**24, "views of buffers have more than 268,435,456 bytes"),
        ("accessors", 2**24, "accessors have more than 134,217,728 values"),
        ("primitives", 2**24, "faces; the most is 2,097,152"),
    ],
)
def test_a_small_mesh_that_repeats_itself(key: str, times: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.bin").write_bytes(np.eye(3, dtype="<f4").tobytes())
    described = json.loads(gltf("own.bin"))
    if times > 2:  # fewer that are larger
        described["bufferViews"][0]["byteLength"], described["accessors"][0]["count"] = 2**22, 2**20
        times = 65
    (described["meshes"][0] if key == "primitives" else described)[key] *= times
    if key != "bufferViews":
        described["bufferViews"][0]["byteLength"] = 36
    if key != "accessors" and key != "primitives":
        described["accessors"][0]["count"] = 3
    (tmp_path / "a.gltf").write_text(json.dumps(described))
    with pytest.raises(GantoolError, match=message):
        load(str(tmp_path), 16)


@pytest.mark.parametrize(
    ("nodes", "primitives", "roots", "message"),
    [
        (40_000, 1, 1, "it has 40,000 parts; the most is 32,768"),
        (1, 40_000, 1, "it has 40,000 parts"),
        (200, 200, 1, "it has 40,000 parts"),
        (1, 1, 2, "a node is in two places"),
    ],
)
def test_a_mesh_of_many_parts(nodes: int, primitives: int, roots: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.bin").write_bytes(np.eye(3, dtype="<f4").tobytes())
    described = json.loads(gltf("own.bin"))
    described["nodes"] *= nodes
    described["meshes"][0]["primitives"] *= primitives
    described["scenes"][0]["nodes"] *= roots
    (tmp_path / "a.gltf").write_text(json.dumps(described))
    with pytest.raises(GantoolError, match=message):
        load(str(tmp_path), 16)


def test_what_a_mesh_refers_to_is_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meshes, "MAX_FILE_BYTES", 2000)
    described = json.loads(gltf("0.bin"))
    described["buffers"] = [{"uri": f"{number}.bin", "byteLength": 36} for number in range(50)]
    for number in range(50):
        (tmp_path / f"{number}.bin").write_bytes(np.eye(3, dtype="<f4").tobytes())
    (tmp_path / "a.gltf").write_text(json.dumps(described))
    with pytest.raises(GantoolError, match="what it refers to have more than 2,000 bytes"):
        load(str(tmp_path), 16)


# sizes


@pytest.mark.parametrize("name", ["a.obj", "a.npz"])
def test_a_size_that_is_too_large(name: str, tmp_path: Path) -> None:
    source = tmp_path / "in" / name
    if name == "a.obj":
        export(source, trimesh.creation.box((1, 1, 1)))
    else:
        source.parent.mkdir()
        np.savez(source, volumes=np.ones((1, 8, 8, 8), bool))
    where = str(source.parent if name == "a.obj" else source)
    for call in (lambda: load(where, 513), lambda: pack(where, tmp_path / "out", Options(size=513), workers=1)):
        with pytest.raises(GantoolError, match=r"size 513 would have 135,005,697 voxels\. Give --size 512 or less"):
            call()


def test_other_sides_become_a_cube() -> None:
    flat = np.zeros((1, 8, 16, 4), np.uint8)
    flat[0, 4, 8, 2] = 255
    assert volumes.cube(flat, 16)[0].nonzero() == ([8], [8], [8])
    assert volumes.cube(np.full((1, 8, 8, 8), 255, np.uint8), 5).min() == 255
    big = volumes.cube(flat, 32)
    assert (big == 255).sum() == 8
    half = volumes.cube(flat, 8)
    assert not half.any()  # an eighth of a voxel
    grey = np.full((1, 8, 8, 8), 100, np.uint8)
    assert (volumes.cube(grey, 4) == 100).all()


def test_sides_that_differ(tmp_path: Path) -> None:
    for side in (8, 16):
        (tmp_path / f"{side}.binvox").write_bytes(binvox(RNG.random((side,) * 3) < 0.5))
    with pytest.raises(GantoolError, match=r"16\.binvox is 16×16×16, .*8\.binvox is 8×8×8.*--size N \(32, say\)"):
        load(str(tmp_path))
    assert load(str(tmp_path), 8).images.shape == (2, 1, 8, 8, 8)


def test_a_pack_of_several_channels(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        np.save(tmp_path / "in" / f"{number}.npy", RNG.integers(0, 2, (2, 8, 8, 8), np.uint8))
    pack(str(tmp_path / "in"), tmp_path / "out", Options(size=8), workers=1)
    assert np.array_equal(load(str(tmp_path / "out")).images, load(str(tmp_path / "in"), 8).images)
    assert load(str(tmp_path / "out")).images.shape == (2, 2, 8, 8, 8)
    np.save(tmp_path / "in" / "1.npy", np.ones((3, 8, 8, 8), bool))
    with pytest.raises(GantoolError, match=r"differ in channels: .*0\.npy has 2, .*1\.npy has 3"):
        pack(str(tmp_path / "in"), tmp_path / "other", Options(size=8), workers=1)


def test_another_trimesh_packs_anew() -> None:
    assert KINDS["volume"].versions() == {"trimesh": trimesh.__version__}


# packs and surveys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        path = tmp_path / "in" / "ab"[number % 2] / f"{number}.binvox"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(binvox(RNG.random((8, 8, 8)) < 0.5))
    (tmp_path / "in" / "a" / "copy.binvox").write_bytes((tmp_path / "in" / "b" / "1.binvox").read_bytes())
    (tmp_path / "in" / "a" / "bad.obj").write_text("hello")
    (tmp_path / "in" / "readme.txt").write_text("hello")
    return tmp_path / "in"


def test_a_pack_holds_what_the_folder_is_loaded_as(folder: Path, tmp_path: Path) -> None:
    pack(str(folder), tmp_path / "out", Options(skip_broken=True), workers=1)
    packed, direct = load(str(tmp_path / "out")), load(str(folder), skip_broken=True)
    assert packed.fingerprint == direct.fingerprint
    assert packed.class_names == ("a", "b")
    assert (packed.images.dtype, packed.images.shape) == (np.uint8, (13, 1, 8, 8, 8))


def test_info(folder: Path, tmp_path: Path, cli: Run) -> None:
    code, out, _ = cli("data", "info", str(folder), "--json", "-o", str(tmp_path / "sheet.png"))
    found: dict[str, Any] = json.loads(out)
    assert code == 1
    assert (found["samples"], found["count"], found["sides"]) == ("volume", 13, [[8, 8, 8, 13]])
    assert 40 < found["filled"]["min"] < found["filled"]["max"] < 60
    assert found["duplicate_groups"] == [["a/copy.binvox", "b/1.binvox"]]
    assert [name for name, _ in found["broken"]] == ["a/bad.obj"]
    assert (tmp_path / "sheet.png").is_file()
    _, out, _ = cli("data", "info", str(folder))
    assert "8×8×8" in out
    assert out.splitlines()[-1].endswith("--size 32 --skip-broken")  # no network makes sides of 8
    pack(str(folder), tmp_path / "out", Options(skip_broken=True), workers=1)
    assert survey(str(tmp_path / "out")).duplicates == 1
    assert sheet(str(tmp_path / "out")).size == sheet(str(folder)).size


def test_projections() -> None:
    volume = np.zeros((4, 5, 6), np.uint8)
    volume[0, 1, 2] = volume[3, 1, 3] = 255
    front, right, top = projections(volume)
    assert [view.shape for view in (front, right, top)] == [(5, 6), (5, 4), (4, 6)]
    assert front[1, 2] > front[1, 3] > 0  # the first stands in front
    assert right[1, 3] > right[1, 0] > 0  # the second is further to the right, and further back
    assert top[3, 2] == top[0, 3] > 0  # the front is below
