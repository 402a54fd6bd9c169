"""Show volumes as pictures (a shaded view from a fixed camera), and write them for programs that show 3-D shapes."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from gantool.artifact import latents
from gantool.artifact.provenance import SOFTWARE, Provenance

TURN, TILT = 35.0, 25.0  # degrees: the camera stands to the right of the front, and above
LIGHT = (-0.5, 0.75, 0.6)  # towards it, seen from the camera: right, up, to the viewer
AMBIENT = 0.25  # of the brightness in the shade
BACKGROUND = 16
STEP = 0.6  # of a ray, in voxels


def pictures(samples: np.ndarray) -> np.ndarray:
    """Volumes (N, C, D, H, W) in [-1, 1] → uint8 (N, S, S, 1), where S is 64 to 96; of several channels the first.

    What is above 0 is filled. D runs from the front to the back, H from the top to the bottom, W from left to right:
    slice 0 is what stands in front, upright like an image.
    """
    density = np.nan_to_num(samples[:, 0].astype(np.float32), posinf=1, neginf=-1)
    shape = density.shape[1:]
    side = min(96, max(64, 3 * max(shape)))
    outside = int(np.prod(shape))  # an empty voxel after the last: where rays are outside
    rays = _rays(shape, side)
    shown = np.full((len(density), side * side), BACKGROUND, np.uint8)
    for picture, volume in zip(shown, density, strict=True):
        filled = np.append(volume.ravel() > 0, False)
        along = filled.take(rays)  # (steps, pixels)
        first = along.argmax(0)
        voxels = rays[first, np.arange(side * side)]
        hit = filled[voxels] & (voxels < outside)
        steepness = _normals(volume).reshape(3, -1)[:, voxels[hit]]
        lit = np.clip(_light() @ steepness, 0, 1)
        nearness = 1 - first[hit] / len(rays)
        picture[hit] = np.round(255 * (AMBIENT + (1 - AMBIENT) * lit) * (0.7 + 0.3 * nearness))
    return shown.reshape(-1, side, side, 1)


def _normals(volume: np.ndarray) -> np.ndarray:
    """Unit normals (3, D, H, W) out of the filled part: downhill in a smoothed volume, whose surroundings are empty."""
    smooth = np.pad((volume > 0).astype(np.float32), 2)
    for axis in range(3):
        smooth = smooth + 0.5 * (np.roll(smooth, 1, axis) + np.roll(smooth, -1, axis))
    slopes = np.stack(list(np.gradient(-smooth)))[:, 2:-2, 2:-2, 2:-2]
    normals: np.ndarray = slopes / np.maximum(np.sqrt((slopes**2).sum(0)), 1e-6)
    return normals


@lru_cache(maxsize=1)
def _camera() -> np.ndarray:
    """Rows: right, up and towards the viewer, as vectors along the axes D, H and W."""
    turn, tilt = np.deg2rad((TURN, TILT))
    right = np.array([np.sin(turn), 0, np.cos(turn)])
    level = np.array([-np.cos(turn), 0, np.sin(turn)])  # to the viewer, on the floor
    down = np.array([0, 1, 0])
    return np.stack([right, -np.cos(tilt) * down - np.sin(tilt) * level, np.cos(tilt) * level - np.sin(tilt) * down])


@lru_cache(maxsize=1)
def _light() -> np.ndarray:
    light = np.array(LIGHT) @ _camera()
    unit: np.ndarray = light / np.linalg.norm(light)
    return unit


@lru_cache(maxsize=4)
def _rays(shape: tuple[int, ...], side: int) -> np.ndarray:
    """The voxels that the ray of each pixel meets, from the viewer on: flat numbers, (steps, side²).

    Rays are parallel, and the picture a little wider than the view of the whole box. Outside of it the number is one
    after the last.
    """
    box = np.array(shape, float)
    corners = np.stack(np.meshgrid(*([-0.5, 0.5] for _ in shape), indexing="ij"), -1).reshape(-1, 3) * box
    right, up, near = _camera()
    extent = 1.04 * np.abs(corners @ np.stack([right, up], 1)).max()
    depth = (corners @ near).max()
    across = ((np.arange(side) + 0.5) / side * 2 - 1) * extent
    steps = np.arange(depth, -depth, -STEP)
    numbers = np.full((len(steps), side, side), int(np.prod(shape)), np.intp)
    for number, step in zip(numbers, steps, strict=True):  # a step at a time: little memory
        points = across[None, :, None] * right - across[:, None, None] * up + step * near + box / 2
        cells = np.floor(points).astype(np.int32)
        inside = ((cells >= 0) & (cells < shape)).all(2)
        number[inside] = np.ravel_multi_index(tuple(cells[inside].T), shape)
    return numbers.reshape(len(steps), -1)


def binvox(filled: np.ndarray) -> bytes:
    """The bytes of a .binvox file of bool (D, H, W): https://www.patrickmin.com/binvox/binvox.html

    x to the right, y up, z to the front, as in `surface`.
    """
    depth, height, width = filled.shape
    flat = np.ascontiguousarray(filled[::-1, ::-1].transpose(2, 0, 1)).reshape(-1)  # x, z, y
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    runs = bytearray()
    for start, length in zip(starts, np.diff(np.append(starts, flat.size)), strict=True):
        value = int(flat[start])
        runs += bytes((value, 255)) * (int(length) // 255)
        if rest := int(length) % 255:
            runs += bytes((value, rest))
    return f"#binvox 1\ndim {width} {depth} {height}\ntranslate 0 0 0\nscale 1\ndata\n".encode() + bytes(runs)


def surface(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The surface of a volume uint8 (D, H, W), by marching cubes where it passes 127.5.

    Vertices and normals, float32 (n, 3), x to the right, y up, z to the front, in a box around the origin whose longest
    side is 1; and triangles, uint32 (m, 3), anticlockwise from outside. Empty arrays where nothing is filled.
    """
    from skimage.measure import marching_cubes

    if not (volume >= latents.FILLED).any():
        return np.empty((0, 3), np.float32), np.empty((0, 3), np.float32), np.empty((0, 3), np.uint32)
    padded = np.pad(volume.astype(np.float32), 1)  # closed where the shape touches the box
    vertices, triangles, normals, _ = marching_cubes(  # type: ignore[no-untyped-call]
        padded, 127.5, gradient_direction="ascent"
    )
    centred = (vertices - 1 - (np.array(volume.shape) - 1) / 2) / max(volume.shape)
    axes = np.array([1, -1, -1], np.float32)  # W is right, H down, D to the back
    turned = (np.ascontiguousarray(each[:, ::-1] * axes, np.float32) for each in (centred, normals))
    return *turned, triangles[:, ::-1].astype(np.uint32)


def glb(volumes: np.ndarray, about: Sequence[Provenance] = ()) -> bytes:
    """A binary glTF 2.0 file of the surfaces of volumes uint8 (N, D, H, W), beside each other from left to right.

    `about`: of each, which is kept as `extras` of its mesh. The format:
    https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
    """
    meshes: list[dict[str, object]] = []
    nodes: list[dict[str, object]] = []
    accessors: list[dict[str, object]] = []
    views: list[dict[str, object]] = []
    binary = bytearray()
    for number, volume in enumerate(volumes):
        vertices, normals, triangles = surface(volume)
        if not len(triangles):
            continue
        first = len(accessors)
        for array, kind, component in ((vertices, "VEC3", 5126), (normals, "VEC3", 5126), (triangles, "SCALAR", 5125)):
            target = 34963 if kind == "SCALAR" else 34962
            views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes, "target": target})
            count = array.size if kind == "SCALAR" else len(array)
            accessor = {"bufferView": len(views) - 1, "componentType": component, "count": count, "type": kind}
            if array is vertices:
                accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
            accessors.append(accessor)
            binary += array.tobytes()
        shape = {"attributes": {"POSITION": first, "NORMAL": first + 1}, "indices": first + 2, "material": 0}
        extras = {"extras": json.loads(about[number].to_json())} if len(about) > number else {}
        nodes.append({"mesh": len(meshes), "translation": [1.2 * number, 0, 0], "name": f"volume {number}"})
        meshes.append({"primitives": [shape], **extras})
    document: dict[str, object] = {
        "asset": {"version": "2.0", "generator": SOFTWARE},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(nodes)))} if nodes else {}],
    }
    if nodes:
        material = {"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 0.8}}
        document |= {"nodes": nodes, "meshes": meshes, "accessors": accessors, "bufferViews": views}
        document |= {"materials": [material], "buffers": [{"byteLength": len(binary)}]}
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    parts = struct.pack("<I4s", len(text), b"JSON") + text
    if nodes:
        parts += struct.pack("<I4s", len(binary), b"BIN\0") + bytes(binary)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(parts)) + parts
