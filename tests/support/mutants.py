"""Damaged and forged ONNX files, and a program that opens many of them: `python -m support.mutants FOLDER SEED COUNT`.

A process of its own, for a mutant that ends the interpreter or hangs must not take the tests with it. Each line of
its output names the mutant that is about to be tried; FOLDER/mutant.onnx is that file.
"""

from __future__ import annotations

import faulthandler
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from gantool.artifact import inspection, manifest, onnxfile
from gantool.errors import GantoolError
from gantool.runtime import Generator

PATIENCE = 60  # seconds for one mutant; only a hang takes as long

Bytes = Callable[[random.Random, list[bytes]], bytes]


def cut(draw: random.Random, files: list[bytes]) -> bytes:
    data = draw.choice(files)
    return data[: draw.randrange(len(data))]


def flip(draw: random.Random, files: list[bytes]) -> bytes:
    """1 to 64 bits anywhere."""
    data = bytearray(draw.choice(files))
    return _flipped(draw, data, range(len(data)))


def flip_around(draw: random.Random, files: list[bytes]) -> bytes:
    """1 to 8 bits outside the graph: the digest still fits, so that they get as far as ONNX Runtime."""
    data = bytearray(draw.choice(files))
    graph = onnx.ModelProto.FromString(bytes(data)).graph.SerializeToString()
    start = data.index(graph)
    outside = [i for i in range(len(data)) if not start <= i < start + len(graph)]
    return _flipped(draw, data, outside, most=8)


def splice(draw: random.Random, files: list[bytes]) -> bytes:
    """A part of one file in the place of a part of another."""
    data, other = bytearray(draw.choice(files)), draw.choice(files)
    data[slice(*_range(draw, len(data)))] = other[slice(*_range(draw, len(other)))]
    return bytes(data)


def zero(draw: random.Random, files: list[bytes]) -> bytes:
    data = bytearray(draw.choice(files))
    start, end = _range(draw, len(data))
    data[start:end] = bytes(end - start)
    return bytes(data)


def forged(draw: random.Random, files: list[bytes]) -> bytes:
    """1 to 3 values of the manifest replaced, its digest right."""
    return _told(
        draw, draw.choice(files), lambda told: [replace_a_value(draw, told) for _ in range(draw.randint(1, 3))]
    )


def resized(draw: random.Random, files: list[bytes]) -> bytes:
    """Sides in the graph's inputs and output, and in the manifest: some of them extreme."""
    model = onnx.ModelProto.FromString(draw.choice(files))
    told = json.loads(model.metadata_props[0].value)
    size = draw.choice([1, 2, 3, 1000, 2**31 - 1, 2**40])
    output = draw.random() < 0.5
    value = draw.choice(model.graph.output if output else model.graph.input)
    dims = value.type.tensor_type.shape.dim
    place = draw.randrange(len(dims)) if dims else 0
    if dims:
        dims[place].dim_value = size
    entries = [told["output"]] if output else [e for e in told["inputs"] + told["latents"] if e["name"] == value.name]
    for entry in entries:
        if 0 < place <= len(entry["shape"]):
            entry["shape"][place - 1] = size
    told["batch"] = size if place == 0 else None
    told["graph_sha256"] = onnxfile.parse(model.SerializeToString(), "the model").graph_sha256
    onnx.helper.set_model_props(model, {manifest.KEY: json.dumps(told)})
    return model.SerializeToString()


def no_json(draw: random.Random, files: list[bytes]) -> bytes:
    """What no writer of JSON writes."""
    data = draw.choice(files)
    text = onnx.ModelProto.FromString(data).metadata_props[0].value
    forms = {
        "NaN": lambda: text.replace("[]", "[NaN]").replace('"batch": null', '"batch": NaN'),
        "infinity": lambda: text.replace("null", "1e999"),
        "deep lists": lambda: '{"schema_version": 1, "kind": ' + "[" * 100_000,
        "deep objects": lambda: '{"a":' * 100_000,
        "digits": lambda: text.replace("null", "9" * 5000),
        "cut": lambda: text[: draw.randrange(len(text))],
        "any": lambda: "".join(chr(draw.randrange(0xD7FF)) for _ in range(draw.randrange(200))),
    }
    return _with_text(data, forms[draw.choice(list(forms))]())


KINDS: dict[str, Bytes] = {f.__name__: f for f in (cut, flip, flip_around, splice, zero, forged, resized, no_json)}


def attempt(path: Path) -> str:
    """Every door that takes a file; what came of it: opened, or refused. Any error but ours goes through."""
    outcome = "opened"
    for door in (inspection.inspect, _use):
        try:
            door(path)
        except GantoolError as error:
            outcome = "refused"
            if not str(error).isprintable() or len(str(error)) > 2000:
                raise AssertionError(f"a message that shows what anybody wrote: {str(error)[:3000]!r}") from error
    return outcome


def _use(path: Path) -> None:
    generator = Generator(path, threads=1)
    for ask in (generator.self_test, lambda: generator.sample(2), lambda: generator.sample(0)):
        try:
            ask()
        except GantoolError:
            continue
    generator.sample(2)


def _flipped(draw: random.Random, data: bytearray, places: Any, most: int = 64) -> bytes:
    for _ in range(draw.randint(1, most)):
        data[draw.choice(places)] ^= 1 << draw.randrange(8)
    return bytes(data)


def _range(draw: random.Random, size: int) -> tuple[int, int]:
    start = draw.randrange(size)
    return start, min(size, start + int(2 ** draw.uniform(0, 12)))


def _told(draw: random.Random, data: bytes, change: Callable[[Any], object]) -> bytes:
    told = json.loads(onnx.ModelProto.FromString(data).metadata_props[0].value)
    change(told)
    return _with_text(data, json.dumps(told))


def _with_text(data: bytes, text: str) -> bytes:
    model = onnx.ModelProto.FromString(data)
    onnx.helper.set_model_props(model, {manifest.KEY: text})
    return model.SerializeToString()


def replace_a_value(draw: random.Random, told: Any) -> None:
    """Go down to some value, and put another in its place, take it away, or repeat it."""
    while True:
        keys = list(told) if isinstance(told, dict) else list(range(len(told)))
        if not keys:
            return
        key = draw.choice(keys)
        value = told[key]
        if isinstance(value, dict | list) and value and draw.random() < 0.8:
            told = value
            continue
        what = draw.random()
        if what < 0.1:
            del told[key]
        elif what < 0.2 and isinstance(value, list):
            told[key] = value * draw.choice([2, 100, 3000])
        else:
            told[key] = draw.choice(_others(value))
        return


def _others(value: object) -> list[Any]:
    numbers = [0, -1, 1, 2, 1023, 1024, 65_536, 2**31 - 1, 2**31, 2**47, 2**63 - 1, -(2**63), 2**64, 10**30, 1.5, 1e308]
    texts = [
        "",
        "z",
        "label",
        "data",
        "seed",
        "\x1b[2J\x00",
        "name\ud800",
        "x" * 10_000,
        "onnx-seeded",
        "float16",
        "C…",
    ]
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    rest = [None, True, [], {}, deep, [2**31 - 1] * 3, [1] * 100]
    if isinstance(value, int) and not isinstance(value, bool):
        return numbers * 3 + texts[:3] + rest
    return numbers + texts * 2 + rest


def main(folder: Path, seed: int, count: int) -> None:
    """Try `count` mutants of the files in FOLDER/originals. Ends with a line `done` and what came of each."""
    files = [path.read_bytes() for path in sorted((folder / "originals").glob("*.onnx"))]
    path = folder / "mutant.onnx"
    outcomes: dict[str, int] = {}
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        print(f"mutant {number}: {kind}", flush=True)
        path.write_bytes(KINDS[kind](random.Random(f"{seed}/{number}"), files))
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        outcome = f"{kind} {attempt(path)}"
        faulthandler.cancel_dump_traceback_later()
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print("done", json.dumps(outcomes))


if __name__ == "__main__":
    faulthandler.enable()
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
