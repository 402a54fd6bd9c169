"""Volume files: .binvox, and .npy of one volume."""

from __future__ import annotations

import io

import numpy as np

from gantool.data.readers.npy import read_npy
from gantool.data.volumes import MAX_VOXELS
from gantool.plugin.hookspecs import Reader, SourceFile, Wanted

_MAX_HEADER = 1024  # bytes


def read_binvox(file: SourceFile, how: Wanted) -> np.ndarray:
    """bool (D, H, W) of a .binvox file (https://www.patrickmin.com/binvox/binvox.html), y upwards, z to the viewer.

    Its voxels lie in the order x, z, y, as runs of a value and a count of one byte each.
    """
    content = file.content
    if not content.startswith(b"#binvox 1"):
        raise ValueError("it does not begin with '#binvox 1'")
    end = content.find(b"\ndata\n", 0, _MAX_HEADER)
    if end < 0:
        raise ValueError(f"no line 'data' ends its header in the first {_MAX_HEADER} bytes")
    words = [line.split() for line in content[:end].splitlines()]
    dim = next((line[1:] for line in words if line[:1] == [b"dim"]), [])
    if len(dim) != 3 or not all(number.isdigit() and len(number) < 6 for number in dim):
        raise ValueError("its header has no line 'dim' of three numbers")
    x, z, y = map(int, dim)
    if not 0 < x * y * z <= MAX_VOXELS:
        raise ValueError(f"it declares {x}×{z}×{y} voxels; the most is {MAX_VOXELS:,}")
    runs = np.frombuffer(content, np.uint8, offset=end + len(b"\ndata\n"))
    if len(runs) % 2:
        raise ValueError("its last run has no count")
    values, counts = runs[::2], runs[1::2]
    if (total := int(counts.sum(dtype=np.int64))) != x * y * z:
        raise ValueError(f"its runs make {total:,} voxels, where it declares {x * y * z:,}")
    voxels = np.repeat(values != 0, counts).reshape(x, z, y)
    return np.ascontiguousarray(voxels.transpose(1, 2, 0)[::-1, ::-1])


def read_array(file: SourceFile, how: Wanted) -> np.ndarray:
    """The array in a .npy file."""
    return read_npy(io.BytesIO(file.content), len(file.content))


BINVOX = Reader("binvox", "volume", (".binvox",), read_binvox)
ARRAYS = Reader("npy", "volume", (".npy",), read_array)
