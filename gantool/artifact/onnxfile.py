"""Check the bytes of an ONNX file before any library parses them. Standard library only.

Walks over protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) with the field numbers of
onnx.proto. It finds the metadata and the digest of the graph, and refuses what no self-contained file needs: above all
weights in other files, because their paths may name any file of this machine.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gantool.artifact import manifest
from gantool.artifact.manifest import Manifest
from gantool.errors import GantoolError, excerpt
from gantool.system.files import MAX_JSON_BYTES, MAX_MODEL_BYTES, reading, regular_size

# The fields that matter, by message of onnx.proto.
MODEL = {"graph": 7, "metadata_props": 14, "training_info": 20, "functions": 25}
ENTRY = {"key": 1, "value": 2}  # StringStringEntryProto
GRAPH = {"node": 1, "initializer": 5, "sparse_initializer": 15}
NODE = {"op_type": 4, "attribute": 5}
ATTRIBUTE = {"t": 5, "tensors": 10, "sparse_tensor": 22, "sparse_tensors": 23, "g": 6, "graphs": 11}
TENSOR = {"external_data": 13, "data_location": 14}
SPARSE = {"values": 1, "indices": 2}

MAX_FIELDS = 2_000_000  # a few seconds of walking; our exports have thousands
MAX_DEPTH = 16  # graphs within graphs
MAX_NAME = 64  # bytes of an operator's name that is counted; those of ONNX have up to 30
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4, the groups, are in no message of ONNX


@dataclass(frozen=True)
class OnnxFile:
    """The metadata, the SHA-256 of the GraphProto's bytes, and how many nodes each operator has."""

    metadata: dict[str, str]
    graph_sha256: str
    operators: Mapping[str, int]


def read(path: Path) -> OnnxFile:
    """Walk over an ONNX file; GantoolError when it can't be read, is no ONNX file, is damaged or needs other files."""
    return parse(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The whole file; GantoolError unless it is a regular one of 1 byte to 2 GB."""
    try:
        size = regular_size(path)
    except GantoolError as error:
        raise GantoolError(error.message, "Name an exported file, or make one: gantool export") from error
    if not 0 < size < MAX_MODEL_BYTES:
        raise GantoolError(f"{path} has {size} bytes: not an ONNX file.", "Export it again.")
    with reading(path), path.open("rb") as file:
        data = file.read(size + 1)
    if len(data) != size:
        raise GantoolError(f"{path} was written to while it was read.", "Try again.")
    return data


def read_manifest(path: Path) -> Manifest:
    """The manifest in an ONNX file; GantoolError as `read`, or when it has none."""
    return manifest_of(read(path), path)


def manifest_of(file: OnnxFile, origin: object) -> Manifest:
    """The manifest in a file's metadata; GantoolError when it has none.

    Whether the manifest's `graph_sha256` is that of the file is left to the caller.
    """
    text = file.metadata.get(manifest.KEY)
    if text is None:
        raise GantoolError(
            f"{origin} has no gantool manifest.", "It was not made by `gantool export`, or was rewritten since."
        )
    found = manifest.from_json(text, origin)
    if not found.kind.startswith("onnx"):
        raise GantoolError(f"{origin} calls itself {found.kind}, but is an ONNX file.", "Export it again.")
    return found


def parse(data: bytes, origin: object) -> OnnxFile:
    """Walk over the bytes of an ONNX file that came from `origin` (named in the errors).

    GantoolError when they are no ONNX model, are cut off, keep weights in other files, hold local functions, training
    parts or a compiled engine, or repeat what may be there only once. Time and memory are bounded for any input.
    """
    return _Walk(data, origin).model()


class _Walk:
    """One pass. A message is a range of the bytes, never a copy: weights are stepped over, not read."""

    def __init__(self, data: bytes, origin: object) -> None:
        self.data, self.origin = data, origin
        self.fields_left = MAX_FIELDS
        self.operators: Counter[str] = Counter()

    def model(self) -> OnnxFile:
        graphs: list[tuple[int, int]] = []
        metadata: dict[str, str] = {}
        room = MAX_JSON_BYTES
        for field, wire, start, end in self.fields(0, len(self.data)):
            if wire != _BYTES:
                continue
            if field == MODEL["graph"]:
                graphs.append((start, end))
            elif field == MODEL["metadata_props"]:
                room -= end - start
                if room < 0:
                    raise self.refused(f"has more than {MAX_JSON_BYTES // 2**20} MB of metadata")
                key, value = self.entry(start, end)
                if key in metadata:
                    raise self.refused(f"has the metadata {excerpt(key)} twice")
                metadata[key] = value
            elif field == MODEL["functions"]:
                raise self.refused("holds functions of its own")
            elif field == MODEL["training_info"]:
                raise self.refused("holds training parts")
        if not graphs:
            raise self.damaged("it has no graph")
        if len(graphs) > 1:  # protobuf would merge them, and no digest would be that of the result
            raise self.refused(f"has {len(graphs)} graphs")
        ((start, end),) = graphs
        self.graph(start, end, 1)
        with memoryview(self.data) as view:
            return OnnxFile(metadata, hashlib.sha256(view[start:end]).hexdigest(), self.operators)

    def graph(self, start: int, end: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self.refused(f"nests graphs more than {MAX_DEPTH} deep")
        for field, wire, first, last in self.fields(start, end):
            if wire != _BYTES:
                continue
            if field == GRAPH["node"]:
                self.node(first, last, depth)
            elif field == GRAPH["initializer"]:
                self.tensor(first, last)
            elif field == GRAPH["sparse_initializer"]:
                self.sparse(first, last)

    def node(self, start: int, end: int, depth: int) -> None:
        for field, wire, first, last in self.fields(start, end):
            if wire != _BYTES:
                continue
            if field == NODE["attribute"]:
                self.attribute(first, last, depth)
            elif field == NODE["op_type"]:
                operator = self.data[first:last]
                if operator == b"EPContext":  # a provider's own binary, which may lie in another file too
                    raise self.refused("holds an engine compiled for one machine")
                if len(operator) <= MAX_NAME:
                    self.operators[operator.decode(errors="replace")] += 1

    def attribute(self, start: int, end: int, depth: int) -> None:
        for field, wire, first, last in self.fields(start, end):
            if wire != _BYTES:
                continue
            if field in (ATTRIBUTE["t"], ATTRIBUTE["tensors"]):
                self.tensor(first, last)
            elif field in (ATTRIBUTE["sparse_tensor"], ATTRIBUTE["sparse_tensors"]):
                self.sparse(first, last)
            elif field in (ATTRIBUTE["g"], ATTRIBUTE["graphs"]):
                self.graph(first, last, depth + 1)

    def sparse(self, start: int, end: int) -> None:
        for field, wire, first, last in self.fields(start, end):
            if wire == _BYTES and field in (SPARSE["values"], SPARSE["indices"]):
                self.tensor(first, last)

    def tensor(self, start: int, end: int) -> None:
        external, place = False, ""
        for field, wire, first, last in self.fields(start, end):
            if field == TENSOR["external_data"] and wire == _BYTES:
                external = True
                key, value = self.entry(first, last)
                place = value if key == "location" else place
            elif field == TENSOR["data_location"] and wire == _VARINT:
                external |= first != 0  # 1 is EXTERNAL; a later ONNX may give other numbers a meaning
        if external:
            where = f"in {excerpt(place)}" if place else "in other files"
            raise self.refused(f"keeps weights {where}", "files outside are never read, and no export of ours has any")

    def entry(self, start: int, end: int) -> tuple[str, str]:
        """A StringStringEntryProto."""
        found: dict[int, str] = {}
        for field, wire, first, last in self.fields(start, end):
            if wire == _BYTES and field in ENTRY.values():
                if field in found:
                    raise self.damaged("an entry has two keys or values", first)
                try:
                    found[field] = self.data[first:last].decode()
                except UnicodeDecodeError:
                    raise self.damaged("a text is not UTF-8", first) from None
        return found.get(ENTRY["key"], ""), found.get(ENTRY["value"], "")

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """(number, wire type, first, last) of each field of a message: the range of its bytes, or a varint and 0."""
        data, at = self.data, start
        while at < end:
            self.fields_left -= 1
            if self.fields_left < 0:
                raise self.refused(f"has more than {MAX_FIELDS:,} fields")
            tag = data[at]
            if tag < 0x80:
                at += 1
            else:
                tag, at = self.varint(at, end, 5)
            wire = tag & 7
            if not 8 <= tag < 2**32:
                raise self.damaged(f"a field has the number {tag >> 3}", at)
            if wire == _BYTES:
                if at < end and data[at] < 0x80:
                    first = at + 1
                    at = first + data[at]
                else:
                    size, first = self.varint(at, end, 5)
                    at = first + size
                if at > end:
                    raise self.damaged(f"a field of {at - first} bytes has but {end - first}", first)
                yield tag >> 3, wire, first, at
            elif wire == _VARINT:
                value, at = self.varint(at, end, 10)
                yield tag >> 3, wire, value, 0
            elif wire in (_FIXED32, _FIXED64):
                first, at = at, at + (4 if wire == _FIXED32 else 8)
                if at > end:
                    raise self.damaged("it is cut off", first)
                yield tag >> 3, wire, first, at
            else:
                raise self.damaged(f"a field has the wire type {wire}", at)

    def varint(self, at: int, end: int, most: int) -> tuple[int, int]:
        """A number of at most `most` bytes, 7 bits each, the lowest first; and where it ends."""
        value = 0
        for place in range(most):
            if at >= end:
                raise self.damaged("it is cut off", at)
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return value, at
        raise self.damaged(f"a number has more than {most} bytes", at)

    def damaged(self, why: str, at: int | None = None) -> GantoolError:
        where = "" if at is None else f" (at byte {at} of {len(self.data)})"
        return GantoolError(
            f"{self.origin} is not an ONNX file, or is damaged: {why}{where}.",
            "Is it an ONNX file, and whole? Export it again.",
        )

    def refused(self, what: str, why: str = "no export of ours does") -> GantoolError:
        return GantoolError(f"{self.origin} {what}: {why}.", "Do not trust it. Export it again: gantool export")
