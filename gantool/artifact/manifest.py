"""The manifest: an exported file's description of itself, validated by hand. Standard library only.

It is stored as JSON in the file (ONNX metadata, TorchScript extra file) and beside it as FILE.json.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from gantool.errors import ArgumentError, GantoolError, excerpt
from gantool.system.files import parse_json, write_bytes

SCHEMA = 2
KEY = "gantool.manifest"  # the ONNX metadata key, and the name of TorchScript's extra file
# kind and name of each file that `gantool export` writes
FILES = {
    "onnx": "generator.onnx",
    "onnx-seeded": "generator.seeded.onnx",
    "onnx-portable": "generator.portable.onnx",
    "torchscript": "generator.torchscript.pt",
    "torchscript-seeded": "generator.seeded.torchscript.pt",
    "pt2": "generator.pt2",
}
KINDS = tuple(FILES)
SUFFIXES = tuple(dict.fromkeys(Path(name).suffix for name in FILES.values()))
ONNX = ("onnx", "onnx-seeded", "onnx-portable")
SEEDED = ("onnx-seeded", "onnx-portable", "torchscript-seeded")
# how an ONNX file stores its weights and computes
PRECISIONS = ("float32", "half-weights", "half", "int8")
LIMBS = 4  # of 16 bits, in a seed or an index of a portable file
MAX_BATCH = 65_536
MAX_GOLDEN = 1024  # golden images of a file: a damaged count must not become hours of work
MAX_VALUE = 1e30  # of a value's bounds: float32 holds it
MAX_LISTED = 20  # classes that a message lists
MAX_LISTED_CHARACTERS = 400
_DTYPES = ("float32", "int64", "int32", "uint8", "int16")
# What the output's axes are → what a sample is. Channels come first in [-1, 1], or last as whole numbers.
LAYOUTS = {
    "CHW": "image",
    "HWC": "image",
    "CT": "audio",
    "TC": "audio",
    "CDHW": "volume",
    "DHWC": "volume",
    "C": "point",  # float32 only
    "C…": "",  # float32 audio or volumes, of earlier versions
}
# what messages call one, by its kind
NOUNS = {"image": "image", "audio": "sound", "volume": "volume", "point": "point", "film": "film", "": "sample"}
AXES = {"point": 1, "image": 3, "audio": 2, "volume": 4}
MAX_RATE = 10_000_000
_DISTRIBUTIONS = ("normal", "label", "data", "value", "seed", "index")


@dataclass(frozen=True)
class InputInfo:
    """One input without its batch axis. `distribution`: normal, label, data, value; seed and index in a seeded file.

    `default`, `low` and `high`: of a value. `multiple`: of a picture from data; its sides may be any multiples of that,
    and `shape` has those it was trained on. 0: its sides are those of `shape`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    distribution: str
    classes: int = 0
    default: float = 0.0
    low: float = 0.0
    high: float = 1.0
    multiple: int = 0

    @property
    def is_picture(self) -> bool:
        """Whether it is an image of the data: float32 (C, H, W), or uint8 (H, W, C) in a seeded file."""
        return self.distribution == "data" and len(self.shape) == 3

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a picture."""
        height, width = self.shape[:2] if self.dtype == "uint8" else self.shape[1:]
        return height, width

    @property
    def channels(self) -> int:
        """Channels of a picture."""
        return self.shape[2] if self.dtype == "uint8" else self.shape[0]

    @property
    def axes(self) -> tuple[int | None, ...]:
        """`shape`; None for a side that may be any multiple of `multiple`."""
        places = (0, 1) if self.dtype == "uint8" else (1, 2)
        return tuple(None if self.multiple and i in places else side for i, side in enumerate(self.shape))


@dataclass(frozen=True)
class OutputInfo:
    """The output without its batch axis. `layout`: its axes, of `LAYOUTS`. `rate`: of audio, samples a second."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    rate: int = 0  # 0: not known

    @property
    def kind(self) -> str:
        """What a sample is: image, audio, volume or point; "": not known, of a file of earlier versions."""
        return LAYOUTS[self.layout]

    @property
    def noun(self) -> str:
        """What messages call a sample: image, sound, volume, point or sample."""
        return NOUNS[self.kind]

    @property
    def seconds(self) -> float | None:
        """How long a sound is; None: it is none, or its rate is not known."""
        length = self.shape[0] if self.layout == "TC" else self.shape[-1]
        return length / self.rate if self.rate else None

    @property
    def channels_last(self) -> tuple[int, ...]:
        """The shape of a sample in whole numbers: (H, W, C), (T, C) or (D, H, W, C)."""
        return self.shape if self.layout.endswith("C") else (*self.shape[1:], self.shape[0])

    @property
    def levels(self) -> str:
        """The dtype of a sample in whole numbers: int16 of audio, uint8 of others; "": samples are float32 only."""
        return {"": "", "point": "", "audio": "int16"}.get(self.kind, "uint8")


@dataclass(frozen=True)
class Golden:
    """Samples `first … first+count-1` of `seed`: SHA-256 of their bytes, channels last, and some pixels.

    They are uint8 (count, H, W, C) or (count, D, H, W, C), or int16 (count, T, C), little-endian. A pixel is (number,
    row, column, values): as many places as a sample has axes beside its channels.
    """

    seed: int
    first: int
    count: int
    sha256: str
    pixels: tuple[tuple[Any, ...], ...]


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
    # new in schema 2; the defaults are what schema 1 meant
    precision: str = "float32"
    tolerance: int = 1  # levels by which another host's golden pixels may differ; of audio, steps of 16 bits
    batch: int | None = None  # the one batch that the graph takes; None: any
    optimize: dict[str, Any] = field(default_factory=dict)  # choice (auto, none), rewritten: layers
    graph_sha256: str | None = None  # of the bytes of an ONNX file's graph
    truncation: str = ""  # the latent that may be scaled to make images more typical; "": none, or not known
    which: str = ""  # the name of the generator, of a game that has several
    schema_version: int = SCHEMA

    @property
    def seeded(self) -> bool:
        """Whether the file draws its own latents."""
        return self.kind in SEEDED

    @property
    def model(self) -> str:
        """Identifies the generator whatever the file's kind or precision: SHA-256 of its architecture, training (with
        the checkpoint's digest) and data."""
        made_from = [self.architecture, self.training, self.data, *([self.which] if self.which else [])]
        return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False)

    def write_beside(self, artifact: Path) -> None:
        write_bytes(beside(artifact), (json.dumps(asdict(self), indent=2, allow_nan=False) + "\n").encode())

    def input(self, distribution: str) -> InputInfo | None:
        """The first input of a distribution."""
        return next((item for item in self.inputs if item.distribution == distribution), None)

    @property
    def picture(self) -> InputInfo | None:
        """The picture that the generator makes another of; None: it makes images of seeds, or takes other data, too."""
        data = [item for item in self.inputs if item.distribution == "data"]
        return data[0] if len(data) == 1 and data[0].is_picture and self.output.kind == "image" else None

    @property
    def output_axes(self) -> tuple[int | None, ...]:
        """The output's shape; None for a side that follows that of a picture of any size."""
        free = (
            {"CHW": (1, 2), "HWC": (0, 1)}.get(self.output.layout, ()) if self.picture and self.picture.multiple else ()
        )
        return tuple(None if i in free else side for i, side in enumerate(self.output.shape))

    def result_sides(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result for a picture of these sides, rounded up."""
        assert self.picture is not None
        made = self.output.shape[:2] if self.output.layout == "HWC" else self.output.shape[1:]
        rows, columns = (
            -(-side * new // old) for side, new, old in zip((height, width), made, self.picture.sides, strict=True)
        )
        return rows, columns

    @property
    def values(self) -> tuple[InputInfo, ...]:
        """The inputs that are values: numbers by which a user changes samples."""
        return tuple(item for item in self.inputs if item.distribution == "value")

    @property
    def classes(self) -> int:
        """The number of classes of a conditional generator; 0: it takes no label."""
        label = self.input("label")
        return 0 if label is None else label.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, by number; () unless every class has one."""
        names = self.data.get("class_names")
        if not isinstance(names, list) or len(names) != self.classes or not all(isinstance(n, str) for n in names):
            return ()
        return tuple(names)

    def list_classes(self) -> str:
        """The classes for people: `0 to 9`, or `0 cat, 1 dog, …` where their names are not their numbers."""
        names, last = self.class_names, self.classes - 1
        if all(name == str(number) for number, name in enumerate(names)):
            return f"0 to {last}" if last else "0"
        numbered = not self._numbers_are_names()
        shown = [f"{number} " * numbered + excerpt(name, 40) for number, name in enumerate(names[:MAX_LISTED])]
        if len(names) > MAX_LISTED:
            shown.append(f"… {last} {excerpt(names[-1], 40)}")
        return excerpt(", ".join(shown), MAX_LISTED_CHARACTERS)

    def list_values(self) -> str:
        """The values for people: `its values are truncation (0 to 1)`."""
        listed = ", ".join(f"{item.name} ({item.low:g} to {item.high:g})" for item in self.values)
        return excerpt(f"its values are {listed}", MAX_LISTED_CHARACTERS) if listed else "it has none"

    def _numbers_are_names(self) -> bool:
        names = self.class_names
        return bool(names) and all(name.removeprefix("-").isdigit() for name in names)

    def class_number(self, text: str) -> int:
        """The class with this name, or with this number where no class has that name.

        Where the names are themselves numbers, such as 1, 2 and 3, only a name is taken. GantoolError lists the classes
        and suggests a similar name.
        """
        names, stripped = self.class_names, text.strip()
        for name in (text, stripped):
            if name in names:
                return names.index(name)
        is_number = stripped.isascii() and stripped.isdigit()
        if is_number and not self._numbers_are_names() and len(stripped) < 20 and int(stripped) < self.classes:
            return int(stripped)
        by_lower = {} if stripped.isdigit() else {name.casefold(): name for name in names}
        similar = difflib.get_close_matches(stripped.casefold(), by_lower, n=1)
        suggestion = f"Did you mean {excerpt(by_lower[similar[0]])!r}? " if similar else ""
        raise ArgumentError(
            f"There is no class {excerpt(text)!r}: the classes are {self.list_classes()}.",
            f"{suggestion}Give a class's "
            + ("name." if self._numbers_are_names() else "number or its name." if names else "number."),
        )

    def parse_classes(self, text: str, origin: object) -> list[int]:
        """The classes in `7`, `cat` or `3,5`, in that order. `origin`: the file, for the error.

        GantoolError for a generator that takes no label, and for an unknown class.
        """
        if not self.classes:
            raise self.takes_no_labels(origin)
        if text in self.class_names:  # a name may contain a comma
            return [self.class_number(text)]
        return [self.class_number(part) for part in text.split(",")]

    def takes_no_labels(self, origin: object) -> ArgumentError:
        """The error for a label given to a generator that takes none."""
        inputs = excerpt(", ".join(item.name for item in self.inputs), 300)
        return ArgumentError(
            f"{origin} takes no labels: its inputs are {inputs}.",
            "Train a generator that does, on data with labels, and export it: gantool train cgan --data FOLDER "
            "(a sub-folder a class).",
        )


def drawn_inputs(kind: str) -> tuple[InputInfo, InputInfo]:
    """`seed` and `index` of a seeded file: int64, or limbs in float32 (`latents.limbs`) of a portable one."""
    shape, dtype = ((LIMBS,), "float32") if kind == "onnx-portable" else ((), "int64")
    return InputInfo("seed", shape, dtype, "seed"), InputInfo("index", shape, dtype, "index")


def file_name(kind: str, precision: str = "float32") -> str:
    """The name of an exported file: generator.onnx, generator.int8.seeded.onnx …"""
    name = FILES[kind]
    return name if precision == "float32" else name.replace("generator", f"generator.{precision}", 1)


def beside(artifact: Path) -> Path:
    return artifact.with_name(artifact.name + ".json")


def from_json(text: str | bytes, origin: object) -> Manifest:
    """Parse and check a manifest that came from `origin` (named in the error)."""
    value = parse_json(text, f"The manifest of {origin}", "Export it again.")
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
        gantool=read.get("gantool", str),
        created=read.get("created", str),
        architecture=read.get("architecture", dict),
        training=read.get("training", dict),
        data=read.get("data", dict),
        inputs=tuple(map(_input, read.objects("inputs"))),
        latents=tuple(map(_input, read.objects("latents"))),
        output=_output(read.inside("output", read.value.get("output"))),
        rng=read.optional("rng", str),
        opset=read.optional("opset", int),
        exporter=read.get("exporter", str),
        licence=read.get("licence", str),
        weights_sha256=read.get("weights_sha256", str),
        parity=read.get("parity", dict),
        golden=tuple(map(_golden, read.objects("golden"))),
        versions=read.get("versions", dict),
    )
    if schema > 1:
        parsed = replace(
            parsed,
            precision=read.choice("precision", PRECISIONS),
            tolerance=read.get("tolerance", int),
            batch=read.optional("batch", int),
            optimize=read.get("optimize", dict),
            graph_sha256=read.optional("graph_sha256", str),
            truncation=read.optional("truncation", str) or "",  # earlier files of schema 2 do not have these two
            which=read.optional("which", str) or "",
        )
        if parsed.kind in ONNX and parsed.graph_sha256 is None:
            raise read.wrong("graph_sha256", "the digest of the graph")
    most = 2**15 if parsed.output.kind == "audio" else 255
    if not 0 <= parsed.tolerance <= most:
        raise read.wrong("tolerance", f"0 to {most} levels")
    if parsed.batch is not None and not 1 <= parsed.batch <= MAX_BATCH:
        raise read.wrong("batch", f"null or 1 to {MAX_BATCH}")
    if sum(golden.count for golden in parsed.golden) > MAX_GOLDEN:
        raise read.wrong("golden", f"{MAX_GOLDEN} samples at most")
    drawn = tuple(item for item in parsed.inputs if item.distribution in ("normal", "seed", "index"))
    wanted = parsed.latents
    if parsed.seeded:
        wanted = drawn_inputs(parsed.kind) if parsed.latents or parsed.picture is None else ()
    if drawn != wanted:
        raise read.wrong("inputs", f"the inputs of kind {parsed.kind}")
    return parsed


def _input(read: _Reader) -> InputInfo:
    return InputInfo(
        name=read.get("name", str),
        shape=read.shape("shape"),
        dtype=read.choice("dtype", _DTYPES),
        distribution=read.choice("distribution", _DISTRIBUTIONS),
        classes=read.get("classes", int),
        multiple=_multiple(read),
        **_bounds(read),
    )


def _multiple(read: _Reader) -> int:
    """Of which the sides of a picture may be any multiples; 0 for another input, and in earlier files."""
    multiple = read.optional("multiple", int) or 0
    if multiple:
        picture = InputInfo("", read.shape("shape"), read.get("dtype", str), read.get("distribution", str))
        if multiple < 0 or not picture.is_picture or any(side % multiple for side in picture.sides):
            raise read.wrong("multiple", "a number that divides the sides of a picture from data")
    return multiple


def _bounds(read: _Reader) -> dict[str, float]:
    """Default, low and high of a value; {} for another input, and in files from before there were values."""
    if read.value.get("distribution") != "value":
        return {}
    default, low, high = (read.number(name) for name in ("default", "low", "high"))
    if read.value.get("shape") != [] or read.value.get("dtype") != "float32":
        raise read.wrong("shape", "[] and the dtype float32, for a value,")
    if not low <= default <= high or low == high:
        raise read.wrong("default", "a number between low and high")
    return {"default": default, "low": low, "high": high}


def _output(read: _Reader) -> OutputInfo:
    layout, shape = read.choice("layout", tuple(LAYOUTS)), read.shape("shape")
    kind, rate = LAYOUTS[layout], read.optional("rate", int) or 0
    if kind and len(shape) != AXES[kind]:
        raise read.wrong("shape", f"the {AXES[kind]} sides of {layout}")
    if not 0 <= rate <= MAX_RATE or (rate and kind != "audio"):
        raise read.wrong("rate", f"0 to {MAX_RATE}, and of audio only,")
    return OutputInfo(read.get("name", str), shape, read.choice("dtype", _DTYPES), layout, rate)


def _golden(read: _Reader) -> Golden:
    pixels = []
    for pixel in read.get("pixels", list):
        valid = isinstance(pixel, list) and 3 <= len(pixel) <= 5 and all(_is_int(v) and v >= 0 for v in pixel[:-1])
        values = pixel[-1] if valid and isinstance(pixel[-1], list) else []
        if not values or not all(_is_int(v) and -(2**15) <= v < 2**15 for v in values):
            raise read.wrong("pixels", "pixels [sample, row, column, [values]]")
        pixels.append((*pixel[:-1], tuple(values)))
    count = read.get("count", int)
    if count < 1:
        raise read.wrong("count", "a number of samples")
    return Golden(read.get("seed", int), read.get("first", int), count, read.get("sha256", str), tuple(pixels))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


T = TypeVar("T", str, int, dict[str, Any], list[Any])
_WANTED = {str: "a text", int: "a whole number", dict: "an object", list: "a list"}


class _Reader:
    """Typed access to a JSON object; each failure names the field and the file."""

    def __init__(self, value: Mapping[str, Any], origin: object, prefix: str = "") -> None:
        self.value, self.origin, self.prefix = value, origin, prefix

    def wrong(self, name: str, wanted: str) -> GantoolError:
        got = excerpt(repr(self.value.get(name))) if name in self.value else "nothing"
        return GantoolError(
            f"The manifest of {self.origin} should have {wanted} in {self.prefix + name!r}, but has {got}.",
            "The file was changed or damaged: export it again.",
        )

    def get(self, name: str, kind: type[T]) -> T:
        value = self.value.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(name, _WANTED[kind])
        return value

    def optional(self, name: str, kind: type[T]) -> T | None:
        return None if self.value.get(name) is None else self.get(name, kind)

    def number(self, name: str) -> float:
        value = self.value.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < MAX_VALUE:
            raise self.wrong(name, "a number")
        return float(value)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.get(name, str)
        if value not in choices:
            raise self.wrong(name, "one of " + ", ".join(choices))
        return value

    def shape(self, name: str) -> tuple[int, ...]:
        value = self.value.get(name)
        if not isinstance(value, list) or not all(_is_int(item) and 0 < item < 2**31 for item in value):
            raise self.wrong(name, "a list of positive whole numbers")
        return tuple(value)

    def inside(self, name: str, value: object) -> _Reader:
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return _Reader(value, self.origin, f"{self.prefix}{name}.")

    def objects(self, name: str) -> list[_Reader]:
        """A list of objects."""
        return [self.inside(name, item) for item in self.get(name, list)]
