"""ONNX models of a few nodes, written without `onnx`: a machine that only runs models does not have it.

In protobuf's wire format (https://protobuf.dev/programming-guides/encoding/), with the field numbers of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

OPSET, IR_VERSION = 18, 10
TYPES = {"float32": 1, "int64": 7, "uint64": 13}  # TensorProto.DataType
FLOAT, INT64 = TYPES["float32"], TYPES["int64"]


def model(
    nodes: Sequence[bytes],
    constants: dict[str, NDArray[np.float32]] | dict[str, NDArray[np.generic]],
    given: tuple[str, int, tuple[int, ...]],
    made: tuple[str, int, tuple[int, ...]],
) -> bytes:
    """The bytes of a model: `constants` by name; its one input and one output as (name, type, shape)."""
    graph = [*(_field(1, each) for each in nodes), _field(2, "gantool")]
    for name, array in constants.items():
        little = array.astype(array.dtype.newbyteorder("<"))
        dims = b"".join(_field(1, side) for side in array.shape)
        tensor = dims + _field(2, TYPES[array.dtype.name]) + _field(8, name) + _field(9, little.tobytes())
        graph.append(_field(5, tensor))
    graph += [_field(11, _value(*given)), _field(12, _value(*made))]
    return _field(1, IR_VERSION) + _field(7, b"".join(graph)) + _field(8, _field(1, "") + _field(2, OPSET))


def _value(name: str, dtype: int, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_field(1, _field(1, side)) for side in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, dtype) + _field(2, dims)))


def node(op: str, inputs: Sequence[str], output: str, attributes: dict[str, int] | dict[str, list[int]]) -> bytes:
    """The bytes of a node, for `model`."""
    data = b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(3, f"{op}:{output}")
    data += _field(4, op)
    for name, value in attributes.items():
        if isinstance(value, int):
            data += _field(5, _field(1, name) + _field(3, value) + _field(20, 2))  # INT
        else:
            data += _field(5, _field(1, name) + b"".join(_field(8, v) for v in value) + _field(20, 7))  # INTS
    return data


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
