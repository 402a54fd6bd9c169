"""Meshes: OBJ, STL, PLY, glTF and GLB, read by trimesh and made to filled voxels.

Nothing is fetched, and no file is read but those beside a mesh: what a glTF file refers to.
"""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import unquote

import numpy as np

from gantool.data.source_files import MAX_FILE_BYTES
from gantool.data.volumes import SIDE
from gantool.plugin.hookspecs import Reader, SourceFile, Wanted

MAX_FACES = 2**21  # of a mesh, with all its copies
MAX_POINTS = 2**27  # that are laid on its faces
MAX_COUNT = 2**24  # of an accessor of a glTF file
MAX_VALUES = 2**27  # of all its accessors
MAX_PARTS = 2**15  # nodes and primitives, with all copies: each takes 20 kB
_TRIANGLES = 4  # a mode of a primitive
_VALUES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9}  # of an element; of MAT4 16
_STEP = 0.4  # voxels between two points: where the surface crosses from a voxel to the next, one of the two is hit
_POINTS = 2**20  # that are laid together


@np.errstate(all="ignore")  # corners of damaged files: `voxels` finds them
def read(file: SourceFile, how: Wanted) -> np.ndarray:
    """bool (size, size, size): what a mesh encloses, and its surface. ValueError when it has no faces, or too many.

    It is centred, and its longest side leaves a sixteenth of the cube, at least a voxel, free at both ends. y points
    upwards; of STL files z, as programs for printing have it.
    """
    import trimesh

    suffix = file.name.rpartition(".")[2].lower()
    if suffix in ("gltf", "glb"):
        _check_gltf(file.content)
    scene = trimesh.load_scene(
        io.BytesIO(file.content), file_type=suffix, resolver=_Beside(file), process=False, skip_materials=True
    )
    size = how.size or SIDE
    meshes = {name: mesh for name, mesh in scene.geometry.items() if isinstance(mesh, trimesh.Trimesh)}
    nodes: list[tuple[np.ndarray, Any]] = [scene.graph[node] for node in scene.graph.nodes_geometry]
    placed = [(matrix, meshes[name]) for matrix, name in nodes if name in meshes]
    faces = sum(len(mesh.faces) for _, mesh in placed)
    if not faces:
        raise ValueError("it holds no faces")
    if faces > MAX_FACES:
        raise ValueError(f"it has {faces:,} faces; the most is {MAX_FACES:,}")
    triangles = np.concatenate([_triangles(matrix, mesh) for matrix, mesh in placed])
    if suffix == "stl":
        triangles = np.stack([triangles[..., 0], triangles[..., 2], -triangles[..., 1]], axis=-1)
    return voxels(triangles, size)


def voxels(triangles: np.ndarray, size: int) -> np.ndarray:
    """bool (size, size, size), D H W, of triangles (M, 3, 3), x y z, y upwards, z to the viewer: surface and inside."""
    low, high = triangles.min(axis=(0, 1)), triangles.max(axis=(0, 1))
    extent = float((high - low).max())
    if not np.isfinite(extent) or extent <= 0:
        raise ValueError("its faces have no extent, or corners that are NaN or infinite")
    inner = size - 2 * max(1, size // 16)
    places = (triangles - (low + high) / 2) * (inner * (1 - 1e-6) / extent) + size / 2
    places = places[..., ::-1] * np.array([-1, -1, 1]) + np.array([size, size, 0])  # to depth, height and width
    surface = np.zeros((size, size, size), bool)
    for points in _points(places):
        cells = np.clip(points.astype(np.int64), 0, size - 1)
        surface[cells[:, 0], cells[:, 1], cells[:, 2]] = True
    return ~_outside(surface)


class _Beside(dict[str, bytes]):
    """What a mesh refers to, by its name: only files beside it, and of all together no more bytes than of a file."""

    def __init__(self, file: SourceFile) -> None:
        super().__init__()
        self._file, self._bytes = file, len(file.content)

    def get(self, name: Any, default: Any = None) -> Any:
        return self[str(name)]

    def __getitem__(self, name: str) -> bytes:
        content = self._file.beside(unquote(name))
        self._bytes += len(content)
        if self._bytes > MAX_FILE_BYTES:
            raise ValueError(f"it and what it refers to have more than {MAX_FILE_BYTES:,} bytes")
        return content


def _triangles(matrix: np.ndarray, mesh: Any) -> np.ndarray:
    """(M, 3, 3) of a mesh, where its node places it."""
    corners = np.asarray(mesh.vertices)[np.asarray(mesh.faces)].astype(np.float64)
    found: np.ndarray = corners @ matrix[:3, :3].T + matrix[:3, 3]
    return found


def _points(triangles: np.ndarray) -> Any:
    """Points (K, 3) of the triangles (M, 3, 3), no further than _STEP apart, in pieces."""
    longest = np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=-1).max(axis=1)
    steps = np.maximum(1, np.ceil(longest / _STEP)).astype(np.int64)
    if int(((steps + 1) * (steps + 2) // 2).sum()) > MAX_POINTS:
        raise ValueError("its faces are too many and too large together")
    for number in np.unique(steps):
        a, b = np.divmod(np.arange((number + 1) ** 2), number + 1)
        inside = a + b <= number
        shares = np.stack([a, b, number - a - b], axis=1)[inside] / number
        own = triangles[steps == number]
        many = max(1, _POINTS // len(shares))
        for first in range(0, len(own), many):
            yield np.einsum("kc,mcx->mkx", shares, own[first : first + many]).reshape(-1, 3)


def _outside(surface: np.ndarray) -> np.ndarray:
    """What is reached from the border without passing the surface, by steps to the six neighbours."""
    free = np.pad(~surface, 1, constant_values=True)
    reached = np.zeros_like(free)
    reached[0], edge = True, 8 * free.shape[0]
    for _ in range(edge):  # a maze would take longer: what is deep in one counts as enclosed
        grown = reached.copy()
        for axis in range(3):
            ahead = [slice(None)] * 3
            behind = list(ahead)
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            grown[tuple(ahead)] |= reached[tuple(behind)]
            grown[tuple(behind)] |= reached[tuple(ahead)]
        grown &= free
        if np.array_equal(grown, reached):
            break
        reached = grown
    return reached[1:-1, 1:-1, 1:-1]


def _check_gltf(content: bytes) -> None:
    """ValueError for a glTF file that a small text makes large, and one whose nodes are no tree.

    Its views, accessors and primitives are copies of what they refer to, and many may refer to one.
    """
    if content[:4] == b"glTF":
        content = content[20 : 20 + int.from_bytes(content[12:16], "little")]
    described = json.loads(content)
    uris = [buffer["uri"] for buffer in described.get("buffers", []) if "uri" in buffer]
    if len(uris) != len(set(uris)):
        raise ValueError("two of its buffers are one file")
    if sum(abs(view["byteLength"]) for view in described.get("bufferViews", [])) > MAX_FILE_BYTES:
        raise ValueError(f"its views of buffers have more than {MAX_FILE_BYTES:,} bytes")
    accessors = described.get("accessors", [])
    if any(not 0 <= each["count"] <= MAX_COUNT for each in accessors):
        raise ValueError(f"an accessor has more than {MAX_COUNT:,} elements, or less than none")
    if sum(each["count"] * _VALUES.get(each["type"], 16) for each in accessors) > MAX_VALUES:
        raise ValueError(f"its accessors have more than {MAX_VALUES:,} values")
    faces = corners = 0
    for primitive in (each for mesh in described.get("meshes", []) for each in mesh["primitives"]):
        position = primitive["attributes"]["POSITION"]
        count = accessors[primitive.get("indices", position)]["count"]
        faces += count // 3 if primitive.get("mode", _TRIANGLES) == _TRIANGLES else count
        corners += accessors[position]["count"]
    if faces > MAX_FACES or corners > 3 * MAX_FACES:
        raise ValueError(f"it has {max(faces, corners // 3):,} faces; the most is {MAX_FACES:,}")
    nodes, meshes = described.get("nodes", []), described.get("meshes", [])
    parts = sum(len(meshes[node["mesh"]]["primitives"]) if "mesh" in node else 1 for node in nodes)
    parts = max(parts, len(nodes), sum(len(mesh["primitives"]) for mesh in meshes))
    if parts > MAX_PARTS:
        raise ValueError(f"it has {parts:,} parts; the most is {MAX_PARTS:,}")
    children = [child for node in nodes for child in node.get("children", [])]
    below, scenes = set(children), [scene.get("nodes", []) for scene in described.get("scenes", [])]
    if len(below) != len(children) or any(
        len(roots) != len(set(roots)) or not below.isdisjoint(roots) for roots in scenes
    ):
        raise ValueError("a node is in two places")


MESHES = Reader("trimesh", "volume", (".obj", ".stl", ".ply", ".gltf", ".glb"), read)
