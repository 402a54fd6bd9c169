"""The manifest: what an exported file says about itself. Standard library only, validated by hand.

It is stored as JSON in the file (ONNX metadata, TorchScript extra file) and beside it as FILE.json.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gantool.errors import GantoolError
from gantool.system.files import parse_json, write_bytes

SCHEMA = 2
KEY = "gantool.manifest"  # the ONNX metadata key, and the name of TorchScript's extra file
# what `gantool export` writes: the kind of each file, and its name
FILES = {
    "onnx": "generator.onnx",
    "onnx-seeded": "generator.seeded.onnx",
    "torchscript": "generator.torchscript.pt",
    "torchscript-seeded": "generator.seeded.torchscript.pt",
    "pt2": "generator.pt2",
}
KINDS = tuple(FILES)
SEEDED = ("onnx-seeded", "torchscript-seeded")
# how an ONNX file keeps its weights, and computes: see gantool.exporting.onnx_files.precision
PRECISIONS = ("float32", "half-weights", "half", "int8")
MAX_BATCH = 65_536
MAX_GOLDEN = 1024  # golden images of a file: a damaged count must not become hours of work
_DTYPES = ("float32", "int64", "uint8")
_LAYOUTS = ("CHW", "HWC", "C…")
_DISTRIBUTIONS = ("normal", "label", "data", "seed", "index")


@dataclass(frozen=True)
class InputInfo:
    """One input without its batch axis. `distribution`: normal, label, data; seed and index in a seeded file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    distribution: str
    classes: int = 0


@dataclass(frozen=True)
class OutputInfo:
    """The output without its batch axis. `layout`: CHW or HWC for images, C… otherwise."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str


@dataclass(frozen=True)
class Golden:
    """Images `first … first+count-1` of `seed`: SHA-256 of the uint8 (count, H, W, C) bytes, and some pixels.

    A pixel is (image, row, column, values).
    """

    seed: int
    first: int
    count: int
    sha256: str
    pixels: tuple[tuple[int, int, int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Manifest:
    kind: str
    gantool: str
    created: str
    architecture: dict[str, Any]  # name, plugin, plugin_version, config
    training: dict[str, Any]  # run, steps, images, seed, ema, recipe
    data: dict[str, Any]  # name, fingerprint, count, class_names
    inputs: tuple[InputInfo, ...]
    latents: tuple[InputInfo, ...]  # the generator's normal inputs; a seeded file draws them itself
    output: OutputInfo
    rng: str | None
    opset: int | None
    exporter: str
    licence: str
    weights_sha256: str
    parity: dict[str, Any] = field(default_factory=dict)
    golden: tuple[Golden, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    # new in schema 2, with what schema 1 did
    precision: str = "float32"
    tolerance: int = 1  # levels by which another host's golden pixels may differ
    batch: int | None = None  # the one batch that the graph takes; None: any
    optimize: dict[str, Any] = field(default_factory=dict)  # choice (auto, none), rewritten: layers
    graph_sha256: str | None = None  # of an ONNX file's graph, as its bytes stand in the file
    schema_version: int = SCHEMA

    @property
    def seeded(self) -> bool:
        """Whether the file draws its own latents."""
        return self.kind in SEEDED

    @property
    def model(self) -> str:
        """The generator that the file is a form of, whatever its precision or kind: SHA-256 of its architecture,
        training (with the checkpoint's digest) and data."""
        made_from = [self.architecture, self.training, self.data]
        return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False)

    def write_beside(self, artifact: Path) -> None:
        write_bytes(beside(artifact), (json.dumps(asdict(self), indent=2, allow_nan=False) + "\n").encode())

    def input(self, distribution: str) -> InputInfo | None:
        """The first input of a distribution."""
        return next((item for item in self.inputs if item.distribution == distribution), None)


def file_name(kind: str, precision: str = "float32") -> str:
    """The name of an exported file: generator.onnx, generator.int8.seeded.onnx …"""
    name = FILES[kind]
    return name if precision == "float32" else name.replace("generator", f"generator.{precision}", 1)


def beside(artifact: Path) -> Path:
    return artifact.with_name(artifact.name + ".json")


def from_json(text: str | bytes, origin: object) -> Manifest:
    """Parse and check a manifest that came from `origin` (named in the error)."""
    value = parse_json(text, f"The manifest of {origin}")
    if not isinstance(value, dict):
        raise GantoolError(f"The manifest of {origin} is not an object.")
    schema = value.get("schema_version")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise GantoolError(f"The manifest of {origin} has no schema_version: not a manifest of gantool.")
    if schema > SCHEMA:
        raise GantoolError(
            f"The manifest of {origin} has schema {schema}; this gantool reads up to {SCHEMA}.",
            "Upgrade: pip install -U gantool",
        )
    read = _Reader(value, origin)
    parsed = Manifest(
        schema_version=schema,
        kind=read.choice("kind", KINDS),
        gantool=read.text("gantool"),
        created=read.text("created"),
        architecture=read.mapping("architecture"),
        training=read.mapping("training"),
        data=read.mapping("data"),
        inputs=tuple(_input(read.inside("inputs", item)) for item in read.sequence("inputs")),
        latents=tuple(_input(read.inside("latents", item)) for item in read.sequence("latents")),
        output=_output(read.inside("output", read.mapping("output"))),
        rng=read.optional_text("rng"),
        opset=read.optional_integer("opset"),
        exporter=read.text("exporter"),
        licence=read.text("licence"),
        weights_sha256=read.text("weights_sha256"),
        parity=read.mapping("parity"),
        golden=tuple(_golden(read.inside("golden", item)) for item in read.sequence("golden")),
        versions=read.mapping("versions"),
    )
    if sum(golden.count for golden in parsed.golden) > MAX_GOLDEN:
        raise read.wrong("golden", f"{MAX_GOLDEN} images at most")
    if schema > 1:
        parsed = replace(
            parsed,
            precision=read.choice("precision", PRECISIONS),
            tolerance=read.integer("tolerance"),
            batch=read.optional_integer("batch"),
            optimize=read.mapping("optimize"),
            graph_sha256=read.optional_text("graph_sha256"),
        )
        if parsed.kind in ("onnx", "onnx-seeded") and parsed.graph_sha256 is None:
            raise read.wrong("graph_sha256", "the digest of the graph")
    if not 0 <= parsed.tolerance < 256:
        raise read.wrong("tolerance", "0 to 255 levels")
    if parsed.batch is not None and not 1 <= parsed.batch <= MAX_BATCH:
        raise read.wrong("batch", f"null or 1 to {MAX_BATCH}")
    drawn = [item.name for item in parsed.inputs if item.distribution in ("seed", "index")]
    normal = tuple(item for item in parsed.inputs if item.distribution == "normal")
    wanted: tuple[list[str], tuple[InputInfo, ...]] = (["seed", "index"], ()) if parsed.seeded else ([], parsed.latents)
    if (drawn, normal) != wanted:
        raise read.wrong("inputs", f"the inputs of kind {parsed.kind}")
    return parsed


def _input(read: _Reader) -> InputInfo:
    return InputInfo(
        name=read.text("name"),
        shape=read.integers("shape"),
        dtype=read.choice("dtype", _DTYPES),
        distribution=read.choice("distribution", _DISTRIBUTIONS),
        classes=read.integer("classes"),
    )


def _output(read: _Reader) -> OutputInfo:
    layout, shape = read.choice("layout", _LAYOUTS), read.integers("shape")
    if layout != "C…" and len(shape) != 3:
        raise read.wrong("shape", f"the 3 sides of {layout}")
    return OutputInfo(read.text("name"), shape, read.choice("dtype", _DTYPES), layout)


def _golden(read: _Reader) -> Golden:
    pixels = []
    for pixel in read.sequence("pixels"):
        sound = isinstance(pixel, list) and len(pixel) == 4 and all(_is_int(v) and v >= 0 for v in pixel[:3])
        values = pixel[3] if sound and isinstance(pixel[3], list) else []
        if not values or not all(_is_int(v) and 0 <= v < 256 for v in values):
            raise read.wrong("pixels", "pixels [image, row, column, [values]]")
        pixels.append((pixel[0], pixel[1], pixel[2], tuple(values)))
    count = read.integer("count")
    if count < 1:
        raise read.wrong("count", "a number of images")
    return Golden(read.integer("seed"), read.integer("first"), count, read.text("sha256"), tuple(pixels))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class _Reader:
    """Typed access to a JSON object; each failure names the field and the file."""

    def __init__(self, value: Mapping[str, Any], origin: object, prefix: str = "") -> None:
        self.value, self.origin, self.prefix = value, origin, prefix

    def wrong(self, name: str, wanted: str) -> GantoolError:
        got = repr(self.value.get(name))[:80] if name in self.value else "nothing"
        return GantoolError(
            f"The manifest of {self.origin} should have {wanted} in {self.prefix + name!r}, but has {got}.",
            "The file was changed or damaged: export it again.",
        )

    def inside(self, name: str, value: object) -> _Reader:
        if not isinstance(value, dict):
            raise self.wrong(name, "objects")
        return _Reader(value, self.origin, f"{self.prefix}{name}.")

    def text(self, name: str) -> str:
        value = self.value.get(name)
        if not isinstance(value, str):
            raise self.wrong(name, "a text")
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self.value.get(name) is None else self.text(name)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.text(name)
        if value not in choices:
            raise self.wrong(name, "one of " + ", ".join(choices))
        return value

    def integer(self, name: str) -> int:
        value = self.value.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(name, "a whole number")
        return value

    def optional_integer(self, name: str) -> int | None:
        return None if self.value.get(name) is None else self.integer(name)

    def integers(self, name: str) -> tuple[int, ...]:
        value = self.value.get(name)
        if not isinstance(value, list) or not all(_is_int(item) and 0 < item < 2**31 for item in value):
            raise self.wrong(name, "a list of positive whole numbers")
        return tuple(value)

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.value.get(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return value

    def sequence(self, name: str) -> list[Any]:
        value = self.value.get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        return value
